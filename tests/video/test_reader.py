"""The right frame for every time, for every way to reach it, and an answer for every bad file."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
import pytest
import videos

from vidlabel.errors import Reason, UsageError, VideoError
from vidlabel.specs import Limits, PixelKind
from vidlabel.video import reader as video_module
from vidlabel.video.container import mapped_errors
from vidlabel.video.reader import open_video, probe
from vidlabel.video.scale import DecodedFrames, FrameScaler
from vidlabel.video.stream import Stream

MakeVideo = Callable[..., Path]

X265 = "log-level=none:pools=1:frame-threads=1:b-adapt=0:"
SWING_MS = tuple(itertools.accumulate([17, 1000, 33, 500, 17, 17] * 4, initial=0))

FORMATS: dict[str, dict] = {
    "h264": {},
    "h264 B-frames": {"bf": 2},
    "h264 open GOP": {
        "options": (("x264-params", "open-gop=1:bframes=3:b-adapt=0:b-pyramid=2"),),
        "frames": 36,
    },
    "h264 long GOP": {"bf": 2, "gop": 250, "frames": 48},
    "h264 intra refresh": {
        "options": (("x264-params", "intra-refresh=1:keyint=15:bframes=0"),),
        "frames": 48,
    },
    "h264 mkv": {"suffix": ".mkv", "bf": 2},
    "h264 ts": {"suffix": ".ts", "bf": 2},
    "h264 ts late start": {"suffix": ".ts", "bf": 2, "offset_s": 5},
    "h264 mp4 late start": {"bf": 2, "offset_s": 5},
    "h264 avi B-frames": {"suffix": ".avi", "bf": 2},
    "h264 raw": {"suffix": ".h264"},
    "h264 raw B-frames": {"suffix": ".h264", "bf": 2},
    "h264 VFR": {"bf": 2, "pts_ms": SWING_MS, "frames": 25},
    "h264 VFR mkv": {"suffix": ".mkv", "bf": 2, "pts_ms": SWING_MS, "frames": 25},
    "hevc open GOP": {
        "codec": "libx265",
        "options": (("x265-params", X265 + "bframes=3:open-gop=1:keyint=12"),),
    },
    "hevc temporal layers": {
        "codec": "libx265",
        "options": (("x265-params", X265 + "bframes=3:temporal-layers=3:keyint=24"),),
        "frames": 48,
    },
    "mpeg4 avi": {"suffix": ".avi", "codec": "mpeg4"},
    "mpeg4 avi B-frames": {"suffix": ".avi", "codec": "mpeg4", "bf": 2},
    "mpeg4 nut B-frames": {"suffix": ".nut", "codec": "mpeg4", "bf": 2},
    "vp8 hidden frames": {
        "suffix": ".webm",
        "codec": "libvpx",
        "options": (("auto-alt-ref", "1"), ("lag-in-frames", "12"), ("deadline", "good")),
    },
    "vp9 hidden frames": {
        "suffix": ".webm",
        "codec": "libvpx-vp9",
        "options": (("auto-alt-ref", "1"), ("lag-in-frames", "12"), ("deadline", "realtime")),
    },
    "mjpeg": {"suffix": ".avi", "codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mpeg2 ts": {"suffix": ".ts", "codec": "mpeg2video", "bf": 2, "fps": 25},
    "mpeg2 mpg": {"suffix": ".mpg", "codec": "mpeg2video", "bf": 2, "fps": 25},
    "mpeg2 mxf": {"suffix": ".mxf", "codec": "mpeg2video", "fps": 25},
    "flv": {"suffix": ".flv", "codec": "flv"},
    "wmv": {"suffix": ".wmv", "codec": "wmv2"},
}


@pytest.fixture(params=["index", "seek"])
def reach(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways for a file: as a small one, indexed in full, and as a large one, by seeking.

    Streams without timestamps are decoded in order by either.
    """
    if request.param == "seek":
        monkeypatch.setattr(video_module, "WALK_BYTES", 0)
    return request.param


def times_of(spec: videos.VideoSpec) -> list[float]:
    """When the frames of a generated video are shown, from 0."""
    if spec.pts_ms:
        return [(ms - spec.pts_ms[0]) / 1000 for ms in spec.pts_ms]
    return [number / spec.fps for number in range(spec.frames)]


def read(
    path: Path, times_s: list[float], side_px: int = 48, kind: PixelKind = "rgb"
) -> DecodedFrames:
    with open_video(str(path)) as video:
        return video.frames_at(times_s, side_px, kind)


def numbers(path: Path, times_s: list[float]) -> list[int]:
    return videos.read_barcodes(read(path, times_s).pixels)


def decode_everything(path: Path) -> list[np.ndarray]:
    """All frames as plain PyAV gives them, scaled as vidlabel scales."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        scaler = FrameScaler(48, "rgb", float(stream.sample_aspect_ratio or 1))
        return [scaler.scale(frame) for frame in container.decode(stream)]


def reason_of(path: Path, limits: Limits | None = None) -> Reason:
    """Why a file cannot be labelled."""
    with pytest.raises(VideoError) as raised, open_video(str(path), limits) as video:
        video.frames_at([0.0], 32)
    assert str(path) in raised.value.detail
    return raised.value.reason


# --- the same frames as decoding everything ---------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_sparse_equals_full(name: str, make_video: MakeVideo, reach: str) -> None:
    spec = videos.VideoSpec(**FORMATS[name])
    path = make_video(**FORMATS[name])
    expected, times = decode_everything(path), times_of(spec)
    assert len(expected) == spec.frames
    last = spec.frames - 1
    for group in ([0], [last], [11], [12], [13], [2, last - 1], [5, 10, 15, 20], range(last + 1)):
        frames = read(path, [times[i] + 0.001 for i in group])
        assert videos.read_barcodes(frames.pixels) == list(group)
        assert np.array_equal(frames.pixels, np.stack([expected[i] for i in group]))
        assert frames.times_s == pytest.approx([times[i] for i in group], abs=0.0011)
        assert frames.damaged == ""


@pytest.mark.parametrize("name", FORMATS)
def test_length_and_count_are_true(name: str, make_video: MakeVideo, reach: str) -> None:
    spec = videos.VideoSpec(**FORMATS[name])
    with open_video(str(make_video(**FORMATS[name]))) as video:
        # The length of the last frame of a VFR video is not written anywhere.
        slack = 1.0 if spec.pts_ms else 0.002
        assert video.duration_s == pytest.approx(times_of(spec)[-1] + 1 / spec.fps, abs=slack)
        if video.frame_times_s is not None:
            assert video.frame_times_s == pytest.approx(times_of(spec), abs=0.0011)
        else:
            assert reach == "seek"


def test_times_in_any_order_and_repeated(make_video: MakeVideo, reach: str) -> None:
    path = make_video(bf=2)
    assert numbers(path, [2.25, 0.0, 1.15, 1.15, 0.31]) == [22, 0, 11, 11, 3]


def test_times_outside_the_video_give_its_ends(make_video: MakeVideo, reach: str) -> None:
    for name in ("h264 B-frames", "h264 raw", "h264 ts"):
        assert numbers(make_video(**FORMATS[name]), [-5.0, 99.0]) == [0, 23]


def test_frame_stays_on_screen_until_the_next(make_video: MakeVideo, reach: str) -> None:
    path = make_video(pts_ms=(0, 2000, 2100, 7000), frames=4)
    assert numbers(path, [0.0, 1.999, 2.0, 2.05, 2.1, 6.9, 7.0]) == [0, 0, 1, 1, 2, 2, 3]


def test_frames_can_be_asked_for_again(make_video: MakeVideo, reach: str) -> None:
    for name in ("h264 B-frames", "h264 raw B-frames", "h264 ts"):
        with open_video(str(make_video(**FORMATS[name]))) as video:
            for number in (20, 3, 12, 3):
                pixels = video.frames_at([number / 10 + 0.01], 48).pixels
                assert videos.read_barcodes(pixels) == [number]
            assert video.info().width_px == 64


@pytest.mark.parametrize("name", ["h264 B-frames", "h264 ts", "mpeg4 avi B-frames"])
def test_small_file_of_too_many_packets(
    name: str, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_module, "KEEP_PACKETS", 10)
    path = make_video(**FORMATS[name])
    with open_video(str(path)) as video:
        assert video.frame_times_s == pytest.approx(np.arange(24) / 10)
        assert video._index is None
        pixels = video.frames_at([0.05, 1.15, 2.35], 48).pixels
    assert videos.read_barcodes(pixels) == [0, 11, 23]


@pytest.mark.parametrize("offset_s", [0, 100])
def test_joined_recordings_are_covered_to_the_end(
    offset_s: int, make_video: MakeVideo, tmp_path: Path
) -> None:
    # `cat a.ts b.ts`: the timestamps start anew in the middle
    first = make_video(suffix=".ts", frames=30, offset_s=offset_s)
    second = make_video(suffix=".ts", frames=24)
    path = videos.join([first, second], tmp_path / "joined.ts")
    with open_video(str(path)) as video:
        assert video.duration_s == pytest.approx(5.4, abs=0.15)
        frames = video.frames_at([1.05, 2.85, 3.25, 5.25], 48)
    assert "the file ends" not in frames.damaged
    shown = videos.read_barcodes(frames.pixels)
    assert shown == [10, 28, pytest.approx(2, abs=1), pytest.approx(22, abs=1)]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "h264 intra refresh"])
def test_healthy_files_are_decoded_once(
    name: str, make_video: MakeVideo, reach: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # going further back is for broken files and for keyframes that are no clean start
    monkeypatch.setattr(Stream, "_decode_all", lambda *_: pytest.fail("decoded twice"))
    spec = videos.VideoSpec(**FORMATS[name])
    for number in range(spec.frames):
        time_s = times_of(spec)[number] + 0.001
        assert numbers(make_video(**FORMATS[name]), [time_s]) == [number]


@pytest.mark.parametrize("bf", [0, 2])
def test_edit_list_start_is_never_shown(
    bf: int, make_video: MakeVideo, tmp_path: Path, reach: str
) -> None:
    source = make_video(bf=bf, frames=36)
    path = videos.with_edit_list(source, tmp_path / "trimmed.mp4", Fraction(17, 10))
    with open_video(str(path)) as video:
        assert video.duration_s == pytest.approx(1.9, abs=0.11)
        frames = video.frames_at([0.0, 0.55, 1.85], 48)
    assert videos.read_barcodes(frames.pixels) == [17, 22, 35]
    assert frames.damaged == ""


# --- work does not grow with length -----------------------------------------------------------


def decoded_packets(path: Path, monkeypatch: pytest.MonkeyPatch, times_s: list[float]) -> int:
    """How many packets the decoder gets for these times."""
    count = 0
    decode = Stream._decode

    def counting(self: Stream, packet: object) -> object:
        nonlocal count
        count += packet is not None
        return decode(self, packet)

    with monkeypatch.context() as patch:
        patch.setattr(Stream, "_decode", counting)
        read(path, times_s)
    return count


def test_ten_minutes_cost_no_more_than_one(
    make_video: MakeVideo, reach: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = make_video(frames=600, gop=20, bf=2)
    long = make_video(frames=6000, gop=20, bf=2)
    counts = {}
    for path, duration_s in ((short, 60.0), (long, 600.0)):
        times = [(i + 0.5) * duration_s / 8 + 0.01 for i in range(8)]
        assert numbers(path, times) == [int(t * 10) for t in times]
        counts[path] = decoded_packets(path, monkeypatch, times)
    assert counts[long] <= counts[short] + 8 * 20
    assert counts[long] <= 8 * 2 * 20 < 6000


def test_ten_minutes_equal_full_decoding(make_video: MakeVideo, reach: str) -> None:
    path = make_video(frames=6000, gop=20, bf=2)
    picks = [0, 1, 19, 20, 777, 2999, 5998, 5999]
    pixels = read(path, [i / 10 + 0.01 for i in picks]).pixels
    scaler, expected = FrameScaler(48), []
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in picks:
                expected.append(scaler.scale(frame))
    assert np.array_equal(pixels, np.stack(expected))


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_memory_is_that_of_the_wanted_frames(
    codec: str, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    # by seeking, and in decoding order (AVI with B-frames): nothing is kept but the result
    monkeypatch.setattr(video_module, "WALK_BYTES", 0)
    suffix = ".avi" if codec == "mpeg4" else ".mp4"
    path = make_video(suffix=suffix, codec=codec, frames=1500, gop=20, bf=2)
    tracemalloc.start()
    try:
        frames = read(path, [1.0, 70.0, 149.0])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    all_pixels = 1500 * frames.pixels[0].nbytes
    assert peak < all_pixels / 10


# --- shape, colour, orientation ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("rotation", "expected", "size", "turn"),
    [
        ((0, False, False), "RGBW", (64, 48), 0),
        ((90, False, False), "BRWG", (48, 64), 90),
        ((180, False, False), "WBGR", (64, 48), 180),
        ((270, False, False), "GWRB", (48, 64), 270),
        ((0, True, False), "GRWB", (64, 48), None),
        ((0, False, True), "BWRG", (64, 48), None),
    ],
)
def test_turns_and_flips_are_applied(
    make_video: MakeVideo,
    rotation: tuple[int, bool, bool],
    expected: str,
    size: tuple[int, int],
    turn: int | None,
) -> None:
    degrees, hflip, vflip = rotation
    # FFmpeg counts the turns of a display matrix against the clock
    path = make_video(
        rotation=(-degrees, hflip, vflip), draw=videos.corner_frame, pix_fmt="yuv444p", frames=3
    )
    pixels = read(path, [0.0, 0.2], side_px=48).pixels
    assert pixels.shape == (2, size[1], size[0], 3)
    assert videos.corners(pixels[0]) == videos.corners(pixels[1]) == expected
    info = probe(str(path))
    assert (info.width_px, info.height_px) == size
    assert turn is None or info.rotation_deg == turn


def test_pixel_aspect_widens_the_frame(make_video: MakeVideo) -> None:
    path = make_video(pixel_aspect=(2, 1), frames=3)
    assert read(path, [0.0]).pixels.shape == (1, 48, 128, 3)
    assert numbers(path, [0.1]) == [1]
    assert (probe(str(path)).width_px, probe(str(path)).height_px) == (128, 48)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((65, 49), (48, 64)),
        ((1, 1), (48, 48)),
        ((2, 4096), (192, 48)),  # squashed to 4:1
        ((4096, 2), (48, 192)),
        ((17, 300), (192, 48)),
    ],
)
def test_odd_sizes(size: tuple[int, int], expected: tuple[int, int], make_video: MakeVideo) -> None:
    path = make_video(
        suffix=".mkv", codec="ffv1", size=size, pix_fmt="yuv444p", frames=3, draw=videos.grey_frame
    )
    pixels = read(path, [0.0, 0.1]).pixels
    assert pixels.shape == (2, *expected, 3)
    assert np.abs(pixels.astype(int) - 120).max() <= 3  # no edge garbage


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "full_range"),
    [
        ("libx264", "yuv420p", False),
        ("libx264", "yuv420p", True),
        ("libx264", "yuv420p10le", False),
        ("libx264", "yuv422p", False),
        ("libx264", "yuv444p", False),
        ("libx264", "gray", True),
        ("mjpeg", "yuvj420p", True),
        ("ffv1", "bgra", False),
        ("ffv1", "gray16le", False),
    ],
)
@pytest.mark.parametrize(("kind", "channels"), [("rgb", 3), ("luma", 1), ("rgb+luma", 4)])
def test_grey_levels_survive_every_pixel_format(
    codec: str,
    pix_fmt: str,
    full_range: bool,
    kind: PixelKind,
    channels: int,
    make_video: MakeVideo,
) -> None:
    path = make_video(suffix=".mkv", codec=codec, pix_fmt=pix_fmt, full_range=full_range, frames=6)
    pixels = read(path, [0.5], kind=kind).pixels
    assert pixels.shape == (1, 48, 64, channels)
    assert videos.read_barcodes(pixels) == [5]
    light, dark = pixels[0, 6, 8], pixels[0, 40, 56]
    assert np.abs(light.astype(int) - videos.LIGHT).max() <= 6
    assert np.abs(dark.astype(int) - videos.DARK).max() <= 6


def test_resolution_change_keeps_one_size(make_video: MakeVideo, tmp_path: Path) -> None:
    small = make_video(suffix=".h264", frames=12)
    large = make_video(suffix=".h264", frames=12, size=(128, 64))
    path = videos.join([small, large], tmp_path / "change.h264")
    pixels = read(path, [0.51, 1.71]).pixels
    assert pixels.shape == (2, 48, 64, 3)
    assert videos.read_barcodes(pixels) == [5, 5]


# --- which stream, which metadata -------------------------------------------------------------


def test_largest_video_stream_is_read(make_video: MakeVideo, reach: str) -> None:
    path = make_video(suffix=".mkv", other_sizes=((32, 32), (64, 32)), frames=12)
    assert numbers(path, [0.75]) == [7]
    assert probe(str(path)).width_px == 64


def test_longer_sound_is_no_damage(make_video: MakeVideo, reach: str) -> None:
    for suffix in (".mkv", ".mp4", ".ts"):
        path = make_video(suffix=suffix, audio_s=9.0)
        with open_video(str(path)) as video:
            assert video.duration_s == pytest.approx(2.4, abs=0.01)
            frames = video.frames_at([0.05, 2.35], 48)
        assert videos.read_barcodes(frames.pixels) == [0, 23]
        assert frames.damaged == ""
        assert probe(str(path)).audio


def test_probe_says_what_is_in_the_file(make_video: MakeVideo) -> None:
    info = probe(str(make_video(bf=2)))
    assert (info.container, info.codec, info.frames, info.audio) == ("mov", "h264", 24, False)
    assert (info.width_px, info.height_px, info.rotation_deg) == (64, 48, 0)
    assert (info.fps, info.duration_s) == (10.0, pytest.approx(2.4))


# --- damaged files ----------------------------------------------------------------------------


def test_cut_file_gives_what_is_left(make_video: MakeVideo, tmp_path: Path, reach: str) -> None:
    whole = make_video(frames=60, gop=6, mux=(("movflags", "+faststart"),))
    path = videos.cut(whole, tmp_path / "cut.mp4", whole.stat().st_size * 8 // 10)
    with open_video(str(path)) as video:
        assert 3.0 < video.duration_s < 5.9
        times = [(i + 0.5) * video.duration_s / 6 for i in range(6)]
        frames = video.frames_at(times, 48)
    assert videos.read_barcodes(frames.pixels)[:5] == [int(t * 10) for t in times[:5]]
    assert "the file ends after" in frames.damaged
    assert "of 6.00 s" in frames.damaged


def test_broken_middle_costs_only_itself(make_video: MakeVideo, tmp_path: Path, reach: str) -> None:
    whole = make_video(frames=60, gop=6)
    data = bytearray(whole.read_bytes())
    for position, size in videos.packet_places(whole)[
        24:28
    ]:  # a keyframe and three that depend on it
        data[position : position + size] = b"\xff" * size
    path = tmp_path / "broken.mp4"
    path.write_bytes(data)
    frames = read(path, [0.55, 2.35, 2.55, 3.05, 5.95])
    shown = videos.read_barcodes(frames.pixels)
    assert (shown[0], shown[1], shown[3], shown[4]) == (5, 23, 30, 59)
    assert "could not be decoded" in frames.damaged
    assert read(path, [0.55, 5.95]).damaged == ""  # not a word on what nobody asked for


def test_nothing_decodable_is_no_frames(make_video: MakeVideo, tmp_path: Path, reach: str) -> None:
    whole = make_video()
    data = bytearray(whole.read_bytes())
    for position, size in videos.packet_places(whole):
        data[position : position + size] = b"\xff" * size
    path = tmp_path / "noise.mp4"
    path.write_bytes(data)
    assert reason_of(path) is Reason.NO_FRAMES
    with pytest.raises(VideoError) as raised:
        probe(str(path))
    assert raised.value.reason is Reason.NO_FRAMES


# --- limits and errors ------------------------------------------------------------------------


def test_limits(make_video: MakeVideo, reach: str) -> None:
    path = make_video()
    assert reason_of(path, Limits(pixels=64 * 48 - 1)) is Reason.TOO_LARGE
    assert reason_of(path, Limits(duration_s=2.3)) is Reason.TOO_LARGE
    with open_video(str(path), Limits(pixels=64 * 48, duration_s=2.5, frames=24)) as video:
        assert len(video.frames_at([0.0], 32).pixels) == 1


def test_frame_limit(make_video: MakeVideo) -> None:
    assert reason_of(make_video(), Limits(frames=23)) is Reason.TOO_LARGE
    assert reason_of(make_video(suffix=".h264"), Limits(frames=23)) is Reason.TOO_LARGE


def test_pixel_limit_holds_within_the_stream(make_video: MakeVideo, tmp_path: Path) -> None:
    small = make_video(suffix=".h264", frames=12)
    large = make_video(suffix=".h264", frames=12, size=(128, 64))
    path = videos.join([small, large], tmp_path / "grows.h264")
    with open_video(str(path), Limits(pixels=64 * 48)) as video:
        try:
            frames = video.frames_at([0.51, 1.71], 48)
        except VideoError as error:
            assert error.reason is Reason.TOO_LARGE  # noqa: PT017
        else:
            assert frames.damaged


def every_av_error() -> list[type[Exception]]:
    kinds = [getattr(av.error, name) for name in dir(av.error)]
    return [k for k in kinds if isinstance(k, type) and issubclass(k, av.error.FFmpegError)]


@pytest.mark.parametrize("kind", every_av_error(), ids=lambda kind: kind.__name__)
def test_every_av_error_becomes_a_reason(kind: type[Exception]) -> None:
    interrupted = kind is av.error.InterruptedError
    expected = KeyboardInterrupt if interrupted else VideoError
    with pytest.raises(expected), mapped_errors("x.mp4"):
        raise kind(1, "some reason\nwith more", "x.mp4")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (av.error.InvalidDataError(1, "bad", ""), Reason.NOT_VIDEO),
        (av.error.DecoderNotFoundError(1, "none", ""), Reason.NO_DECODER),
        (av.error.PermissionError(1, "Operation not permitted", ""), Reason.READ_ERROR),
        (PermissionError(13, "Permission denied"), Reason.PERMISSION),
        (FileNotFoundError(2, "No such file"), Reason.NOT_FOUND),
        (OSError(5, "Input/output error"), Reason.READ_ERROR),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), Reason.READ_ERROR),
        (MemoryError(), Reason.TOO_LARGE),
        (IndexError("none"), Reason.READ_ERROR),
    ],
)
def test_reasons_of_errors(error: Exception, reason: Reason) -> None:
    with pytest.raises(VideoError) as raised, mapped_errors("x.mp4"):
        raise error
    assert raised.value.reason is reason
    assert raised.value.detail.startswith("x.mp4: ")
    assert "\n" not in raised.value.detail


def test_usage_errors_pass_through(make_video: MakeVideo) -> None:
    with pytest.raises(UsageError), open_video(str(make_video())):
        raise UsageError("--frames")


def test_decoded_frames_check_their_shapes_and_show_them() -> None:
    pixels, times_s = np.zeros((2, 4, 6, 3), np.uint8), np.zeros(2)
    frames = DecodedFrames(pixels, times_s, "")
    assert repr(frames) == "DecodedFrames(pixels=(2, 4, 6, 3) uint8, times_s=(2,), damaged='')"
    for wrong in (pixels[0], pixels.astype(np.int8), pixels[..., :2]):
        with pytest.raises(ValueError, match="DecodedFrames"):
            DecodedFrames(wrong, times_s, "")
    with pytest.raises(ValueError, match="time"):
        DecodedFrames(pixels, times_s[:1], "")
