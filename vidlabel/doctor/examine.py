"""What this machine has: versions, decoders, devices, the shipped model; is a data set whole."""

from __future__ import annotations

import os
import platform
import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import vidlabel
from vidlabel.errors import CheckpointError
from vidlabel.files.find import VIDEO_SUFFIXES, find_videos

CODECS = ("h264", "hevc", "mpeg4", "vp9", "av1", "mjpeg")
"""Codecs that nearly all videos use, as FFmpeg spells them."""

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux keeps memory that processes share."""

_MIN_SHARED_BYTES = 256 * 1024**2
_GIB = 1024**3
_MIN_PYTHON = (3, 11)
# Package -> lowest version; pyproject.toml has the same, and why.
_FLOORS = {"torch": (2, 10), "torchvision": (0, 25), "av": (18, 1), "numpy": (2, 0)}
_NAMES_SHOWN = 5
_ARCHIVES = frozenset((".rar", ".zip", ".tar", ".gz", ".7z"))
_HMDB51_LIST = re.compile(r"(.+)_test_split[123]\.txt")
_UCF101_LISTS = tuple(
    f"{part}list0{split}.txt" for split in (1, 2, 3) for part in ("train", "test")
)
# Number of classes -> data set that has as many, and one of its split lists.
_BY_SIZE = {51: ("HMDB51", "wave_test_split1.txt"), 101: ("UCF-101", "trainlist01.txt")}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    value: str
    ok: bool | None = None
    """None where there is nothing to judge."""
    advice: str = ""
    """What to do; may be empty."""


def examine(dataset: str | None = None) -> list[Finding]:
    """Look at everything. What is missing or broken is a finding, never an exception.

    Args:
        dataset: the folder of a data set, to be looked at too.
    """
    findings = [
        *_versions(),
        *_decoders(),
        *_devices(),
        _shared_memory(),
        _shipped_model(),
    ]
    if dataset is not None:
        try:
            findings += _dataset(Path(dataset))
        except OSError as error:
            findings.append(Finding("data set", f"{dataset}: {error}", False, "make it readable"))
    return findings


def _versions() -> Iterator[Finding]:
    yield Finding("vidlabel", vidlabel.__version__, True)
    running = tuple(map(int, platform.python_version_tuple()[:2]))
    yield Finding(
        "python",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        running >= _MIN_PYTHON,
        "" if running >= _MIN_PYTHON else f"vidlabel needs Python {_dotted(_MIN_PYTHON)}",
    )
    for package, floor in _FLOORS.items():
        yield _package(package, floor)
    try:
        yield Finding("pyarrow", metadata.version("pyarrow"), True)
    except metadata.PackageNotFoundError:
        advice = "only for Parquet files: install vidlabel[parquet]"
        yield Finding("pyarrow", "not installed", None, advice)


def _package(name: str, floor: tuple[int, ...]) -> Finding:
    wanted = f"install '{name}>={_dotted(floor)}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "not installed", False, wanted)
    try:
        import_module(name)
    except (
        ImportError,
        OSError,
        RuntimeError,
    ) as error:  # as torchvision does beside a wrong torch
        return Finding(name, f"{version}, does not load", False, f"reinstall it ({error})")
    if tuple(map(int, re.findall(r"\d+", version)[: len(floor)])) < floor:
        return Finding(name, version, False, wanted)
    return Finding(name, version, True)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _decoders() -> Iterator[Finding]:
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


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("devices", "unknown", False, f"torch does not load ({error})")
        return
    with warnings.catch_warnings(record=True) as said:  # a driver that is too old only warns
        warnings.simplefilter("always")
        cuda = torch.cuda.is_available()
    yield Finding(
        "cpu",
        f"{_usable_cores()} of {os.cpu_count()} cores usable, {torch.get_num_threads()} threads, "
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
    yield Finding("bf16", _bf16(cuda, torch))


def _usable_cores() -> int:
    # Containers and schedulers bind processes to some of the cores; not all systems can tell.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _bf16(cuda: bool, torch: Any) -> str:
    """Which devices compute in bfloat16 natively."""
    if cuda:
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "cuda: yes" if native else "cuda: no"
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return "cpu: unknown"
    return "cpu: yes" if flags & {"avx512_bf16", "amx_bf16", "bf16"} else "cpu: no"


def _shared_memory() -> Finding:
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return Finding("shared memory", f"no {SHARED_MEMORY}")
    enough = free >= _MIN_SHARED_BYTES
    advice = "in a container, start it with --shm-size=1g or more"
    return Finding("shared memory", f"{free / _GIB:.1f} GiB free", enough, "" if enough else advice)


def _shipped_model() -> Finding:
    try:
        from vidlabel.models.checkpoint import load_checkpoint

        model = load_checkpoint("starter")
    except (CheckpointError, ImportError, OSError) as error:
        return Finding("starter model", "does not load", False, str(error))
    return Finding("starter model", f"{model.id}, {len(model.header.classes)} classes", True)


def _dataset(root: Path) -> Iterator[Finding]:
    """A folder of class folders, HMDB51 or UCF-101: what is there and what is missing."""
    if not root.is_dir():
        yield Finding("data set", f"{root}: not a folder", False, "name the folder of a data set")
        return
    top, counts = _classes(root)
    full = sorted(name for name, count in counts.items() if count)
    if not full:
        packed = [p.name for p in root.iterdir() if p.suffix.lower() in _ARCHIVES]
        advice = f"unpack {_some(packed)}" if packed else "give each class a folder of its videos"
        yield Finding("data set", f"{root}: no class folder with videos", False, advice)
        return
    videos = [counts[name] for name in full]
    size = f"{len(full)}, with {sum(videos)} videos, {min(videos)} to {max(videos)} each"
    if len(full) < 2:
        yield Finding("classes", size, False, "a model needs at least 2")
    else:
        yield Finding("classes", size, True, "" if top == root else f"give {top} to vidlabel train")
    empty = [name for name, count in counts.items() if not count]
    if empty:
        advice = "add their videos or remove the folders"
        yield Finding("classes without videos", f"{len(empty)}: {_some(empty)}", False, advice)
    stray = [path.name for place in dict.fromkeys((root, top)) for path in _videos_in(place)]
    if stray:
        advice = "move them into class folders"
        yield Finding("videos without class", f"{len(stray)}: {_some(stray)}", False, advice)
    yield _layout(root, top, full)


def _classes(root: Path) -> tuple[Path, dict[str, int]]:
    """The folder that holds the class folders, and how many videos each of them has.

    That is the root, or its only sub-folder with videos where these lie deeper, as with UCF-101.
    """
    counts = _count_videos(root)
    full = [name for name, count in counts.items() if count]
    if len(full) == 1 and not _videos_in(root / full[0]):
        return root / full[0], _count_videos(root / full[0])
    return root, counts


def _count_videos(top: Path) -> dict[str, int]:
    """Videos below each sub-folder; without folders of lists, such as HMDB51's splits."""
    counts = {
        folder.name: sum(item.problem is None for item in find_videos([str(folder)]))
        for folder in _subfolders(top)
    }
    return {n: count for n, count in counts.items() if count or not any((top / n).glob("*.txt"))}


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _videos_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES)


def _layout(root: Path, top: Path, classes: list[str]) -> Finding:
    """Which public data set this is, by split lists in it or beside it that name its classes."""
    places = dict.fromkeys((top, root, *_subfolders(root), *_subfolders(root.resolve().parent)))
    lists = {path.name: path for place in places for path in sorted(place.glob("*.txt"))}
    hmdb51 = {match[1] for name in lists if (match := _HMDB51_LIST.fullmatch(name))}
    if hmdb51 & set(classes):
        wanted = [f"{name}_test_split{split}.txt" for name in sorted(hmdb51) for split in (1, 2, 3)]
        return _official("HMDB51", 51, hmdb51 - set(classes), classes, wanted, lists)
    ucf101 = {
        line.partition("/")[0]
        for name, path in lists.items()
        if name in _UCF101_LISTS
        for line in path.read_text("utf-8", "replace").splitlines()
        if "/" in line
    }
    if ucf101 & set(classes):
        wanted = ["classInd.txt", *_UCF101_LISTS]
        return _official("UCF-101", 101, ucf101 - set(classes), classes, wanted, lists)
    value = "a folder for each class, without official splits"
    name, example = _BY_SIZE.get(len(classes), ("", ""))
    advice = f"if this is {name}: put its split lists ({example}, ...) into a folder beside it"
    return Finding("layout", value, None, advice if name else "")


def _official(
    name: str,
    size: int,
    absent: set[str],
    classes: list[str],
    wanted: list[str],
    lists: dict[str, Path],
) -> Finding:
    """Is a known data set whole? `absent` are classes in its lists that have no videos."""
    missing = []
    if absent:
        missing.append(f"videos of {_some(sorted(absent))}")
    elif len(classes) < size:
        missing.append(f"{size - len(classes)} of {size} classes")
    unlisted = [text for text in wanted if text not in lists]
    if unlisted:
        missing.append(f"split lists {_some(unlisted)}")
    if missing:
        return Finding("layout", f"{name}, incomplete", False, f"missing: {'; '.join(missing)}")
    return Finding("layout", f"{name} with splits 1, 2 and 3", True)


def _some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
