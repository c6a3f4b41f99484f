"""Cache entries: one NumPy array per file, written whole, read by mapping the file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidlabel.errors import OutputError, RunError
from vidlabel.train.cache_folder import place_of


def use_entry(
    folder: Path, digest: str, dtype: type[np.generic], fits: Callable[[tuple[int, ...]], bool]
) -> bool:
    """Whether an entry exists and is complete, judged by its NumPy header and its length.

    A broken entry stays until it is replaced: another process may have replaced it already.
    """
    place = place_of(folder, digest)
    try:
        values = _mapped(place, "r")
        whole = (
            values.dtype == dtype
            and values.flags.c_contiguous
            and fits(values.shape)
            # NumPy also maps files that are longer than their array.
            and place.stat().st_size == values.offset + values.nbytes
        )
    except (OSError, ValueError):
        return False
    if whole:
        with suppress(OSError):
            os.utime(place)  # entries that are used stay
    return whole


def _mapped(place: Path, mode: Literal["r", "c"]) -> np.memmap[Any, Any]:
    """Map an entry. Raises OSError, or ValueError if it is broken."""
    try:
        return np.lib.format.open_memmap(place, mode)
    except (OSError, ValueError):
        raise
    except Exception as error:  # a damaged header gives TokenError, OverflowError, ...
        raise ValueError(f"{place}: {error}") from error


def read_entry(folder: Path, digest: str) -> Tensor:
    """An entry's values, mapped from the disk. Raises RunError if it is missing or broken."""
    try:  # copy-on-write: torch has no read-only tensors
        values = _mapped(place_of(folder, digest), "c")
    except (FileNotFoundError, ValueError) as error:
        raise RunError(
            f"{folder}: decoded frames are missing; was the cache removed? "
            "Run the same command to resume"
        ) from error
    except OSError as error:  # some network disks refuse to map files
        raise RunError(
            f"{folder}: decoded frames cannot be mapped ({error.strerror}); "
            "choose another folder with --cache FOLDER"
        ) from error
    return torch.from_numpy(np.asarray(values))


def write_entry(folder: Path, digest: str, values: NDArray[Any]) -> None:
    """Add an entry to a cache, atomically. Raises OutputError.

    The file is not flushed to the disk, which would be slow for thousands of entries: one that a
    power cut leaves incomplete is recognised by `use_entry` and written again.
    """
    place = place_of(folder, digest)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(".part", f"{digest}.", place.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, values)
            Path(name).replace(place)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise cannot_write(folder, error) from error


def cannot_write(folder: Path, error: OSError) -> OutputError:
    """The error to raise where a cache cannot be written."""
    why = error.strerror or "is the disk full?"  # NumPy reports only how many items it has written
    return OutputError(
        f"{folder}: decoded frames cannot be cached there ({why}); "
        "choose another folder with --cache FOLDER"
    )
