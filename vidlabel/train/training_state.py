"""The state of a training after an epoch: what resuming needs to get the same weights."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vidlabel.errors import CheckpointError
from vidlabel.files.write import write_bytes

STATE = "state.pt"
_KEYS = {"trainer", "log", "best"}


def save_state(out: Path, values: Mapping[str, Any]) -> None:
    """Save the state of the training in the folder `out`, completely or not at all.

    Args:
        values: `trainer` is `Trainer.state()`, `log` the epochs as plain values, `best` the index
            of the best one in the log.

    Raises:
        OutputError: it cannot be written.
    """
    data = io.BytesIO()
    torch.save(dict(values), data)
    write_bytes(out / STATE, [data.getvalue()])


def load_state(out: Path, device: torch.device) -> dict[str, Any] | None:
    """The state saved in `out`, or None. Code in the file is never run.

    Raises:
        CheckpointError: it cannot be read, or is not what `save_state` writes.
    """
    path = out / STATE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            values = torch.load(file, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: corrupt; --restart starts over") from error
    if not isinstance(values, dict) or not values.keys() >= _KEYS:
        raise does_not_fit(out)
    return values


def does_not_fit(out: Path) -> CheckpointError:
    """The error for a state that can be read, but not used."""
    return CheckpointError(
        f"{out / STATE}: is not the state of this training, or was saved by another version; "
        "--restart starts over"
    )
