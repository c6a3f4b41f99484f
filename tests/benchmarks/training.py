"""`vidlabel train` against the loop one would write first, and against its own bare arithmetic.

    python tests/benchmarks/training.py [FOLDER] [--device cpu] [--clips 96] [--epochs 2]

Three sides take turns, each in a process of its own, on the same clips, network, batch size and
number of cores:

plain   a torch DataLoader whose workers decode each clip with PyAV, every frame to RGB at full
        size, pick 16, resize, crop and flip them with torch; fp32, NCHW, AdamW as it comes
ours    vidlabel's trainer: decoded once (timed apart), then frames from the cache, augmented in
        batches
bare    forward and backward of ours, on one batch that is ready in memory

Printed: clips per second, what an epoch of ours is spent on, and the ratios, by round and median.
FOLDER has one sub-folder per class; without it, clips of 320x240 and 3 s are generated.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from vidlabel.datasets.open import open_dataset
from vidlabel.machine import keep_freed_memory
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import Header, save_checkpoint
from vidlabel.models.cnn_birnn import CnnBiRnn
from vidlabel.spans import VideoSpan
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.synthetic.clips import ACTIONS, describe_clip, render_clip
from vidlabel.train.distributed import Team
from vidlabel.train.frame_cache import FrameCache
from vidlabel.train.observer import TrainObserver
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.trainer import DataSplit, Trainer
from vidlabel.train.training_frames import TrainingFrames
from vidlabel.video.write import write_video

CLIP = ClipSpec()


class PlainDataset(Dataset[tuple[Tensor, int]]):
    """Clips (16, 3, 112, 112) in 0..255, decoded each time."""

    def __init__(self, rows: list[tuple[str, int]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        path, label = self.rows[number]
        with av.open(path) as container:
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, CLIP.frames).astype(int)]
        clip = torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2).float()
        scale = CLIP.resize_px / min(clip.shape[-2:])
        size = [round(side * scale) for side in clip.shape[-2:]]
        clip = F.interpolate(clip, size, mode="bilinear", antialias=True, align_corners=False)
        top, left = (int(torch.randint(side - CLIP.size_px + 1, ())) for side in size)
        clip = clip[..., top : top + CLIP.size_px, left : left + CLIP.size_px]
        return (clip.flip(-1) if torch.rand(()) < 0.5 else clip).contiguous(), label


class PlainNetwork(nn.Module):
    """The same layers, without a word about memory formats."""

    def __init__(self, network: CnnBiRnn) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> Tensor:
        maps = self.network.trunk(self.network.normalise(clips.flatten(0, 1)))
        return self.network.read(maps.mean((2, 3)).reshape(*clips.shape[:2], -1))[1]


def plain(rows: list[tuple[str, int]], classes: int, batch: int, epochs: int, device: str) -> dict:
    """Seconds of an epoch, the plain way."""
    network = PlainNetwork(build_model(ModelSpec(classes=classes), CLIP)).to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    cores = os.cpu_count() or 1
    loader = DataLoader(
        PlainDataset(rows), batch, shuffle=True, num_workers=cores, drop_last=True,
        persistent_workers=True, pin_memory=device != "cpu",
    )  # fmt: skip
    seconds = []
    for _ in range(epochs):
        started, clips = time.perf_counter(), 0
        for pixels, labels in loader:
            loss = F.cross_entropy(network(pixels.to(device)), labels.to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss.item()
            clips += len(labels)
        seconds.append((time.perf_counter() - started) / clips)
    return {"clips_per_s": 1 / statistics.median(seconds)}


def ours(
    rows: list[tuple[str, int]], classes: int, spec: TrainSpec, device: str, folder: Path
) -> dict:
    """Seconds of an epoch of vidlabel's trainer, and of each part of it."""
    target = torch.device(device)
    if device == "cpu":
        keep_freed_memory()
    paths = [VideoSpan(path) for path, _ in rows]
    cache = FrameCache(folder, CLIP)
    started = time.perf_counter()
    cache.fill(paths, None, TrainObserver().decoding)
    decoding_s = time.perf_counter() - started
    frames = TrainingFrames(cache, paths, target)
    labels = [label for _, label in rows]
    held = max(1, len(rows) // 5)
    numbered = list(enumerate(labels))
    network = build_model(ModelSpec(classes=classes), CLIP).to(target)
    parts = DataSplit(numbered, numbered[:held])
    trainer = Trainer(network, frames, parts, CLIP, spec, target, Team(), TrainObserver())
    trainer.epoch(1)  # warm
    clips = trainer.steps * min(spec.batch_size, len(rows))

    def timed(work: Callable[[], object]) -> float:
        def finish() -> None:
            if device != "cpu":
                torch.cuda.synchronize()

        finish()
        begun = time.perf_counter()
        work()
        finish()
        return time.perf_counter() - begun

    epochs = [timed(lambda i=i: trainer.epoch(i + 2)) for i in range(spec.epochs)]
    batches = list(trainer._batches(1))
    making_s = timed(lambda: [trainer._clips(batch) for batch in batches])
    header = Header(ModelSpec(classes=classes), CLIP, tuple(f"class {i}" for i in range(classes)))
    ready = trainer._clips(batches[0])
    truth = batches[0].labels.to(target)

    def bare() -> None:
        network = trainer._network.train()
        for _ in batches:
            trainer._optimiser.zero_grad(set_to_none=True)
            logits = network.read(trainer._frame_features(network, ready))[1]
            F.cross_entropy(logits, truth).backward()

    bare()
    bare_s = [timed(bare) for _ in range(spec.epochs)]
    return {
        "clips_per_s": clips / statistics.median(epochs),
        "bare_clips_per_s": clips / statistics.median(bare_s),
        "decoding_clips_per_s": len(rows) / decoding_s,
        "frames_in": frames.where,
        "epoch_s": {
            "take frames and augment": making_s,
            "forward and backward": statistics.median(bare_s),
            "everything of the steps": statistics.median(epochs),
            "recompute BatchNorm": timed(lambda: trainer.recompute_batchnorm(1)),
            "held-out part (a fifth)": timed(trainer.logits),
            "write checkpoint": timed(
                lambda: save_checkpoint(folder / "x.safetensors", header, trainer.kept)
            ),
        },
    }


def make_clips(folder: Path, count: int) -> None:
    """Clips of 320x240, 3 s, 30 frames a second."""
    for number in range(count):
        action = ACTIONS[number % 6]
        clip = describe_clip(action, 500 + number // 6)
        frames = [np.kron(f, np.ones((2, 2, 1), np.uint8)) for f in render_clip(clip)]
        (folder / action).mkdir(exist_ok=True)
        write_video(
            folder / action / f"{number:03}.mp4", (frames[i % len(frames)] for i in range(90)), 30
        )


def _side(name: str, arguments: list[str]) -> dict:
    command = [sys.executable, __file__, *arguments, "--side", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clips", type=int, default=96, help="most clips used")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=2, help="timed in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=["plain", "ours"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or made
        if options.folder is None:
            make_clips(Path(made), options.clips)
        arguments = [folder, "--device", options.device, "--clips", str(options.clips)]
        arguments += ["--batch-size", str(options.batch_size), "--epochs", str(options.epochs)]
        if options.side is None:
            compare(arguments, options.rounds)
            return
        samples = open_dataset(folder, Path(made)).samples
        names = sorted({sample.label for sample in samples})
        step = max(1, len(samples) // options.clips)
        rows = [(s.path, names.index(s.label)) for s in samples[::step]][: options.clips]
        if options.side == "plain":
            result = plain(rows, len(names), options.batch_size, options.epochs, options.device)
        else:
            spec = TrainSpec(batch_size=options.batch_size, epochs=options.epochs)
            result = ours(rows, len(names), spec, options.device, Path(made) / "cache")
        print(json.dumps(result))


def compare(arguments: list[str], rounds: int) -> None:
    """Run the sides in turn and print what they came to."""
    against_plain, against_bare = [], []
    for number in range(1, rounds + 1):
        theirs, own = _side("plain", arguments), _side("ours", arguments)
        against_plain.append(own["clips_per_s"] / theirs["clips_per_s"])
        against_bare.append(own["bare_clips_per_s"] / own["clips_per_s"])
        print(
            f"round {number}: plain {theirs['clips_per_s']:.1f} clips/s, "
            f"ours {own['clips_per_s']:.1f}, forward and backward alone "
            f"{own['bare_clips_per_s']:.1f}; decoded once at {own['decoding_clips_per_s']:.1f}: "
            f"{against_plain[-1]:.2f} times plain, {against_bare[-1]:.2f} of bare"
        )
    print(f"an epoch of ours, frames in {own['frames_in']}:")
    for name, seconds in own["epoch_s"].items():
        print(f"  {name:26} {seconds:7.2f} s")
    print(
        f"median: {statistics.median(against_plain):.2f} times the plain loop, "
        f"{statistics.median(against_bare):.2f} times forward and backward alone"
    )


if __name__ == "__main__":
    main()
