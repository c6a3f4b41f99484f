"""The CNNs that describe frames: torchvision's classification networks without their classifier."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path
from typing import cast

import torch
import torchvision
from torch import Tensor, nn

from vidlabel.errors import CheckpointError, UsageError
from vidlabel.text import safe

_CLASSIFIERS = ("fc", "classifier", "heads", "head")
"""What torchvision's networks call the layers that know the classes."""
_FAMILIES = (
    "convnext", "densenet", "efficientnet", "maxvit", "mnasnet", "mobilenet", "resne", "shufflenet",
    "swin", "vit_b", "vit_l", "wide_resnet",
)  # fmt: skip
"""Networks with one output that is made of features by the classifier alone."""
MNASNET_WIDTH = 1280


def trunk_names() -> list[str]:
    """All that `make_trunk` knows."""
    known = torchvision.models.list_models(module=torchvision.models)
    return [name for name in known if name.startswith(_FAMILIES)]


def make_trunk(name: str, size_px: int) -> tuple[nn.Module, int]:
    """A network of torchvision's by name, without weights: (N, 3, H, W) to (N, F), or to a map
    (N, F, h, w) whose mean that is; and F.

    Args:
        name: one of `trunk_names`.
        size_px: height and width of what it will see.

    Raises:
        UsageError: there is none of that name, or it takes no pictures of that size.
    """
    if name not in trunk_names():
        raise UsageError(
            f"--trunk {safe(name)}: not a network that is known here; known are those of "
            "torchvision such as mnasnet0_5, resnet50, mobilenet_v3_large, swin_t"
        )
    return _headless(name), _width(name, size_px)


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

    Raises:
        CheckpointError: they can be neither found nor fetched, or do not fit.
    """
    state = _fetched(name) if weights == "imagenet" else _read(weights)
    if name.startswith("mnasnet"):
        state = {k.removeprefix("layers."): v for k, v in state.items() if k.startswith("layers.")}
    else:
        state = {k: v for k, v in state.items() if k.partition(".")[0] not in _CLASSIFIERS}
    try:
        trunk.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(f"--trunk-weights {weights}: not those of {name}") from error


def _headless(name: str) -> nn.Module:
    network = torchvision.models.get_model(name, weights=None)
    if name.startswith("mnasnet"):
        return cast(nn.Module, network.layers)
    for classifier in _CLASSIFIERS:
        if hasattr(network, classifier):
            setattr(network, classifier, nn.Identity())
    return cast(nn.Module, network)


@cache
def _width(name: str, size_px: int) -> int:
    """How many numbers describe a frame."""
    if name.startswith("mnasnet"):
        return MNASNET_WIDTH
    try:
        with torch.device("meta"):
            return int(_headless(name).eval()(torch.empty(1, 3, size_px, size_px)).shape[1])
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"--trunk {name}: takes no frames of {size_px} pixels; --size 224 is usual"
        ) from error


def _fetched(trunk: str) -> dict[str, Tensor]:
    """torchvision's ImageNet weights, the first version: that of the published systems."""
    kinds = torchvision.models.get_model_weights(trunk)
    source = getattr(kinds, "IMAGENET1K_V1", None) or kinds.DEFAULT
    try:
        return cast(dict[str, Tensor], source.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise CheckpointError(
            f"--trunk-weights imagenet: cannot be downloaded ({error}); put "
            f"{Path(source.url).name} into {folder}, or name the file"
        ) from error


def _read(weights: str) -> dict[str, Tensor]:
    """A file of named tensors as torch saves them; no code in it is run."""
    if not Path(weights).is_file():  # opening a pipe would wait for ever
        raise CheckpointError(f"--trunk-weights {weights}: there is no such file")
    try:
        with Path(weights).open("rb") as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"--trunk-weights {weights}: cannot be loaded") from error
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise CheckpointError(f"--trunk-weights {weights}: holds no named weights")
    return state
