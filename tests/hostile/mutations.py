"""Seeded ways to break a file, and the healthy files they start from."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import videos

HEALTHY: dict[str, dict[str, Any]] = {
    "mp4 h264": {"suffix": ".mp4", "bf": 2, "gop": 6, "audio_s": 1.0},
    "mp4 hevc fast start": {
        "suffix": ".mp4",
        "codec": "libx265",
        "mux": (("movflags", "+faststart"),),
        "rotation": (-90, False, False),
    },
    "mp4 h264 fragments": {
        "suffix": ".mp4",
        "gop": 6,
        "mux": (("movflags", "frag_keyframe+empty_moov"),),
    },
    "mov mjpeg": {"suffix": ".mov", "codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mov prores": {"suffix": ".mov", "codec": "prores", "pix_fmt": "yuv422p10le"},
    "mkv h264": {"suffix": ".mkv", "bf": 2, "gop": 6, "audio_s": 1.0, "title": "title"},
    "mkv ffv1": {"suffix": ".mkv", "codec": "ffv1", "pix_fmt": "yuv444p"},
    "mkv live": {"suffix": ".mkv", "codec": "mpeg4", "mux": (("live", "1"),)},
    "webm vp8": {"suffix": ".webm", "codec": "libvpx"},
    "webm vp9": {"suffix": ".webm", "codec": "libvpx-vp9", "options": (("cpu-used", "8"),)},
    "webm av1": {"suffix": ".webm", "codec": "libsvtav1", "options": (("preset", "12"),)},
    "avi mpeg4": {"suffix": ".avi", "codec": "mpeg4", "bf": 2, "gop": 6},
    "avi mjpeg": {"suffix": ".avi", "codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "ts h264": {"suffix": ".ts", "bf": 2, "gop": 6, "audio_s": 1.0},
    "ts mpeg2": {"suffix": ".ts", "codec": "mpeg2video", "fps": 25, "gop": 6},
    "mpg mpeg2": {"suffix": ".mpg", "codec": "mpeg2video", "fps": 25, "bf": 2, "gop": 6},
    "flv flv1": {"suffix": ".flv", "codec": "flv"},
    "flv h264": {"suffix": ".flv", "bf": 2},
    "wmv wmv2": {"suffix": ".wmv", "codec": "wmv2"},
    "nut huffyuv": {"suffix": ".nut", "codec": "ffvhuff", "pix_fmt": "yuv420p"},
    "mxf mpeg2": {"suffix": ".mxf", "codec": "mpeg2video", "fps": 25},
    "raw h264": {"suffix": ".h264", "bf": 2},
    "raw hevc": {"suffix": ".hevc", "codec": "libx265"},
}
"""Specs (of `videos.VideoSpec`) for one video of each container and of many codecs."""

EXTREMES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000)
HEADER = 1500
"""Where most headers lie, in bytes from either end; half of all changes hit there."""


def mutate(source: bytes, other: bytes, seed: str) -> bytes:
    """`source`, broken in one to six ways; `other` is a file to take parts from."""
    noise = random.Random(seed)
    data = bytearray(source)
    for _ in range(noise.choice([1, 1, 2, 3, 6])):
        (mutator,) = noise.choices(list(MUTATORS), list(MUTATORS.values()))
        mutator(data, other, noise)
    return bytes(data)


def _place(data: bytearray, noise: random.Random) -> int:
    """A position, header-weighted."""
    where = noise.randrange(4)
    if where == 0:
        return noise.randrange(max(1, min(HEADER, len(data))))
    if where == 1:
        return max(0, len(data) - 1 - noise.randrange(HEADER))
    return noise.randrange(max(1, len(data)))


def _stretch(data: bytearray, noise: random.Random) -> slice:
    start = _place(data, noise)
    return slice(start, min(len(data), start + noise.choice([1, 4, 16, 188, 500, 3000])))


def _flip_bits(data: bytearray, other: bytes, noise: random.Random) -> None:
    for _ in range(noise.choice([1, 5, 50])) if data else ():
        data[_place(data, noise)] ^= 1 << noise.randrange(8)


def _random_bytes(data: bytearray, other: bytes, noise: random.Random) -> None:
    for _ in range(noise.choice([1, 5, 50])) if data else ():
        data[_place(data, noise)] = noise.randrange(256)


def _extreme_number(data: bytearray, other: bytes, noise: random.Random) -> None:
    for _ in range(noise.choice([1, 3])):
        width = noise.choice([1, 2, 4, 4, 8])
        value = noise.choice(EXTREMES) % 256**width
        start = _place(data, noise)
        data[start : start + width] = value.to_bytes(width, noise.choice(["big", "little"]))


def _cut(data: bytearray, other: bytes, noise: random.Random) -> None:
    del data[_place(data, noise) :]


def _delete(data: bytearray, other: bytes, noise: random.Random) -> None:
    del data[_stretch(data, noise)]


def _zero(data: bytearray, other: bytes, noise: random.Random) -> None:
    part = _stretch(data, noise)
    data[part] = bytes([noise.choice([0, 255])]) * (part.stop - part.start)


def _repeat(data: bytearray, other: bytes, noise: random.Random) -> None:
    part = _stretch(data, noise)
    data[part.start : part.start] = data[part] * noise.choice([1, 1, 2, 50])


def _swap(data: bytearray, other: bytes, noise: random.Random) -> None:
    first, second = _stretch(data, noise), _stretch(data, noise)
    data[first], data[second] = data[second], data[first]


def _splice(data: bytearray, other: bytes, noise: random.Random) -> None:
    data[_place(data, noise) :] = other[_place(bytearray(other), noise) :]


def _transplant(data: bytearray, other: bytes, noise: random.Random) -> None:
    part = _stretch(bytearray(other), noise)
    start = _place(data, noise)
    data[start : start + part.stop - part.start] = other[part]


Mutator = Callable[[bytearray, bytes, random.Random], None]
MUTATORS: dict[Mutator, int] = {
    _flip_bits: 4,
    _random_bytes: 4,
    _extreme_number: 8,
    _cut: 2,
    _delete: 3,
    _zero: 2,
    _repeat: 3,
    _swap: 2,
    _splice: 1,
    _transplant: 2,
}
"""What may be done to a file, and how often relative to the others."""


def healthy_files() -> dict[str, bytes]:
    """The bytes of one video for each entry of `HEALTHY`, the same each time."""
    with tempfile.TemporaryDirectory() as folder:
        made = {}
        for name, spec in HEALTHY.items():
            path = Path(folder) / f"x{spec['suffix']}"
            mux = (*spec.get("mux", ()), ("fflags", "+bitexact"))  # no random ids, no dates
            video = videos.VideoSpec(**spec | {"mux": mux})
            made[name] = videos.write(path, video).read_bytes()
        return made
