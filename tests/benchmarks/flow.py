"""TV-L1 optical flow against OpenCV's.

    python tests/benchmarks/flow.py [FOLDER] [--device cpu] [--batch 64] [--side 144] [--clips 12]

Both sides take turns, on the same pairs of frames from the middle of clips below FOLDER (the
example clips without it):

opencv  DualTVL1OpticalFlow with its defaults, on one core, pair by pair
ours    vidlabel.clips.tvl1: on one core, too, or on a GPU with batches of --batch pairs

Printed: milliseconds per pair and their ratio, by round and median; how far the two flows are
apart; and, to know what that is worth, how far OpenCV's is from itself after noise of 1/10,000 of
a grey level. Differences are means over pixels that OpenCV's own flows there and back bring to
within 1 px of where they were.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidlabel.clips.tvl1 import optical_flow
from vidlabel.files.find import VIDEO_SUFFIXES
from vidlabel.video.reader import open_video

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "clips"

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def read_pairs(folder: Path, count: int, side_px: int) -> list[Pair]:
    """Two neighbouring frames, (H, W) uint8 luma, of each of `count` clips, all of one size."""
    clips = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    pairs = []
    for path in clips[:: max(1, len(clips) // count)][:count]:
        with open_video(str(path)) as video:
            middle = video.duration_s / 2
            times = [middle, middle + 0.04]
            if video.frame_times_s is not None:
                start = (len(video.frame_times_s) - 1) // 2
                times = video.frame_times_s[start : start + 2].tolist()
            frames = video.frames_at(times, side_px, kind="luma").pixels[..., 0]
        pairs.append((frames[0], frames[-1]))
    height, width = (min(pair[0].shape[axis] for pair in pairs) for axis in (0, 1))
    return [
        (before[:height, :width].copy(), after[:height, :width].copy()) for before, after in pairs
    ]


def opencv_flow(before: NDArray[np.generic], after: NDArray[np.generic]) -> NDArray[np.float32]:
    """(H, W, 2)."""
    return cv2.optflow.DualTVL1OpticalFlow_create().calc(before, after, None)


def time_opencv(pairs: list[Pair]) -> float:
    """Milliseconds per pair."""
    begun = time.perf_counter()
    for before, after in pairs:
        opencv_flow(before, after)
    return 1000 * (time.perf_counter() - begun) / len(pairs)


def time_ours(before: Tensor, after: Tensor) -> float:
    """Milliseconds per pair, of images that are on the device."""
    begun = time.perf_counter()
    optical_flow(before, after).sum().item()  # which waits for a GPU
    return 1000 * (time.perf_counter() - begun) / len(before)


def distances(pair: Pair, ours: NDArray[np.float32]) -> tuple[float, float]:
    """Mean distance of our flow and of OpenCV's with noise from OpenCV's, px."""
    before, after = pair
    theirs, back = opencv_flow(before, after), opencv_flow(after, before)
    height, width = before.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    returned = cv2.remap(
        back, x + theirs[..., 0], y + theirs[..., 1], cv2.INTER_LINEAR, borderValue=(1e9, 1e9)
    )
    kept = np.linalg.norm(theirs + returned, axis=-1) < 1
    random = np.random.default_rng(0)
    noisy = [
        ((image + random.normal(0, 1e-4, image.shape)) / 255).astype(np.float32)
        for image in (before, after)
    ]
    ours_px, noise_px = (
        float(np.linalg.norm(flow - theirs, axis=-1)[kept].mean())
        for flow in (ours, opencv_flow(noisy[0], noisy[1]))
    )
    return ours_px, noise_px


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=EXAMPLES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=64, help="pairs at once on a GPU")
    parser.add_argument("--side", type=int, default=144, help="shorter side of frames, px")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    pairs = read_pairs(options.folder, options.clips, options.side)
    # On a GPU pairs come again until the batch is full.
    count = len(pairs) if options.device == "cpu" else options.batch
    before, after = (
        torch.stack([torch.from_numpy(pairs[i % len(pairs)][side]) for i in range(count)])
        for side in (0, 1)
    )
    before, after = before.to(options.device), after.to(options.device)
    print(f"{len(pairs)} pairs of {before.shape[2]}x{before.shape[1]}, ours on {options.device}")
    time_ours(before[:1], after[:1])  # warm
    ratios = []
    for number in range(1, options.rounds + 1):
        theirs_ms, ours_ms = time_opencv(pairs), time_ours(before, after)
        ratios.append(theirs_ms / ours_ms)
        print(
            f"round {number}: opencv {theirs_ms:.1f} ms a pair, ours {ours_ms:.1f}: "
            f"{ratios[-1]:.1f} times as fast"
        )
    print(f"median: {statistics.median(ratios):.1f} times as fast")
    flows = optical_flow(before, after).permute(0, 2, 3, 1).cpu().numpy()
    found = [distances(pair, flow) for pair, flow in zip(pairs, flows, strict=False)]
    ours_px, noise_px = (statistics.mean(values) for values in zip(*found, strict=True))
    print(
        f"apart: ours from opencv's {ours_px:.4f} px (at most {max(found)[0]:.4f}), "
        f"opencv's from itself with noise {noise_px:.4f} px"
    )


if __name__ == "__main__":
    main()
