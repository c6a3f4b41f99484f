"""Opening a file as a video, safely, and the reasons for every failure."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.format import Flags
from av.video.stream import VideoStream

from vidlabel.errors import Reason, UsageError, VideoError, VidlabelError
from vidlabel.specs import Limits

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,"
    "h264,hevc,m4v,ivf,obu,rm,mxf,nut,dv,wtv"
)
"""FFmpeg demuxers that read one self-contained video file. Playlists and scripts (hls, dash,
concat, sdp), which open other files, and still images are not among them."""

EXTRA_CONTAINERS = {
    "gif": ".gif",
    "apng": ".apng",
    "yuv4mpegpipe": ".y4m",
    "mjpeg": ".mjpeg .mjpg",
    "vc1": ".vc1",
    "dirac": ".drc",
    "vvc": ".vvc .h266 .266",
    "gxf": ".gxf",
    "nsv": ".nsv",
    "nuv": ".nuv",
    "smk": ".smk",
    "bink": ".bik",
    "roq": ".roq",
    "flic": ".fli .flc",
}
"""Demuxers of files with their suffixes, and under any name with --allow-formats, which also takes
them from folders: rare, or not always video, but each of one self-contained file. Demuxers that
open other files cannot be allowed."""

MAYBE_STILL = ("gif", "apng")
"""Formats of which a file with one picture is a still picture, not a video."""

MAX_STREAMS = 256
"""Most streams of one file: FFmpeg opens a decoder for each to identify it, which may take 1 MB. A
broadcast of many channels has about 100 streams, a film with attached fonts hardly more."""

ORDER_ONLY = frozenset({"h264", "hevc", "m4v", "mpegvideo", "obu"})
"""Raw streams, which have no timestamps."""

GAP_S = 10.0
"""In broadcast formats (MPEG-TS and -PS) a longer step in time is where two recordings were joined,
not a frame that is shown for so long; the ffmpeg program uses the same number."""

JUMP_S = 24 * 3600.0
"""In any other format a step of more than a day is a broken timestamp."""


def suffixes_of(formats: Iterable[str]) -> set[str]:
    """Suffixes, in lower case with the dot, of formats in EXTRA_CONTAINERS."""
    return {suffix for name in formats for suffix in EXTRA_CONTAINERS[name].split()}


def check_formats(names: Iterable[str]) -> None:
    """Raises UsageError for names that are not in EXTRA_CONTAINERS."""
    for name in names:
        if name not in EXTRA_CONTAINERS:
            known = ", ".join(sorted(EXTRA_CONTAINERS))
            raise UsageError(f"--allow-formats {name!r}: can be one of {known}")


def open_container(path: str, limits: Limits) -> InputContainer:
    """Open a local file; FFmpeg cannot follow its name or content to any other place.

    Raises:
        UsageError: `limits.formats` has a name that is not in EXTRA_CONTAINERS.
    """
    check_formats(limits.formats)
    suffix = Path(path).suffix.lower()
    own = [name for name, suffixes in EXTRA_CONTAINERS.items() if suffix in suffixes.split()]
    # The absolute path behind `file:` keeps a name such as `concat:x` or `http:x` a name, the
    # format list keeps scripts and playlists out, the protocol list keeps the network out.
    return av.open(
        "file:" + str(Path(path).absolute()),
        options={
            "format_whitelist": ",".join([CONTAINERS, *limits.formats, *own]),
            "protocol_whitelist": "file",
            "max_pixels": str(limits.pixels),  # FFmpeg decodes frames to identify the stream
            "max_streams": str(MAX_STREAMS),
        },
        metadata_errors="replace",
    )


def has_timestamps(container: InputContainer, stream: VideoStream) -> bool:
    """True if the container holds presentation times for its frames."""
    # AVI stores none; FFmpeg guesses them, wrongly once B-frames reorder.
    guessed = container.format.name == "avi" and stream.codec_context.has_b_frames
    return not guessed and container.format.name not in ORDER_ONLY


def longest_gap_s(container: InputContainer) -> float:
    """The longest step in time between two frames that is taken as real."""
    return GAP_S if Flags.ts_discont in Flags(container.format.flags) else JUMP_S


def promised_s(container: InputContainer, stream: VideoStream, start_s: float) -> float:
    """How long a stream is after its first frame by the header of the file, seconds; 0 if it gives
    no length."""
    length_s = (container.duration or 0) / av.time_base
    if stream.duration and stream.time_base:
        length_s = float(stream.duration * stream.time_base)
    # Most containers count from 0; a length before the first frame can only count from there.
    return length_s - start_s if 0 < start_s < length_s else length_s


def known_rate(stream: VideoStream, timed: bool) -> float | None:
    """Frames per second; None if the file does not tell."""
    # For a raw stream the average rate is FFmpeg's default; the other one is read from the stream.
    rates = [stream.average_rate, stream.guessed_rate]
    rate = next((r for r in (rates if timed else rates[::-1]) if r and r > 0), None)
    return float(rate) if rate else None


def frame_rate(stream: VideoStream, timed: bool) -> float:
    """Frames per second, 25 if unknown."""
    return known_rate(stream, timed) or 25.0


@contextmanager
def mapped_errors(path: str) -> Iterator[None]:
    """Turns errors of FFmpeg and of the system into VideoErrors with a reason."""
    try:
        yield
    except av.error.InterruptedError as error:  # a signal, not a damaged file
        raise KeyboardInterrupt from error
    except VidlabelError:  # some are ValueErrors too
        raise
    except (av.error.DecoderNotFoundError, av.error.PatchWelcomeError) as error:
        raise VideoError(Reason.NO_DECODER, f"{path}: {_plain(error)}") from error
    except FileNotFoundError as error:
        raise VideoError(Reason.NOT_FOUND, f"{path}: {_plain(error)}") from error
    except PermissionError as error:
        # FFmpeg's "return -1", for any reason, arrives as EPERM; the system refuses with EACCES.
        denied = error.errno == errno.EACCES
        reason = Reason.PERMISSION if denied else Reason.READ_ERROR
        raise VideoError(reason, f"{path}: {_plain(error)}") from error
    except MemoryError as error:
        # FFmpeg reports the same for a file with too many streams.
        detail = f"{path}: not enough memory to decode it, or over {MAX_STREAMS} streams"
        raise VideoError(Reason.TOO_LARGE, detail) from error
    except (av.error.InvalidDataError, av.error.ArgumentError, av.error.EOFError) as error:
        detail = f"{path}: not a video, or its header is missing ({_plain(error)})"
        raise VideoError(Reason.NOT_VIDEO, detail) from error
    except (av.FFmpegError, OSError, UnicodeDecodeError, IndexError, ValueError) as error:
        raise VideoError(Reason.READ_ERROR, f"{path}: {_plain(error)}") from error


def _plain(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]
