"""Attention maps: the places in a video that support the model's label, as colours over the frames.

The map is HiResCAM (Draelos and Carin 2020, arXiv 2011.08891): the gradient of the label's score
with respect to a feature map of the CNN, times the feature map, summed over channels; negative
values are left out. For the last feature map before a mean it equals Grad-CAM (Selvaraju et al.
2017, arXiv 1610.02391).

The last feature map of a small frame has only 2 x 2 or 3 x 3 places: for 12 clips with
a MNASNet 0.5, its strongest place was on the moving person in 4, and that of the last feature map
with at least FEWEST places a side in 9.
"""

from __future__ import annotations

import copy
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F

from vidlabel.clips.flow_stacks import with_flow
from vidlabel.clips.read import crop, cut, read_time_steps
from vidlabel.clips.sample import clip_times
from vidlabel.device import device_errors
from vidlabel.errors import UsageError
from vidlabel.fonts import fitted, load_font
from vidlabel.models.base import ClipModel
from vidlabel.models.checkpoint import Checkpoint
from vidlabel.models.streams import SideBySide
from vidlabel.render.captions import READABLE_PX
from vidlabel.render.layout import STRIP
from vidlabel.specs import ClipSpec, Limits
from vidlabel.video.reader import open_video
from vidlabel.video.scale import Pixels

TOKENS = ("vit_", "swin", "mvit")
"""Networks without feature maps in the usual order after their first block."""

FEWEST = 7
"""Fewest places along a side of the feature map: as many as in the last one of usual CNNs at
224 px."""

STRONGEST = 0.7
"""Opacity of the colour where the map is strongest; where the map is 0, the frame is unchanged."""

DIMMED = 0.6
"""Brightness of the parts that the model does not see."""

INFERNO = (
    (0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99), (212, 72, 66), (245, 125, 21),
    (250, 193, 39), (252, 255, 164),
)  # fmt: skip
"""From zero to the strongest, perceptually uniform: inferno of Smith and van der Walt 2015, CC0."""

FULL_SHARE = 0.01
"""Share of a clip's places with the strongest colour, so that one place cannot outshine all."""


class Attention:
    """Computes the attention maps of a model.

    Raises:
        UsageError: the model has no feature map of its frames.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        header = checkpoint.header
        self.key = f"attention {checkpoint.digest}"
        self._clip = header.clip
        self._device = device
        self._numbers = {name: k for k, name in enumerate(header.classes)}
        self._network = copy.deepcopy(checkpoint.network).eval().requires_grad_(False).to(device)
        for module in self._network.modules():
            if isinstance(module, nn.RNNBase):  # cuDNN has gradients only in training mode;
                module.train()  # without dropout the result is the same
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
                    f"--attention: {checkpoint.name} has no map of its frames that is fine enough "
                    f"at {self._clip.size_px} px; --trunk {name} does not give one"
                )
            self._layers.append(layer)
        self._lock = Lock()  # hooks are for one clip at a time

    def look(self, path: str, label: str) -> Heat | None:
        """The attention maps of a video for a label; None if the model has no such class.

        Raises:
            VideoError: the video cannot be read.
            DeviceError: the device failed.
        """
        if label not in self._numbers:
            return None
        clip = self._clip
        with open_video(path) as video:
            times_s = clip_times(video, clip, 1)[0][0]
        steps = torch.from_numpy(read_time_steps(path, clip, 1, Limits()).clips[0])
        # The time of an RGB frame with others is the frame's; otherwise the mean of its frames.
        middles_s = times_s[:, 0] if clip.has_rgb else times_s.mean(1)
        with self._lock, device_errors(self._device):
            seen = with_flow(steps, clip, self._device)
            squares = self.maps(cut(seen[None].numpy(), clip, 1), self._numbers[label])
        maps = np.zeros((len(steps), *steps.shape[-2:]), dtype=np.uint8)
        crop(maps, clip.size_px, "centre")[...] = np.rint(255 * squares)
        inside = np.zeros(steps.shape[-2:], dtype=np.uint8)
        crop(inside, clip.size_px, "centre")[...] = 255
        return Heat(middles_s, maps, inside, 1 / clip.fps if clip.fps else np.inf)

    def maps(self, clips: NDArray[np.uint8], number: int) -> NDArray[np.float32]:
        """How much each place of one clip (1, T, C, S, S) supports a class, given by its number.

        For a two-stream model it is the sum of both streams, weighted as in the probabilities.

        Returns:
            (T, S, S), 0..1, with one scale for all frames; FULL_SHARE of it is 1. It is all 0 if
            nothing supports the class.
        """
        total = torch.zeros(clips.shape[1], *clips.shape[-2:], device=self._device)
        with torch.enable_grad(), _caught(self._layers) as found:
            frames = self._network.frame_features(torch.from_numpy(clips).to(self._device))
            # Before softmax, as in the paper: a probability near 1 has almost no gradient.
            score = self._network.step_logits(frames)[0, :, number].mean()
            maps = [found[layer] for layer in self._layers]
            gradients = torch.autograd.grad(score, maps)
        for one, gradient, share in zip(maps, gradients, self._shares, strict=True):
            heat = (gradient * one.detach()).sum(1).relu()
            places = heat.reshape(1, 1, -1, *heat.shape[-2:])  # time is N, or the axis after it
            large = F.interpolate(places, total.shape, mode="trilinear", align_corners=False)
            total += share * large[0, 0]
        together: NDArray[np.float32] = total.cpu().numpy()
        bound = np.quantile(together, 1 - FULL_SHARE) or together.max() or 1.0
        scaled: NDArray[np.float32] = np.minimum(together / np.float32(bound), np.float32(1))
        return scaled


class Heat:
    """Draws the attention maps of a video over its frames.

    Args:
        times_s: (T,) moments that the model saw; maps of the same moment are averaged.
        maps: (T, h, w) for the whole frame, 0..255.
        inside: (h, w), 255 where the model sees a frame, else 0.
        reach_s: moments further from all of these were not seen.
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
        """Copies of the pictures (H, W, 3) with the map of their time over the left `width` px.

        Between two moments the map is interpolated.
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

    def legend(self, width: int) -> Pixels:
        """What the colours mean, to go below a picture: (h, width, 3); without words for which
        there is no room."""
        text_px = max(READABLE_PX, width // 40)
        font = load_font("Hg", text_px)
        pad, high = text_px // 3, text_px + text_px // 3
        unseen = self._inside.min() == 0 or self._reach_s < np.inf
        sheet = Image.new("RGB", (width, (1 + unseen) * high + pad), STRIP)
        pen = ImageDraw.Draw(sheet)
        most = math.ceil(font.getlength("most"))
        for words in ("support for the label: none", "support: none", "none", ""):
            left, right = pad + math.ceil(font.getlength(words)) + pad, width - 2 * pad - most
            if right - left >= width // 4:
                pen.text((pad, high), words, "white", font, anchor="ls")
                pen.text((right + pad, high), "most", "white", font, anchor="ls")
                break
        else:
            left, right = pad, width - pad
        shades = np.linspace(0, 1, max(1, right - left), dtype=np.float32)
        key = ramp(np.tile(shades, (text_px * 2 // 3, 1))).astype(np.uint8)
        sheet.paste(Image.fromarray(key), (left, high - len(key)))
        if unseen:
            words = fitted("dark: not seen by the model", width - 2 * pad, font.getlength)
            pen.text((pad, 2 * high), words, "white", font, anchor="ls")
        return np.array(sheet)

    def _at(self, time_s: float) -> NDArray[np.uint8] | None:
        """The map (h, w), 0..255, of a moment; None if the model did not see it."""
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
    """An image (h, w), 0..255, scaled to (width, height), 0..1."""
    large = Image.fromarray(image).resize(size_px, Image.Resampling.BILINEAR)
    return np.asarray(large, dtype=np.float32) / np.float32(255)


def _last_map(network: ClipModel, root: nn.Module, clip: ClipSpec) -> nn.Module | None:
    """The layer with a trunk's last feature map of at least FEWEST places a side, or None.

    Feature maps are (N, F, h, w), or (B, F, t, h, w) for whole clips.
    """
    steps = clip.frames if network.fixed_time_steps else 1
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
    """A trunk and the layers in it that the whole signal passes, in order."""
    yield module
    for child in module.children():
        yield from _path(child) if isinstance(child, nn.Sequential) else (child,)


@contextmanager
def _caught(layers: Iterable[nn.Module]) -> Iterator[dict[nn.Module, Tensor]]:
    """Keeps the outputs of layers inside the block, by layer, in the order of their execution.

    Gradients start at these outputs; what comes before needs no memory for them.
    """
    found: dict[nn.Module, Tensor] = {}

    def catch(layer: nn.Module, _: object, given: Tensor) -> Tensor:
        found[layer] = given.detach().requires_grad_()
        return found[layer].clone()  # the next layer may overwrite it

    hooks = [layer.register_forward_hook(catch) for layer in layers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
