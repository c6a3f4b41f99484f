"""One run of `vidlabel render`, from its options to its files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from vidlabel.device import pick_device
from vidlabel.errors import ExitCode, RunError, UsageError
from vidlabel.files.find import find_videos
from vidlabel.predict.labeller import Labeller, load_labeller
from vidlabel.render.album import Album, album_of, render_album, target_of, without_albums
from vidlabel.render.attention import Attention
from vidlabel.render.clip import Renderer, plan, render_videos
from vidlabel.render.flow_colours import FlowKind
from vidlabel.render.labels import Captions, LabelSource, ModelLabels, TableLabels, read_truth
from vidlabel.render.spec import RenderSpec
from vidlabel.render.stream_bars import StreamPanel
from vidlabel.specs import VideoItem
from vidlabel.video.write import Quality


@dataclass(frozen=True)
class RenderOptions:
    """The options of `vidlabel render`; each field is the flag of its name."""

    inputs: Sequence[str]
    """Folders, files and globs."""
    out: Path
    model: str | None = None
    labels: Path | None = None
    truth: Path | None = None
    top_k: int | None = None
    stream: Literal["spatial", "temporal"] | None = None
    grid: str | None = None
    sheet: int | None = None
    flow: FlowKind | None = None
    panel: bool = False
    attention: bool = False
    fmt: Literal["mp4", "gif"] | None = None
    width: int | None = None
    fps: float | None = None
    max_seconds: float | None = None
    max_flow: float | None = None
    quality: int | None = None
    loop: bool = True
    device: str = "auto"
    workers: int | None = None
    restart: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.labels and (self.model or self.stream):
            raise UsageError("--labels replaces --model and --stream; give one or the other")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers must be at least 1, got {self.workers}")
        is_album = self.grid is not None or self.sheet is not None
        if self.panel and (self.labels or self.stream or is_album):
            raise UsageError("--panel shows both streams of a --model; it goes with --flow alone")
        if sum(each is not None for each in (self.flow, self.grid, self.sheet)) > 1:
            raise UsageError("--flow, --grid and --sheet are different pictures; choose one")
        if self.attention and (self.labels or is_album):
            raise UsageError(
                "--attention needs a --model and one video per file; it cannot be combined with "
                "--labels, --grid or --sheet"
            )

    @property
    def album(self) -> Album | None:
        """The grids or sheets to make; None for one file per video. Raises UsageError."""
        return album_of(self.grid, self.sheet)

    @property
    def captioned(self) -> bool:
        """Whether videos have captions: always, except beside plain optical flow."""
        asked = self.panel or self.attention or self.truth or self.top_k
        return not self.flow or bool(asked or self.model or self.labels or self.stream)

    def spec(self) -> RenderSpec:
        """How previews are drawn. Raises UsageError."""
        max_s = self.max_seconds
        if max_s is None:
            max_s = 10.0 if self.sheet is None else sys.float_info.max
        flow = self.flow or ("wheel" if self.panel else None)
        return RenderSpec(flow, self.width, max_s, self.max_flow, self.fps, self._quality())

    def _quality(self) -> Quality:
        """--quality and --loop; the meaning of the number depends on the format."""
        number, gif = self.quality, self.fmt == "gif" or self.out.suffix.lower() == ".gif"
        if number is None:
            return Quality(loop=self.loop)
        least, most = (4, 256) if gif else (0, 51)
        if not least <= number <= most:
            kind = "a GIF" if gif else "an MP4"
            raise UsageError(f"--quality of {kind} must be {least} to {most}, got {number}")
        return Quality(colours=number, loop=self.loop) if gif else Quality(number, loop=self.loop)


def render(options: RenderOptions) -> ExitCode:
    """Make previews of videos and report what was done.

    Raises:
        VidlabelError: the options are wrong, or nothing can be rendered (any more).
    """
    spec, album = options.spec(), options.album
    items = find_videos(options.inputs)
    if album is not None:
        target = target_of(options.out, album, options.fmt)
        items = without_albums(items, target)
    else:
        previews = plan(items, options.inputs, options.out, options.fmt)
        items = [preview.item for preview in previews]
    if not items:
        named = ", ".join(options.inputs)
        raise RunError(f"no videos in {named}, other than in --out {options.out}")
    captions, labeller = _captions(items, options) if options.captioned else (None, None)
    if album is not None:
        assert captions is not None  # albums always have them
        return render_album(
            items, album, spec, target, captions, options.restart, options.quiet, options.workers
        )
    computes = spec.flow or options.attention
    device = pick_device(options.device) if computes else torch.device("cpu")
    checkpoint = labeller.checkpoint if labeller else None
    renderer = Renderer(
        spec, device, captions,
        StreamPanel(checkpoint, device) if checkpoint and options.panel else None,
        Attention(checkpoint, device) if checkpoint and options.attention else None,
    )  # fmt: skip
    return render_videos(
        previews, renderer, options.out, options.restart, options.quiet, options.workers
    )


def _captions(
    items: Sequence[VideoItem], options: RenderOptions
) -> tuple[Captions, Labeller | None]:
    """The captions of the videos, and the model behind them, if it is one."""
    truth = read_truth(options.truth, items) if options.truth else None
    top_k = 1 if options.top_k is None else options.top_k
    source: LabelSource
    if options.labels:
        source = TableLabels(options.labels)
        if not source.knows(items):
            raise UsageError(f"--labels {options.labels}: has none of these videos")
        return Captions(source, truth, top_k), None
    labeller = load_labeller(options.model or "starter", options.device, stream=options.stream)
    return Captions(ModelLabels(labeller, top_k), truth, top_k), labeller
