"""Version and decoders of the FFmpeg inside PyAV."""

from __future__ import annotations

import av
from av.codec.codec import Codec, UnknownCodecError

# FFmpeg's decoder called av1 needs hardware; these two decode on the CPU.
_ON_CPU = {"av1": ("libdav1d", "libaom-av1")}


def ffmpeg_version() -> str:
    """The version of FFmpeg that PyAV was built with, such as 8.1.2."""
    return str(av.ffmpeg_version_info)


def has_decoder(name: str) -> bool:
    """True if FFmpeg can decode a codec on the CPU; `name` as FFmpeg spells it, such as h264."""
    return any(_exists(decoder) for decoder in _ON_CPU.get(name, (name,)))


def _exists(decoder: str) -> bool:
    try:
        Codec(decoder, "r")
    except UnknownCodecError:
        return False
    return True
