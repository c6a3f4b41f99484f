"""Everything vidlabel raises, the reasons a video can fail for, and the exit codes.

VidlabelError                 base of all; one line for the user: what, where, what to do
├── UsageError                the command or an argument is wrong                  exit 2
├── VideoError                one video cannot be read; carries a `Reason`         one row
└── RunError                  nothing can run                                      exit 3
    ├── CheckpointError       a checkpoint is missing, broken or does not fit
    │   └── WeightsMissing    pretrained weights can be neither found nor fetched
    ├── DeviceError           the device asked for is not there or was lost
    └── OutputError           the output cannot be written
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """What the process answers to the shell."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    NOTHING_RAN = 3
    HANGUP = 129
    INTERRUPTED = 130  # 128 + SIGINT, the shells' convention
    TERMINATED = 143  # 128 + SIGTERM


class Reason(StrEnum):
    """Why a video has no label (or, for the last three, a label with a caveat)."""

    NOT_FOUND = "not_found"
    NOT_REGULAR = "not_regular"  # a directory, FIFO, socket or device
    EMPTY = "empty"
    PERMISSION = "permission"
    NOT_VIDEO = "not_video"  # no container we read, or its header is missing
    NO_VIDEO_STREAM = "no_video_stream"  # audio only, or only cover art
    NO_FRAMES = "no_frames"  # opens, but no frame can be decoded
    NO_DECODER = "no_decoder"
    TOO_LARGE = "too_large"  # over a limit on pixels, frames, seconds or bytes
    READ_ERROR = "read_error"
    CRASHED = "crashed"  # the decoder process died on this file, twice
    TIMEOUT = "timeout"
    NAN = "nan"  # the model gave no finite number
    DAMAGED = "damaged"  # labelled from what could be decoded
    PADDED = "padded"  # fewer frames than the clip needs; the last one is repeated
    LOW_CONFIDENCE = "low_confidence"  # below --min-confidence


class VidlabelError(Exception):
    """Base of every error that vidlabel raises on purpose."""

    exit_code = ExitCode.NOTHING_RAN


class UsageError(VidlabelError, ValueError):
    """An argument or option is wrong; the message names it."""

    exit_code = ExitCode.USAGE


class VideoError(VidlabelError):
    """One video cannot be read.

    Args:
        reason: the machine-readable kind of failure, for the `reason` column.
        detail: one line for a person: what is wrong and, where known, why.
    """

    exit_code = ExitCode.SOME_FAILED

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class RunError(VidlabelError):
    """The run as a whole cannot go on."""


class CheckpointError(RunError):
    """A checkpoint is missing, broken, or does not fit the model it names."""


class WeightsMissing(CheckpointError):
    """Pretrained weights are not in the cache and cannot be downloaded, or there are none."""


class DeviceError(RunError):
    """The device asked for is not there, or was lost."""


class OutputError(RunError):
    """The output cannot be written."""
