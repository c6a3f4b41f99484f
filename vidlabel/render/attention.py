"""Where in a video a model has looked for the label that it gives, as colours over the frames.

A map of a CNN still has places. The slope of the label's score with respect to a map, times the
map, summed over its channels, is how much each place speaks for the label; what speaks against it
is left out. Of the last map before a mean that is Grad-CAM (Selvaraju et al. 2017, arXiv
1610.02391); of earlier ones, where slopes differ from place to place, HiResCAM (Draelos and Carin
2020, arXiv 2011.08891).

The last map of a small frame has 2 x 2 or 3 x 3 places and says next to nothing of where things
are: of 12 clips with starter-fast, its strongest place was on what moves in 4, and that of the last
map of at least FEWEST places a side in 9.
"""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from vidlabel.clips.flow_stacks import with_flow
from vidlabel.clips.read import crop, cut, read_steps
from vidlabel.clips.sample import clip_times
from vidlabel.errors import UsageError
from vidlabel.models.base import ClipModel
from vidlabel.models.checkpoint import Checkpoint
from vidlabel.models.streams import SideBySide
from vidlabel.specs import ClipSpec, Limits
from vidlabel.video.reader import open_video
from vidlabel.video.write import Pixels

TOKENS = ("vit_", "swin", "mvit")
"""Networks whose only maps are before their first block, or not in the order of the others."""

FEWEST = 7
"""Places along a side that a map has at least: those of the last one of usual CNNs at 224 px."""

STRONGEST = 0.7
"""Share of the colour where the map is strongest; where it is 0, the frame is as it was filmed."""

DIMMED = 0.6
"""Brightness of what the model has not seen."""

INFERNO = (
    (0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99), (212, 72, 66), (245, 125, 21),
    (250, 193, 39), (252, 255, 164),
)  # fmt: skip
"""From nothing to most, evenly for the eye: inferno of Smith and van der Walt 2015 (CC0)."""

FULL_SHARE = 0.01
"""Share of a clip's places that have the strongest colour, or a single one would leave the others
without any."""


class Attention:
    """Asks a model where it looks.

    Args:
        checkpoint: of the model.
        device: where it computes.

    Raises:
        UsageError: the model keeps no map of its frames.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        header = checkpoint.header
        self.key = f"attention {checkpoint.digest}"
        self._clip = header.clip
        self.device = device
        # As captions write them.
        self._numbers = {name.replace("_", " "): k for k, name in enumerate(header.classes)}
        self._network = copy.deepcopy(checkpoint.network).eval().requires_grad_(False).to(device)
        for module in self._network.modules():
            if isinstance(module, nn.RNNBase):  # cuDNN has slopes only of those in training;
                module.train()  # without dropout of their own they compute the same
        trunk = self._network.trunk
        roots, names, self._shares = [trunk], [header.model.trunk], [1.0]
        if isinstance(trunk, SideBySide):
            share = header.model.flow_weight
            roots, self._shares = [trunk.spatial, trunk.temporal], [1 - share, share]
            names.append(header.model.flow_trunk)
        self._layers = []
        for root, name in zip(roots, names, strict=True):
            layer = None if name.startswith(TOKENS) else _last_map(self._network, root, self._clip)
            if layer is None:
                raise UsageError(
                    f"--attention: {checkpoint.name} has no map of where things are in its frames "
                    f"of {self._clip.size_px} px; --trunk {name} does not give one"
                )
            self._layers.append(layer)
        self._lock = Lock()  # hooks are for one clip at a time

    def look(self, path: str, label: str) -> Heat | None:
        """Where the model looks in a video for a label, as it is written in captions.

        None for a label that is no class of the model's. Raises VideoError.
        """
        if label not in self._numbers:
            return None
        clip = self._clip
        with open_video(path) as video:
            times_s = clip_times(video, clip, 1)[0][0]
        steps = torch.from_numpy(read_steps(path, clip, 1, Limits()).clips[0])
        # That of a step of both is its frame's; of others, the middle of its frames'.
        middles_s = times_s[:, 0] if clip.input == "rgb+flow" else times_s.mean(1)
        with self._lock:
            seen = with_flow(steps, clip, self.device)
            squares = self.maps(cut(seen[None].numpy(), clip, 1), self._numbers[label])
        maps = np.zeros((len(steps), *steps.shape[-2:]), dtype=np.uint8)
        crop(maps, clip.size_px, "centre")[...] = np.rint(255 * squares)
        inside = np.zeros(steps.shape[-2:], dtype=np.uint8)
        crop(inside, clip.size_px, "centre")[...] = 255
        return Heat(middles_s, maps, inside, 1 / clip.fps if clip.fps else np.inf)

    def maps(self, clips: NDArray[np.uint8], number: int) -> NDArray[np.float32]:
        """How much each place of one clip (1, T, C, S, S) speaks for a class, by its number.

        Of both streams of a two-stream model the sum, each with its share in the probabilities.

        Returns:
            (T, S, S), 0..1, one scale for all steps; FULL_SHARE of it is 1, and all of it is 0
            if nothing speaks for the class.
        """
        total = torch.zeros(clips.shape[1], *clips.shape[-2:], device=self.device)
        with torch.enable_grad(), _caught(self._layers) as found:
            frames = self._network.frame_features(torch.from_numpy(clips).to(self.device))
            # Before softmax, as in the paper: the slopes of a probability near 1 are nothing.
            score = self._network.answers(frames)[0, :, number].mean()
            maps = [found[layer] for layer in self._layers]
            slopes = torch.autograd.grad(score, maps)
        for one, slope, share in zip(maps, slopes, self._shares, strict=True):
            heat = (slope * one.detach()).sum(1).relu()
            places = heat.reshape(1, 1, -1, *heat.shape[-2:])  # time is n, or follows it
            large = F.interpolate(places, total.shape, mode="trilinear", align_corners=False)
            total += share * large[0, 0]
        together: NDArray[np.float32] = total.cpu().numpy()
        bound = np.quantile(together, 1 - FULL_SHARE) or together.max() or 1.0
        scaled: NDArray[np.float32] = np.minimum(together / np.float32(bound), np.float32(1))
        return scaled


class Heat:
    """Where a model looks in a video, and how that is drawn.

    Args:
        times_s: (T,) moments that it saw; several may be the same, and have their mean.
        maps: (T, h, w) of the whole frame, 0..255.
        inside: (h, w), 255 for what the model has seen of each frame, else 0.
        reach_s: what is further from all moments was not seen.
    """

    def __init__(
        self, times_s: NDArray[np.float64], maps: NDArray[np.uint8], inside: NDArray[np.uint8],
        reach_s: float,
    ) -> None:  # fmt: skip
        moments, place = np.unique(times_s, return_inverse=True)
        self.times_s: list[float] = moments.tolist()
        self.maps = np.stack([maps[place == k].mean(0) for k in range(len(moments))])
        self._inside, self._reach_s = inside, reach_s

    def over(
        self, pictures: Iterable[Pixels], times_s: Iterable[float], width: int
    ) -> Iterator[Pixels]:
        """The pictures (H, W, 3) with the map of their time over their left `width` px.

        Between two moments it is mixed of theirs. The pictures given are left as they were.
        """
        light: NDArray[np.float32] | None = None
        for picture, time_s in zip(pictures, times_s, strict=False):
            size_px = (width, picture.shape[0])
            if light is None:
                light = DIMMED + (1 - DIMMED) * _resized(self._inside, size_px)[..., None]
            frame = picture[:, :width]
            done = picture.copy()
            if (heat := self._at(time_s)) is None:
                done[:, :width] = DIMMED * frame
            else:
                strength = _resized(heat, size_px)
                alpha = STRONGEST * strength[..., None]
                colour = ramp(strength)
                done[:, :width] = (1 - alpha) * light * frame + alpha * colour
            yield done

    def _at(self, time_s: float) -> NDArray[np.uint8] | None:
        """The map (h, w), 0..255, of a moment; None where it was not seen."""
        after = bisect_left(self.times_s, time_s)
        first, second = max(0, after - 1), min(after, len(self.times_s) - 1)
        before_s, after_s = self.times_s[first], self.times_s[second]
        if min(abs(time_s - before_s), abs(time_s - after_s)) > self._reach_s:
            return None
        share = (time_s - before_s) / (after_s - before_s) if after_s > before_s else 0.0
        mixed: NDArray[np.float64] = (1 - share) * self.maps[first] + share * self.maps[second]
        return np.rint(mixed).astype(np.uint8)


def ramp(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Values (H, W), 0..1, as colours (H, W, 3), 0..255."""
    places = np.linspace(0, 1, len(INFERNO))
    channels = [np.interp(values, places, each) for each in np.array(INFERNO).T]
    return np.stack(channels, axis=-1)


def _resized(image: NDArray[np.uint8], size_px: tuple[int, int]) -> NDArray[np.float32]:
    """An image (h, w), 0..255, in another size (width, height), 0..1."""
    large = Image.fromarray(image).resize(size_px, Image.Resampling.BILINEAR)
    return np.asarray(large, dtype=np.float32) / np.float32(255)


def _last_map(network: ClipModel, root: nn.Module, clip: ClipSpec) -> nn.Module | None:
    """What gives a trunk's last map of FEWEST places a side or more; None if nothing does.

    Maps are (N, F, h, w), or (B, F, t, h, w) of whole clips.
    """
    steps = clip.frames if network.fixed_steps else 1
    device = network.normalise.mix.device
    blank = torch.zeros(1, steps, *clip.shape[1:], dtype=torch.uint8, device=device)
    with torch.no_grad(), _caught(_path(root)) as found:
        network.frame_features(blank)
    for layer in reversed(found):
        shape = found[layer].shape
        if len(shape) > 3 and min(shape[-2:]) >= FEWEST:
            return layer
    return None


def _path(module: nn.Module) -> Iterator[nn.Module]:
    """A trunk, and its parts that all of the signal passes, one after another."""
    yield module
    for child in module.children():
        yield from _path(child) if isinstance(child, nn.Sequential) else (child,)


@contextmanager
def _caught(layers: Iterable[nn.Module]) -> Iterator[dict[nn.Module, Tensor]]:
    """Keeps what layers give out meanwhile, by layer, in the order in which they are done.

    Slopes are known from there on, and not of what comes before, which would take memory.
    """
    found: dict[nn.Module, Tensor] = {}

    def catch(layer: nn.Module, _: object, given: Tensor) -> Tensor:
        found[layer] = given.detach().requires_grad_()
        return found[layer].clone()  # what follows may overwrite it

    hooks = [layer.register_forward_hook(catch) for layer in layers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
