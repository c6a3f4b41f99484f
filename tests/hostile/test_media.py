"""B2 1-15, 21, 22: what can be wrong or odd in a video file. One test, at least, for each line.

Frames carry their number, so that a test sees which frame it got. What could take the process
down, or never come back, is read in a child process.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import bombs
import children
import pytest
import videos
from PIL import Image

from vidlabel.clips.read import read_clip
from vidlabel.errors import Reason, VideoError
from vidlabel.specs import ClipSpec, Limits
from vidlabel.video import reader as video_module
from vidlabel.video.container import open_container
from vidlabel.video.reader import open_video, probe
from vidlabel.video.stream import Stream

MakeVideo = Callable[..., Path]

SMALL = ClipSpec(frames=6, size_px=32, resize_px=48)
FAST_START = (("movflags", "+faststart"),)


def refused(path: Path) -> VideoError:
    """The error that a file gives; a line that names it."""
    with pytest.raises(VideoError) as raised:
        read_clip(str(path), SMALL, 1, Limits())
    assert str(path) in raised.value.detail
    assert "\n" not in raised.value.detail
    return raised.value


def at(path: Path, *times_s: float) -> list[int]:
    """The numbers shown at the given seconds."""
    with open_video(str(path)) as video:
        return videos.read_barcodes(video.frames_at(times_s, 48).pixels)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are treated as too large to be indexed in full."""
    monkeypatch.setattr(video_module, "WALK_BYTES", 0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"hello\n" * 200, Reason.NOT_VIDEO),
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", Reason.NOT_VIDEO),
        (random.Random(1).randbytes(5000), Reason.NOT_VIDEO),
        (b"\0" * 5000, Reason.NOT_VIDEO),
    ],
    ids=["empty", "text", "html", "random", "zeros"],
)
def test_b2_01_not_a_video(data: bytes, reason: Reason, tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(data)
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        error = refused(path)
        seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 0.1
    assert error.reason is reason
    if data:
        words = (
            "Invalid data",
            "Invalid argument",
            "this is a text: hello",
            "this is an HTML page",
        )
        assert any(each in error.detail for each in words)


def test_b2_02_mp4_without_its_header(make_video: MakeVideo, tmp_path: Path) -> None:
    whole = make_video()  # the header comes last
    path = videos.cut(whole, tmp_path / "half.mp4", whole.stat().st_size // 2)
    error = refused(path)
    assert error.reason is Reason.NOT_VIDEO
    assert "header is missing" in error.detail


def test_b2_03_faststart_cut_everywhere(make_video: MakeVideo, tmp_path: Path) -> None:
    whole = make_video(frames=20, gop=5, mux=FAST_START)
    size = whole.stat().st_size
    sizes = sorted({size * i // 80 for i in range(1, 81)})
    assert len(sizes) >= 60
    paths = [videos.cut(whole, tmp_path / f"{n}.mp4", n) for n in sizes]
    both = children.read_all(paths, walk_bytes=[2**25, 0])
    known = {"", Reason.NOT_VIDEO, Reason.NO_FRAMES, Reason.NO_DECODER, Reason.NO_VIDEO_STREAM}
    for rows in zip(*(row["reads"] for row in both), strict=True):
        assert {row["reason"] for row in rows} <= known
        for row in rows:
            assert bool(row["reason"]) == (row["frames"] == 0)
        assert rows[-1]["frames"] == 6
        assert rows[-1]["damaged"] == ""
        cut = [row for row in rows[:-1] if row["frames"]]
        assert len(cut) > 5
        # Half a second or less missing at the end is not told from a rounded header.
        assert all(row["damaged"] for row in cut[: len(cut) // 2])


def test_b2_04_cut_mid_stream(make_video: MakeVideo, tmp_path: Path) -> None:
    codecs = {".avi": "mpeg4", ".webm": "libvpx", ".flv": "flv"}
    for suffix in (".mp4", ".mkv", ".ts", ".avi", ".webm", ".flv"):
        codec = codecs.get(suffix, "libx264")
        mux = FAST_START if suffix == ".mp4" else ()
        whole = make_video(suffix=suffix, codec=codec, frames=60, gop=6, mux=mux)
        size = whole.stat().st_size * 8 // 10
        path = videos.cut(whole, tmp_path / f"cut{suffix}", size)
        with open_video(str(path)) as video:
            assert 3.0 < video.duration_s < 6.0
            last = video.duration_s - 0.05
            frames = video.frames_at([0.05, 1.55, last], 48)
        assert videos.read_barcodes(frames.pixels)[:2] == [0, 15]
        assert videos.read_barcodes(frames.pixels)[2] >= round(last * 10) - 2
        if suffix != ".ts":  # whose length stands nowhere
            assert "the file ends after" in frames.damaged
        clip = read_clip(str(path), SMALL, 1, Limits())
        assert clip.frames_used == SMALL.frames


def test_b2_05_cut_at_mdat(make_video: MakeVideo, tmp_path: Path) -> None:
    whole = make_video(mux=FAST_START)
    path = videos.cut(whole, tmp_path / "x.mp4", whole.read_bytes().index(b"mdat") + 4)
    assert refused(path).reason is Reason.NO_FRAMES
    with pytest.raises(VideoError):
        probe(str(path))


def test_b2_06_flipped_bytes_in_the_middle(make_video: MakeVideo, tmp_path: Path) -> None:
    paths = []
    for suffix, seed in ((s, i) for s in (".mp4", ".mkv", ".ts") for i in range(8)):
        data = bytearray(make_video(suffix=suffix, frames=48, gop=6, bf=1).read_bytes())
        noise = random.Random(seed)
        middle = len(data) * 4 // 10
        for _ in range(20):
            data[middle + noise.randrange(len(data) // 10)] ^= 1 << noise.randrange(8)
        paths.append(tmp_path / f"{seed}{suffix}")
        paths[-1].write_bytes(data)
    both = children.read_all(paths, walk_bytes=[2**25, 0])
    for rows in zip(*(row["reads"] for row in both), strict=True):
        assert all(row["frames"] > 0 for row in rows)
        for row in rows[:8]:  # an mp4 keeps its index elsewhere: only what was hit is lost
            assert row["frames"] == 6
            assert "could not be decoded" in row["damaged"]


@pytest.mark.parametrize("end", [48, 60])
def test_b2_06_after_eight_broken_frames_only_keyframes_are_tried(
    end: int, make_video: MakeVideo, tmp_path: Path
) -> None:
    whole = make_video(suffix=".avi", codec="mpeg4", bf=2, frames=60, gop=6)  # decoded in order
    data = bytearray(whole.read_bytes())
    for position, size in videos.packet_places(whole)[24:end]:
        data[position : position + size] = b"\xff" * size
    path = tmp_path / "x.avi"
    path.write_bytes(data)
    with open_video(str(path)) as video:
        frames = video.frames_at([0.55, 5.85], 48)
    first, last = videos.read_barcodes(frames.pixels)
    assert first == 5
    assert (last >= 48) == (end == 48)
    assert 8 <= int(frames.damaged.split()[0]) <= 8 + 36 // 6  # and perhaps the keyframes after


def test_b2_07_no_video_stream(make_video: MakeVideo, tmp_path: Path) -> None:
    sound = videos.write_audio(tmp_path / "sound.mp4")
    assert refused(sound).reason is Reason.NO_VIDEO_STREAM
    bare = tmp_path / "bare.mp4"
    bare.write_bytes(make_video(mux=FAST_START).read_bytes().replace(b"trak", b"free"))
    assert refused(bare).reason in (Reason.NO_VIDEO_STREAM, Reason.NOT_VIDEO)


def test_b2_07_stream_that_begins_late(make_video: MakeVideo) -> None:
    # PyAV stumbles over streams that it did not know when it opened the file, at the file's end.
    class Late:
        """A container that ends as PyAV's does then."""

        def __init__(self, container: av.container.InputContainer) -> None:
            self._container = container
            self.streams = container.streams

        def demux(self, stream: av.VideoStream) -> Iterator[av.Packet]:
            yield from (p for p in self._container.demux(stream) if p.size)
            raise IndexError("list index out of range")

    path = str(make_video())
    with open_container(path, Limits()) as container:
        stream = Stream(path, Late(container), Limits())
        assert len(list(stream.packets())) == 24
        assert stream.broken == 0


def test_b2_08_cover_art_is_no_video(tmp_path: Path) -> None:
    path = videos.write_audio(tmp_path / "song.mp4", cover=True)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    error = refused(path)
    assert error.reason is Reason.NO_VIDEO_STREAM
    assert "cover art" in error.detail


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "webp", "tiff"])
def test_b2_09_still_image_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.mp4"
    Image.fromarray(videos.barcode(1, 64, 48)).save(path, format=kind)
    assert refused(path).reason is Reason.NOT_VIDEO


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_b2_10_fewer_frames_than_the_clip(frames: int, make_video: MakeVideo) -> None:
    for suffix in (".mp4", ".mkv", ".h264"):
        data = read_clip(str(make_video(suffix=suffix, frames=frames)), SMALL, 1, Limits())
        assert data.clips.shape == (1, *SMALL.shape)
        assert data.padded
        assert data.frames_used == frames
    full = read_clip(str(make_video(frames=SMALL.frames)), SMALL, 1, Limits())
    assert not full.padded


@pytest.mark.parametrize("duration", [1, 2**31 - 1])
@pytest.mark.parametrize("walk_bytes", [2**25, 0])
def test_b2_11_header_lies_about_the_length(
    walk_bytes: int,
    duration: int,
    make_video: MakeVideo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(video_module, "WALK_BYTES", walk_bytes)
    data = bytearray(make_video().read_bytes())
    for box, place in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)):
        start = data.index(box) + place
        data[start : start + 4] = duration.to_bytes(4, "big")
    start = data.index(b"elst") + 12
    data[start : start + 4] = b"\x7f\xff\xff\xff"
    path = tmp_path / "liar.mp4"
    path.write_bytes(data)
    with open_video(str(path)) as video:
        assert video.duration_s == pytest.approx(2.4, abs=0.01)
        frames = video.frames_at([0.05, 2.35], 48)
    assert videos.read_barcodes(frames.pixels) == [0, 23]


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".h264", ".webm"])
def test_b2_11_header_without_a_frame_count(suffix: str, make_video: MakeVideo) -> None:
    path = make_video(suffix=suffix, codec="libvpx" if suffix == ".webm" else "libx264")
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 0
    info = probe(str(path))
    assert info.frames == 24
    assert info.duration_s == pytest.approx(2.4, abs=0.01)


def test_b2_11_live_recording_without_a_length(make_video: MakeVideo, large: None) -> None:
    path = make_video(suffix=".mkv", bf=2, mux=(("live", "1"),))
    with av.open(str(path)) as container:
        assert container.duration is None
    assert probe(str(path)).duration_s == pytest.approx(2.4, abs=0.01)
    assert at(path, 0.05, 1.15, 2.35) == [0, 11, 23]


def test_b2_12_swinging_frame_rate(make_video: MakeVideo) -> None:
    stamps = [*range(0, 10_000, 1000), *range(10_000, 10_320, 16), 60_000]
    path = make_video(bf=2, pts_ms=tuple(stamps), frames=len(stamps))
    assert at(path, 0.5, 9.9, 10.17, 30.0, 59.9) == [0, 9, 20, 29, 29]


def test_b2_13_no_timestamps(make_video: MakeVideo) -> None:
    for suffix, codec in ((".h264", "libx264"), (".hevc", "libx265"), (".m2v", "mpeg2video")):
        path = make_video(suffix=suffix, codec=codec, fps=25, frames=30)
        assert at(path, 0.02, 0.5, 1.17) == [0, 12, 29]
        assert probe(str(path)).duration_s == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("suffix", "stamps"),
    [
        (".mkv", [i // 2 * 200 for i in range(24)]),  # every time twice
        (".mkv", [0] * 24),
        (".nut", [0] * 24),
    ],
)
def test_b2_13_odd_timestamps(
    suffix: str, stamps: list[int], make_video: MakeVideo, tmp_path: Path
) -> None:
    source = make_video(suffix=".mkv", codec="mjpeg", pix_fmt="yuvj420p")
    path = videos.restamp(source, tmp_path / f"odd{suffix}", stamps)
    (row,) = children.read_all([path])
    assert row["reason"] == ""
    assert row["frames"] >= 1
    with open_video(str(path)) as video:
        assert video.duration_s > 0
        times = [(i + 0.5) * video.duration_s / 12 for i in range(12)]
        shown = videos.read_barcodes(video.frames_at(times, 48).pixels)
    assert shown == sorted(shown)


def test_b2_13_broken_timestamp_is_no_long_video(make_video: MakeVideo, tmp_path: Path) -> None:
    # A live recording whose clock jumps from 0 to the time of day, in milliseconds.
    stamps = [i * 100 + 4 * 10**9 * (i >= 12) for i in range(24)]
    source = make_video(suffix=".mkv", codec="mjpeg", pix_fmt="yuvj420p")
    path = videos.restamp(source, tmp_path / "jump.mkv", stamps)
    assert probe(str(path)).duration_s == pytest.approx(2.4, abs=0.1)
    assert at(path, 0.05, 1.15, 1.25, 2.35) == [0, 11, 12, 23]


@pytest.mark.parametrize("walk_bytes", [2**25, 0])
def test_b2_13_joined_recordings_of_another_day(
    walk_bytes: int, make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # FFmpeg takes the fall for a counter that ran over: 26 hours between the two.
    monkeypatch.setattr(video_module, "WALK_BYTES", walk_bytes)
    parts = [make_video(suffix=".ts", offset_s=3600), make_video(suffix=".ts", frames=60)]
    path = videos.join(parts, tmp_path / "x.ts")
    assert probe(str(path)).duration_s == pytest.approx(8.4, abs=0.1)
    assert at(path, 0.05, 2.35, 2.45, 8.35) == [0, 23, 0, 59]


@pytest.mark.parametrize("offset_s", [5, 3600])
def test_b2_14_late_start(offset_s: int, make_video: MakeVideo) -> None:
    for suffix in (".mp4", ".ts", ".mkv", ".flv"):
        path = make_video(suffix=suffix, offset_s=offset_s)
        assert at(path, 0.05, 2.35) == [0, 23]
        assert probe(str(path)).duration_s == pytest.approx(2.4, abs=0.01)


def test_b2_14_edit_list(make_video: MakeVideo, tmp_path: Path) -> None:
    path = videos.with_edit_list(make_video(bf=2), tmp_path / "x.mp4", Fraction(5, 10))
    assert at(path, 0.05, 1.85) == [5, 23]


@pytest.mark.parametrize("number", range(24))
def test_b2_15_every_frame_of_a_ts_by_seeking(
    number: int, make_video: MakeVideo, large: None
) -> None:
    path = make_video(suffix=".ts", bf=2, gop=5, frames=24)
    assert at(path, number / 10 + 0.01) == [number]


def test_b2_21_several_streams(make_video: MakeVideo) -> None:
    for suffix in (".ts", ".mkv", ".mp4"):
        path = make_video(suffix=suffix, other_sizes=((32, 32), (64, 16)), audio_s=1.0)
        assert at(path, 0.05, 2.35) == [0, 23]


def test_b2_21_several_programs(make_video: MakeVideo, tmp_path: Path, large: None) -> None:
    path = tmp_path / "x.ts"
    others = make_video(suffix=".ts", size=(32, 32), frames=3).read_bytes()
    healthy = make_video(suffix=".ts", audio_s=1.0).read_bytes()
    path.write_bytes(bombs.with_programs(others, 40)[: -len(others)] + healthy)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 41
    assert at(path, 0.05, 2.35) == [0, 23]


def test_b2_21_subtitles(make_video: MakeVideo, tmp_path: Path) -> None:
    live = make_video(suffix=".mkv", mux=(("live", "1"),)).read_bytes()
    path = tmp_path / "x.mkv"
    path.write_bytes(bombs.with_mkv_tracks(live, 20, b"S_TEXT/UTF8", 17))
    with av.open(str(path)) as container:
        assert len(container.streams.subtitles) == 20
    assert at(path, 0.05, 2.35) == [0, 23]
    info = probe(str(path))
    assert (info.codec, info.audio) == ("h264", False)


def test_b2_22_metadata_is_not_utf8(make_video: MakeVideo, tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv", ".avi"):
        source = make_video(suffix=suffix, codec="mpeg4", title="TITLETITLE").read_bytes()
        assert b"TITLETITLE" in source
        path = tmp_path / f"x{suffix}"
        path.write_bytes(source.replace(b"TITLETITLE", b"\xff\xfe\xe9\x80ITLETI"))
        assert at(path, 0.05, 2.35) == [0, 23]
