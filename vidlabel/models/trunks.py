"""The CNNs that describe frames: torchvision's classification networks without their classifier,
and one for optical flow."""

from __future__ import annotations

from functools import cache
from typing import cast

import torch
import torchvision
from torch import Tensor, nn

from vidlabel.errors import CheckpointError, UsageError, WeightsMissing
from vidlabel.models.weights import fetch_weights, read_weights
from vidlabel.text import safe

CLASSIFIERS = ("fc", "classifier", "heads", "head")
"""What torchvision's networks call the layers that know the classes."""
_FAMILIES = (
    "convnext", "densenet", "efficientnet", "maxvit", "mnasnet", "mobilenet", "resne", "shufflenet",
    "swin", "vit_b", "vit_l", "wide_resnet",
)  # fmt: skip
"""Networks with one output that is made of features by the classifier alone."""
MNASNET_WIDTH = 1280
CNN_M, CNN_M_WIDTH = "cnn_m_2048", 1024


def trunk_names() -> list[str]:
    """All that `make_trunk` knows."""
    known = torchvision.models.list_models(module=torchvision.models)
    return [CNN_M, *(name for name in known if name.startswith(_FAMILIES))]


def make_trunk(name: str, size_px: int, channels: int = 3) -> tuple[nn.Module, int]:
    """A network by name, without weights: (N, C, H, W) to (N, F), or to a map (N, F, h, w) whose
    mean that is; and F.

    Args:
        name: one of `trunk_names`.
        size_px: height and width of what it will see.
        channels: C.

    Raises:
        UsageError: there is none of that name, or it takes no pictures of that size.
    """
    if name not in trunk_names():
        raise UsageError(
            f"--trunk {safe(name)}: not a network that is known here; known are those of "
            f"torchvision such as mnasnet0_5, resnet50, mobilenet_v3_large, swin_t, and {CNN_M}"
        )
    width = _width(name, size_px)  # refuses a size before anything is made
    trunk = _cnn_m(size_px, channels) if name == CNN_M else headless(name)
    ease_training(trunk)
    if channels != 3 and name != CNN_M:
        _widen(trunk, channels)
    return trunk, width


def ease_training(trunk: nn.Module) -> None:
    """Make a trunk learn from little data.

    Residual blocks start as the identity (Goyal et al. 2017, arXiv 1706.02677, section 5.1): from
    nothing, 150 steps then reach 18 % instead of 12 % on the starter's 18 classes. And BatchNorm's
    statistics follow within tens of steps; torchvision's momentum for MNASNet, 3e-4, is for
    millions of images.
    """
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
        if getattr(module, "apply_residual", False):
            nn.init.zeros_(cast(nn.Sequential, module.layers)[-1].weight)  # type: ignore[arg-type]


def load_trunk(trunk: nn.Module, name: str, weights: str) -> None:
    """Put ImageNet weights into a trunk.

    Args:
        trunk: what `make_trunk` made.
        name: its name.
        weights: `imagenet` for torchvision's own (looked for in torch's cache, then downloaded),
            or the path of such a file.

    A first layer of other than three channels gets the mean over the three of its kernels, for
    each of its channels (Wang et al. 2016, arXiv 1608.00859, section 3.2: cross-modality).

    Raises:
        WeightsMissing: they can be neither found nor fetched.
        CheckpointError: they do not fit.
    """
    if name == CNN_M and weights == "imagenet":
        raise WeightsMissing(f"--trunk-weights imagenet: there are none of {CNN_M}")
    state = _fetched(name) if weights == "imagenet" else read_weights(weights)
    if name.startswith("mnasnet"):
        state = {k.removeprefix("layers."): v for k, v in state.items() if k.startswith("layers.")}
    else:
        state = {k: v for k, v in state.items() if k.partition(".")[0] not in CLASSIFIERS}
    try:
        own = trunk.state_dict()
        for key, value in state.items():
            if value.ndim == 4 and value.shape[1] == 3 and own[key].shape[1] != 3:
                state[key] = value.mean(1, keepdim=True).expand_as(own[key])
        trunk.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise CheckpointError(f"--trunk-weights {weights}: not those of {name}") from error


def headless(name: str) -> nn.Module:
    """A network of torchvision without its classifier and without weights."""
    network = torchvision.models.get_model(name, weights=None)
    if name.startswith("mnasnet"):
        return cast(nn.Module, network.layers)
    for classifier in CLASSIFIERS:
        if hasattr(network, classifier):
            setattr(network, classifier, nn.Identity())
    return cast(nn.Module, network)


def _widen(trunk: nn.Module, channels: int) -> None:
    """Let a network's first layer take another number of channels."""
    name, first = next((n, m) for n, m in trunk.named_modules() if isinstance(m, nn.Conv2d))
    parent = trunk.get_submodule(name.rpartition(".")[0])
    wider = nn.Conv2d(
        channels, first.out_channels, cast(tuple[int, int], first.kernel_size),
        cast(tuple[int, int], first.stride), cast(tuple[int, int], first.padding),
        bias=first.bias is not None,
    )  # fmt: skip
    setattr(parent, name.rpartition(".")[2], wider)


def _cnn_m(size_px: int, channels: int) -> nn.Sequential:
    """The temporal stream of a two-stream system: CNN-M-2048 (Chatfield et al. 2014, arXiv
    1405.3531) with BatchNorm after its first two layers and a second fully connected layer of 1024.
    Without its classifier."""
    with torch.device("meta"):  # how many numbers the maps are
        flat = _cnn_m_maps(channels)(torch.empty(1, channels, size_px, size_px)).shape[1]
    return nn.Sequential(
        *_cnn_m_maps(channels),
        nn.Linear(flat, 2048), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Linear(2048, CNN_M_WIDTH), nn.ReLU(inplace=True),
    )  # fmt: skip


def _cnn_m_maps(channels: int) -> nn.Sequential:
    """(N, C, H, W) to (N, 512 h w)."""
    return nn.Sequential(
        nn.Conv2d(channels, 96, 7, 2), nn.ReLU(inplace=True), nn.BatchNorm2d(96),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(96, 256, 5, 2, 1), nn.ReLU(inplace=True), nn.BatchNorm2d(256),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(256, 512, 3, 1, 1), nn.ReLU(inplace=True),
        nn.Conv2d(512, 512, 3, 1, 1), nn.ReLU(inplace=True),
        nn.Conv2d(512, 512, 3, 1, 1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1),
        nn.Flatten(),
    )  # fmt: skip


@cache
def _width(name: str, size_px: int) -> int:
    """How many numbers describe a frame."""
    if name.startswith("mnasnet"):
        return MNASNET_WIDTH
    if name == CNN_M:
        return CNN_M_WIDTH
    try:
        with torch.device("meta"):
            return int(headless(name).eval()(torch.empty(1, 3, size_px, size_px)).shape[1])
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"--trunk {name}: takes no frames of {size_px} pixels; --size 224 is usual"
        ) from error


def _fetched(trunk: str) -> dict[str, Tensor]:
    """torchvision's ImageNet weights, the first version: that of the published systems."""
    kinds = torchvision.models.get_model_weights(trunk)
    source = getattr(kinds, "IMAGENET1K_V1", None) or kinds.DEFAULT
    return fetch_weights(source, "--trunk-weights imagenet")[0]
