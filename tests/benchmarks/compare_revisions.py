"""Check that two revisions give the same numbers: labels, probabilities, features, trained weights.

    python tests/benchmarks/compare_revisions.py BEFORE [AFTER]

Each revision is checked out into a temporary folder and run there by this Python, on the CPU with
one thread: `predict` in fp32 on examples/clips by the starter of BEFORE, and a training of two
epochs on generated videos. AFTER is the work tree if it is not given. Exit code 1 if any number
differs in any bit.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[2]
TRAINING = (
    "--trunk-weights none --frames 4 --size 32 --hidden 16 --epochs 2 --epoch-steps 3 "
    "--batch-size 4 --seed 1 --val-fraction 0.25 --group-pattern (g[0-9]+)"
)


def make_videos(folder: Path) -> None:
    """Two classes of a bright square on noise, which moves to the right or down; eight each."""
    for label in ("right", "down"):
        (folder / label).mkdir(parents=True)
        for number in range(8):
            noise = np.random.default_rng(number)
            with av.open(str(folder / label / f"g{number}.mp4"), "w") as container:
                stream = container.add_stream("libx264", rate=10)
                stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
                for moment in range(10):
                    pixels = noise.integers(0, 120, (48, 64, 3), dtype=np.uint8)
                    top, left = (3 * moment, 20) if label == "down" else (16, 4 * moment)
                    pixels[top : top + 12, left : left + 12] = 230
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
                container.mux(stream.encode())


def run(tree: Path, *words: object) -> None:
    """`vidlabel WORDS` by the code of one tree."""
    subprocess.run(
        [sys.executable, "-P", "-m", "vidlabel", *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )


def numbers(tree: Path, model: Path, videos: Path, out: Path) -> dict[str, object]:
    """All that is compared, by name; lists of texts and arrays."""
    out.mkdir()
    labels, features = out / "labels.csv", out / "features.npz"
    common = ("--device", "cpu", "--workers", 1)
    run(
        tree, "predict", ROOT / "examples" / "clips", "--out", labels, "--embeddings", features,
        "--precision", "fp32", "--model", model, *common,
    )  # fmt: skip
    run(
        tree, "train", videos, "--out", out / "run", "--cache", out / "cache",
        *TRAINING.split(), *common,
    )  # fmt: skip
    with labels.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    shown = ("status", "label", "confidence", "duration_s", "frames_used")
    found: dict[str, object] = {
        "labels": [[Path(row["path"]).name, *(row[name] for name in shown)] for row in rows],
        "probabilities": [[row[f"top{k}_confidence"] for k in range(2, 6)] for row in rows],
        "features": np.load(features)["embeddings"],
    }
    with (out / "run" / "log.csv").open(encoding="utf-8", newline="") as file:
        found["losses"] = [[row["train_loss"], row["val_loss"]] for row in csv.DictReader(file)]
    for name, value in load_file(out / "run" / "best.safetensors").items():
        found[f"weights: {name}"] = value
    return found


def same(before: object, after: object) -> bool:
    """Equal to the last bit."""
    if isinstance(before, np.ndarray) and isinstance(after, np.ndarray):
        return before.dtype == after.dtype and before.tobytes() == after.tobytes()
    return before == after


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", help="a git revision")
    parser.add_argument("after", nargs="?", help="a git revision; the work tree without one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trees = [ROOT, ROOT]
        for place, revision in enumerate((options.before, options.after)):
            if revision:
                trees[place] = folder / f"tree{place}"
                git = ["git", "-C", ROOT, "archive", revision]
                trees[place].mkdir()
                archive = subprocess.run(git, check=True, capture_output=True).stdout
                subprocess.run(["tar", "-x", "-C", trees[place]], input=archive, check=True)
        make_videos(folder / "videos")
        model = trees[0] / "weights" / "starter.safetensors"
        before, after = (
            numbers(tree, model, folder / "videos", folder / f"out{place}")
            for place, tree in enumerate(trees)
        )
    differing = [n for n in sorted(before.keys() | after) if not same(before.get(n), after.get(n))]
    weights = sum(name.startswith("weights") for name in before)
    print(f"compared: labels, probabilities, features, losses and {weights} tensors of weights")
    print(f"differing: {', '.join(differing) or 'nothing'}")
    return bool(differing)


if __name__ == "__main__":
    sys.exit(main())
