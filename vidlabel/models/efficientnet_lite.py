"""EfficientNet-Lite0: the CNN whose ImageNet weights ship with vidlabel.

EfficientNet-B0 (Tan and Le 2019, arXiv 1905.11946) without squeeze-and-excitation and with ReLU6
for swish, so that it is quick on plain processors (Liu, "Higher accuracy on vision models with
EfficientNet-Lite", TensorFlow blog, 2020).

TensorFlow pads a picture of even length more at its end, PyTorch alike on both sides, of which a
stride of 2 uses only the one at the start. So the shipped kernels are turned by 180 degrees, and
so is the picture: the sums are TensorFlow's, for any size, and no layer copies its input to pad it.

The last map is made for ImageNet's classes. What stands before it transfers better to pictures of
another kind, so the network can describe a picture by intermediate maps as well (Evci et al. 2022,
"Head2Toe", arXiv 2201.03529).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

WIDTH = 1280
"""Channels of the last map, F."""
INTERMEDIATE_WIDTH = 2 * (112 + 192) + WIDTH
"""F with intermediate maps: mean and deviation of the maps of stages 5 and 6, mean of the last."""
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Of the pixels, 0..1, that the weights were trained with."""
WEIGHTS = "efficientnet_lite0.safetensors"
"""The file in weights/ with those of ImageNet."""
_STAGES = (
    # expansion, channels, blocks, stride of the first, kernel
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_DESCRIBED = (11, 15)
"""The layers that end stages 5 and 6."""
_STEM = 32
_EPS = 1e-3
_LEAST_VARIANCE = 1e-6
"""Added to a variance, so that its root has a slope everywhere."""


class EfficientNetLite0(nn.Module):
    """Pictures (N, 3, H, W), (pixel - 127) / 128, to maps (N, 1280, h, w), h = ceil(H / 32).

    Args:
        channels: of the pictures, where they are not 3.
        intermediate: give features (N, INTERMEDIATE_WIDTH) instead, see there.
    """

    def __init__(self, channels: int = 3, *, intermediate: bool = False) -> None:
        super().__init__()
        self.intermediate = intermediate
        layers: list[nn.Module] = [_layer(channels, _STEM, 3, stride=2)]
        width = _STEM
        for expansion, out, blocks, stride, kernel in _STAGES:
            for block in range(blocks):
                layers.append(MbConv(width, out, expansion, kernel, 1 if block else stride))
                width = out
        layers.append(_layer(width, WIDTH, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, pictures: Tensor) -> Tensor:
        maps, features = pictures.flip(2, 3), []
        for number, layer in enumerate(self.layers):
            maps = layer(maps)
            if self.intermediate and number in _DESCRIBED:
                variance, mean = torch.var_mean(maps.float(), (2, 3), correction=0)
                features += [mean, (variance + _LEAST_VARIANCE).sqrt()]
        if self.intermediate:
            return torch.cat([*features, maps.float().mean((2, 3))], 1)
        return maps.flip(2, 3)

    def extra_repr(self) -> str:
        return f"intermediate={self.intermediate}"


class MbConv(nn.Module):
    """Mobile inverted bottleneck (Sandler et al. 2018, arXiv 1801.04381): widen, filter each
    channel by itself, narrow; with what came in added where the shape allows it."""

    def __init__(self, width: int, out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = width * expansion
        widen = [_layer(width, inner, 1)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *widen,
            _layer(inner, inner, kernel, stride, groups=inner),
            nn.Sequential(nn.Conv2d(inner, out, 1, bias=False), nn.BatchNorm2d(out, _EPS)),
        )
        self.adds = stride == 1 and width == out

    def forward(self, maps: Tensor) -> Tensor:
        found = cast(Tensor, self.layers(maps))
        return found + maps if self.adds else found


def _layer(width: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out, _EPS),
        nn.ReLU6(inplace=True),
    )
