"""The decoded steps of a data set's videos, on disk while a model is trained on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from vidlabel.decoder import DecodeJob
from vidlabel.specs import ClipSpec, Limits, VideoItem
from vidlabel.workers import DecoderPool, worker_count

OVERSAMPLE = 2
"""Steps kept per video for each step of a clip, so that training can choose among moments."""


class Counting(Protocol):
    """Something that counts, such as a progress bar."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: Any) -> None: ...

    def advance(self) -> None:
        """One more."""


class StepCache:
    """The decoded steps of all videos, on disk, so that memory does not grow with the data.

    Each video is one array (K, 3, H, W) uint8 with the shorter side `spec.resize_px`.
    """

    def __init__(self, folder: Path, clip: ClipSpec) -> None:
        self._folder = folder
        self._clip = clip

    def fill(
        self, paths: Sequence[str], workers: int | None, decoding: Callable[[int], Counting]
    ) -> dict[str, str]:
        """Decode every path; those that cannot be read, with why."""
        self._folder.mkdir(parents=True, exist_ok=True)
        dense = replace(self._clip, frames=self._clip.frames * OVERSAMPLE)
        items = [VideoItem(number, path) for number, path in enumerate(paths)]
        unreadable = {}
        job = DecodeJob(dense, limits=Limits(), cropped=False)
        with DecoderPool(job, worker_count(workers)) as pool, decoding(len(paths)) as progress:
            for done in pool.run(items):
                if done.data is None:
                    unreadable[done.item.path] = str(done.error)
                else:
                    np.save(self._file(done.item.index), done.data.clips[0])
                progress.advance()
        return unreadable

    def __getitem__(self, number: int) -> Tensor:
        return torch.from_numpy(np.load(self._file(number)))

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:06}.npy"
