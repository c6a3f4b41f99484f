"""Decoded frames for training: each video is decoded once, and then read from a cache.

The cache outlives a training and is shared by all: the folds of a protocol, later trainings with
other settings, several at once. An entry is one NumPy array (K, 3, H, W) uint8 with the shorter
side `ClipSpec.resize_px`, found by what decides its pixels: the file's path, size and time, and
how frames are taken from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidlabel.cachefolder import part_prefix, place_of, remove_unused
from vidlabel.decoder import DecodeJob
from vidlabel.errors import OutputError, RunError
from vidlabel.files import identity, text_path
from vidlabel.inference import out_of_memory
from vidlabel.specs import ClipSpec, Limits, VideoItem
from vidlabel.watch import Counting
from vidlabel.workers import DecoderPool, worker_count

OVERSAMPLE = 2
"""Frames kept per video for each frame of a clip, so that training can choose among moments."""

FORMAT = 1
"""Changes with everything that changes the pixels of an entry."""

GPU_SHARE, HOST_SHARE = 0.6, 0.5
"""Most of the free memory that is taken for frames."""

Where = Literal["GPU memory", "pinned memory", "disk"]


class FrameCache:
    """The decoded frames of videos, in a folder.

    Args:
        folder: made if it is not there; may be in use by other processes.
        clip: what clips look like. `size_px` does not matter: frames are cropped later.
    """

    def __init__(self, folder: Path, clip: ClipSpec) -> None:
        self._folder = folder
        self._clip = clip
        self._digests: dict[str, str] = {}

    def fill(
        self, paths: Sequence[str], workers: int | None, decoding: Callable[[int], Counting]
    ) -> dict[str, str]:
        """Decode the videos that are not in the cache.

        Args:
            paths: of videos; what they hold now is what `frames` gives, though a file may change.
            workers: decoder processes; None for one per core.
            decoding: makes, from the number of videos to decode, a context whose `advance` counts.

        Returns:
            The videos that cannot be read, with why.

        Raises:
            OutputError: the folder cannot be written.
        """
        for path in paths:
            self._digests[path] = self._digest(path)
        missing = [path for path in paths if not self._use(path)]
        unreadable = {}
        if missing:
            dense = replace(self._clip, frames=self._clip.frames * OVERSAMPLE)
            job = DecodeJob(dense, limits=Limits(), cropped=False)
            items = [VideoItem(number, path) for number, path in enumerate(missing)]
            with DecoderPool(job, worker_count(workers)) as pool, decoding(len(missing)) as bar:
                for done in pool.run(items):
                    if done.data is None:
                        unreadable[done.item.path] = str(done.error)
                    else:
                        self._write(self._digests[done.item.path], done.data.clips[0])
                    bar.advance()
        remove_unused(self._folder)
        return unreadable

    def frames(self, path: str) -> Tensor:
        """The frames (K, 3, H, W) uint8 of a video that `fill` has seen, mapped from the disk.

        K is OVERSAMPLE times the frames of a clip.

        Raises:
            RunError: they are gone, as when the cache is cleared during a training.
        """
        place = place_of(self._folder, self._digests[path])
        try:  # copy-on-write: torch knows no arrays that may not be written
            pixels = np.load(place, mmap_mode="c")
        except (OSError, ValueError) as error:
            raise RunError(
                f"{self._folder}: the frames of {path} are gone; was the cache removed? "
                "The same command goes on"
            ) from error
        return torch.from_numpy(np.asarray(pixels))

    def size(self, path: str) -> int:
        """Bytes of a video's frames."""
        return self.frames(path).nbytes

    def _digest(self, path: str) -> str:
        clip = self._clip
        known = {
            "format": FORMAT,
            "path": text_path(os.path.abspath(path)),  # noqa: PTH100 - links are not followed
            "identity": identity(path),
            "frames": clip.frames * OVERSAMPLE,
            "resize_px": clip.resize_px,
            "input": clip.input,
            "step_s": clip.step_s if clip.input == "motion" else None,
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def _use(self, path: str) -> bool:
        """Whether an entry is there and whole; a broken one is removed."""
        place = place_of(self._folder, self._digests[path])
        try:
            pixels = np.load(place, mmap_mode="r")
            whole = (
                isinstance(pixels, np.memmap)
                and pixels.dtype == np.uint8
                and pixels.ndim == 4
                and pixels.shape[:2] == (self._clip.frames * OVERSAMPLE, 3)
                and min(pixels.shape[2:]) == self._clip.resize_px
                # Mapped files may be longer than their array.
                and place.stat().st_size == pixels.offset + pixels.nbytes
            )
        except FileNotFoundError:
            return False
        except (OSError, ValueError, EOFError):
            whole = False
        with suppress(OSError):
            if whole:
                os.utime(place)  # it was used today
            else:
                place.unlink()
        return whole

    def _write(self, digest: str, pixels: NDArray[np.uint8]) -> None:
        """Put an entry into the cache, as a whole or not at all.

        It is not flushed to the disk: thousands of them would wait for it, and one that a power cut
        has torn is found broken and decoded again.
        """
        place = place_of(self._folder, digest)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(".part", part_prefix(digest), place.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    np.save(file, pixels)
                Path(name).replace(place)
            except BaseException:
                with suppress(OSError):
                    Path(name).unlink()
                raise
        except OSError as error:
            raise OutputError(
                f"{self._folder}: frames cannot be kept there ({error.strerror or error}); "
                "--cache FOLDER puts them elsewhere"
            ) from error


class Frames:
    """The frames of a training's videos: in the GPU's memory if they fit, else in memory that the
    GPU copies from by itself, else on the disk.

    Args:
        cache: which has been filled with `paths`.
        paths: the videos, whose places are their numbers.
        device: where frames are wanted.
    """

    where: Where
    nbytes: int

    def __init__(self, cache: FrameCache, paths: Sequence[str], device: torch.device) -> None:
        self._cache = cache
        self._paths = paths
        self._device = device
        self._held: list[Tensor] = []
        self.nbytes = sum(map(cache.size, paths)) if device.type == "cuda" else 0
        self.where = "disk"
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
        host = _free_host_memory() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        for where in places(self.nbytes, free, host) if device.type == "cuda" else ():
            if self._hold(where):
                self.where = where
                break

    def __len__(self) -> int:
        return len(self._paths)

    def take(self, number: int, moments: Tensor) -> Tensor:
        """The frames (n, 3, H, W) uint8 of a video at n moments, on the device.

        Args:
            number: of the video.
            moments: (n,) int64, each 0 to K - 1.
        """
        if self.where == "GPU memory":
            return self._held[number][moments.to(self._device, non_blocking=True)]
        frames = self._held[number] if self._held else self._cache.frames(self._paths[number])
        return frames[moments].to(self._device, non_blocking=True)

    def _hold(self, where: Where) -> bool:
        """Load all frames; False if the memory does not suffice after all."""
        try:
            for path in self._paths:
                frames = self._cache.frames(path)
                pinned = where == "pinned memory"
                self._held.append(frames.pin_memory() if pinned else frames.to(self._device))
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            self._held.clear()
            torch.cuda.empty_cache()
            return False
        return True


def places(size: int, gpu_free: int, host_free: int) -> list[Where]:
    """Where frames of `size` bytes may be held, best first; without any, they stay on the disk."""
    found: list[Where] = []
    if size <= gpu_free * GPU_SHARE:
        found.append("GPU memory")
    if size <= host_free * HOST_SHARE:
        found.append("pinned memory")
    return found


def _free_host_memory() -> int:
    """Bytes of memory that could be used without swapping; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0
