"""A training after an epoch: all that is needed to go on as if nothing had happened."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vidlabel.datasets.samples import Sample
from vidlabel.errors import CheckpointError, UsageError
from vidlabel.files import remove_leftovers, text_path, write_bytes
from vidlabel.specs import ClipSpec, ModelSpec

SPEC = "spec.json"
STATE = "state.pt"
RESULT = "result.json"
"""Written last: a run folder that has it is complete."""

_MADE = (SPEC, STATE, RESULT, "best.safetensors", "last.safetensors", "log.csv", "split.csv",
         "curves.png", "run.json", "recipe.toml")  # fmt: skip


def save_state(out: Path, values: Mapping[str, Any]) -> None:
    """Keep the state of the training in `out`, as a whole or not at all. Raises OutputError."""
    data = io.BytesIO()
    torch.save(dict(values), data)
    write_bytes(out / STATE, [data.getvalue()])


def load_state(out: Path, device: torch.device) -> dict[str, Any] | None:
    """The state kept in `out`, None where there is none. No code in it is run.

    Raises:
        CheckpointError: it cannot be read.
    """
    path = out / STATE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            values = torch.load(file, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: corrupt; --restart begins anew") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: corrupt; --restart begins anew")
    return values


def describe(
    spec: Any, clip: ClipSpec, model: ModelSpec, samples: Sequence[Sample]
) -> dict[str, Any]:
    """What decides the outcome of a training, as plain values."""
    digest = hashlib.sha256()
    for sample in sorted(samples, key=lambda s: (s.path, s.label, s.split)):
        fields = (sample.path, sample.label, sample.group, sample.split)
        digest.update("\0".join(map(text_path, fields)).encode() + b"\n")
    values = {
        "train": asdict(spec),
        "clip": asdict(clip),
        "model": asdict(model),
        "samples": {"count": len(samples), "sha256": digest.hexdigest()},
    }
    return dict(json.loads(json.dumps(values)))


def keep_description(path: Path, now: Mapping[str, Any]) -> None:
    """Write what a folder is for, or see that what it says is the same.

    Raises:
        UsageError: it holds something else.
        OutputError: it cannot be written.
    """
    before = read_description(path)
    if not before:
        write_bytes(path, [json.dumps(now, indent=1).encode()])
        return
    changed = sorted(_differences(before, json.loads(json.dumps(now))))
    if changed:
        raise UsageError(
            f"{path.parent}: holds a run with other settings ({'; '.join(changed[:3])}); "
            "--restart begins anew, or name another --out"
        )


def read_description(path: Path) -> dict[str, Any]:
    """What a folder is for; empty where it does not say.

    Raises:
        UsageError: it cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); --restart begins anew") from error
    return values if isinstance(values, dict) else {}


def forget(out: Path) -> None:
    """Remove what a training has left in `out`, and nothing else."""
    for name in _MADE:
        (out / name).unlink(missing_ok=True)
    for events in (out / "tensorboard").glob("events.out.tfevents.*"):
        events.unlink(missing_ok=True)


def remove_torn(out: Path) -> None:
    """Remove what trainings that were killed while they wrote have left in `out`. Only for who
    holds the folder."""
    for name in _MADE:
        remove_leftovers(out / name)


def _differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}".strip("."))
    elif before != now:
        yield f"{name} was {before}, is {now}"
