"""Pretrained trunk weights: optional, fetched only when asked for."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import MNASNet0_5_Weights

from vidlabel.errors import CheckpointError
from vidlabel.models.cnn_birnn import CnnBiRnn


def load_trunk(network: CnnBiRnn, weights: str) -> None:
    """Put ImageNet weights into a network's trunk.

    Args:
        network: the network to change.
        weights: `imagenet` for torchvision's MNASNet 0.5 weights (looked for in torch's cache,
            then downloaded), or the path of such a file.

    Raises:
        CheckpointError: they can be neither found nor fetched, or do not fit.
    """
    if weights == "imagenet":
        source = MNASNet0_5_Weights.IMAGENET1K_V1
        try:
            state = source.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            cache = Path(torch.hub.get_dir()) / "checkpoints"
            raise CheckpointError(
                f"--trunk-weights imagenet: cannot be downloaded ({error}); put "
                f"{Path(source.url).name} into {cache}, or name the file"
            ) from error
    else:
        state = _read(weights)
    layers: dict[str, Tensor] = {
        key.removeprefix("layers."): value
        for key, value in state.items()
        if key.startswith("layers.")
    }
    try:
        network.trunk.load_state_dict(layers)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(f"--trunk-weights {weights}: not those of MNASNet 0.5") from error


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
