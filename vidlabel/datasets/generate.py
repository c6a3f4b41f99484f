"""Synthetic clips as files: training data that needs no download."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from vidlabel.datasets.samples import Sample
from vidlabel.machine import open_missing_streams
from vidlabel.synthetic.clips import ACTIONS, describe_clip, render_clip
from vidlabel.video.write import write_video


def generate_clips(
    folder: Path,
    per_class: int,
    seed: int = 0,
    actions: Sequence[str] = ACTIONS,
    processes: int = 1,
    on_clip: Callable[[], None] = lambda: None,
) -> list[Sample]:
    """Write `folder/<action>/<action>_NNNNN.mp4`; existing clips are kept.

    The number in the name is the clip's random seed; action and seed alone determine the clip.
    Each clip is a group of its own: its person and place occur in no other clip.

    Args:
        folder: created if it does not exist.
        seed: the first clip's seed.
        processes: how many clips are rendered at a time.
        on_clip: called after each finished clip.

    Raises:
        ValueError: there is no such action among `synthetic.ACTIONS`.
    """
    samples = [
        Sample(str(folder / action / f"{action}_{number:05}.mp4"), action, f"{action}_{number:05}")
        for action in actions
        for number in range(seed, seed + per_class)
    ]
    for action in actions:
        (folder / action).mkdir(parents=True, exist_ok=True)
    missing = [sample for sample in samples if not Path(sample.path).exists()]
    processes = min(processes, len(missing))
    if processes <= 1:
        for sample in missing:
            write_clip(sample)
            on_clip()
        return samples
    open_missing_streams()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(write_clip, missing, chunksize=4):
            on_clip()
    return samples


def write_clip(sample: Sample) -> None:
    """Render and encode one clip, under a temporary name until it is complete."""
    path = Path(sample.path)
    seed = int(path.stem.rsplit("_", 1)[1])
    clip = describe_clip(sample.label, seed)
    # Quality varies as it does between cameras and sites.
    quality = int(np.random.default_rng([seed, len(sample.label)]).integers(20, 34))
    temporary = path.with_name(f".{path.name}.part.mp4")
    write_video(
        temporary, render_clip(clip), clip.fps,
        options={"crf": str(quality), "preset": "veryfast", "threads": "1"},
    )  # fmt: skip
    os.utime(temporary, (0, 0))  # made again, it is the same file
    temporary.replace(path)
