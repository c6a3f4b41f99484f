"""What a ledger knows of a run: the settings of its results, and how its table shows them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from vidlabel.results.record import TableInfo
from vidlabel.results.topk import model_name
from vidlabel.spans import TimelineSpec

NUMBERS = 1
"""To be increased when a new vidlabel gives other numbers for the same video and settings."""


@dataclass(frozen=True)
class RunSettings:
    """What a result depends on besides the video: results of different settings are never mixed."""

    model: str
    """SHA-256 of the checkpoint, hexadecimal; it includes the number, size and kind of frames."""
    views: int
    precision: str
    strategy: str = "clip"
    numbers: int = NUMBERS
    window_s: float | None = None
    """Of a timeline: the length of a window, and the time from one to the next."""
    stride_s: float | None = None
    start_s: float | None = None
    """The stretch of every video that is labelled; None for all of it."""
    end_s: float | None = None

    @property
    def key(self) -> str:
        """The same text for the same settings, also for those that older versions did not have."""
        return json.dumps({k: v for k, v in asdict(self).items() if v is not None}, sort_keys=True)


@dataclass(frozen=True)
class ShardOf:
    """Which of several runs that label the videos of one list between them. The indices of its
    videos are their places in that list."""

    number: int
    """From 1 to `count`."""
    count: int
    videos: int
    """Of all shards together."""
    listing: str
    """SHA-256 of the list, hexadecimal: the same for the same paths below the inputs, in order."""


@dataclass(frozen=True)
class LastRun:
    """A run of a ledger: what is needed to write its table again."""

    model: str
    """Name of the model; that in the `model` column also names the `shown` classes."""
    classes: tuple[str, ...]
    top_k: int
    min_confidence: float
    shown: tuple[str, ...] = ()
    """The classes that the table is restricted to; empty for all."""
    timeline: TimelineSpec | None = None
    """Of a run that labels segments: with the length and stride of its windows."""
    shard: ShardOf | None = None
    """Which part of a larger run this is, if it is one."""

    @property
    def name(self) -> str:
        """What the `model` column says."""
        return model_name(self.model, self.shown)

    def info(self, excel_safe: bool = False) -> TableInfo:
        """What is true of all rows of its table."""
        top_k = min(self.top_k, len(self.shown or self.classes))
        return TableInfo(self.name, top_k, excel_safe=excel_safe)
