"""The exceptions that vidlabel raises, the reasons why a video can fail, and the exit codes.

VidlabelError                 base class; the message is one line: what, where, what to do
├── UsageError                a command or an argument is wrong                     exit 2
├── VideoError                one video cannot be read; has a `Reason`              one row
└── RunError                  the run cannot start or continue                      exit 3
    ├── CheckpointError       a checkpoint is missing, corrupt or does not fit
    │   └── WeightsMissing    pretrained weights are not in the cache and cannot be downloaded
    ├── DeviceError           the requested device is not available or was lost
    └── OutputError           the output cannot be written
        └── PlaceRefused      one output cannot be where it belongs; others can be written
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """Exit codes of the process."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    NOTHING_RAN = 3
    HANGUP = 129
    INTERRUPTED = 130  # 128 + SIGINT, as shells do
    TERMINATED = 143  # 128 + SIGTERM


class Reason(StrEnum):
    """Why a video has no label; the last four are remarks on a label."""

    NOT_FOUND = "not_found"
    NOT_REGULAR = "not_regular"  # a directory, FIFO, socket or device
    EMPTY = "empty"
    PERMISSION = "permission"
    NOT_VIDEO = "not_video"  # no supported container, or its header is missing
    ENCRYPTED = "encrypted"  # by DRM, or the file as a whole
    NO_VIDEO_STREAM = "no_video_stream"  # audio only, or only cover art
    NO_FRAMES = "no_frames"  # the file opens, but no frame can be decoded
    NO_DECODER = "no_decoder"
    OUT_OF_RANGE = "out_of_range"  # the stretch to label begins after the end of the video
    TOO_LARGE = "too_large"  # over a limit on pixels, frames, duration or memory
    READ_ERROR = "read_error"
    CRASHED = "crashed"  # the decoder process crashed on this file twice
    TIMEOUT = "timeout"
    NAN = "nan"  # the model's output is not finite
    DAMAGED = "damaged"  # labelled from what could be decoded
    PADDED = "padded"  # fewer frames than the clip needs; the last one is repeated
    LONG = "long"  # over ten times as long as a clip, and labelled as a whole
    LOW_CONFIDENCE = "low_confidence"  # below --min-confidence


class VidlabelError(Exception):
    """Base class of all errors that vidlabel raises intentionally."""

    exit_code = ExitCode.NOTHING_RAN


class UsageError(VidlabelError, ValueError):
    """An argument or option is wrong; the message names it."""

    exit_code = ExitCode.USAGE


class VideoError(VidlabelError):
    """One video cannot be read.

    Args:
        reason: the kind of failure, for the `reason` column.
        detail: one line for people: what is wrong and, if known, why.
    """

    exit_code = ExitCode.SOME_FAILED

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class RunError(VidlabelError):
    """The run as a whole cannot start or continue."""


class CheckpointError(RunError):
    """A checkpoint is missing, corrupt, or does not fit the model that it names."""


class WeightsMissing(CheckpointError):
    """Pretrained weights do not exist, or are not in the cache and cannot be downloaded."""


class DeviceError(RunError):
    """The requested device is not available, or was lost."""


class OutputError(RunError):
    """The output cannot be written."""


class PlaceRefused(OutputError):
    """One output cannot have its name, or something else has it; other outputs can be written."""
