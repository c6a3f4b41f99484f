"""Videos as pictures to look at: captions in them, optical flow beside them, GIF or MP4 out.

Four parts that know nothing of each other: `Footage` decodes, `FlowDrawer` and `captions.Overlay`
draw, and `encode.write_clip` writes. Frames pass through one after another, a few at a time.
Several videos are made at once, in threads: FFmpeg, NumPy and torch let the others run meanwhile.
"""

from __future__ import annotations

import gc
import hashlib
import math
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from threading import Event
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from vidlabel import console
from vidlabel.clips.tvl1 import optical_flow
from vidlabel.decode.pool import worker_count
from vidlabel.device import out_of_memory
from vidlabel.errors import DeviceError, ExitCode, OutputError, UsageError, VideoError
from vidlabel.files.find import VIDEO_SUFFIXES, identity
from vidlabel.files.lock import holding
from vidlabel.files.metadata_tag import stamp, stamp_of
from vidlabel.files.write import remove_leftovers, replacing
from vidlabel.render.attention import Attention
from vidlabel.render.captions import Caption, draw_caption
from vidlabel.render.flow_colours import Flow, FlowKind, FlowView, bound_of
from vidlabel.render.footage import SMALLEST_PX, Footage
from vidlabel.render.labels import Captions
from vidlabel.render.stream_bars import StreamPanel
from vidlabel.specs import VideoItem
from vidlabel.video.write import FORMATS, Pixels, Quality, write_clip

LARGEST_PX = 3840
"""Width of the widest panel."""

PAIRS_AT_ONCE = 16
"""Pairs whose flow is computed together; what a GPU likes, and little memory."""

GAP_PX = 4
"""Black between two panels."""

DRAWN = 1
"""Raised when a change of vidlabel draws the same things otherwise, so that they are made again."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Of red, green and blue; ITU-R BT.601, as OpenCV makes grey images for optical flow."""


@dataclass(frozen=True)
class RenderSpec:
    """What to make of each video."""

    flow: FlowKind | None = None
    """How its optical flow is drawn beside it; None draws none."""
    width_px: int | None = None
    """Width of each panel; None is the video's, up to USUAL_WIDTH_PX."""
    max_s: float = 10.0
    """Seconds from its start that are drawn."""
    max_flow_px: float | None = None
    """Length of flow, px per frame, that has full colour; None is what is long for the video."""
    max_fps: float = math.inf
    """Frames are left out where there are more a second; the others keep their times."""
    quality: Quality = field(default_factory=Quality)

    def __post_init__(self) -> None:
        if self.width_px is not None and not SMALLEST_PX <= self.width_px <= LARGEST_PX:
            raise UsageError(f"--width must be {SMALLEST_PX} to {LARGEST_PX}, got {self.width_px}")
        if not self.max_fps > 0:
            raise UsageError(f"--fps must be over 0, got {self.max_fps}")
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
    captions: Captions | None = None,
    restart: bool = False,
    quiet: bool = False,
    workers: int | None = None,
    panel: StreamPanel | None = None,
    attention: Attention | None = None,
) -> ExitCode:
    """Make the files of all jobs, each whole or not at all; say what was done.

    A video that cannot be read costs one line. A file is kept if making it again would change
    nothing: neither its video, nor its caption, nor `spec` is another.

    Args:
        jobs: as `plan` gives them.
        spec: what to draw.
        device: where flow is computed.
        out: the file or folder that they are for; held against other processes meanwhile.
        captions: what is said of each video; None says nothing.
        restart: make the files that could be kept again, too.
        quiet: no progress bar, and no line at the end.
        workers: videos at a time; None is one for each core.
        panel: draws what the streams of a model say below; None draws nothing.
        attention: draws where the model that gives the captions looks; None draws nothing.

    Raises:
        OutputError: a file cannot be written, or another process writes there.
        DeviceError: the device failed.
        RunError: nothing can be labelled any more.
    """
    single = [job.target for job in jobs] == [out]
    make_folder(out.parent if single else out)
    with holding(out if single else out / "render"):
        digests = {job: _digest(job, spec, captions, panel, attention) for job in jobs}
        pending = [job for job in jobs if restart or stamp_of(job.target) != digests[job]]
        kept = len(jobs) - len(pending)
        said = captions.of([job.item for job in pending]) if captions else repeat((None, True))

        def make(each: tuple[Job, tuple[Caption | None, bool]], stop: Event) -> Outcome:
            job, (caption, labelled) = each
            # What has no label is made again the next time, when it may have one.
            digest = digests[job] if labelled else ""
            return _render_one(job, spec, device, caption, panel, attention, digest, stop)

        tally: Counter[str] = Counter()
        numbered = zip(pending, said, strict=False)
        with (
            console.Progress(len(jobs), quiet, done=kept, doing="rendering") as progress,
            closing(in_threads(make, numbered, worker_count(workers))) as outcomes,
        ):
            for outcome in outcomes:
                outcome.tell()
                tally[outcome.kind] += 1
                progress.advance(failed=outcome.kind == "failed")
    if not quiet:
        made = len(pending) - tally["failed"]
        parts = [f"{made} of {len(jobs)} videos rendered to {out}"]
        parts += [f"{tally['failed']} failed"] if tally["failed"] else []
        parts += [f"{tally['unlabelled']} without a label"] if tally["unlabelled"] else []
        again = "kept, with nothing to change (--restart makes them again)"
        parts += [f"{kept} {again}"] if kept else []
        console.note(", ".join(parts))
    return ExitCode.SOME_FAILED if tally["failed"] + tally["unlabelled"] else ExitCode.OK


@dataclass(frozen=True)
class Outcome:
    """What became of a video."""

    kind: str = ""
    """`failed`, `unlabelled`, or "" if nothing is wrong."""
    error: str = ""
    warning: str = ""

    def tell(self) -> None:
        """Say what went wrong, if anything."""
        if self.error:
            console.error(self.error)
        if self.warning:
            console.warn(self.warning)


def _render_one(
    job: Job, spec: RenderSpec, device: torch.device, caption: Caption | None,
    panel: StreamPanel | None, attention: Attention | None, digest: str, stop: Event,
) -> Outcome:  # fmt: skip
    try:
        footage = open_footage(job.item, spec)
        pictures: Iterable[Pixels] = _until(stop, footage.frames())
        sample = [first for first, _ in footage.pairs]
        height, width = sample[0].shape[:2]
        if spec.flow:
            drawer = FlowDrawer(footage.pairs, spec, device)
            pictures, sample = drawer.pictures(pictures), drawer.sample
        if attention and caption:
            with _on(attention.device):
                heat = attention.look(job.item.path, caption.lines[0].text)
            if heat:
                pictures = heat.over(pictures, footage.timing.times_s, width)
                sample = [*heat.over(sample, footage.sample_times_s, width)]
        if caption:
            overlay = draw_caption(caption, width, height)
            pictures, sample = map(overlay.onto, pictures), [*map(overlay.onto, sample)]
        if panel:
            bars = panel.bars(job.item.path, spec.max_s, sample[0].shape[1])
            pictures = bars.below(pictures, footage.timing.times_s)
            sample = [*bars.below(sample, footage.sample_times_s)]
        make_folder(job.target.parent)
        remove_leftovers(job.target)
        with replacing(job.target) as part:
            write_clip(part, pictures, footage.timing, sample, spec.quality)
            stamp(part, digest)
    except VideoError as error:
        return Outcome("failed", error=error.detail)
    warning = f"{job.item.path}: {footage.damaged}" if footage.damaged else ""
    return Outcome("" if digest else "unlabelled", warning=warning)


def open_footage(item: VideoItem, spec: RenderSpec) -> Footage:
    """The frames of a video. Raises VideoError, also for what is known of the item."""
    if item.problem is not None:
        raise VideoError(item.problem, item.detail)
    return Footage(item.path, spec.width_px, spec.max_s, spec.max_fps)


def _digest(
    job: Job, spec: RenderSpec, captions: Captions | None, panel: StreamPanel | None,
    attention: Attention | None,
) -> str:  # fmt: skip
    """Stands for all that a job's file depends on."""
    said = captions.key(job.item) if captions else None
    looks = (attention.key,) if attention else ()
    what = repr((DRAWN, spec, identity(job.item.path), said, panel and panel.key, *looks))
    return hashlib.sha256(what.encode("utf-8", "surrogatepass")).hexdigest()[:32]


T = TypeVar("T")
R = TypeVar("R")


def in_threads(
    work: Callable[[T, Event], R], items: Iterable[T], threads: int
) -> Generator[R, None, None]:
    """The results of `work` for each item, in their order; a few items are worked on ahead.

    `work` is given an event that is set when nobody wants its result any more; what it raises is
    raised here. Closing the generator waits for what has been begun.
    """
    stop = Event()
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[R]] = deque()
    # PyAV's containers and their streams hold each other, and tens of megabytes. Python would
    # seldom look for them beside all the objects that torch has, so these are put aside.
    gc.freeze()
    try:
        for item in items:
            waiting.append(pool.submit(work, item, stop))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
                gc.collect()
        while waiting:
            yield waiting.popleft().result()
            gc.collect()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        gc.unfreeze()


class _StopError(Exception):
    """Ends the work of a thread whose result nobody wants any more."""


def _until(stop: Event, frames: Iterable[Pixels]) -> Iterator[Pixels]:
    for frame in frames:
        if stop.is_set():
            raise _StopError
        yield frame


@contextmanager
def _on(device: torch.device) -> Iterator[None]:
    """Makes an error of the device a DeviceError."""
    try:
        yield
    except RuntimeError as error:
        if not (out_of_memory(error) or isinstance(error, torch.AcceleratorError)):
            raise
        why = str(error).strip().partition("\n")[0]
        raise DeviceError(f"{device} failed ({why}); go on with --device cpu") from error


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
        assert spec.flow is not None  # the caller has looked
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
        with _on(self._device):
            luma = luma.to(self._device)
            return optical_flow(luma[:-1], luma[1:]).cpu().numpy()

    def _picture(self, frame: Pixels, flow: Flow) -> Pixels:
        return side_by_side([frame, *self._view.panels(flow)])


def side_by_side(panels: Sequence[Pixels]) -> Pixels:
    """Pictures of one height in a row, with GAP_PX of black between them."""
    gap = np.zeros((panels[0].shape[0], GAP_PX, 3), dtype=np.uint8)
    return np.hstack([part for panel in panels for part in (gap, panel)][1:])


def make_folder(folder: Path) -> None:
    """Make a folder, if it is not there. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error
