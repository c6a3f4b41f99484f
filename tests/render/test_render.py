"""`vidlabel render`, judged by decoding what it has made."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
import torch
import videos
from av.video.reformatter import Colorspace
from PIL import Image, ImageSequence

from vidlabel.errors import Reason, VideoError
from vidlabel.render import clip, flow_panel
from vidlabel.render.flow_panel import PAIRS_AT_ONCE, FlowPanel, wheel_colours
from vidlabel.render.frames import SAMPLES, PreviewFrames
from vidlabel.render.layout import GAP_PX
from vidlabel.render.spec import RenderSpec
from vidlabel.specs import VideoItem
from vidlabel.video import reader as video
from vidlabel.video.write import write_preview

MakeVideo = Callable[..., Path]
Run = Callable[..., tuple[int, str]]
CPU = torch.device("cpu")

_rough = np.random.default_rng(0).normal(size=(96, 96))
_soft = np.fft.ifft2(np.fft.fft2(_rough) * np.exp(-(np.hypot(*np.mgrid[:96, :96]) ** 2) / 200)).real
TEXTURE = np.interp(_soft, (_soft.min(), _soft.max()), (20, 235)).astype(np.uint8)


def moving(across_px: int, down_px: int = 0) -> Callable[[int, int, int], np.ndarray]:
    """Draws a soft pattern that moves by so much from frame to frame, for `VideoSpec.draw`."""

    def draw(number: int, width: int, height: int) -> np.ndarray:
        shifted = np.roll(TEXTURE, (number * down_px, number * across_px), (0, 1))
        return np.repeat(shifted[:height, :width, None], 3, axis=-1)

    return draw


RIGHT, LEFT, DOWN, STILL = moving(2), moving(-2), moving(0, 2), moving(0)


class Seen(NamedTuple):
    """What a file that was rendered holds."""

    pixels: np.ndarray
    """(N, H, W, 3) uint8 RGB."""
    times_s: list[float]
    end_s: float
    codec: str
    pix_fmt: str

    def panels(self, width: int) -> list[np.ndarray]:
        """The pictures side by side, (N, H, width, 3) each, if `width` is that of one."""
        step = width + GAP_PX
        return [self.pixels[:, :, x : x + width] for x in range(0, self.pixels.shape[2], step)]


def look(path: Path) -> Seen:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        pixels = [f.to_ndarray(format="rgb24", src_colorspace=f.colorspace) for f in frames]
        return Seen(
            np.stack(pixels),
            [float(f.pts * f.time_base) for f in frames],
            container.duration / av.time_base,
            stream.codec_context.name,
            stream.codec_context.pix_fmt,
        )


def delays_cs(path: Path) -> list[int]:
    """Hundredths of a second that each frame of a GIF is shown for, as Pillow reads them."""
    with Image.open(path) as gif:
        return [frame.info["duration"] // 10 for frame in ImageSequence.Iterator(gif)]


@pytest.fixture
def run(render: Run) -> Run:
    return render


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing moves: flow takes most of the time, and is not what every test is about."""

    def no_flow(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(before), 2, *before.shape[1:])

    monkeypatch.setattr(flow_panel, "optical_flow", no_flow)


def frames_of(path: Path, max_s: float = 10.0) -> PreviewFrames:
    """What a preview of a video shows if nothing else is asked for."""
    return PreviewFrames(VideoItem(0, str(path)), None, RenderSpec(max_s=max_s))


def files_in(folder: Path) -> list[str]:
    """All files below a folder, hidden ones too."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


# --- what is made ---------------------------------------------------------------------------------


def test_an_mp4_that_every_player_shows(run: Run, make_video: MakeVideo, tmp_path: Path) -> None:
    path, out = make_video(draw=RIGHT, frames=5, fps=25), tmp_path / "out.mp4"
    assert run(path, "--flow", "wheel", "--out", out) == (0, f"1 of 1 video rendered to {out}\n")
    seen = look(out)
    assert (seen.codec, seen.pix_fmt) == ("h264", "yuv420p")
    assert seen.pixels.shape == (5, 48, 64 + GAP_PX + 64, 3)
    assert seen.times_s == pytest.approx([i / 25 for i in range(5)])
    assert seen.end_s == pytest.approx(5 / 25)
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index comes first"
    left, _ = seen.panels(64)
    assert np.abs(left[3].astype(int) - RIGHT(3, 64, 48)).mean() < 8


def test_a_gif_that_repeats(run: Run, make_video: MakeVideo, tmp_path: Path) -> None:
    path, out = make_video(draw=RIGHT, frames=5, fps=25), tmp_path / "out.gif"
    assert run(path, "--flow", "uv", "-o", out)[0] == 0
    seen = look(out)
    assert seen.codec == "gif"
    assert seen.pixels.shape == (5, 48, 3 * 64 + 2 * GAP_PX, 3)
    assert delays_cs(out) == [4] * 5
    with Image.open(out) as gif:
        assert gif.info["loop"] == 0
    left, _, _ = seen.panels(64)
    assert np.abs(left[3].astype(int) - RIGHT(3, 64, 48)).mean() < 12


@pytest.mark.parametrize("fmt", ["mp4", "gif"])
def test_directions_have_their_colours(
    fmt: str, run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    hues = {}
    for name, draw, flow in (
        ("right", RIGHT, (2, 0)), ("left", LEFT, (-2, 0)), ("down", DOWN, (0, 2)),
        ("still", STILL, (0, 0)),
    ):  # fmt: skip
        path, out = make_video(draw=draw, frames=3), tmp_path / f"{name}.{fmt}"
        assert run(path, "--flow", "wheel", "-o", out, "--max-flow", 4)[0] == 0
        hues[name] = np.median(look(out).panels(64)[1], axis=(0, 1, 2))
        truth = wheel_colours(np.array(flow, dtype=np.float32).reshape(2, 1, 1), 4.0)[0, 0]
        np.testing.assert_allclose(hues[name], truth, atol=25)
    assert hues["right"].argmax() == hues["left"].argmin() == 0, "opposite colours"


def test_uv_shows_across_and_down(run: Run, make_video: MakeVideo, tmp_path: Path) -> None:
    middles = []
    for draw in (RIGHT, LEFT, DOWN):
        path, out = make_video(draw=draw, frames=3), tmp_path / "out.mp4"
        assert run(path, "--flow", "uv", "-o", out, "--max-flow", 2, "--restart")[0] == 0
        panels = look(out).panels(64)[1:]
        middles.append([np.median(panel, axis=(0, 1, 2)) for panel in panels])
    (right, no), (left, _), (none, down) = middles
    assert right[0] > right[2] + 30, "to the right is red"
    assert left[2] > left[0] + 30, "to the left is blue"
    assert down[0] > down[2] + 30, "down is red"
    assert min(no.min(), none.min()) > 200, "and no motion is white"


def test_colours_mean_the_same_from_beginning_to_end() -> None:
    """Slow motion stays pale beside the fast motion that comes later."""
    places = [*range(0, 6), *range(6, 30, 4)]
    frames = [moving(1)(place, 64, 48) for place in places]
    pairs = list(pairwise(frames))
    drawer = FlowPanel(pairs, RenderSpec("wheel"), CPU)
    white = [float(picture[:, -64:].min(-1).mean()) for picture in drawer.pictures(frames)]
    assert min(white[:5]) > 2 * max(white[6:])
    assert np.ptp(white[:5]) < 40, "no flicker"


def test_each_frame_is_beside_the_flow_to_the_next() -> None:
    frames = [STILL(0, 64, 48)] * 3 + [RIGHT(number, 64, 48) for number in (1, 1)]
    drawer = FlowPanel([(frames[2], frames[3])], RenderSpec("wheel"), CPU)
    white = [picture[:, -64:].min() > 240 for picture in drawer.pictures(frames)]
    assert white == [True, True, False, True, True]


# --- when it is shown -----------------------------------------------------------------------------


def dots(count: int) -> Iterator[np.ndarray]:
    """Small pictures, each with its own grey."""
    return (np.full((16, 24, 3), 10 + 9 * (number % 20), dtype=np.uint8) for number in range(count))


@pytest.mark.parametrize(("fps", "pattern"), [(25, [4]), (30, [3, 4, 3]), (50, [2]), (8, [12, 13])])
def test_gif_timing_does_not_drift(fps: int, pattern: list[int], tmp_path: Path) -> None:
    count = 20 * fps
    write_preview(tmp_path / "x.gif", dots(count), fps, list(dots(20)))
    delays = delays_cs(tmp_path / "x.gif")
    assert len(delays) == count
    assert delays[: len(pattern)] in (pattern, pattern[::-1])
    assert sum(delays) == pytest.approx(2000, abs=1)
    starts = np.cumsum([0, *delays[:-1]])
    assert np.abs(starts - np.arange(count) * 100 / fps).max() <= 0.5 + 1e-6


def test_gif_of_a_fast_video_has_no_frame_that_browsers_slow_down(tmp_path: Path) -> None:
    write_preview(tmp_path / "x.gif", dots(120), 60, list(dots(20)))
    delays = delays_cs(tmp_path / "x.gif")
    assert set(delays) == {3, 4}
    assert sum(delays) == 200
    assert len(delays) == 60, "every second one"


@pytest.mark.parametrize("fps", [24000 / 1001, 25, 30000 / 1001, 120])
def test_mp4_timing_is_exact(fps: float, tmp_path: Path) -> None:
    write_preview(tmp_path / "x.mp4", dots(50), fps, [])
    seen = look(tmp_path / "x.mp4")
    np.testing.assert_allclose(seen.times_s, np.arange(50) / fps, atol=1e-5)
    assert seen.end_s == pytest.approx(50 / fps, abs=1e-5)


VARIABLE_MS = (0, 33, 67, 100, 600, 640, 1450)
"""Times of frames as a phone or a screen recorder gives them."""


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("fmt", "exact_s"), [("mp4", 1e-5), ("gif", 0.0051)])
def test_a_variable_frame_rate_becomes_constant(
    fmt: str, exact_s: float, run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    """Each picture is the one on screen at its moment, for as long as it really is."""
    path = make_video(frames=len(VARIABLE_MS), pts_ms=VARIABLE_MS, suffix=".mkv")
    out = tmp_path / f"out.{fmt}"
    assert run(path, "--flow", "wheel", "-o", out, "--fps", 30)[0] == 0
    seen = look(out)
    np.testing.assert_allclose(seen.times_s, np.arange(len(seen.pixels)) / 30, atol=exact_s)
    assert 1.45 < seen.end_s < 2.4
    shown = np.array(videos.read_barcodes(seen.panels(64)[0]))
    assert set(shown) == set(range(7)), "every frame is there"
    for moment_s, number in zip(seen.times_s, shown, strict=True):
        on_screen = max(n for n, ms in enumerate(VARIABLE_MS) if ms <= 1000 * moment_s + 5.1)
        assert number == on_screen


def test_a_burst_sets_the_frame_rate(make_video: MakeVideo) -> None:
    path = make_video(frames=len(VARIABLE_MS), pts_ms=VARIABLE_MS, suffix=".mkv")
    shown = frames_of(path)
    assert 25 < shown.fps <= 30
    assert videos.read_barcodes(np.stack(list(shown.frames()))) == list(range(7))


@pytest.mark.parametrize(
    ("fps", "preview_fps"), [(24, 24), (30, 30), (50, 25), (60, 30), (120, 30), (10, 10), (2, 6)]
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_frame_rate_of_a_preview(
    fps: float, preview_fps: float, suffix: str, make_video: MakeVideo
) -> None:
    """The video's own up to 30, without an uneven frame, whatever the file rounds its times to."""
    ms = tuple(round(1000 * number / fps) for number in range(40))
    shown = frames_of(make_video(frames=40, fps=fps, pts_ms=ms, suffix=suffix, codec="mpeg4"))
    assert shown.fps == pytest.approx(preview_fps, rel=0.02)
    assert set(shown.repeats[:-1]) == {max(1, round(shown.fps / fps))}
    numbers = videos.read_barcodes(np.stack(list(shown.frames())))
    assert set(np.diff(numbers)) == {max(1, round(fps / preview_fps))}


@pytest.mark.parametrize("fmt", ["mp4", "gif"])
def test_the_last_frame_has_its_own_length(
    fmt: str, run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    path, out = make_video(frames=3, pts_ms=(0, 40, 1500)), tmp_path / f"out.{fmt}"
    with video.open_video(str(path)) as opened:
        end_s = opened.duration_s
    assert run(path, "--flow", "wheel", "-o", out, "--fps", 25)[0] == 0
    assert look(out).end_s == pytest.approx(end_s, abs=0.021)


@pytest.mark.usefixtures("quick")
def test_only_the_first_seconds(run: Run, make_video: MakeVideo, tmp_path: Path) -> None:
    path, out = make_video(draw=RIGHT, frames=24), tmp_path / "out.mp4"
    assert run(path, "--flow", "wheel", "-o", out, "--max-seconds", 0.55)[0] == 0
    seen = look(out)
    assert seen.times_s == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert seen.end_s == pytest.approx(0.6), "a whole number of pictures"
    shown = frames_of(path, max_s=0.55)
    assert len(list(shown.frames())) == 6, "no more is decoded"


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_rotation_is_applied(run: Run, make_video: MakeVideo, tmp_path: Path) -> None:
    spec = {"draw": videos.corner_frame, "frames": 3, "rotation": (-90, False, False)}
    for fmt in ("mp4", "gif"):
        out = tmp_path / f"out.{fmt}"
        assert run(make_video(**spec), "--flow", "wheel", "-o", out)[0] == 0
        left, _ = look(out).panels(48)
        assert left.shape[1:3] == (64, 48)
        assert videos.corners(left[0]) == "BRWG"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("fmt", "height", "width"), [("mp4", 48, 134), ("gif", 47, 134)])
def test_odd_sizes(
    fmt: str, height: int, width: int, run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    path = make_video(draw=RIGHT, frames=3, size=(65, 47), pix_fmt="yuv444p", codec="ffv1",
                      suffix=".mkv")  # fmt: skip
    out = tmp_path / f"out.{fmt}"
    assert run(path, "--flow", "wheel", "-o", out)[0] == 0
    assert look(out).pixels.shape == (3, height, width, 3)


@pytest.mark.usefixtures("quick")
def test_width_is_that_of_a_panel(run: Run, make_video: MakeVideo, tmp_path: Path) -> None:
    path, out = make_video(draw=RIGHT, frames=3), tmp_path / "out.gif"
    assert run(path, "--flow", "wheel", "-o", out, "--width", 32)[0] == 0
    assert look(out).pixels.shape == (3, 24, 32 + GAP_PX + 32, 3)
    wide = make_video(frames=2, size=(640, 240))
    assert run(wide, "--flow", "wheel", "-o", out, "--restart")[0] == 0
    assert look(out).pixels.shape == (2, 120, 320 + GAP_PX + 320, 3), "320 if nothing is said"


def test_a_single_tiny_frame(run: Run, make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(draw=videos.grey_frame, frames=1, size=(4, 2))
    for fmt in ("mp4", "gif"):
        out = tmp_path / f"out.{fmt}"
        assert run(path, "--flow", "uv", "-o", out)[0] == 0
        seen = look(out)
        assert len(seen.pixels) == 1
        assert seen.end_s == pytest.approx(0.1)


def test_colours_of_an_mp4_are_true_and_said_to_be_what_they_are(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 230, 0)]
    bars = np.repeat(np.array(colours, dtype=np.uint8), 16, axis=0)
    write_preview(tmp_path / "x.mp4", [np.tile(bars, (32, 1, 1))], 1, [])
    with av.open(str(tmp_path / "x.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == Colorspace.ITU709
    shown = look(tmp_path / "x.mp4").pixels[0, 16, 8::16]
    np.testing.assert_allclose(shown, colours, atol=8)


def test_still_parts_of_a_gif_do_not_flicker(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    ground = np.stack(np.broadcast_arrays(ramp, ramp[::-1], ramp[:48, None]), axis=-1)
    pictures = []
    for number in range(12):
        picture = ground.copy()
        picture[:16, 4 * number : 4 * number + 8] = (255, 20 * number, 0)
        pictures.append(picture)
    write_preview(tmp_path / "x.gif", pictures, 10, pictures[:4])
    seen = look(tmp_path / "x.gif").pixels
    assert (seen[:, 20:] == seen[0, 20:]).all()
    assert np.abs(seen[5].astype(int) - pictures[5]).mean() < 10


# --- many videos ----------------------------------------------------------------------------------


@pytest.fixture
def tree(quick: None, make_video: MakeVideo, tmp_path: Path) -> Path:
    """Two names that differ in the suffix only, and one more in a folder."""
    data = make_video(draw=RIGHT, frames=3).read_bytes()
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    for name in ("a.mp4", "a.mov", "sub/a.mp4"):
        (root / name).write_bytes(data)
    return root


def test_names_do_not_collide(run: Run, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    assert run(tree, "--flow", "wheel", "--out", out, "--format", "gif")[0] == 0
    assert files_in(out) == ["a.mov.gif", "a.mp4.gif", "sub/a.mp4.gif"]
    out = tmp_path / "two"
    assert run(tree / "sub", tree / "*.mov", "--flow", "wheel", "--out", out)[0] == 0
    assert files_in(out) == ["a.mov.mp4", "sub/a.mp4.mp4"]


def test_a_broken_file_costs_one_line(run: Run, tree: Path, tmp_path: Path) -> None:
    (tree / "aa.mp4").write_text("no video")
    (tree / "cut.mp4").write_bytes((tree / "a.mp4").read_bytes()[:300])
    out = tmp_path / "out"
    code, told = run(tree, tmp_path / "missing.mp4", "--flow", "wheel", "--out", out)
    assert code == 1
    lines = told.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error"] * 3 + [
        f"3 of 6 videos rendered to {out}, 3 failed"
    ]
    assert [Path(line.split(": ")[1]).name for line in lines[:3]] == [
        "aa.mp4", "cut.mp4", "missing.mp4",
    ]  # fmt: skip
    assert files_in(out) == ["in/a.mov.mp4", "in/a.mp4.mp4", "in/sub/a.mp4.mp4"]


@pytest.mark.usefixtures("quick")
def test_a_damaged_video_is_drawn_as_far_as_it_goes(
    run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    whole = make_video(draw=RIGHT, frames=24, gop=4, suffix=".avi", codec="mpeg4")
    middle, _ = videos.packet_places(whole)[14]
    path = videos.cut(whole, tmp_path / "cut.avi", middle)
    code, told = run(path, "--flow", "wheel", "-o", tmp_path / "out.gif")
    assert code == 0
    assert told.startswith(f"warning: {path}: the file ends after ")
    assert len(look(tmp_path / "out.gif").pixels) == 14


def test_what_would_stay_as_it_is_is_kept(run: Run, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (tree, "--flow", "wheel", "--out", out)
    assert run(*arguments)[0] == 0
    made = {name: (out / name).stat().st_mtime_ns for name in files_in(out)}
    later = max(made.values()) + 10**9
    os.utime(tree / "a.mov", ns=(later, later))
    code, told = run(*arguments)
    assert code == 0
    assert told == (
        f"1 of 3 videos rendered to {out}, 2 kept unchanged (--restart makes them again)\n"
    )
    again = {name: (out / name).stat().st_mtime_ns for name in files_in(out)}
    assert [name for name in again if again[name] != made[name]] == ["a.mov.mp4"]
    assert run(*arguments, "--restart")[1] == f"3 of 3 videos rendered to {out}\n"


def test_outputs_are_no_inputs(run: Run, tree: Path) -> None:
    out = tree / "flow"
    for told in ("3 of 3", "0 of 3"):
        code, said = run(tree, "--flow", "wheel", "--out", out)
        assert (code, said.splitlines()[-1].startswith(f"{told} videos")) == (0, True)
    assert said.startswith("left out: 3 previews that vidlabel has made\n")
    assert files_in(out) == ["a.mov.mp4", "a.mp4.mp4", "sub/a.mp4.mp4"]
    code, said = run(out, "--flow", "wheel", "--out", out)
    assert code == 3
    assert said.startswith(f"error: no videos in {out}, other than in --out {out}; left out: 3 p")


def test_beside_the_video_if_it_is_named(run: Run, tree: Path) -> None:
    assert run(tree / "sub" / "a.mp4", "--flow", "wheel", "--out", tree / "sub")[0] == 0
    assert files_in(tree / "sub") == ["a.mp4", "a.mp4.mp4"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["-o", "out", "--labels", "x.csv", "--stream", "spatial"], "--labels replaces --model"),
        (["-o", "out", "--labels", "x.csv"], "x.csv: there is no such file"),
        (["-o", "out", "--truth", "x.csv"], "x.csv: cannot be read"),
        (["-o", "out", "-j", "0"], "--workers must be at least 1, got 0"),
        (["--flow", "uv", "-o", "out", "--fps", "-1"], "--fps must be over 0 and at most 300"),
        (["-o", "out", "--quality", "52"], "--quality of an MP4 must be 0 to 51, got 52"),
        (["-o", "o", "--format", "gif", "--quality", "3"], "of a GIF must be 4 to 256, got 3"),
        (["--flow", "uv", "-o", "out.gif"], "--out out.gif: one file, but 3 videos; name a folder"),
        (["--flow", "uv", "-o", "out.avi"], "--out out.avi: must be a .gif, a .mp4 or a folder"),
        (["--flow", "uv", "-o", "out.gif", "--format", "mp4"], "do not agree"),
        (["--flow", "uv", "-o", "out", "--width", "8"], "--width must be 16 to 3840, got 8"),
        (["--flow", "uv", "-o", "out", "--max-seconds", "nan"], "--max-seconds must be over 0"),
        (["--flow", "uv", "-o", "out", "--max-flow", "0"], "--max-flow must be over 0, got 0.0"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: Sequence[str], why: str, run: Run, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree.parent)
    code, told = run(tree, *arguments)
    assert code == 2
    assert told.startswith("error: ")
    assert why in told
    assert told.count("\n") == 1
    assert files_in(tree.parent) == ["in/a.mov", "in/a.mp4", "in/sub/a.mp4"]


def test_a_video_is_never_replaced_by_its_own_picture(run: Run, tree: Path) -> None:
    before = (tree / "a.mp4").read_bytes()
    code, told = run(tree / "a.mp4", "--flow", "wheel", "-o", tree / "a.mp4", "--restart")
    assert (code, "this is the video itself" in told) == (2, True)
    assert (tree / "a.mp4").read_bytes() == before


# --- whole or not at all --------------------------------------------------------------------------

Write = Callable[..., None]


def fail_midway(error: Callable[[], BaseException]) -> Write:
    """A `write_preview` that has written something when it fails."""

    def write(path: Path, *rest: object) -> None:
        path.write_bytes(b"half")
        raise error()

    return write


ONCE = threading.Lock()


def interrupt() -> BaseException:
    """One Ctrl-C, however many threads are writing."""
    time.sleep(0.3)  # by then the main thread waits
    if ONCE.acquire(blocking=False):
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)
    return AssertionError("the signal came too late")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (lambda: OSError(errno.ENOSPC, "No space left on device"), 3, "No space left on device"),
        (lambda: VideoError(Reason.READ_ERROR, "a.mov: gone"), 1, "a.mov: gone"),
        (interrupt, 130, "stopped; run the same command to resume"),
    ],
)
def test_files_are_whole_or_not_there(
    error: Callable[[], BaseException], code: int, line: str, run: Run, tree: Path,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    arguments = (tree, "--flow", "wheel", "--out", out, "--restart", "--workers", 2)
    monkeypatch.setattr(sys.modules[__name__], "ONCE", threading.Lock())
    with monkeypatch.context() as patch:
        patch.setattr(clip, "write_preview", fail_midway(error))
        assert run(*arguments)[0] == code
    assert files_in(out) == []
    assert run(*arguments)[0] == 0
    before = {name: (out / name).read_bytes() for name in files_in(out)}
    assert len(before) == 3
    monkeypatch.setattr(sys.modules[__name__], "ONCE", threading.Lock())
    with monkeypatch.context() as patch:
        patch.setattr(clip, "write_preview", fail_midway(error))
        got, told = run(*arguments)
    assert (got, line in told) == (code, True)
    assert {name: (out / name).read_bytes() for name in files_in(out)} == before


def test_two_runs_do_not_write_the_same_files(run: Run, tree: Path, tmp_path: Path) -> None:
    from vidlabel.files.lock import holding

    out = tmp_path / "out"
    out.mkdir()
    with holding(out / "render"):
        code, told = run(tree, "--flow", "wheel", "--out", out)
    assert (code, "in use by process" in told) == (3, True)


# --- memory and hostile files ---------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_frames_are_a_stream() -> None:
    """The first picture is there after few frames, however many follow."""
    taken = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield RIGHT(number, 24, 16)

    first = RIGHT(0, 24, 16)
    drawer = FlowPanel([(first, first)], RenderSpec("wheel"), CPU)
    pictures = drawer.pictures(frames())
    for shown in range(1, 40):
        next(pictures)
        assert taken <= shown + PAIRS_AT_ONCE + 1


@pytest.mark.parametrize("walk_bytes", [0, video.WALK_BYTES])
def test_few_frames_of_a_long_video_are_kept(
    walk_bytes: int, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "WALK_BYTES", walk_bytes)
    long = frames_of(make_video(frames=200, fps=25))
    shown = [videos.read_barcode(first) for first, _ in long.pairs]
    after = [videos.read_barcode(second) for _, second in long.pairs]
    assert after == [number + 1 for number in shown]
    assert len(shown) == SAMPLES
    assert np.ptp(np.diff(shown)) <= 1, "evenly spread"
    assert shown[0] < 30
    assert shown[-1] > 170
    assert videos.read_barcodes(np.stack(list(long.frames()))) == list(range(200))
    np.testing.assert_allclose(long.times_s, np.arange(200) / 25, atol=1e-6)
    np.testing.assert_allclose(long.sample_times_s, np.array(shown) / 25, atol=1e-6)
    assert set(long.repeats) == {1}
    assert long.end_s == pytest.approx(8.0)


def test_a_preview_begins_where_an_edit_list_says(make_video: MakeVideo, tmp_path: Path) -> None:
    path = videos.with_edit_list(make_video(frames=24), tmp_path / "cut.mp4", Fraction(17, 10))
    found = frames_of(path)
    assert videos.read_barcodes(np.stack(list(found.frames()))) == list(range(17, 24))
    np.testing.assert_allclose(found.times_s, np.arange(7) / 10, atol=1e-3)


@pytest.mark.parametrize("left", [0.0, 0.5])  # of each packet; of half a picture comes something
def test_a_preview_continues_after_a_broken_frame(
    left: float, make_video: MakeVideo, tmp_path: Path
) -> None:
    whole = make_video(frames=30, gop=6)
    data = bytearray(whole.read_bytes())
    for position, size in videos.packet_places(whole)[12:15]:
        begin = position + int(left * size)
        data[begin : position + size] = b"\xff" * (position + size - begin)
    (tmp_path / "broken.mp4").write_bytes(data)
    found = frames_of(tmp_path / "broken.mp4")
    shown = dict(zip(found.times_s, found.frames(), strict=True))
    for time_s, pixels in shown.items():
        number = round(time_s * 10)
        assert number in range(12, 18) or videos.read_barcode(pixels) == number
    assert len(shown) >= 24
    assert "could not be decoded" in found.damaged


def test_two_frames_at_one_time_are_one(make_video: MakeVideo, tmp_path: Path) -> None:
    stamps = [0, 100, 200, 200, 300, 400, 400, 500]
    whole = make_video(frames=8, suffix=".mkv")
    path = videos.restamp(whole, tmp_path / "twice.mkv", stamps)
    found = frames_of(path)
    np.testing.assert_allclose(found.times_s, sorted({each / 1000 for each in stamps}))


def test_more_frames_a_second_than_anybody_sees(make_video: MakeVideo) -> None:
    path = make_video(frames=40, fps=1000, codec="mpeg4")
    with pytest.raises(VideoError, match="over 300 frames a second") as caught:
        frames_of(path, max_s=0.02)
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("fmt", ["mp4", "gif"])
@pytest.mark.parametrize("limit", [1, 10_000])
def test_a_full_disk_is_an_error_of_the_system(fmt: str, limit: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (9, 96, 96, 3), dtype=np.uint8)
    code = (
        "import resource, signal, sys\n"
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from vidlabel.video.write import write_preview\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"noise = np.load({str(tmp_path / 'noise.npy')!r})\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try:\n"
        f"    write_preview(Path({str(tmp_path / f'x.{fmt}')!r}), noise, 10, noise)\n"
        "except OSError as error:\n"
        "    sys.exit(error.errno)\n"
    )
    np.save(tmp_path / "noise.npy", noise)
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (errno.EFBIG, "")


# --- field 10: names that the target does not take ------------------------------------------------


@pytest.mark.field
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "stem", ["a" * 249, "\u00e9" * 124 + "b", os.fsdecode(b"\xff" * 249)], ids=["a", "e", "bytes"]
)
def test_field_10_a_long_name_is_shortened_and_kept(
    stem: str, run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    """253 bytes: the name of the preview would have 257, and a file system takes 255."""
    data = make_video(frames=3).read_bytes()
    (tmp_path / "in").mkdir()
    for name in (f"{stem}.mp4", f"{stem[:-1]}c.mp4", "short.mp4"):
        (tmp_path / "in" / name).write_bytes(data)
    command = (tmp_path / "in", "--out", tmp_path / "out", "--flow", "wheel")
    code, err = run(*command)
    assert code == 0, err
    assert "2 under other names" in err
    made = files_in(tmp_path / "out")
    assert len(made) == 3
    assert "short.mp4.mp4" in made
    assert all(len(os.fsencode(name)) <= 255 and name.endswith(".mp4") for name in made)
    code, err = run(*command)
    assert "3 kept unchanged" in err
    assert files_in(tmp_path / "out") == made


@pytest.mark.field
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("refused", "number"), [(":?", errno.EINVAL), ("\u8d70", errno.EILSEQ)])
def test_field_10_characters_that_the_target_refuses_are_replaced(
    refused: str, number: int, run: Run, make_video: MakeVideo, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As FAT and network disks do; folders have such names, too."""
    data = make_video(frames=3).read_bytes()
    for name in (f"day{refused}1/12{refused[0]}30.mp4", f"day{refused}1/12_30.mp4"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    out = tmp_path / "out"

    def strict(real: Callable[..., object], place: int) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            path = str(arguments[place])
            if path.startswith(str(out)) and set(refused) & set(path):
                raise OSError(number, os.strerror(number), path)
            return real(*arguments, **named)

        return call

    for name, place in (("open", 0), ("mkdir", 0), ("replace", 1)):
        monkeypatch.setattr(os, name, strict(getattr(os, name), place))
    code, err = run(
        tmp_path / "in" / f"day{refused}1", tmp_path / "in", "--out", out, "--flow", "wheel"
    )
    assert code == 0, err
    assert "2 of 2 videos rendered" in err
    assert len({path for path in out.rglob("*.mp4") if path.is_file()}) == 2


@pytest.mark.field
@pytest.mark.usefixtures("quick")
def test_field_10_what_is_in_the_way_of_one_file_costs_that_file(
    run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    data = make_video(frames=3).read_bytes()
    for name in ("a.mp4", "b/c.mp4", "d.mp4"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    out = tmp_path / "out"
    (out / "a.mp4.mp4").mkdir(parents=True)  # a folder where a file is to be
    (out / "b").write_text("a file where a folder is to be")
    code, err = run(tmp_path / "in", "--out", out, "--flow", "wheel")
    assert code == 1, err
    assert err.count("error: ") == 2
    assert "a.mp4.mp4: is a folder" in err
    assert "1 of 3 videos rendered" in err
    assert (out / "d.mp4.mp4").is_file()
