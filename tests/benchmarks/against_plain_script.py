"""`vidlabel predict` against the scripts one would write first, on the same clips, in one run.

    python tests/benchmarks/against_plain_script.py [FOLDER] [--device cpu] [--repeats 3]

A plain script reads one video after another with PyAV, OpenCV or (if it is installed) torchcodec.
The first two decode all frames at full size and pick the same moments; torchcodec decodes those
that it is asked for. torch resizes and crops them, and the same network (not folded) labels one
clip at a time, in the precision that vidlabel uses. All start from loaded models and take turns;
the ratio of each round and the medians are printed, and how far the labels agree.

Without FOLDER, 24 generated clips of 320x240, 4 s, and 4 of 640x360, 60 s are used; with --short N,
N clips of 320x240, 3 s, MPEG-4.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vidlabel import load_labeller
from vidlabel.clips.read import DIFFERENCE_GAIN, NO_CHANGE
from vidlabel.clips.sample import sample_times
from vidlabel.device import has_bf16
from vidlabel.files.find import find_videos
from vidlabel.predict.labeller import Labeller, PredictSpec
from vidlabel.synthetic.clips import ACTIONS, describe_clip, render_clip
from vidlabel.video.write import write_video

Moments = Callable[[float], NDArray[np.float64]]
"""Times that are wanted of a video, seconds from its start, given its length."""
Reader = Callable[[str, Moments], Tensor]
"""A path to the frames shown at those times: (N, 3, H, W) uint8."""


def with_pyav(path: str, moments: Moments) -> Tensor:
    frames, times = [], []
    with av.open(path) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            frames.append(frame.to_ndarray(format="rgb24"))
            times.append(float(frame.pts * stream.time_base) if frame.pts is not None else 0.0)
        length_s = times[-1] - times[0] + 1 / float(stream.average_rate)
    return _pick(frames, np.array(times) - times[0], moments(length_s))


def with_opencv(path: str, moments: Moments) -> Tensor:
    capture, frames = cv2.VideoCapture(path), []
    fps = capture.get(cv2.CAP_PROP_FPS)
    while True:
        found, frame = capture.read()
        if not found:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    capture.release()
    return _pick(frames, np.arange(len(frames)) / fps, moments(len(frames) / fps))


def with_torchcodec(path: str, moments: Moments) -> Tensor:
    from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found]

    decoder = VideoDecoder(path, seek_mode="approximate")
    about = decoder.metadata
    first, length_s = about.begin_stream_seconds, about.duration_seconds
    wanted = first + np.clip(moments(length_s), 0, length_s - 1e-3)
    return decoder.get_frames_played_at(seconds=wanted.tolist()).data


READERS: dict[str, Reader] = {"PyAV": with_pyav, "OpenCV": with_opencv}
if find_spec("torchcodec"):
    READERS["torchcodec"] = with_torchcodec


def _pick(
    frames: list[NDArray[np.uint8]], times: NDArray[np.float64], wanted: NDArray[np.float64]
) -> Tensor:
    shown = np.maximum(np.searchsorted(times, wanted + 1e-6, "right") - 1, 0)
    return torch.from_numpy(np.stack([frames[i] for i in shown])).permute(0, 3, 1, 2)


def plain_script(paths: list[str], labeller: Labeller, device: str, read: Reader) -> list[str]:
    """The label of each video, the straightforward way."""
    header = labeller.checkpoint.header
    clip, network = header.clip, labeller.checkpoint.network.to(device).eval()
    count = max(1, clip.luma_frames)
    offsets = (np.arange(count) - count // 2) * clip.step_s
    reach = clip.step_s * (count // 2)

    def moments(length_s: float) -> NDArray[np.float64]:
        middle = np.array(sample_times(length_s, clip.frames)[0])
        middle = np.clip(middle, min(reach, length_s / 2), max(length_s - reach, length_s / 2))
        return (middle[:, None] + offsets).ravel()

    labels = []
    for path in paths:
        pixels = read(path, moments).float()
        if clip.input in ("motion", "difference"):
            luma = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
            pixels = (pixels * luma).sum(1, keepdim=True)
        height, width = pixels.shape[-2:]
        if clip.aspect:
            width = round(height * clip.aspect)
        scale = clip.resize_px / min(height, width)
        size = (round(height * scale), round(width * scale))
        small = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
        top, left = ((s - clip.size_px) // 2 for s in size)
        square = small[..., top : top + clip.size_px, left : left + clip.size_px]
        if clip.input != "rgb":
            square = square.reshape(clip.frames, count, clip.size_px, clip.size_px)
        if clip.input == "difference":
            change = NO_CHANGE + DIFFERENCE_GAIN * (square[:, 2:] - square[:, :-2])
            square = change.round().clamp(0, 255)
        kind = torch.device(device).type
        bf16 = has_bf16(torch.device(device))
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=bf16):
            logits = network(square[None].to(device))
        labels.append(header.classes[int(logits.argmax())])
    return labels


def vidlabel(paths: list[str], labeller: Labeller) -> list[str]:
    """The label of each video, by vidlabel."""
    return [row.top[0][0] for row in labeller.predict(paths, PredictSpec())]


def make_clips(folder: Path) -> None:
    """Short clips of all kinds, and a few long ones."""
    for number in range(24):
        clip = describe_clip(ACTIONS[number % len(ACTIONS)], 900 + number)
        frames = [np.kron(f, np.ones((2, 2, 1), np.uint8)) for f in render_clip(clip)]
        write_video(folder / f"short_{number:02}.mp4", frames, clip.fps)
        if number < 4:
            repeated = (frames[i % len(frames)] for i in range(round(60 * clip.fps)))
            write_video(folder / f"long_{number}.mp4", repeated, clip.fps)


def make_short_clips(folder: Path, count: int) -> None:
    """Clips of 3 s at 25 frames per second, of 320x240."""
    for number in range(count):
        clip = describe_clip(ACTIONS[number % len(ACTIONS)], 900 + number)
        frames = [np.kron(f, np.ones((2, 2, 1), np.uint8)) for f in render_clip(clip)]
        write_video(folder / f"{number:04}.avi", islice(cycle(frames), 75), 25, "mpeg4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engine", default="auto", choices=["auto", "torch", "openvino"])
    parser.add_argument("--short", type=int, default=0, metavar="N")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        if options.short:
            make_short_clips(Path(made), options.short)
        elif options.folder is None:
            make_clips(Path(made))
        paths = [item.path for item in find_videos([options.folder or made])]
        ours = load_labeller(options.model, options.device, engine=options.engine)
        theirs = load_labeller(options.model, options.device, "fp32")
        speeds: dict[str, list[float]] = {name: [] for name in ("vidlabel", *READERS)}
        for _ in range(options.repeats):
            started = time.perf_counter()
            labels = vidlabel(paths, ours)
            speeds["vidlabel"].append(len(paths) / (time.perf_counter() - started))
            for name, read in READERS.items():
                started = time.perf_counter()
                plain = plain_script(paths, theirs, options.device, read)
                speeds[name].append(len(paths) / (time.perf_counter() - started))
                same = np.mean([a == b for a, b in zip(plain, labels, strict=True)])
                ratio = speeds["vidlabel"][-1] / speeds[name][-1]
                print(
                    f"{name} {speeds[name][-1]:.1f} clips/s, vidlabel {speeds['vidlabel'][-1]:.1f} "
                    f"clips/s: {ratio:.2f} times as fast, {same:.0%} same labels",
                    flush=True,
                )
        for name, found in speeds.items():
            each = [a / b for a, b in zip(speeds["vidlabel"], found, strict=True)]
            print(
                f"median of {name}: {statistics.median(found):.1f} clips/s, vidlabel is "
                f"{statistics.median(each):.2f} times as fast on {ours.device}"
            )


if __name__ == "__main__":
    main()
