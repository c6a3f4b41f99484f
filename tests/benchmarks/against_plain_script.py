"""`vidlabel predict` against the script one would write first, on the same clips, in one run.

    python tests/benchmarks/against_plain_script.py [FOLDER] [--device cpu] [--repeats 3]

The plain script opens one video after another with PyAV, decodes all its frames to RGB at full
size, picks the same moments, resizes and crops them with torch, and runs the same network (not
folded) in fp32 on one clip at a time. Both sides start from loaded models, and take turns; the
ratio of each round and their median are printed, and how far the labels agree.

Without FOLDER, 24 generated clips of 320x240, 4 s, and 4 of 640x360, 60 s are used.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import torch
from torch.nn import functional as F

from vidlabel import load_labeller
from vidlabel.clips.sample import sample_times
from vidlabel.files.find import find_videos
from vidlabel.predict.labeller import Labeller, PredictSpec
from vidlabel.synthetic.clips import ACTIONS, describe_clip, render_clip
from vidlabel.video.write import write_video


def plain_script(paths: list[str], labeller: Labeller, device: str) -> list[str]:
    """The label of each video, the straightforward way."""
    header = labeller.checkpoint.header
    clip, network = header.clip, labeller.checkpoint.network.to(device).eval()
    labels = []
    for path in paths:
        with av.open(path) as container:
            stream = container.streams.video[0]
            frames, times = [], []
            for frame in container.decode(stream):
                frames.append(frame.to_ndarray(format="rgb24"))
                times.append(float(frame.pts * stream.time_base) if frame.pts is not None else 0.0)
        length_s = times[-1] - times[0] + 1 / float(stream.average_rate)
        moments = sample_times(length_s, clip.frames)[0]
        offsets = (0.0,) if clip.input == "rgb" else (-clip.step_s, 0.0, clip.step_s)
        steps = []
        for moment in moments:
            near = [
                int(np.searchsorted(times, times[0] + moment + o, "right")) - 1 for o in offsets
            ]
            step = torch.stack([torch.from_numpy(frames[max(0, i)]) for i in near]).float()
            step = step.permute(0, 3, 1, 2)
            if clip.input == "motion":
                luma = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
                step = (step * luma).sum(1)[None]
            steps.append(step)
        pixels = torch.cat(steps)
        height, width = pixels.shape[-2:]
        scale = clip.resize_px / min(height, width)
        size = (round(height * scale), round(width * scale))
        small = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
        top, left = ((s - clip.size_px) // 2 for s in size)
        square = small[..., top : top + clip.size_px, left : left + clip.size_px]
        with torch.inference_mode():
            logits = network(square[None].to(device))
        labels.append(header.classes[int(logits.argmax())])
    return labels


def vidlabel(paths: list[str], labeller: Labeller) -> list[str]:
    """The label of each video, by vidlabel."""
    return [row.label for row in labeller.predict(paths, PredictSpec())]


def make_clips(folder: Path) -> None:
    """Short clips of all kinds, and a few long ones."""
    for number in range(24):
        clip = describe_clip(ACTIONS[number % len(ACTIONS)], 900 + number)
        frames = [np.kron(f, np.ones((2, 2, 1), np.uint8)) for f in render_clip(clip)]
        write_video(folder / f"short_{number:02}.mp4", frames, clip.fps)
        if number < 4:
            repeated = (frames[i % len(frames)] for i in range(round(60 * clip.fps)))
            write_video(folder / f"long_{number}.mp4", repeated, clip.fps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="starter-fast")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        if options.folder is None:
            make_clips(Path(made))
        paths = [item.path for item in find_videos([options.folder or made])]
        ours = load_labeller(options.model, options.device)
        theirs = load_labeller(options.model, options.device, "fp32")
        ratios = []
        for number in range(options.repeats):
            started = time.perf_counter()
            plain = plain_script(paths, theirs, options.device)
            between = time.perf_counter()
            labels = vidlabel(paths, ours)
            ended = time.perf_counter()
            plain_s, ours_s = between - started, ended - between
            ratios.append(plain_s / ours_s)
            same = np.mean([a == b for a, b in zip(plain, labels, strict=True)])
            print(
                f"round {number + 1}: plain {plain_s:.2f} s ({len(paths) / plain_s:.1f} clips/s), "
                f"vidlabel {ours_s:.2f} s ({len(paths) / ours_s:.1f} clips/s), "
                f"{ratios[-1]:.2f} times faster, {same:.0%} same labels"
            )
        print(f"median: {statistics.median(ratios):.2f} times faster on {ours.device}")


if __name__ == "__main__":
    main()
