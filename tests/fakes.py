"""A tiny stand-in for the network, and clips that it labels by their colour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import Checkpoint, Header, save_checkpoint
from vidlabel.models.cnn_birnn import CnnBiRnn
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.video.write import write_video

COLOURS = ("blue", "green", "red")
_RGB = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}
# Tiny tensors gain nothing from a second thread, and on a busy machine threads wait for each other.
torch.set_num_threads(1)

CLIP = ClipSpec(frames=4, size_px=32, resize_px=36)


class MeanColour(nn.Module):
    """Labels a clip by its strongest colour; has the parts that `Runner` uses."""

    any_time_steps = fixed_time_steps = False
    framewise = True

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Identity())
        self.classify = nn.Identity()

    def frame_features(self, clips: Tensor) -> Tensor:
        return clips.float().mean((3, 4))

    def read(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        features = frames.mean(1).flip(-1) / 50  # red, green, blue -> the classes' order
        return features, features


def colour_checkpoint() -> Checkpoint:
    header = Header(ModelSpec(classes=3), CLIP, COLOURS)
    return Checkpoint("colours", header, MeanColour(), "0" * 64)  # type: ignore[arg-type]


def settled_network(clip: ClipSpec = CLIP, **settings: Any) -> CnnBiRnn:
    """A real network of 5 classes, random weights, whose BatchNorm has statistics that matter."""
    torch.manual_seed(0)
    network = build_model(ModelSpec(classes=5, **settings), clip)
    network.train()
    with torch.no_grad():
        network(torch.randint(0, 255, (4, *clip.shape), dtype=torch.uint8))
    return network.eval()


def random_checkpoint(path: Path, classes: tuple[str, ...] = COLOURS, seed: int = 0) -> Path:
    """A real network with random weights, small clips, as a file."""
    torch.manual_seed(seed)
    spec = ModelSpec(classes=len(classes), hidden=16, features=24)
    network = build_model(spec, CLIP)
    with torch.no_grad():  # make its answers depend on the input: settle BatchNorm, be decided
        for module in network.trunk.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        network.train()(torch.randint(0, 255, (8, *CLIP.shape), dtype=torch.uint8))
        network.classify.weight.mul_(20)
    save_checkpoint(path, Header(spec, CLIP, classes, temperature=0.7), network)
    return path


def colour_frames(colour: str, count: int = 12, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    noise = np.random.default_rng(seed)
    base = np.full((48, 64, 3), _RGB[colour], dtype=np.int16)
    for _ in range(count):
        frame = base + noise.integers(-15, 16, base.shape)
        yield frame.clip(0, 255).astype(np.uint8)


def colour_video(path: Path, colour: str, count: int = 12, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, colour_frames(colour, count, seed), 12, options={"preset": "ultrafast"})
    return path
