"""What this machine has (versions, decoders, devices, the shipped model), and whether a folder is
a usable data set."""

from __future__ import annotations

import os
import platform
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

import vidlabel
from vidlabel.datasets.complete import PUBLIC, check_complete, recognise
from vidlabel.datasets.folder import NO_CLASS, NO_VIDEOS, read_folder
from vidlabel.datasets.public import videos_in
from vidlabel.errors import CheckpointError, UsageError
from vidlabel.files.find import find_videos
from vidlabel.machine import SHARED_MEMORY, usable_cores
from vidlabel.text import first_few, plural

CODECS = ("h264", "hevc", "mpeg4", "vp9", "av1", "mjpeg")
"""The codecs of nearly all videos, by FFmpeg's names."""

_MIN_SHARED_BYTES = 256 * 1024**2
_GIB = 1024**3
MIN_PYTHON = (3, 11)
FLOORS = {
    "torch": (2, 10), "torchvision": (0, 25), "av": (18, 1), "numpy": (2, 2),
    "pandas": (2, 2, 3), "pyarrow": (20,),
}  # fmt: skip
"""Package -> lowest version; pyproject.toml has the same, and why."""


_ARCHIVES = frozenset((".rar", ".zip", ".tar", ".gz", ".7z"))


@dataclass(frozen=True)
class Finding:
    """One thing that was examined."""

    name: str
    value: str
    ok: bool | None = None
    """None: for information only."""
    advice: str = ""
    """What to do; may be empty."""


def examine(dataset: str | None = None) -> list[Finding]:
    """Examine everything, also the folder of a data set if one is given. What is missing or broken
    is a finding, never an exception."""
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


def examine_dataset(root: Path) -> list[Finding]:
    """What is there and what is missing of a folder per class, HMDB51 or UCF-101."""
    try:
        return list(_findings(root))
    except OSError as error:
        return [Finding("data set", f"{root}: {error}", False, "make it readable")]


def _findings(root: Path) -> Iterator[Finding]:
    if not root.is_dir():
        yield Finding("data set", f"{root}: not a folder", False, "name the folder of a data set")
        return
    top, counts = _classes(root)
    full = sorted(name for name, count in counts.items() if count)
    if not full:
        packed = [p.name for p in root.iterdir() if p.suffix.lower() in _ARCHIVES]
        advice = (
            f"unpack {first_few(packed)}" if packed else "give each class a folder of its videos"
        )
        yield Finding("data set", f"{root}: no class folder with videos", False, advice)
        return
    yield from _class_findings(root, top)
    empty = [name for name, count in counts.items() if not count]
    if empty:
        advice = "add their videos or remove the folders"
        yield Finding("classes without videos", f"{len(empty)}: {first_few(empty)}", False, advice)
    stray = [path.name for place in dict.fromkeys((root, top)) for path in videos_in(place)]
    if stray:
        advice = "move them into class folders"
        yield Finding("videos without class", f"{len(stray)}: {first_few(stray)}", False, advice)
    yield _layout(root, full)


def _class_findings(root: Path, top: Path) -> Iterator[Finding]:
    """The classes and parts that training would see, and what it would leave out."""
    remarks: list[str] = []
    try:
        samples = read_folder(top, remarks=remarks)
    except UsageError as error:
        yield Finding("classes", "unclear", False, str(error))
        return
    videos = Counter(sample.label for sample in samples).values()
    total = plural(len(samples), "video")
    size = f"{len(videos)}, with {total}, {min(videos)} to {max(videos)} each"
    if len(videos) < 2:
        yield Finding("classes", size, False, "a model needs at least 2")
    else:
        yield Finding("classes", size, True, "" if top == root else f"give {top} to vidlabel train")
    parts = Counter(sample.split for sample in samples)
    if set(parts) != {""}:
        told = ", ".join(f"{name or 'train'} {count}" for name, count in sorted(parts.items()))
        yield Finding("parts", told, True, "folders of these names are the split of the videos")
    for remark in remarks:
        if not remark.startswith((NO_CLASS, NO_VIDEOS)):  # findings of their own
            yield Finding("remark", remark)


def _classes(root: Path) -> tuple[Path, dict[str, int]]:
    """The folder that holds the class folders, and how many videos each of them has.

    That is the root, or its only sub-folder with videos where these lie deeper, as with UCF-101.
    """
    counts = _count_videos(root)
    full = [name for name, count in counts.items() if count]
    if len(full) == 1 and not videos_in(root / full[0]):
        return root / full[0], _count_videos(root / full[0])
    return root, counts


def _count_videos(top: Path) -> dict[str, int]:
    """Videos below each sub-folder; without folders of lists, such as HMDB51's splits."""
    folders = sorted(p for p in top.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = {folder.name: find_videos([str(folder)]) for folder in folders}
    counts = {name: sum(item.problem is None for item in items) for name, items in found.items()}
    return {n: count for n, count in counts.items() if count or not any((top / n).glob("*.txt"))}


def _layout(root: Path, classes: list[str]) -> Finding:
    """Which public data set this is, and whether it is complete."""
    data = recognise(root, classes)
    if data is None:
        advice = next((
            f"if this is {data.title}: put its split lists ({data.example_list}, ...) into a "
            "folder beside it" for data in PUBLIC.values() if data.classes == len(classes)
        ), "")  # fmt: skip
        return Finding("layout", "one folder per class, no official splits", None, advice)
    found = check_complete(data, root)
    if found.complete:
        return Finding("layout", f"{data.title} with splits 1, 2 and 3", True)
    return Finding("layout", f"{data.title}, incomplete", False, "; ".join(found.problems))
