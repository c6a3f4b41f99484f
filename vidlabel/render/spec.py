"""The options of `vidlabel render`, and what they say about its pictures."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vidlabel.errors import UsageError
from vidlabel.video.write import Quality

FlowKind = Literal["wheel", "uv"]
"""Optical flow with one hue for each direction, or as a map for each axis."""

SMALLEST_PX = 16
"""Smallest width of a panel, and shortest side of a frame."""

LARGEST_PX = 3840
"""Largest width of a panel."""

MAX_FPS = 300
"""Highest frame rate of a preview, and of a video that is shown."""

FASTEST = 10_000
"""Highest speed of a preview."""

SHEET_ROWS = 50
"""Videos on one sheet; more videos need several sheets."""

LAYOUT = 3
"""Raised when a change of vidlabel draws the same previews differently, so that old ones are made
again."""


@dataclass(frozen=True)
class RenderSpec:
    """How a preview is drawn and encoded."""

    flow: FlowKind | None = None
    """How optical flow is drawn beside the video; None draws none."""
    width_px: int | None = None
    """Width of each panel; None uses the default of what is made."""
    max_s: float = 10.0
    """Length of the preview, seconds from the start of the video."""
    timeline_s: float = math.inf
    """As max_s, of a video with segments."""
    speed: float | None = None
    """Seconds of the video for each second of the preview; None: 1, or with segments as much as
    makes a long video short enough to look through."""
    max_flow_px: float | None = None
    """Flow, px per frame, with full colour; None chooses it for each video."""
    fps: float | None = None
    """Frames per second; None uses the video's own rate, up to 30."""
    quality: Quality = field(default_factory=Quality)

    def __post_init__(self) -> None:
        if self.width_px is not None and not SMALLEST_PX <= self.width_px <= LARGEST_PX:
            raise UsageError(f"--width must be {SMALLEST_PX} to {LARGEST_PX}, got {self.width_px}")
        if self.fps is not None and not 0 < self.fps <= MAX_FPS:
            raise UsageError(f"--fps must be over 0 and at most {MAX_FPS}, got {self.fps}")
        if not 0 < self.max_s < math.inf:
            raise UsageError(f"--max-seconds must be over 0, got {self.max_s}")
        if self.speed is not None and not 0 < self.speed <= FASTEST:
            raise UsageError(f"--speed must be over 0 and at most {FASTEST}, got {self.speed}")
        if self.max_flow_px is not None and not 0 < self.max_flow_px < math.inf:
            raise UsageError(f"--max-flow must be over 0, got {self.max_flow_px}")


@dataclass(frozen=True)
class Album:
    """What to make from many videos: grids, or sheets if `frames` is set."""

    rows: int
    columns: int = 1
    frames: int = 0
    """Frames of each video on a sheet."""

    @property
    def per_page(self) -> int:
        """Videos in one file."""
        return self.rows * self.columns


@dataclass(frozen=True)
class RenderOptions:
    """The options of `vidlabel render`; each field is the flag of its name."""

    inputs: Sequence[str]
    """Folders, files and globs."""
    out: Path
    model: str | None = None
    labels: Path | None = None
    truth: Path | None = None
    classes: tuple[str, ...] = ()
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
    speed: float | None = None
    highlights: Sequence[str] = ()
    """Labels, or lists of them with commas."""
    reel: bool = False
    padding: float | None = None
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
        if self.labels and self.classes:
            raise UsageError(
                "--classes is for a --model; `vidlabel export LEDGER --classes` restricts a table"
            )
        if self.panel and self.classes:
            raise UsageError("--panel shows all classes of a model; leave out --classes")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers must be at least 1, got {self.workers}")
        is_album = self.grid is not None or self.sheet is not None
        if self.panel and (self.labels or self.stream or is_album):
            raise UsageError("--panel shows both streams of a --model; it goes with --flow alone")
        if sum(each is not None for each in (self.flow, self.grid, self.sheet)) > 1:
            raise UsageError("--flow, --grid and --sheet are different pictures; choose one")
        if self.speed is not None and (self.panel or self.attention):
            raise UsageError("--speed does not go with --panel or --attention")
        if self.highlights:
            self._check_highlights()
        elif self.reel or self.padding is not None:
            raise UsageError("--reel and --padding are for --highlights LABEL")
        if self.attention and (self.labels or is_album):
            raise UsageError(
                "--attention needs a --model and one video per file; it cannot be combined with "
                "--labels, --grid or --sheet"
            )

    def _check_highlights(self) -> None:
        if self.labels is None:
            raise UsageError(
                "--highlights needs --labels TABLE: the segments, with start_s and end_s"
            )
        if self.flow or self.grid is not None or self.sheet is not None:
            raise UsageError("--highlights does not go with --flow, --grid or --sheet")
        if self.padding is not None and not 0 <= self.padding < math.inf:
            raise UsageError(f"--padding must be at least 0, got {self.padding}")

    @property
    def album(self) -> Album | None:
        """The grids or sheets to make; None for one file per video. Raises UsageError."""
        if self.sheet is not None:
            if not 1 <= self.sheet <= 100:
                raise UsageError(f"--sheet must be 1 to 100, got {self.sheet}")
            return Album(SHEET_ROWS, frames=self.sheet)
        if self.grid is None:
            return None
        if not (match := re.fullmatch(r"(\d{1,3})x(\d{1,3})", self.grid)):
            raise UsageError(f"--grid is ROWSxCOLUMNS, such as 2x3; got {self.grid}")
        rows, columns = map(int, match.groups())
        if not (1 <= rows <= 100 and 1 <= columns <= 100):
            raise UsageError("--grid must be 1x1 to 100x100, as ROWSxCOLUMNS")
        return Album(rows, columns)

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
        return RenderSpec(
            flow=flow, width_px=self.width, max_s=max_s, timeline_s=self.max_seconds or math.inf,
            speed=self.speed, max_flow_px=self.max_flow, fps=self.fps, quality=self._quality(),
        )  # fmt: skip

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
