"""Trunks, the CNNs that describe frames: torchvision's classification networks without their
classifier, EfficientNet-Lite0, and one for optical flow.

torchvision takes as long to import as torch, so only its own networks import it.
"""

from __future__ import annotations

from functools import cache
from typing import cast

import torch
from torch import Tensor, nn

from vidlabel.errors import CheckpointError, UsageError, WeightsMissing
from vidlabel.models import efficientnet_lite
from vidlabel.models.weights import fetch_weights, read_weights, shipped_weights
from vidlabel.text import safe

CLASSIFIERS = ("fc", "classifier", "heads", "head")
"""Names of the classifier layers in torchvision's networks."""
_FAMILIES = (
    "convnext", "densenet", "efficientnet", "maxvit", "mnasnet", "mobilenet", "resne", "shufflenet",
    "swin", "vit_b", "vit_l", "wide_resnet",
)  # fmt: skip
"""Networks with one output, which the classifier alone computes from features."""
MNASNET_WIDTH = 1280
CNN_M, CNN_M_WIDTH = "cnn_m_2048", 1024
LITE0 = "efficientnet_lite0"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_NOT_TORCHVISIONS = (LITE0, CNN_M)


def trunk_names() -> list[str]:
    """All names that `make_trunk` accepts."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    return [*_NOT_TORCHVISIONS, *(name for name in known if name.startswith(_FAMILIES))]


def input_scale(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation, of pixels 0..1, that a trunk's ImageNet weights were trained with."""
    if name == LITE0:
        return efficientnet_lite.MEAN, efficientnet_lite.STD
    return IMAGENET_MEAN, IMAGENET_STD


def make_trunk(
    name: str, size_px: int, channels: int = 3, *, intermediate: bool = False
) -> tuple[nn.Module, int]:
    """A trunk with random weights, and its number of features F.

    It maps (N, C, H, W) to (N, F), or to (N, F, h, w), whose mean over h and w are the features.

    Args:
        name: one of `trunk_names`.
        size_px: H and W.
        channels: C.
        intermediate: whether the features describe intermediate maps too; see `ModelSpec`.

    Raises:
        UsageError: the name is unknown, the network accepts no frames of that size, or it does not
            give intermediate maps.
    """
    if name not in _NOT_TORCHVISIONS and name not in trunk_names():
        raise UsageError(
            f"--trunk {safe(name)}: unknown network; use one of torchvision, such as mnasnet0_5, "
            f"resnet50, mobilenet_v3_large or swin_t, or {LITE0} or {CNN_M}"
        )
    width = _width(name, size_px)  # refuses a size before any memory is used
    if intermediate and name != LITE0:
        raise UsageError(f"--intermediate: needs --trunk {LITE0}, got {safe(name)}")
    if name == LITE0:
        trunk: nn.Module = efficientnet_lite.EfficientNetLite0(channels, intermediate=intermediate)
        width = efficientnet_lite.INTERMEDIATE_WIDTH if intermediate else width
    else:
        trunk = _cnn_m(size_px, channels) if name == CNN_M else headless(name)
    ease_training(trunk)
    if channels != 3 and name not in _NOT_TORCHVISIONS:
        _widen(trunk, channels)
    return trunk, width


def ease_training(trunk: nn.Module) -> None:
    """Prepare a trunk to learn from little data.

    Residual blocks start as the identity (Goyal et al. 2017, arXiv 1706.02677, section 5.1): from
    random weights, 150 optimizer steps then reach 18 % instead of 12 % on the 18 classes of the
    starter model. BatchNorm's statistics follow within tens of steps; torchvision's momentum for
    MNASNet, 3e-4, is made for millions of images.
    """
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
        if getattr(module, "apply_residual", False):
            nn.init.zeros_(cast(nn.Sequential, module.layers)[-1].weight)  # type: ignore[arg-type]


def load_trunk(trunk: nn.Module, name: str, weights: str) -> None:
    """Load ImageNet weights into a trunk.

    Args:
        trunk: from `make_trunk`.
        name: its name.
        weights: `imagenet` for those of EfficientNet-Lite0 that are a part of vidlabel, or
            torchvision's own (looked for in torch's cache, then downloaded); or the path of such a
            file.

    If the first layer does not have three channels, each of its channels gets the mean of the
    three kernels (cross-modality initialisation: Wang et al. 2016, arXiv 1608.00859, section 3.2).

    Raises:
        WeightsMissing: the weights are neither in the cache nor can be downloaded.
        CheckpointError: they do not fit the trunk.
    """
    if name == CNN_M and weights == "imagenet":
        raise WeightsMissing(f"--trunk-weights imagenet: there are none for {CNN_M}")
    if name == LITE0 and weights == "imagenet":
        state = shipped_weights(efficientnet_lite.WEIGHTS)
    else:
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
        raise CheckpointError(
            f"--trunk-weights {weights}: these weights do not fit {name}"
        ) from error


def headless(name: str) -> nn.Module:
    """A network of torchvision without its classifier, with random weights."""
    import torchvision

    network = torchvision.models.get_model(name, weights=None)
    if name.startswith("mnasnet"):
        return cast(nn.Module, network.layers)
    for classifier in CLASSIFIERS:
        if hasattr(network, classifier):
            setattr(network, classifier, nn.Identity())
    return cast(nn.Module, network)


def _widen(trunk: nn.Module, channels: int) -> None:
    """Replace the first layer of a network by one for another number of channels."""
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
    1405.3531) with BatchNorm after its first two layers and a second fully connected layer of 1024,
    without its classifier."""
    with torch.device("meta"):  # the size of the maps
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
    """Number of features per frame."""
    if name.startswith("mnasnet"):
        return MNASNET_WIDTH
    if name in _NOT_TORCHVISIONS:
        return CNN_M_WIDTH if name == CNN_M else efficientnet_lite.WIDTH
    try:
        with torch.device("meta"):
            return int(headless(name).eval()(torch.empty(1, 3, size_px, size_px)).shape[1])
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"--trunk {name}: does not accept frames of {size_px} pixels; try --size 224"
        ) from error


def _fetched(trunk: str) -> dict[str, Tensor]:
    """torchvision's ImageNet weights, version 1, as in the published systems."""
    import torchvision

    kinds = torchvision.models.get_model_weights(trunk)
    source = getattr(kinds, "IMAGENET1K_V1", None) or kinds.DEFAULT
    return fetch_weights(source, "--trunk-weights imagenet")[0]
