"""One test for each way in which an input can be broken, odd or malicious.

The numbers are those of the failure matrix that the project is built on. What could take the
process down, or never come back, runs in a child process.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import videos
from PIL import Image

from vidlabel import video as video_module
from vidlabel.clips import read_clip
from vidlabel.errors import Reason, VideoError
from vidlabel.files import find_videos
from vidlabel.specs import ClipSpec, Limits
from vidlabel.video import open_video, probe

MakeVideo = Callable[..., Path]

SMALL = ClipSpec(frames=6, size_px=32, resize_px=48)
FAST_START = (("movflags", "+faststart"),)

CHILD = """
import json, os, resource, sys
from vidlabel import video
from vidlabel.clips import read_steps
from vidlabel.errors import VideoError
from vidlabel.specs import ClipSpec, Limits

pixels, walk_bytes = int(sys.argv[1]), int(sys.argv[2])
video.WALK_BYTES = walk_bytes


def peak_kib():
    try:  # ru_maxrss counts what the parent held when it forked
        status = open("/proc/self/status").read()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.split("VmHWM:")[1].split()[0])


before = peak_kib()
for path in sys.stdin.buffer.read().split(b"\\0"):
    row = {"path": path.decode("utf-8", "replace")}
    try:
        clip = read_steps(os.fsdecode(path), ClipSpec(frames=6), 1, Limits(pixels=pixels))
        row |= {"frames": clip.frames_used, "damaged": clip.damaged, "reason": ""}
    except VideoError as error:
        row |= {"frames": 0, "damaged": "", "reason": error.reason, "detail": error.detail}
    row["grown_kib"] = peak_kib() - before
    print(json.dumps(row), flush=True)
"""


def in_child(
    paths: Sequence[Path], pixels: int = 8192 * 8192, walk_bytes: int = 2**25
) -> list[dict]:
    """Label-free reading of each path in one child process: a row each, or the test fails."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(pixels), str(walk_bytes)],
        input=b"\0".join(os.fsencode(path) for path in paths),
        capture_output=True,
        timeout=100,
        check=False,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    culprit = paths[len(rows)] if len(rows) < len(paths) else None
    assert done.returncode == 0, f"exit {done.returncode} at {culprit}: {done.stderr[-800:]!r}"
    assert culprit is None
    return rows


def refused(path: Path | str, limits: Limits | None = None) -> VideoError:
    with pytest.raises(VideoError) as raised:
        read_clip(str(path), SMALL, 1, limits or Limits())
    assert str(path) in raised.value.detail
    assert "\n" not in raised.value.detail.replace(str(path), "")
    return raised.value


def at(path: Path | str, *times_s: float) -> list[int]:
    """The numbers shown at the given seconds."""
    with open_video(str(path)) as video:
        return videos.read_barcodes(video.frames_at(times_s, 48).pixels)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are treated as too large to be indexed in full."""
    monkeypatch.setattr(video_module, "WALK_BYTES", 0)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server on this machine; the test fails if anyone connected to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


# --- media content ----------------------------------------------------------------------------


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
    error = refused(path)
    assert error.reason is reason
    if data:
        assert "Invalid data" in error.detail or "Invalid argument" in error.detail


def test_b2_02_mp4_without_its_header(make_video: MakeVideo, tmp_path: Path) -> None:
    whole = make_video()  # the header comes last
    path = videos.cut(whole, tmp_path / "half.mp4", whole.stat().st_size // 2)
    error = refused(path)
    assert error.reason is Reason.NOT_VIDEO
    assert "header is missing" in error.detail


@pytest.mark.parametrize("walk_bytes", [2**25, 0])
def test_b2_03_faststart_cut_everywhere(
    walk_bytes: int, make_video: MakeVideo, tmp_path: Path
) -> None:
    whole = make_video(frames=20, gop=5, mux=FAST_START)
    size = whole.stat().st_size
    sizes = sorted({size * i // 80 for i in range(1, 81)})
    assert len(sizes) >= 60
    paths = [videos.cut(whole, tmp_path / f"{n}.mp4", n) for n in sizes]
    rows = in_child(paths, walk_bytes=walk_bytes)
    known = {"", Reason.NOT_VIDEO, Reason.NO_FRAMES, Reason.NO_DECODER, Reason.NO_VIDEO_STREAM}
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
    for suffix in (".mkv", ".ts", ".avi", ".webm"):
        codec = {".avi": "mpeg4", ".webm": "libvpx"}.get(suffix, "libx264")
        whole = make_video(suffix=suffix, codec=codec, frames=60, gop=6)
        size = whole.stat().st_size * 8 // 10
        path = videos.cut(whole, tmp_path / f"cut{suffix}", size)
        with open_video(str(path)) as video:
            assert 3.0 < video.duration_s < 6.0
            assert len(video.frames_at([0.0, video.duration_s / 2], 32).pixels) == 2
        assert at(path, 0.05, 1.55) == [0, 15]


def test_b2_05_cut_at_mdat(make_video: MakeVideo, tmp_path: Path) -> None:
    whole = make_video(mux=FAST_START)
    path = videos.cut(whole, tmp_path / "x.mp4", whole.read_bytes().index(b"mdat") + 4)
    assert refused(path).reason is Reason.NO_FRAMES
    with pytest.raises(VideoError):
        probe(str(path))


@pytest.mark.parametrize("walk_bytes", [2**25, 0])
def test_b2_06_flipped_bytes_in_the_middle(
    walk_bytes: int, make_video: MakeVideo, tmp_path: Path
) -> None:
    paths = []
    for suffix, seed in ((s, i) for s in (".mp4", ".mkv", ".ts") for i in range(8)):
        data = bytearray(make_video(suffix=suffix, frames=48, gop=6, bf=1).read_bytes())
        noise = random.Random(seed)
        middle = len(data) * 4 // 10
        for _ in range(20):
            data[middle + noise.randrange(len(data) // 10)] ^= 1 << noise.randrange(8)
        paths.append(tmp_path / f"{seed}{suffix}")
        paths[-1].write_bytes(data)
    rows = in_child(paths, walk_bytes=walk_bytes)
    assert all(row["frames"] > 0 for row in rows)
    for row in rows[:8]:  # an mp4 keeps its index elsewhere: only the frames that were hit are lost
        assert row["frames"] == 6
        assert row["damaged"]


def test_b2_06_many_broken_frames_end_the_file(make_video: MakeVideo, tmp_path: Path) -> None:
    whole = make_video(suffix=".avi", codec="mpeg4", bf=2, frames=60, gop=6)  # decoded in order
    data = bytearray(whole.read_bytes())
    for position, size in videos.packet_places(whole)[24:]:
        data[position + 8 : position + 8 + size] = b"\0" * size
    path = tmp_path / "x.avi"
    path.write_bytes(data)
    with open_video(str(path)) as video:
        frames = video.frames_at([0.55, 5.5], 48)
    assert videos.read_barcodes(frames.pixels)[0] == 5
    assert frames.damaged


def test_b2_07_no_video_stream(make_video: MakeVideo, tmp_path: Path) -> None:
    sound = videos.write_audio(tmp_path / "sound.mp4")
    assert refused(sound).reason is Reason.NO_VIDEO_STREAM
    bare = tmp_path / "bare.mp4"
    bare.write_bytes(make_video(mux=FAST_START).read_bytes().replace(b"trak", b"free"))
    assert refused(bare).reason in (Reason.NO_VIDEO_STREAM, Reason.NOT_VIDEO)


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
    (row,) = in_child([path])
    assert row["reason"] == ""
    assert row["frames"] >= 1
    with open_video(str(path)) as video:
        assert video.duration_s > 0
        times = [(i + 0.5) * video.duration_s / 12 for i in range(12)]
        shown = videos.read_barcodes(video.frames_at(times, 48).pixels)
    assert shown == sorted(shown)


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


def test_b2_16_rotation_reaches_the_clip(make_video: MakeVideo) -> None:
    path = make_video(rotation=(-90, False, False), draw=videos.corner_frame, pix_fmt="yuv444p")
    clip = read_clip(str(path), SMALL, 1, Limits()).clips[0, 0]
    assert videos.corners(np.moveaxis(clip, 0, -1)) == "BRWG"


@pytest.mark.parametrize("size", [(65, 49), (1, 1), (2, 4096), (4096, 2), (3, 7)])
def test_b2_17_odd_sizes(size: tuple[int, int], make_video: MakeVideo) -> None:
    path = make_video(
        suffix=".mkv", codec="ffv1", pix_fmt="yuv444p", size=size, draw=videos.grey_frame, frames=8
    )
    clips = read_clip(str(path), SMALL, 1, Limits()).clips
    assert clips.shape == (1, *SMALL.shape)
    assert np.abs(clips.astype(int) - 120).max() <= 3


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv444p", "gray", "yuv422p10le"])
def test_b2_18_deep_and_unusual_colour(pix_fmt: str, make_video: MakeVideo) -> None:
    path = make_video(pix_fmt=pix_fmt, bf=2)
    assert at(path, 0.05, 1.35, 2.35) == [0, 13, 23]


def test_b2_19_resolution_changes(make_video: MakeVideo, tmp_path: Path) -> None:
    parts = [make_video(suffix=".ts", size=size) for size in ((64, 48), (128, 96), (64, 96))]
    path = videos.join(parts, tmp_path / "x.ts")
    with open_video(str(path)) as video:
        times = [(i + 0.5) * video.duration_s / 9 for i in range(9)]
        frames = video.frames_at(times, 48)
    assert frames.pixels.shape == (9, 48, 64, 3)
    assert len(set(videos.read_barcodes(frames.pixels))) >= 3


def test_b2_20_huge_frames_are_refused_before_they_are_made(
    make_video: MakeVideo, tmp_path: Path
) -> None:
    honest = make_video(
        suffix=".mov",
        codec="png",
        pix_fmt="gray",
        size=(10_000, 10_000),
        frames=1,
        draw=videos.grey_frame,
    )
    data = bytearray(honest.read_bytes())
    assert len(data) < 500_000
    place = data.index(b"png ", data.index(b"stsd")) + 28
    assert data[place : place + 4] == b"\x27\x10\x27\x10"
    data[place : place + 4] = b"\x00\x40\x00\x30"
    liar = tmp_path / "liar.mov"
    liar.write_bytes(data)
    rows = in_child([honest, liar])
    assert rows[0]["reason"] == Reason.TOO_LARGE
    assert rows[1]["reason"] == Reason.TOO_LARGE
    assert rows[1]["grown_kib"] < 60_000  # a frame is 100 MB


def test_b2_20_more_frames_than_allowed(make_video: MakeVideo, large: None) -> None:
    path = make_video(suffix=".h264", frames=60)
    assert refused(path, Limits(frames=50)).reason is Reason.TOO_LARGE


def test_b2_21_several_streams(make_video: MakeVideo) -> None:
    path = make_video(suffix=".ts", other_sizes=((32, 32),), audio_s=1.0)
    assert at(path, 0.05, 2.35) == [0, 23]


def test_b2_22_metadata_is_not_utf8(make_video: MakeVideo, tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv", ".avi"):
        source = make_video(suffix=suffix, codec="mpeg4", title="TITLETITLE").read_bytes()
        assert b"TITLETITLE" in source
        path = tmp_path / f"x{suffix}"
        path.write_bytes(source.replace(b"TITLETITLE", b"\xff\xfe\xe9\x80ITLETI"))
        assert at(path, 0.05, 2.35) == [0, 23]


@pytest.mark.parametrize("walk_bytes", [2**25, 0])
def test_b2_23_mutations_never_crash(
    walk_bytes: int, make_video: MakeVideo, tmp_path: Path
) -> None:
    paths = []
    for suffix in (".mp4", ".mkv", ".avi", ".ts", ".mpg", ".flv"):
        fps = 25 if suffix == ".mpg" else 10
        codec = {".flv": "flv", ".mpg": "mpeg2video", ".avi": "mpeg4"}.get(suffix, "libx264")
        source = make_video(suffix=suffix, codec=codec, frames=12, fps=fps).read_bytes()
        for seed in range(15):
            noise = random.Random(f"{suffix}{seed}")
            data = bytearray(source)
            for _ in range(noise.choice([1, 5, 50])):
                # half of the changes hit the first part, where headers are
                end = noise.choice([len(data), min(1500, len(data))])
                data[noise.randrange(end)] = noise.randrange(256)
            paths.append(tmp_path / f"{seed}{suffix}")
            paths[-1].write_bytes(data[: noise.choice([len(data), noise.randrange(len(data))])])
    rows = in_child(paths, walk_bytes=walk_bytes)
    assert all(row["reason"] in {"", *Reason} for row in rows)
    assert all(row["grown_kib"] < 300_000 for row in rows)
    assert sum(row["frames"] > 0 for row in rows) > 20


# --- paths and file system --------------------------------------------------------------------


def test_b2_24_links(make_video: MakeVideo, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(make_video().read_bytes())
    (folder / "itself").symlink_to(folder)
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "gone.mp4").symlink_to("nowhere.mp4")
    paths = [Path(item.path) for item in find_videos([str(folder)])]
    assert [path.name for path in paths] == ["a.mp4", "gone.mp4", "loop.mp4"]
    rows = in_child(paths)
    assert [row["reason"] for row in rows] == ["", Reason.NOT_FOUND, Reason.NOT_FOUND]


def test_b2_25_not_regular_is_refused_without_hanging(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    (tmp_path / "link.mp4").symlink_to("fifo.mp4")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.mp4"))
        paths = sorted(tmp_path.iterdir())
        rows = in_child(paths)
    assert [row["reason"] for row in rows] == [Reason.NOT_REGULAR] * 5


ODD_NAMES = [
    b"new\nline.mp4",
    b"tab\t.mp4",
    b"escape\x1b[31m.mp4",
    b"quote'\".mp4",
    b"-leading.mp4",
    b"=1+1.mp4",
    b"@at.mp4",
    b"%03d.mp4",
    b"*star?.mp4",
    b"[ab].mp4",
    b"[/].mp4",
    b" space .mp4",
    b"back\\slash.mp4",
    b"semi;colon|pipe&.mp4",
    b"colon:concat.mp4",
    b"concat:a.mp4",
    b"file:a.mp4",
    b"pipe:0.mp4",
    b"data:x.mp4",
    b"\xff\xfe.mp4",
    unicodedata.normalize("NFC", "café.mp4").encode(),
    unicodedata.normalize("NFD", "café.mp4").encode(),
    "видео🎥.mp4".encode(),
    b"n" * 220 + b".mp4",
    b"NA.mp4",
]


def test_b2_26_odd_names_open_the_right_file(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [Path(os.fsdecode(name.replace(b"/", b""))) for name in ODD_NAMES]
    for number, name in enumerate(names):
        name.write_bytes(make_video(frames=3 + number).read_bytes())
    assert len(find_videos(["."])) == len(names)
    for number, name in enumerate(names):
        (item,) = find_videos([str(name)])
        assert item.problem is None
        assert probe(item.path).frames == 3 + number
        assert at(item.path, 99.0) == [2 + number]


def test_b2_29_permission_denied(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(make_video().read_bytes())

    def refuse(*args: object, **kwargs: object) -> None:
        raise av.error.PermissionError(13, "Permission denied", str(path))

    if os.geteuid() == 0:  # root reads everything
        monkeypatch.setattr(av, "open", refuse)
    else:
        path.chmod(0)
    assert refused(path).reason is Reason.PERMISSION


@pytest.mark.parametrize("change", ["vanishes", "is cut", "is overwritten"])
@pytest.mark.parametrize("walk_bytes", [2**25, 0])
def test_b2_29_file_changes_while_it_is_read(
    walk_bytes: int,
    change: str,
    make_video: MakeVideo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(video_module, "WALK_BYTES", walk_bytes)
    path = tmp_path / "x.mkv"
    path.write_bytes(make_video(suffix=".mkv", frames=60, gop=6).read_bytes())
    outcome: object
    try:
        with open_video(str(path)) as video:
            if change == "vanishes":
                path.unlink()
            elif change == "is cut":
                os.truncate(path, 600)
            else:
                path.write_bytes(b"\xff" * path.stat().st_size)
            outcome = video.frames_at([0.05, 5.95], 48)
    except VideoError as error:
        outcome = error.reason
    if walk_bytes:  # all packets are in memory already
        assert not isinstance(outcome, Reason)
        assert videos.read_barcodes(outcome.pixels) == [0, 59]
    elif isinstance(outcome, Reason):
        assert outcome in {Reason.NOT_FOUND, Reason.NOT_VIDEO, Reason.NO_FRAMES, Reason.READ_ERROR}
    else:
        assert outcome.pixels.shape == (2, 48, 64, 3)


SCRIPTS = {
    "ffconcat": "ffconcat version 1.0\nfile 'good.mp4'\n",
    "ffconcat to the net": "ffconcat version 1.0\nfile 'http://{server}/x.mp4'\n",
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\ngood.ts\n#EXT-X-ENDLIST\n",
    "m3u8 to the net": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nhttp://{server}/x.ts\n"
    "#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
    "<BaseURL>http://{server}/x.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "asx": '<asx version="3.0"><entry><ref href="http://{server}/x.asf"/></entry></asx>',
    "asf reference": "[Reference]\nRef1=http://{server}/x.asf\n",
    "rtsp text": "rtsptextRTSP://{server}/x\n",
}


@pytest.mark.parametrize("kind", SCRIPTS)
@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".asf"])
def test_b2_30_scripts_and_playlists_are_refused(
    kind: str,
    suffix: str,
    make_video: MakeVideo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listener: socket.socket,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.mp4").write_bytes(make_video().read_bytes())
    Path("good.ts").write_bytes(make_video(suffix=".ts").read_bytes())
    path = Path(f"x{suffix}")
    path.write_text(SCRIPTS[kind].replace("{server}", f"127.0.0.1:{listener.getsockname()[1]}"))
    assert refused(path).reason is Reason.NOT_VIDEO


def test_b2_30_names_that_look_like_protocols(
    make_video: MakeVideo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listener: socket.socket,
) -> None:
    monkeypatch.chdir(tmp_path)
    server = f"127.0.0.1:{listener.getsockname()[1]}"
    Path("a.mp4").write_bytes(make_video(frames=9).read_bytes())
    for name in (f"http://{server}/x.mp4", f"tcp://{server}", "concat:a.mp4", "subfile,,:a.mp4"):
        assert refused(name).reason is Reason.NOT_FOUND
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(make_video(frames=4).read_bytes())
        assert probe(name).frames == 4
