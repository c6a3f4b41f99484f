"""How a preview is drawn and encoded."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from vidlabel.errors import UsageError
from vidlabel.render.flow_colours import FlowKind
from vidlabel.video.write import Quality

SMALLEST_PX = 16
"""Smallest width of a panel, and shortest side of a frame."""

LARGEST_PX = 3840
"""Largest width of a panel."""

MAX_FPS = 300
"""Highest frame rate of a preview, and of a video that is shown."""

LAYOUT = 2
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
        if self.max_flow_px is not None and not 0 < self.max_flow_px < math.inf:
            raise UsageError(f"--max-flow must be over 0, got {self.max_flow_px}")
