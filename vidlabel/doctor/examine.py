"""What this machine has: versions, decoders, devices, the shipped model."""

from __future__ import annotations

import os
import platform
import re
import shutil
import warnings
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

import vidlabel
from vidlabel.doctor.dataset import examine_dataset
from vidlabel.doctor.finding import Finding
from vidlabel.errors import CheckpointError
from vidlabel.machine import SHARED_MEMORY, usable_cores

CODECS = ("h264", "hevc", "mpeg4", "vp9", "av1", "mjpeg")
"""The codecs of nearly all videos, by FFmpeg's names."""

_MIN_SHARED_BYTES = 256 * 1024**2
_GIB = 1024**3
MIN_PYTHON = (3, 11)
FLOORS = {
    "torch": (2, 10), "torchvision": (0, 25), "av": (18, 1), "numpy": (2, 0),
    "pandas": (2, 2, 3), "pyarrow": (20,),
}  # fmt: skip
"""Package -> lowest version; pyproject.toml has the same, and why."""


def examine(dataset: str | None = None) -> list[Finding]:
    """Examine everything. What is missing or broken is a finding, never an exception.

    Args:
        dataset: the folder of a data set, to be examined too.
    """
    return [
        *_versions(),
        *examine_decoders(),
        *examine_devices(),
        examine_shared_memory(),
        examine_shipped_model(),
        *(examine_dataset(Path(dataset)) if dataset is not None else ()),
    ]


def _versions() -> Iterator[Finding]:
    yield Finding("vidlabel", vidlabel.__version__, True)
    running = tuple(map(int, platform.python_version_tuple()[:2]))
    yield Finding(
        "python",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        running >= MIN_PYTHON,
        "" if running >= MIN_PYTHON else f"vidlabel needs Python {_dotted(MIN_PYTHON)}",
    )
    for package, floor in FLOORS.items():
        yield examine_package(package, floor)


def examine_package(name: str, floor: tuple[int, ...]) -> Finding:
    """Is a package installed, new enough, and can it be imported?"""
    wanted = f"install '{name}>={_dotted(floor)}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "not installed", False, wanted)
    try:
        import_module(name)
    except (ImportError, OSError, RuntimeError) as error:  # torchvision beside a wrong torch
        return Finding(name, f"{version}, does not load", False, f"reinstall it ({error})")
    if tuple(map(int, re.findall(r"\d+", version)[: len(floor)])) < floor:
        return Finding(name, version, False, wanted)
    return Finding(name, version, True)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def examine_decoders() -> Iterator[Finding]:
    """The FFmpeg inside PyAV, and its decoders for common codecs."""
    try:
        from vidlabel.video.codecs import ffmpeg_version, has_decoder
    except (ImportError, OSError) as error:
        yield Finding("ffmpeg", "does not load", False, f"reinstall av ({error})")
        return
    yield Finding("ffmpeg", ffmpeg_version(), True)
    present = [codec for codec in CODECS if has_decoder(codec)]
    missing = [codec for codec in CODECS if codec not in present]
    yield Finding(
        "decoders",
        ", ".join(present) or "none",
        not missing,
        f"no decoder for {', '.join(missing)}: use the av wheel of PyPI" if missing else "",
    )


def examine_devices() -> Iterator[Finding]:
    """The CPU, CUDA and Apple GPUs, and which of them compute in bfloat16."""
    try:
        import torch

        from vidlabel.device import has_bf16
    except (ImportError, OSError) as error:
        yield Finding("devices", "unknown", False, f"torch does not load ({error})")
        return
    with warnings.catch_warnings(record=True) as said:  # a driver that is too old only warns
        warnings.simplefilter("always")
        cuda = torch.cuda.is_available()
    yield Finding(
        "cpu",
        f"{usable_cores()} of {os.cpu_count()} cores usable, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}",
        True,
    )
    if cuda:
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            yield Finding(f"cuda:{index}", f"{gpu.name}, {gpu.total_memory / _GIB:.0f} GiB", True)
    else:
        built = torch.version.cuda
        value = f"none (torch is built for CUDA {built})" if built else "none (torch for the CPU)"
        yield Finding("cuda", value, False if said else None, str(said[0].message) if said else "")
    yield Finding("mps", "yes" if torch.backends.mps.is_available() else "none")
    kind = "cuda" if cuda else "cpu"
    yield Finding("bf16", f"{kind}: {'yes' if has_bf16(torch.device(kind)) else 'no'}")


def examine_shared_memory(place: Path = SHARED_MEMORY) -> Finding:
    """How much memory processes can share, in which Linux keeps files at `place`."""
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return Finding("shared memory", f"no {place}")
    enough = free >= _MIN_SHARED_BYTES
    advice = "in a container, start it with --shm-size=1g or more"
    return Finding("shared memory", f"{free / _GIB:.1f} GiB free", enough, "" if enough else advice)


def examine_shipped_model() -> Finding:
    """Can the model in the package be loaded?"""
    try:
        from vidlabel.models.checkpoint import load_checkpoint

        model = load_checkpoint("starter")
    except (CheckpointError, ImportError, OSError) as error:
        return Finding("starter model", "does not load", False, str(error))
    return Finding("starter model", f"{model.id}, {len(model.header.classes)} classes", True)
