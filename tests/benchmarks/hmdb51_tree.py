"""Make HMDB51 in small: all its clips by name, with noise in the place of pictures.

    python tests/benchmarks/hmdb51_tree.py OUT [--splits DIR] [--frames-scale 0.1] [--processes 2]
                                               [--classes 51]

Writes OUT/hmdb51_org/<class>/<name>.avi and copies the split lists to OUT/test_train_splits, so
that `vidlabel eval hmdb51:OUT` takes it for the real thing. A clip fades from one pattern of
coloured fields to another. Both follow from the clip's id, not from its class: a model can learn
each clip by heart, and nothing of the others, so that all it shows above chance is a leak. Clips
are as long as the real ones times --frames-scale, and at least 4 frames.

DIR holds the lists (hmdb51/<class>_test_split1.txt, ...) and hmdb51_frame_counts.csv
(class,clip,frames); clips that are not in it are as long as the median one. Needs vidlabel.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import shutil
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidlabel.datasets.hmdb51 import HMDB51
from vidlabel.datasets.samples import Dataset
from vidlabel.video.write import write_video

SPLITS = Path(__file__).parents[3] / "shared" / "splits"
WIDTH_PX, HEIGHT_PX, FPS = 32, 24, 30.0
FIELDS = (4, 6)
"""Rows and columns of coloured fields; few, so that they outlast crops and codecs."""
SHORTEST = 4


def make_tree(
    out: Path, splits: Path, scale: float = 0.1, processes: int = 2, classes: int | None = None
) -> Dataset:
    """Make the tree and return what the lists say of it.

    Args:
        out: made if it is not there; clips that are there already are made again.
        splits: with the lists and the lengths, as above.
        scale: of the lengths.
        processes: clips made at a time; 1 makes them in this process.
        classes: only the first so many.
    """
    dataset = HMDB51.from_lists(splits)
    names = dataset.classes[:classes]
    lengths = read_lengths(splits / "hmdb51_frame_counts.csv")
    usual = round(statistics.median(lengths.values()))
    jobs = [
        (out / "hmdb51_org", s.id, max(SHORTEST, round(scale * lengths.get(s.id, usual))))
        for s in dataset.samples
        if s.label in names
    ]
    lists = out / "test_train_splits"
    lists.mkdir(parents=True, exist_ok=True)
    for name in names:
        (out / "hmdb51_org" / name).mkdir(parents=True, exist_ok=True)
        for path in splits.glob(f"**/{name}_test_split?.txt"):
            shutil.copy(path, lists)
    if processes <= 1:
        for job in jobs:
            write_clip(job)
        return dataset
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(write_clip, jobs, chunksize=32):
            pass
    return dataset


def read_lengths(table: Path) -> dict[str, int]:
    """Frames of each clip that the table has, by id."""
    with table.open(encoding="utf-8", newline="") as file:
        return {f"{r['class']}/{r['clip']}": int(r["frames"]) for r in csv.DictReader(file)}


def write_clip(job: tuple[Path, str, int]) -> None:
    """Encode one clip: the folder above the classes, the id, the number of frames."""
    folder, clip, frames = job
    options = {"threads": "1", "b": "1000000"}
    write_video(folder / clip, draw(clip, frames), FPS, codec="mpeg4", options=options)


def draw(clip: str, frames: int) -> Iterator[NDArray[np.uint8]]:
    """Frames (H, W, 3) uint8 RGB that follow from the id alone."""
    digest = hashlib.sha256(clip.encode("utf-8", "surrogateescape")).digest()
    rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
    first, last = (
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (*FIELDS, 3), np.uint8)).resize(
                (WIDTH_PX, HEIGHT_PX), Image.Resampling.BILINEAR
            ),
            np.float32,
        )
        for _ in range(2)
    )
    for share in np.linspace(0.0, 1.0, frames, dtype=np.float32):
        yield (first + share * (last - first)).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--splits", type=Path, default=SPLITS)
    parser.add_argument("--frames-scale", type=float, default=0.1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--classes", type=int, help="only the first so many")
    values = parser.parse_args()
    started = time.perf_counter()
    make_tree(values.out, values.splits, values.frames_scale, values.processes, values.classes)
    clips = list((values.out / "hmdb51_org").glob("*/*.avi"))
    size = sum(path.stat().st_size for path in clips)
    print(
        f"{len(clips)} clips, {size / 1e6:.0f} MB, {time.perf_counter() - started:.0f} s with "
        f"{values.processes} processes: {values.out}"
    )


if __name__ == "__main__":
    main()
