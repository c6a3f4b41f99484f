"""The cache of frame features: those of a frozen trunk, computed once per video."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vidlabel.clips.flow_stacks import mirror
from vidlabel.console import Counting
from vidlabel.device import to_device
from vidlabel.models.base import ClipModel
from vidlabel.specs import ClipSpec
from vidlabel.train.cache_entry import read_entry, use_entry, write_entry
from vidlabel.train.frame_cache import kept_time_steps
from vidlabel.train.training_clips import centre_square
from vidlabel.train.training_frames import TrainingFrames

FORMAT = 2
"""Version of an entry's content: changes with everything that changes the features."""


class FeatureCache:
    """Frame features (2, K, F) float16 of every video: of the centre crops of its K frames, and of
    their mirror images.

    Args:
        folder: of the cache.
        digests: names of the videos' entries in the frame cache, in the order of `frames`.
        network: with a frozen trunk, on `device`.
        bf16: compute in it.
    """

    def __init__(
        self, folder: Path, digests: Sequence[str], frames: TrainingFrames, network: ClipModel,
        clip: ClipSpec, device: torch.device, *, bf16: bool = False,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._frames = frames
        self._network = network
        self._clip = clip
        self._device = device
        self._kept = kept_time_steps(clip)
        self._bf16 = bf16
        trunk = _digest(network.trunk) + " bf16" * bf16
        self._digests = [
            hashlib.sha256(f"{FORMAT} {each} {clip.size_px} {trunk}".encode()).hexdigest()
            for each in digests
        ]

    def fill(self, numbers: Sequence[int], counting: Callable[[int], Counting]) -> None:
        """Compute the features of some videos that are not in the cache, under a progress bar that
        `counting` makes for their number. Raises OutputError."""
        missing = [number for number in numbers if not self._use(number)]
        if missing:
            with counting(len(missing)) as bar:
                for number in missing:
                    values = self._features(number).half().cpu().numpy()
                    write_entry(self._folder, self._digests[number], values)
                    bar.advance()

    def gather(
        self, numbers: Sequence[int], moments: Iterable[Tensor], mirrored: Sequence[bool]
    ) -> Tensor:
        """Features (B, T, F) float32 of B videos at T moments each, on the device."""
        values = [
            read_entry(self._folder, self._digests[number])[int(turned)][at]
            for number, at, turned in zip(numbers, moments, mirrored, strict=True)
        ]
        return to_device(torch.stack(values), self._device).float()

    def _use(self, number: int) -> bool:
        def fits(shape: tuple[int, ...]) -> bool:
            return len(shape) == 3 and shape[:2] == (2, self._kept)

        return use_entry(self._folder, self._digests[number], np.float16, fits)

    @torch.no_grad()
    def _features(self, number: int) -> Tensor:
        """(2, K, F) of one video."""
        network = self._network.eval()
        every = torch.arange(self._kept)
        found: Tensor | None = None
        pieces = max(1, len(every) // self._clip.frames)
        for start in range(pieces):  # each is spread over the video like the clip of `predict`
            moments = every[start::pieces]
            frames = self._frames.take(number, moments)
            clips = centre_square(frames, self._clip.size_px)[None].to(self._device)
            both = torch.cat([clips, mirror(clips, self._clip)])
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
                features = network.frame_features(both)
            if found is None:
                found = features.new_empty(2, len(every), features.shape[2])
            found[:, moments] = features
        assert found is not None  # there is a piece
        return found


def _digest(module: nn.Module) -> str:
    """SHA-256 of a module's layers, parameters and buffers."""
    digest = hashlib.sha256(repr(module).encode())
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
