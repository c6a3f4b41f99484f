"""How to label videos; plain data that imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from vidlabel.errors import UsageError
from vidlabel.spans import TimelineSpec
from vidlabel.specs import Engine, Limits, Precision, Strategy, StreamName


@dataclass(frozen=True)
class ModelChoice:
    """Which model labels, and what computes it: arguments of `load_labeller`."""

    model: str = "starter"
    device: str = "auto"  # or several, with commas between them, in `device_group`
    precision: Precision = "auto"
    stream: StreamName | None = None
    classes: tuple[str, ...] = ()
    engine: Engine = "auto"


@dataclass(frozen=True)
class PredictSpec:
    """How to label videos.

    `strategy` is what a model that classifies each step by itself looks at: `clip`, as many
    moments as its clips have; `one-frame`, only the middle of the video; `whole-video`, every
    frame and every stack of flow. The probabilities of all of them are averaged.

    Raises:
        UsageError: a value is out of range; the message names the flag.
    """

    top_k: int = 5  # classes that a row shows
    views: int = 1  # stretches of the video; over 1, each is seen through three crops
    batch_size: int | None = None  # clips; None for a size that suits the device
    workers: int | None = None  # decoder processes; None for one per core
    min_confidence: float | None = None  # 0..1, below it `uncertain`; None: the model's
    limits: Limits = field(default_factory=Limits)
    strategy: Strategy = "clip"
    classes: tuple[str, ...] = ()  # the answers; empty for all classes of the model
    timeline: TimelineSpec | None = None  # label segments instead of whole videos

    def __post_init__(self) -> None:
        for name, high in (("top_k", 1000), ("views", 100), ("batch_size", 4096), ("workers", 256)):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= high:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} must be 1 to {high}, got {value}")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise UsageError(f"--min-confidence must be 0 to 1, got {self.min_confidence}")
        if self.strategy not in get_args(Strategy):
            known = ", ".join(get_args(Strategy))
            raise UsageError(f"--strategy must be one of {known}, got {self.strategy}")
        if self.strategy == "whole-video" and self.views > 1:
            raise UsageError("--strategy whole-video sees the whole video; leave out --views")
        if self.timeline is not None and (self.views > 1 or self.strategy != "clip"):
            raise UsageError("--timeline labels windows; leave out --views and --strategy")
