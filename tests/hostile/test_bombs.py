"""B2 20: small files that ask for much end in a reason, or a label, within bounds that are stated.

Where FFmpeg has no bound of its own, and vidlabel cannot set one, the memory and the time of the
decoder process are limited from outside (`Limits.memory_mb`, `stall_s`, `timeout_s`): a table of
10^8 frames that an MP4 of 2 kB claims, 10^5 tags (FFmpeg compares each with all), 10^5 frames of
8192 x 8192, or seeking in an MP4 of over 32 MB whose edit list hides a million frames, which takes
FFmpeg minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import bombs
import children
import pytest

from vidlabel.errors import Reason, VideoError
from vidlabel.specs import Limits
from vidlabel.video import reader as video_module
from vidlabel.video import stream as stream_module
from vidlabel.video.container import MAX_STREAMS, open_container
from vidlabel.video.reader import open_video, probe
from vidlabel.video.stream import Stream

MakeVideo = Callable[..., Path]


def read(name: str, data: bytes, folder: Path, **options: object) -> children.Row:
    """The outcome of a file with these bytes."""
    path = folder / name
    path.write_bytes(data)
    (row,) = children.read_all([path], **options)
    return row


@pytest.fixture
def mp4(make_video: MakeVideo) -> bytes:
    return make_video().read_bytes()


@pytest.fixture
def mkv(make_video: MakeVideo) -> bytes:
    return make_video(suffix=".mkv", codec="mpeg4", mux=(("live", "1"),)).read_bytes()


# --- frames -----------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["ffv1", "ffvhuff", "rawvideo"])
def test_b2_20_size_in_the_header(codec: str, make_video: MakeVideo, tmp_path: Path) -> None:
    avi = make_video(suffix=".avi", codec=codec).read_bytes()
    for size_px in (8192, 16384):  # within the limit and over it
        row = read("x.avi", bombs.avi_size(avi, size_px), tmp_path)
        assert row["reason"] in (Reason.TOO_LARGE, Reason.NO_FRAMES, Reason.NOT_VIDEO)
        assert row["grown_mb"] < 120
        assert row["seconds"] < 5


def test_b2_20_huge_frames_are_refused_before_they_are_made(
    make_video: MakeVideo, tmp_path: Path
) -> None:
    vp8 = make_video(suffix=".ivf", codec="libvpx", gop=1).read_bytes()
    vp9 = make_video(
        suffix=".ivf", codec="libvpx-vp9", gop=1, options=(("cpu-used", "8"),)
    ).read_bytes()
    jpeg = make_video(suffix=".avi", codec="mjpeg", pix_fmt="yuvj420p").read_bytes()
    for name, data in (
        ("sps.h264", bombs.h264(16000, 30)),
        ("vp8.ivf", bombs.vp8(vp8, 16383)),
        ("vp9.ivf", bombs.vp9(vp9, 65536)),
        ("jpeg.avi", bombs.mjpeg(jpeg, 65500)),
        ("png.mov", bombs.png_movie(tmp_path / "png.mov", 10_000).read_bytes()),
    ):
        assert len(data) < 500_000
        row = read(name, data, tmp_path, walk_bytes=[2**25, 0])
        for outcome in row["reads"]:
            expected = {Reason.TOO_LARGE, *([Reason.NO_FRAMES] if name == "jpeg.avi" else [])}
            assert outcome["reason"] in expected, name
        assert row["grown_mb"] < 150, name  # one frame is 100 to 4000 MB
        assert row["seconds"] < 5, name


def test_b2_20_largest_frames_allowed(make_video: MakeVideo, tmp_path: Path) -> None:
    row = read("8k.h264", bombs.h264(8192, 8), tmp_path)  # 250 bytes
    assert row["reason"] == ""
    assert row["grown_mb"] < 1200  # 100 MB a frame, and the decoder holds some
    small = read("4k.h264", bombs.h264(4096, 8), tmp_path, pixels=4096 * 4096 - 1)
    assert small["reason"] == Reason.TOO_LARGE


def test_b2_20_frames_of_nine_bytes(tmp_path: Path) -> None:
    row = read("real.h264", bombs.h264(64, 10**5), tmp_path)
    assert row["frames"] == 6
    assert row["grown_mb"] < 150
    assert row["seconds"] < 10


def test_b2_20_a_million_frames(mp4: bytes, tmp_path: Path) -> None:
    filler = bombs.box(b"free", b"\0" * 10**6)
    for name, count, extra in (
        ("there.mp4", 10**6, filler),
        ("claimed.mp4", 10**6, b""),
        ("more claimed.mp4", 10**7, b""),
    ):
        row = read(name, bombs.with_samples(mp4, count) + extra, tmp_path)
        assert row["reason"] == Reason.NO_FRAMES
        assert row["grown_mb"] < (400 if extra else 40 + 80 * count / 10**6)  # FFmpeg's tables
        assert row["seconds"] < 15


@pytest.mark.parametrize(("suffix", "walk_bytes"), [(".mkv", 2**25), (".h264", 0)])
def test_b2_20_more_frames_than_allowed(
    suffix: str, walk_bytes: int, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_module, "WALK_BYTES", walk_bytes)
    path = str(make_video(suffix=suffix, frames=60))
    assert probe(path, Limits(frames=60)).fps > 0
    with pytest.raises(VideoError) as raised:
        probe(path, Limits(frames=50))
    assert raised.value.reason is Reason.TOO_LARGE


def test_b2_20_empty_packets_count(make_video: MakeVideo) -> None:
    class Empty:
        """A container of which FFmpeg gives empty packets only."""

        def __init__(self, container: av.container.InputContainer) -> None:
            self.streams = container.streams

        def demux(self, stream: object) -> list[av.Packet]:
            return iter([av.Packet(b"")] * 100)

    path, limits = str(make_video()), Limits(frames=50)
    with open_container(path, limits) as container:
        stream = Stream(path, Empty(container), limits)
        with pytest.raises(VideoError) as raised:
            list(stream.packets())
    assert raised.value.reason is Reason.TOO_LARGE


def test_b2_20_packets_at_the_end_are_not_kept_by_the_million(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_module, "WALK_BYTES", 0)
    monkeypatch.setattr(stream_module, "RUN_PACKETS", 20)
    with open_video(str(make_video(frames=60, gop=60))) as video:
        assert video._local_index(30, None) is None
        assert video.duration_s == pytest.approx(6.0)


# --- streams, tags and attachments ------------------------------------------------------------


def test_b2_20_more_streams_than_allowed(
    mp4: bytes, mkv: bytes, make_video: MakeVideo, tmp_path: Path
) -> None:
    ts = make_video(suffix=".ts").read_bytes()
    few = MAX_STREAMS - 1
    for name, outcome, data in (
        ("few.mp4", "", bombs.with_tracks(mp4, few)),
        ("many.mp4", Reason.TOO_LARGE, bombs.with_tracks(mp4, 600)),
        ("few.mkv", "", bombs.with_mkv_tracks(mkv, few)),
        ("many.mkv", "any", bombs.with_mkv_tracks(mkv, 3000)),
        ("few.ts", "", bombs.with_programs(ts, few)),
        ("many.ts", "any", bombs.with_programs(ts, 900)),
    ):
        row = read(name, data, tmp_path)
        if outcome == "any":
            assert row["reason"] in {"", *Reason}, name
        else:
            assert row["reason"] == outcome, name
        assert row["grown_mb"] < 400, name
        assert row["seconds"] < 10, name
        if row["reason"] == Reason.TOO_LARGE:
            assert f"{MAX_STREAMS} streams" in row["detail"]


def test_b2_20_metadata(mp4: bytes, mkv: bytes, tmp_path: Path) -> None:
    for name, data in (
        ("tag.mp4", bombs.with_tags(mp4, [(b"\xa9nam", b"x" * 30_000_000)])),
        ("tags.mp4", bombs.with_tags(mp4, [(b"\xa9nam", b"x")] * 100_000)),
        ("tag.mkv", bombs.with_elements(mkv, bombs.mkv_tags(3, 10_000_000))),
        ("tags.mkv", bombs.with_elements(mkv, bombs.mkv_tags(10_000))),
        ("chapters.mkv", bombs.with_elements(mkv, bombs.mkv_chapters(40_000))),
        ("attachment.mkv", bombs.with_elements(mkv, bombs.mkv_attachments(1, 30_000_000))),
        ("attachments.mkv", bombs.with_elements(mkv, bombs.mkv_attachments(3000))),
    ):
        row = read(name, data, tmp_path)
        assert row["frames"] == 6, name
        assert row["grown_mb"] < 40 + 5 * len(data) / 2**20, name
        assert row["seconds"] < 10, name
