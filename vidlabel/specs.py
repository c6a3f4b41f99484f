"""Frozen dataclasses for videos, clips, models and results; plain data without torch or av.

Units are part of the names: `_s` seconds, `_px` pixels, `_fps` frames per second. Every spec
validates itself when it is made; the error names the command-line flag that sets the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from vidlabel.errors import Reason, UsageError
from vidlabel.spans import Span

FrameInput = Literal["rgb", "motion", "difference", "rgb+difference", "flow", "rgb+flow"]
RnnCell = Literal["rnn", "gru", "lstm"]
Summary = Literal["attention", "last", "committee"]
Precision = Literal["auto", "fp32", "bf16"]
Strategy = Literal["clip", "one-frame", "whole-video"]
StreamName = Literal["spatial", "temporal"]
PixelKind = Literal["rgb", "luma", "rgb+luma"]
"""Channels of a decoded frame: C = 3, 1 or 4."""
Resample = Literal["area", "bilinear", "bicubic"]
"""How frames are scaled: `area` by swscale; the others by Pillow, from RGB of full size, as image
processors of Transformers do."""
OnPacket: TypeAlias = Callable[[], None] | None
"""Called for each packet read and each packet decoded, as a sign of progress."""
UNCERTAIN = "uncertain"
"""What a table shows as the label of a video with this status. A class may have the same name, so
only the status says that a video is uncertain."""
OTHER = "other"
"""The class of clips that show none of the classes."""


SHIPPED = {"starter": "starter.safetensors"}
"""Names of the shipped models, and their files in weights/."""


T = TypeVar("T")


def setting(default: T, doc: str, key: str = "") -> T:
    """A dataclass field that users can set by a flag of `vidlabel train` or a key of a TOML file.

    Args:
        default: default value of the field.
        doc: description of the field, also used as the help text of the flag.
        key: name of the flag and key, if it differs from the field's.
    """
    return field(default=default, metadata={"doc": doc, "key": key})


def _check(ok: bool, message: str) -> None:
    if not ok:
        raise UsageError(message)


@dataclass(frozen=True)
class Limits:
    """Limits on one file: above them it is refused (reason `too_large`) or given up (`timeout`)."""

    pixels: int = 8192 * 8192
    """Maximum number of pixels of a frame; 8K video has 33 million."""
    duration_s: float = 48 * 3600.0
    frames: int = 6_000_000
    """Maximum number of packets read from one file."""
    timeout_s: float = 300.0
    """Maximum time that a decoder process may spend on one file."""
    stall_s: float = 60.0
    """Maximum time without another packet read or decoded."""
    memory_mb: int = 4096
    """Maximum address space of a decoder process, in MiB, beyond the memory that it shares with the
    main process; only where the operating system can limit it."""
    formats: tuple[str, ...] = ()
    """Names in `container.EXTRA_CONTAINERS` that may also be read."""

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

    The video is divided into `frames` equal segments; the middle of each is one time step. With
    input `rgb` the 3 channels of a step are red, green and blue of the frame shown at that time.
    With `motion` they are the luma of three frames, `step_s` apart, around that time, so that
    every step contains motion, however long the video is. With `difference` they are differences
    of luma: of five frames, `step_s` apart, around that time, the third minus the first, the fourth
    minus the second, and the fifth minus the third, with grey for no change. With `rgb+difference`,
    these follow the 3 channels of the frame shown at that time. With `flow` a step has
    2 * `pairs` channels: the optical flow between `pairs` + 1 successive frames around that time,
    alternately its horizontal and vertical component; with `rgb+flow`, these follow the 3 channels
    of the frame shown at that time.
    """

    frames: int = setting(16, "Time steps per clip.")
    size_px: int = setting(112, "Height and width of the square crop, pixels.", key="size")
    resize_px: int = setting(
        128, "Length of the frame's shorter side before cropping, pixels.", key="resize"
    )
    input: FrameInput = setting(
        "rgb",
        "What a time step shows: a frame, the luma of three frames around it (motion), the "
        "differences between frames around it, optical flow, or a frame and one of these.",
    )
    step_s: float = setting(
        0.08,
        "Time between the frames of a time step of motion, difference or flow, seconds; for flow, "
        "0 takes consecutive frames.",
        key="step",
    )
    pairs: int = setting(10, "Pairs of frames per time step (flow only).")
    fps: float = setting(
        0.0,
        "Time steps per second, around the middle of the video (0: spread over the whole video).",
    )
    aspect: float = setting(
        0.0, "Aspect ratio that frames are stretched to before cropping (0: keep their own)."
    )
    resample: Resample = "area"

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
        least = "over" if self.luma_frames and not self.has_flow else "at least"
        _check(
            0 <= self.step_s <= 10 and (self.step_s > 0 or least != "over"),
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
        ways = get_args(Resample)
        _check(self.resample in ways, f"resample must be {', '.join(ways)}, got {self.resample}")
        _check(
            self.resample == "area" or self.input == "rgb",
            f"clips resampled as {self.resample} must be rgb, got {self.input}",
        )

    @property
    def told(self) -> str:
        """A short description of the clip, for tables."""
        paced = f" at {self.fps:g} fps" if self.fps else ""
        return f"{self.frames} x {self.size_px} px{paced}, {self.input}"

    @property
    def has_rgb(self) -> bool:
        """Whether the first three channels of a time step are an RGB frame."""
        return self.input in ("rgb", "rgb+difference", "rgb+flow")

    @property
    def has_flow(self) -> bool:
        """Whether the last 2 * `pairs` channels of a time step are optical flow."""
        return self.input in ("flow", "rgb+flow")

    @property
    def luma_frames(self) -> int:
        """Frames of luma, `step_s` apart, that a step is made of."""
        if self.has_flow:
            return self.pairs + 1
        return {"motion": 3, "difference": 5, "rgb+difference": 5}.get(self.input, 0)

    @property
    def has_both(self) -> bool:
        """Whether a time step is an RGB frame and the difference pictures around it."""
        return self.input == "rgb+difference"

    @property
    def crops_down(self) -> bool:
        """Whether a crop whose centre is between two pixels takes the lower one, as the image
        processors of Transformers do."""
        return self.resample != "area"

    @property
    def channels(self) -> int:
        """Channels of a time step, C."""
        return 3 * self.has_rgb + 2 * self.pairs if self.has_flow else 6 if self.has_both else 3

    @property
    def decoded_channels(self) -> int:
        """Channels of a time step as decoded: luma of each frame in place of optical flow."""
        return 3 * self.has_rgb + self.pairs + 1 if self.has_flow else self.channels

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of one clip: (T, C, H, W)."""
        return (self.frames, self.channels, self.size_px, self.size_px)


@dataclass(frozen=True)
class ModelSpec:
    """A network architecture and its sizes; `arch` is a key of `vidlabel.models.build.MODELS`."""

    arch: str = setting("cnn-birnn", "Network architecture.", key="model")
    classes: int = 51
    trunk: str = setting("mnasnet0_5", "Name of the CNN, such as mnasnet0_5 or resnet50.")
    cell: RnnCell = setting("gru", "RNN cell.")
    embed: int = setting(256, "Features per frame after the CNN.")
    hidden: int = setting(128, "Hidden units of the RNN, per direction.")
    features: int = setting(
        256, "Channels after the temporal convolution, which is the length of an embedding."
    )
    kernel: int = setting(3, "Kernel size of the temporal convolution, in time steps; odd.")
    summary: Summary = setting(
        "attention", "How conv-lstm combines the time steps; committee is a majority vote."
    )
    statistics: bool = setting(
        False,
        "Whether cnn-birnn also classifies the mean, standard deviation and mean change over time "
        "of the CNN's features; the mean of both logits is the answer.",
    )
    rnn: bool = setting(
        True, "Whether cnn-birnn has its RNN; without, the statistics alone give the answer."
    )
    intermediate: bool = setting(
        False,
        "Whether cnn-birnn describes a frame also by the mean and standard deviation of "
        "intermediate maps of the CNN (efficientnet_lite0 only).",
    )
    dropout: float = setting(0.3, "Dropout rate.")
    flow_trunk: str = setting(
        "resnet18", "The flow CNN of two-stream; cnn_m_2048 is the published one."
    )
    flow_weight: float = setting(
        0.5, "Weight of the flow stream in the mean probabilities of two-stream."
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
    """Properties of a video, from its header and from counting its packets."""

    container: str
    codec: str
    width_px: int
    """As displayed, with rotation and sample aspect ratio applied."""
    height_px: int
    rotation_deg: int
    """Clockwise rotation that was applied for display: 0, 90, 180 or 270."""
    fps: float
    duration_s: float
    frames: int | None
    """Number of frames counted; None for a long file, whose packets were not all read."""
    audio: bool


@dataclass(frozen=True)
class VideoItem:
    """One video to label, or a stretch of it: its position in the run, its path as given, and any
    known problem. Raises UsageError if the stretch is empty or begins before the video."""

    index: int
    path: str
    problem: Reason | None = None
    detail: str = ""
    part: int = 0
    """Number of the part, if the whole video is processed in parts."""
    start_s: float = 0.0
    end_s: float = math.inf
    """Not included; the video may end before."""
    below_at: int = 0
    """Where in `path` begins what is below the input, such as a folder; 0 for a file that is named
    itself."""

    def __post_init__(self) -> None:
        _check(
            0 <= self.start_s < self.end_s and self.start_s < math.inf,
            f"{self.path}: a stretch must begin at 0 s or later, and end after its start; got "
            f"{self.start_s:g} s to {self.end_s:g} s",
        )

    @property
    def below(self) -> str:
        """The path below the input: the same wherever the input lies."""
        return self.path[self.below_at :]

    @property
    def span(self) -> Span:
        """The stretch; WHOLE for all of the video."""
        return self.start_s, self.end_s


class Status(StrEnum):
    """Values of the `status` column."""

    OK = "ok"
    PARTIAL = "partial"  # labelled, but part of the file could not be decoded
    FAILED = "failed"
    UNCERTAIN = "uncertain"  # the best class is less probable than --min-confidence


@dataclass(frozen=True)
class Prediction:
    """One row of the output: the result for one video.

    `top` holds (class name, probability) pairs, most probable first; it is empty if the video
    failed. If the highest probability is below --min-confidence, status and label are `uncertain`.
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
        """Whether the video could be labelled, if only as `uncertain`."""
        return self.status is not Status.FAILED


S = TypeVar("S", ClipSpec, ModelSpec)


def to_dict(spec: ClipSpec | ModelSpec) -> dict[str, Any]:
    """A spec as a dict of plain values, for the header of a checkpoint; without `resample` where it
    is `area`, as those who wrote and read the first checkpoints do not know it."""
    values = asdict(spec)
    return {k: v for k, v in values.items() if (k, v) != ("resample", "area")}


def from_dict(kind: type[S], values: dict[str, Any]) -> S:
    """A spec from the header of a checkpoint.

    Raises:
        UsageError: a field is unknown or out of range.
    """
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(values) - known)
    _check(not unknown, f"{kind.__name__} has no field {', '.join(unknown)}")
    return kind(**values)
