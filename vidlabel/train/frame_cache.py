"""The cache of decoded frames: each video is decoded once, and read from the cache afterwards.

The cache stays after a training and is shared by all of them: the folds of a protocol, later
trainings with other settings, trainings that run at the same time. An entry is one NumPy array
(K, C, H, W) uint8 with the shorter side `ClipSpec.resize_px`. Its name is a digest of everything
that decides its pixels: the clip's id, size and time, an excerpt of the file, and how frames are
taken from it; so a data set that was moved is not decoded again. Optical flow is cached in the same
way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vidlabel.clips.flow_stacks import with_flow
from vidlabel.console import Counting
from vidlabel.decode.pool import DecoderPool
from vidlabel.decode.worker import DecodeJob
from vidlabel.files.find import excerpt, identity
from vidlabel.machine import worker_count
from vidlabel.spans import WHOLE, VideoSpan
from vidlabel.specs import ClipSpec, Limits, VideoItem
from vidlabel.train.cache_entry import cannot_write, read_entry, use_entry, write_entry
from vidlabel.train.cache_folder import remove_unused

CPU = torch.device("cpu")
OVERSAMPLE = 2
"""Time steps cached per time step of a clip, so that training can choose among moments."""

LEAST_KEPT = 8
"""Fewest time steps cached per video, for clips of few time steps."""

FORMAT = 5
"""Version of an entry's content: changes with everything that changes its pixels."""


class FrameCache:
    """The decoded frames of videos, in a folder.

    Args:
        folder: created if it is missing; other processes may use it at the same time.
        clip: which frames are taken. `size_px` does not matter: frames are cropped later.
        device: where optical flow is computed.
    """

    def __init__(self, folder: Path, clip: ClipSpec, device: torch.device = CPU) -> None:
        self.folder = folder
        self._clip = clip
        self._device = device
        self._kept = kept_time_steps(clip)
        self.digests: dict[VideoSpan, str] = {}
        """Name of the entry of each video that `fill` has seen."""

    def make_folder(self) -> None:
        """Create the folder before any work is done. Raises OutputError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def fill(
        self, videos: Sequence[VideoSpan], workers: int | None,
        decoding: Callable[[int], Counting], ids: Mapping[VideoSpan, str] | None = None,
    ) -> dict[VideoSpan, str]:  # fmt: skip
        """Decode the videos that are not in the cache.

        Args:
            videos: or spans of such; `frames` gives what they contain now, even if a file changes
                later.
            workers: decoder processes; None for one per core.
            decoding: makes a progress bar for a number of videos to decode.
            ids: of the clips (`Sample.id`); None for their file names.

        Returns:
            The reason for each video that cannot be read.

        Raises:
            OutputError: the folder cannot be written.
            RunError: no decoder process can be started.
        """
        videos = list(dict.fromkeys(videos))
        for video in videos:
            self.digests[video] = self._digest(video, (ids or {}).get(video))
        missing = [video for video in videos if not self._use(video)]
        unreadable = {}
        if missing:
            each = self._kept // self._clip.frames
            job = DecodeJob(self._clip, limits=Limits(), cropped=False, each=each)
            items = [
                VideoItem(number, video.path, start_s=video.start_s, end_s=video.end_s)
                for number, video in enumerate(missing)
            ]
            with DecoderPool(job, worker_count(workers)) as pool, decoding(len(missing)) as bar:
                for done in pool.run(items):
                    video = missing[done.item.index]
                    if done.data is None:
                        unreadable[video] = str(done.error)
                    else:
                        steps = torch.from_numpy(done.data.clips[0])
                        frames = with_flow(steps, self._clip, self._device).numpy()
                        write_entry(self.folder, self.digests[video], frames)
                    bar.advance()
        remove_unused(self.folder, set(self.digests.values()))
        return unreadable

    def frames(self, video: VideoSpan) -> Tensor:
        """The K = `kept_time_steps` frames (K, C, H, W) uint8 of a video that `fill` has seen,
        mapped from the disk. Raises RunError if the cache was cleared in the meantime."""
        return read_entry(self.folder, self.digests[video])

    def _digest(self, video: VideoSpan, clip_id: str | None = None) -> str:
        clip, path = self._clip, video.path
        known = {
            "format": FORMAT,
            "id": clip_id or Path(path).name,
            "identity": identity(path),
            "excerpt": excerpt(path),
            "frames": clip.frames,
            "kept": self._kept,
            "fps": clip.fps,
            "resize_px": clip.resize_px,
            "aspect": clip.aspect,
            "input": clip.input,
            "step_s": None if clip.input == "rgb" else clip.step_s,
            "pairs": clip.pairs if clip.has_flow else None,
        }
        if video.span != WHOLE:
            known["span"] = video.fragment
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def _use(self, video: VideoSpan) -> bool:
        def fits(shape: tuple[int, ...]) -> bool:
            own = (self._kept, self._clip.channels, self._clip.resize_px)
            return len(shape) == 4 and (*shape[:2], min(shape[2:])) == own

        return use_entry(self.folder, self.digests[video], np.uint8, fits)


def kept_time_steps(clip: ClipSpec) -> int:
    """Time steps cached per video, K: those of the clip `predict` makes, and others in between."""
    least = OVERSAMPLE if clip.fps else ceil(LEAST_KEPT / clip.frames)
    return clip.frames * max(OVERSAMPLE, least)


def held_out_moments(clip: ClipSpec) -> Tensor:
    """(T,) int64, the numbers of the cached time steps that `predict` sees."""
    every = kept_time_steps(clip) // clip.frames
    if clip.fps:
        return torch.arange(clip.frames) + clip.frames // 2
    return torch.arange(clip.frames) * every + every // 2
