"""Frozen descriptions of videos, clips, models and results; plain data, no torch and no av.

Units stand in the names: `_s` seconds, `_px` pixels, `_fps` frames a second. Every spec checks
itself when it is made, and the message names the command-line flag that sets the value.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Literal, TypeVar, get_args

from vidlabel.errors import Reason, UsageError

FrameInput = Literal["rgb", "motion", "flow", "rgb+flow"]
RnnCell = Literal["rnn", "gru", "lstm"]
Summary = Literal["attention", "last", "committee"]
Precision = Literal["auto", "fp32", "bf16"]
Strategy = Literal["clip", "one-frame", "whole-video"]


SHIPPED = {
    "starter": "starter.safetensors",
    "starter-fast": "starter-fast.safetensors",
}
"""Names that --model knows, and the files in weights/ behind them."""


T = TypeVar("T")


def setting(default: T, doc: str, key: str = "") -> T:
    """A field that users can set: the flag `--key` of `vidlabel train`, and a key of its TOML file.

    Args:
        default: the field's value if nothing else is said.
        doc: what the field is, said here once for readers and for the help of the flag.
        key: name of flag and key, where it is not the field's.
    """
    return field(default=default, metadata={"doc": doc, "key": key})


def _check(ok: bool, message: str) -> None:
    if not ok:
        raise UsageError(message)


@dataclass(frozen=True)
class Limits:
    """What one file may cost before it is refused (reason `too_large`) or given up (`timeout`)."""

    pixels: int = 8192 * 8192
    """Most pixels of one frame; 8K video has 33 million."""
    duration_s: float = 48 * 3600.0
    frames: int = 6_000_000
    """Most packets looked at in one file."""
    timeout_s: float = 300.0
    """Longest time one file may keep a decoder process."""
    stall_s: float = 60.0
    """Longest time without a further packet read or decoded."""
    memory_mb: int = 4096
    """Most address space of a decoder process beyond what it shares with the program, MiB, where
    the system can limit it."""
    formats: tuple[str, ...] = ()
    """Names of `container.EXTRA_CONTAINERS` that may be read beyond the usual ones."""

    def __post_init__(self) -> None:
        _check(self.pixels > 0, f"--max-pixels must be positive, got {self.pixels}")
        _check(self.duration_s > 0, f"--max-duration must be positive, got {self.duration_s}")
        _check(self.frames > 0, f"the frame limit must be positive, got {self.frames}")
        _check(self.timeout_s > 0, f"--timeout must be positive, got {self.timeout_s}")
        _check(self.stall_s > 0, f"the stall limit must be positive, got {self.stall_s}")
        _check(self.memory_mb >= 512, f"--max-memory must be at least 512, got {self.memory_mb}")


@dataclass(frozen=True)
class ClipSpec:
    """How a video becomes the (T, C, H, W) uint8 clip that a model reads.

    The video is cut into `frames` equal stretches and each gives one time step: its middle.
    With input `rgb` the 3 channels of a step are red, green and blue of the frame shown then;
    with `motion` they are the luma of three frames, `step_s` apart, around that moment, so that
    even a single step tells what moves, however long the video is. With `flow` a step has
    2 * `pairs` channels: the optical flow between `pairs` + 1 frames in a row around that moment,
    across and down by turns; with `rgb+flow`, those after the 3 of the frame shown then.
    """

    frames: int = setting(16, "Time steps per clip.")
    size_px: int = setting(112, "Height and width of the square crop, pixels.", key="size")
    resize_px: int = setting(
        128, "Length of the frame's shorter side before cropping, pixels.", key="resize"
    )
    input: FrameInput = setting(
        "rgb", "What a time step shows: a frame, what changes around it, optical flow, or both."
    )
    step_s: float = setting(
        0.08,
        "Time between the frames of a step of motion or flow, seconds; of flow, 0 takes one frame "
        "after another.",
        key="step",
    )
    pairs: int = setting(10, "Of flow: pairs of frames per time step.")
    fps: float = setting(
        0.0, "Time steps a second, around the middle; 0 spreads them over the whole video."
    )
    aspect: float = setting(
        0.0, "Width over height that frames are squashed to before cropping; 0 keeps their own."
    )

    def __post_init__(self) -> None:
        _check(1 <= self.frames <= 1024, f"--frames must be 1 to 1024, got {self.frames}")
        _check(32 <= self.size_px <= 1024, f"--size must be 32 to 1024, got {self.size_px}")
        _check(
            self.size_px <= self.resize_px <= 2048,
            f"--resize must be at least --size ({self.size_px}) and at most 2048, "
            f"got {self.resize_px}",
        )
        known = get_args(FrameInput)
        _check(self.input in known, f"--input must be {' or '.join(known)}, got {self.input}")
        least = "over" if self.input == "motion" else "at least"
        _check(
            0 <= self.step_s <= 10 and (self.step_s > 0 or self.input != "motion"),
            f"--step must be {least} 0 and at most 10 s, got {self.step_s}",
        )
        _check(1 <= self.pairs <= 32, f"--pairs must be 1 to 32, got {self.pairs}")
        _check(0 <= self.fps <= 240, f"--fps must be 0 to 240, got {self.fps}")
        _check(
            self.fps == 0 or self.frames % 2 == 0,  # training keeps half of them on either side
            f"--frames must be even with --fps, got {self.frames}",
        )
        _check(
            self.aspect == 0 or 0.25 <= self.aspect <= 4,
            f"--aspect must be 0, or 0.25 to 4, got {self.aspect}",
        )

    @property
    def told(self) -> str:
        """The clip in a few words, for tables."""
        paced = f" at {self.fps:g} a second" if self.fps else ""
        return f"{self.frames} x {self.size_px} px{paced}, {self.input}"

    @property
    def has_rgb(self) -> bool:
        """Whether a step has the red, green and blue of a frame: in its first three channels."""
        return self.input in ("rgb", "rgb+flow")

    @property
    def has_flow(self) -> bool:
        """Whether a step has optical flow: in its last 2 * `pairs` channels."""
        return self.input in ("flow", "rgb+flow")

    @property
    def channels(self) -> int:
        """Channels of a time step, C."""
        return 3 if not self.has_flow else 3 * self.has_rgb + 2 * self.pairs

    @property
    def decoded_channels(self) -> int:
        """Channels of a time step before its flow is computed: the luma of each frame instead."""
        return 3 if not self.has_flow else 3 * self.has_rgb + self.pairs + 1

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of one clip: (T, C, H, W)."""
        return (self.frames, self.channels, self.size_px, self.size_px)


@dataclass(frozen=True)
class ModelSpec:
    """Which network, and its sizes. `arch` is a key of `vidlabel.models.build.MODELS`."""

    arch: str = setting("cnn-birnn", "The network.", key="model")
    classes: int = 51
    trunk: str = setting("mnasnet0_5", "The CNN: a classification network of torchvision.")
    cell: RnnCell = setting("gru", "Kind of the RNN.")
    embed: int = setting(256, "Features per frame that the trunk is reduced to.")
    hidden: int = setting(128, "Hidden units of the RNN, per direction.")
    features: int = setting(
        256, "Channels after the temporal convolution: the length of an embedding."
    )
    kernel: int = setting(3, "Time steps that the temporal convolution sees; odd.")
    summary: Summary = setting(
        "attention",
        "Of conv-lstm: how the steps become one; committee takes the majority of theirs.",
    )
    dropout: float = setting(0.3, "Share of features left out at random in training.")
    flow_trunk: str = setting(
        "resnet18", "Of two-stream: the CNN that sees flow; cnn_m_2048 is the published one."
    )
    flow_weight: float = setting(
        0.5, "Of two-stream: share of the flow's probabilities in the mean of both."
    )

    def __post_init__(self) -> None:
        _check(self.classes >= 2, f"a model needs at least 2 classes, got {self.classes}")
        _check(self.cell in ("rnn", "gru", "lstm"), f"--cell must be rnn, gru or lstm: {self.cell}")
        _check(
            self.summary in ("attention", "last", "committee"),
            f"--summary must be attention, last or committee: {self.summary}",
        )
        for name in ("embed", "hidden", "features"):
            value = getattr(self, name)
            _check(1 <= value <= 8192, f"--{name} must be 1 to 8192, got {value}")
        _check(
            self.kernel % 2 == 1 and 1 <= self.kernel <= 31,
            f"--kernel must be odd and 1 to 31, got {self.kernel}",
        )
        _check(0 <= self.dropout < 1, f"--dropout must be in [0, 1), got {self.dropout}")
        _check(0 <= self.flow_weight <= 1, f"--flow-weight must be 0 to 1, got {self.flow_weight}")


@dataclass(frozen=True)
class VideoInfo:
    """What a container says of itself, and what counting its packets confirmed."""

    container: str
    codec: str
    width_px: int
    """As displayed: after rotation and sample aspect ratio."""
    height_px: int
    rotation_deg: int
    """Clockwise turn that was applied for display: 0, 90, 180 or 270."""
    fps: float
    duration_s: float
    frames: int | None
    """Frames counted; None where a long file was not walked through."""
    audio: bool


@dataclass(frozen=True)
class VideoItem:
    """One video to label: its place in the run, the path as given, what is known to be wrong."""

    index: int
    path: str
    problem: Reason | None = None
    detail: str = ""
    part: int = 0
    """Which part of it, where all of a video is looked at, part by part."""


class Status(StrEnum):
    """The `status` column."""

    OK = "ok"
    PARTIAL = "partial"  # labelled, but parts of the file could not be decoded
    FAILED = "failed"


@dataclass(frozen=True)
class Prediction:
    """One row of the output: what vidlabel says of one video.

    `top` holds (class name, probability) pairs, most likely first; it is empty when the video
    failed. `label` is `uncertain` when the best probability is under --min-confidence.
    """

    path: str
    status: Status
    label: str = ""
    confidence: float = math.nan
    top: tuple[tuple[str, float], ...] = ()
    start_s: float = math.nan
    end_s: float = math.nan
    duration_s: float = math.nan
    frames_used: int = 0
    model: str = ""
    reason: str = ""
    detail: str = ""
    embedding: tuple[float, ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """True if the video has a label (status `ok` or `partial`)."""
        return self.status is not Status.FAILED


S = TypeVar("S", ClipSpec, ModelSpec)


def to_dict(spec: ClipSpec | ModelSpec) -> dict[str, Any]:
    """A spec as plain values, for a checkpoint's header."""
    return asdict(spec)


def from_dict(kind: type[S], values: dict[str, Any]) -> S:
    """A spec from a checkpoint's header.

    Raises:
        UsageError: a field is unknown, missing a required value, or out of range.
    """
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(values) - known)
    _check(not unknown, f"{kind.__name__} has no field {', '.join(unknown)}")
    return kind(**values)
