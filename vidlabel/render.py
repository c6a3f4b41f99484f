"""Videos as pictures to look at: frames with their times in, optical flow beside them, GIF or MP4
out.

Three parts that know nothing of each other: `Footage` decodes, `FlowDrawer` draws, and
`encode.write_clip` writes. Frames pass through one after another, a few at a time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vidlabel import console
from vidlabel.encode import FORMATS, Pixels, Timing, write_clip
from vidlabel.errors import DeviceError, ExitCode, OutputError, Reason, UsageError, VideoError
from vidlabel.files import VIDEO_SUFFIXES, holding, remove_leftovers, replacing
from vidlabel.flow import optical_flow
from vidlabel.flowview import Flow, FlowKind, FlowView, bound_of
from vidlabel.inference import out_of_memory
from vidlabel.specs import VideoItem
from vidlabel.video import open_video

USUAL_WIDTH_PX = 320
"""Most of a panel's width if nothing is said."""

SMALLEST_PX = 16
"""No side of a panel is shorter."""

MAX_FPS = 300
"""A video with more frames a second is refused: its true time would be no use to anybody."""

SAMPLES = 8
"""At least so many pairs of frames (if there are), and less than twice as many, stand for all of a
video where the scale of its flow and the palette of a GIF are chosen."""

PAIRS_AT_ONCE = 16
"""Pairs whose flow is computed together; what a GPU likes, and little memory."""

GAP_PX = 4
"""Black between two panels."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Of red, green and blue; ITU-R BT.601, as OpenCV makes grey images for optical flow."""


@dataclass(frozen=True)
class RenderSpec:
    """What to make of each video."""

    flow: FlowKind
    """How its optical flow is drawn."""
    width_px: int | None = None
    """Width of each panel; None is the video's, up to USUAL_WIDTH_PX."""
    max_s: float = 10.0
    """Seconds from its start that are drawn."""
    max_flow_px: float | None = None
    """Length of flow, px per frame, that has full colour; None is what is long for the video."""

    def __post_init__(self) -> None:
        if self.width_px is not None and not SMALLEST_PX <= self.width_px <= 1920:
            raise UsageError(f"--width must be {SMALLEST_PX} to 1920, got {self.width_px}")
        if not 0 < self.max_s < math.inf:
            raise UsageError(f"--max-seconds must be over 0, got {self.max_s}")
        if self.max_flow_px is not None and not 0 < self.max_flow_px < math.inf:
            raise UsageError(f"--max-flow must be over 0, got {self.max_flow_px}")


@dataclass(frozen=True)
class Job:
    """A video, and the file to make of it."""

    item: VideoItem
    target: Path


def plan(
    items: Sequence[VideoItem], inputs: Sequence[str], out: Path, fmt: str | None = None
) -> list[Job]:
    """Which file becomes of which video.

    With a folder `out`, that is the video's whole name and the format's suffix, so that a.mp4 and
    a.avi do not meet, at the place in `out` that the video has among the inputs. What an earlier
    run has written there is no input, unless it is named.

    Args:
        items: the videos, as `find_videos` gives them.
        inputs: what it was given.
        out: a folder, or for a single video a .gif or .mp4.
        fmt: of FORMATS; None is what the suffix of `out` says, mp4 for a folder.

    Raises:
        UsageError: `out` cannot be what is asked for.
    """
    if not items:
        return []
    suffix = out.suffix.lower()
    if not out.is_dir() and suffix in {*VIDEO_SUFFIXES, ".gif"}:
        if suffix.removeprefix(".") not in FORMATS:
            raise UsageError(f"--out {out}: writes .gif or .mp4, or into a folder")
        if fmt is not None and suffix != f".{fmt}":
            raise UsageError(f"--out {out} and --format {fmt} do not agree")
        if len(items) != 1:
            raise UsageError(f"--out {out}: one file, but {len(items)} videos; name a folder")
        if out.exists() and Path(items[0].path).exists() and out.samefile(items[0].path):
            raise UsageError(f"--out {out}: that is the video itself; name another file")
        return [Job(items[0], out)]
    own = out.resolve()
    places = {
        item: Path(os.path.abspath(item.path))  # noqa: PTH100
        for item in items
        if item.path in inputs or not Path(item.path).parent.resolve().is_relative_to(own)
    }
    folders = [*map(_folder_of, inputs), *(place.parent for place in places.values())]
    root = os.path.commonpath(folders)
    return [
        Job(item, out / place.relative_to(root).with_name(f"{place.name}.{fmt or FORMATS[0]}"))
        for item, place in places.items()
    ]


def _folder_of(text: str) -> Path:
    """The folder that an input (folder, file or glob) is, or whose files it names."""
    path = Path(os.path.abspath(text))  # noqa: PTH100
    return next(each for each in (path, *path.parents) if each.is_dir())


def render_videos(
    jobs: Sequence[Job],
    spec: RenderSpec,
    device: torch.device,
    out: Path,
    restart: bool = False,
    quiet: bool = False,
) -> ExitCode:
    """Make the files of all jobs, each whole or not at all; say what was done.

    A video that cannot be read costs one line. A file that is newer than its video is kept.

    Args:
        jobs: as `plan` gives them.
        spec: what to draw.
        device: where flow is computed.
        out: the file or folder that they are for; held against other processes meanwhile.
        restart: make the files that could be kept again, too.
        quiet: no progress bar, and no line at the end.

    Raises:
        OutputError: a file cannot be written, or another process writes there.
        DeviceError: the device failed.
    """
    kept = failed = 0
    single = [job.target for job in jobs] == [out]
    _make_folder(out.parent if single else out)
    with (
        holding(out if single else out / "render"),
        console.Progress(len(jobs), quiet, doing="rendering") as progress,
    ):
        for job in jobs:
            broken = False
            if not restart and _is_newer(job.target, job.item.path):
                kept += 1
            else:
                try:
                    _render_one(job, spec, device)
                except VideoError as error:
                    console.error(error.detail)
                    broken = True
            failed += broken
            progress.advance(failed=broken)
    if not quiet:
        parts = [f"{len(jobs) - kept - failed} of {len(jobs)} videos rendered to {out}"]
        parts += [f"{failed} failed"] if failed else []
        again = "kept, being newer than their videos (--restart makes them again)"
        parts += [f"{kept} {again}"] if kept else []
        console.note(", ".join(parts))
    return ExitCode.SOME_FAILED if failed else ExitCode.OK


def _render_one(job: Job, spec: RenderSpec, device: torch.device) -> None:
    item = job.item
    if item.problem is not None:
        raise VideoError(item.problem, item.detail)
    footage = Footage(item.path, spec.width_px, spec.max_s)
    drawer = FlowDrawer(footage.pairs, spec, device)
    _make_folder(job.target.parent)
    remove_leftovers(job.target)
    with replacing(job.target) as part:
        write_clip(part, drawer.pictures(footage.frames()), footage.timing, drawer.sample)
    if footage.damaged:
        console.warn(f"{item.path}: {footage.damaged}")


class Footage:
    """The first seconds of a video. Decodes them once to know them, and again for `frames`.

    Args:
        path: of the video.
        width_px: of the frames; None is the video's own, up to USUAL_WIDTH_PX.
        max_s: seconds from the start.

    Attributes:
        timing: when each frame is shown.
        pairs: (frame, next frame) for SAMPLES or more moments spread over it; a single frame is
            a pair with itself.
        damaged: what could not be decoded, in words; known when `frames` has ended.

    Raises:
        VideoError: by any method, if the video cannot be read.
    """

    def __init__(self, path: str, width_px: int | None, max_s: float) -> None:
        self._path, self._max_s = path, max_s
        self.damaged = ""
        self.pairs: list[tuple[Pixels, Pixels]] = []
        times_s: list[float] = []
        latest: Pixels | None = None
        stride = 1
        with open_video(path) as video:
            info = video.info()
            share = (width_px or min(info.width_px, USUAL_WIDTH_PX)) / info.width_px
            self._side_px = max(SMALLEST_PX, round(min(info.width_px, info.height_px) * share))
            for time_s, pixels in video.frames(self._side_px, max_s):
                if latest is not None and len(times_s) % stride == 0:
                    self.pairs.append((latest, pixels))
                if len(self.pairs) == 2 * SAMPLES:  # half as many, twice as far apart
                    self.pairs = self.pairs[1::2]
                    stride *= 2
                times_s.append(time_s)
                latest = pixels
                if len(times_s) > 1 + MAX_FPS * max_s:
                    raise VideoError(Reason.TOO_LARGE, f"{path}: over {MAX_FPS} frames a second")
            self.timing = Timing(times_s, min(video.duration_s, max_s))
        if latest is not None and not self.pairs:
            self.pairs = [(latest, latest)]

    def frames(self) -> Iterator[Pixels]:
        """The frames in the order of their times: (H, W, 3) uint8 RGB, upright."""
        return (pixels for _, pixels in self._decode())

    def _decode(self) -> Iterator[tuple[float, Pixels]]:
        with open_video(self._path) as video:
            self.damaged = yield from video.frames(self._side_px, self._max_s)


class FlowDrawer:
    """Draws each frame beside the flow from it to the next.

    Args:
        pairs: of frames, that stand for all: they set the scale, unless `spec` does.
        spec: how to draw.
        device: where flow is computed.

    Attributes:
        sample: the pictures of the pairs.
    """

    def __init__(
        self, pairs: Sequence[tuple[Pixels, Pixels]], spec: RenderSpec, device: torch.device
    ) -> None:
        self._device = device
        flows = [self._flows(pair)[0] for pair in pairs]
        height, width = flows[0].shape[1:]
        bound_px = spec.max_flow_px or bound_of(flows)
        self._view = FlowView(spec.flow, bound_px, height, width)
        frames = (before for before, _ in pairs)
        self.sample = [self._picture(*each) for each in zip(frames, flows, strict=True)]

    def pictures(self, frames: Iterable[Pixels]) -> Iterator[Pixels]:
        """A picture of each frame; the last one has no next, and the flow of the one before."""
        waiting: list[Pixels] = []
        flow: Flow | None = None
        for frame in frames:
            waiting.append(frame)
            if len(waiting) > PAIRS_AT_ONCE:
                for flow, shown in self._with_flow(waiting):
                    yield self._picture(shown, flow)
                waiting = waiting[-1:]
        if len(waiting) > 1:
            for flow, shown in self._with_flow(waiting):
                yield self._picture(shown, flow)
        if waiting:
            still = np.zeros((2, *waiting[-1].shape[:2]), dtype=np.float32)
            yield self._picture(waiting[-1], still if flow is None else flow)

    def _with_flow(self, frames: Sequence[Pixels]) -> Iterator[tuple[Flow, Pixels]]:
        return zip(self._flows(frames), frames, strict=False)

    def _flows(self, frames: Sequence[Pixels]) -> NDArray[np.float32]:
        """Flow (N - 1, 2, H, W) between N frames in a row."""
        luma = torch.from_numpy(np.stack([frame @ LUMA for frame in frames]))
        try:
            luma = luma.to(self._device)
            return optical_flow(luma[:-1], luma[1:]).cpu().numpy()
        except RuntimeError as error:
            if not (out_of_memory(error) or isinstance(error, torch.AcceleratorError)):
                raise
            why = str(error).strip().partition("\n")[0]
            raise DeviceError(f"{self._device} failed ({why}); go on with --device cpu") from error

    def _picture(self, frame: Pixels, flow: Flow) -> Pixels:
        return side_by_side([frame, *self._view.panels(flow)])


def side_by_side(panels: Sequence[Pixels]) -> Pixels:
    """Pictures of one height in a row, with GAP_PX of black between them."""
    gap = np.zeros((panels[0].shape[0], GAP_PX, 3), dtype=np.uint8)
    return np.hstack([part for panel in panels for part in (gap, panel)][1:])


def _is_newer(target: Path, path: str) -> bool:
    try:
        return target.stat().st_mtime_ns > Path(path).stat().st_mtime_ns
    except OSError:
        return False


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error
