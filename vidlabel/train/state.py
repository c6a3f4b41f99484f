"""A training after an epoch: all that is needed to go on as if nothing had happened."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vidlabel.datasets.samples import Sample
from vidlabel.errors import CheckpointError, UsageError
from vidlabel.files.write import remove_leftovers, write_bytes
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.text import text_path

SPEC = "spec.json"
STATE = "state.pt"
LOG = "log.csv"
BEST = "best.safetensors"
LAST = "last.safetensors"
RESULT = "result.json"
"""Written last: a run folder that has it is complete."""
PLAN = "plan.json"
"""What the run folder of a protocol is for."""

_MADE = (STATE, RESULT, BEST, LAST, LOG, "split.csv", "curves.png", "run.json", "recipe.toml", SPEC)
"""The last one says whose the others are, as long as one of them is there."""
_STATE_KEYS = {"trainer", "log", "best"}


def save_state(out: Path, values: Mapping[str, Any]) -> None:
    """Keep the state of the training in `out`, as a whole or not at all: `trainer`, what its
    `Trainer` gives; `log`, its epochs as plain values; `best`, the place of the best one there.
    Raises OutputError."""
    data = io.BytesIO()
    torch.save(dict(values), data)
    write_bytes(out / STATE, [data.getvalue()])


def load_state(out: Path, device: torch.device) -> dict[str, Any] | None:
    """The state kept in `out`, None where there is none. No code in it is run.

    Raises:
        CheckpointError: it cannot be read, or is not what `save_state` is given.
    """
    path = out / STATE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            values = torch.load(file, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: corrupt; --restart begins anew") from error
    if not isinstance(values, dict) or not values.keys() >= _STATE_KEYS:
        raise does_not_fit(out)
    return values


def does_not_fit(out: Path) -> CheckpointError:
    """The error to raise where the state in `out` can be read, but not used."""
    return CheckpointError(
        f"{out / STATE}: is not the state of this training, or of another version; "
        "--restart begins anew"
    )


def describe(
    spec: Any, clip: ClipSpec, model: ModelSpec, samples: Sequence[Sample]
) -> dict[str, Any]:
    """What decides the outcome of a training, as plain values."""
    digest = hashlib.sha256()
    places = [os.path.abspath(s.path) for s in samples]  # noqa: PTH100 - links are not followed
    fields = [(p, s.label, s.group, s.split) for p, s in zip(places, samples, strict=True)]
    for each in sorted(fields):
        digest.update("\0".join(map(text_path, each)).encode() + b"\n")
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
    if not check_description(path, now):
        write_bytes(path, [json.dumps(now, indent=1).encode()])


def check_description(path: Path, now: Mapping[str, Any]) -> bool:
    """Whether a folder says what it is for. If it does, that is the same.

    Raises:
        UsageError: it holds something else, or what it says cannot be read.
    """
    before = read_description(path)
    changed = sorted(_differences(before, json.loads(json.dumps(now)))) if before else []
    if changed:
        raise UsageError(
            f"{path.parent}: holds a run with other settings ({'; '.join(changed[:3])}); "
            "--restart begins anew, or name another --out"
        )
    return bool(before)


def has_begun(out: Path) -> bool:
    """Whether a training in `out` has come to the end of an epoch, so that something would be
    lost."""
    return any((out / name).exists() for name in (RESULT, STATE, LOG))


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
    elif before != now and name == "samples.sha256":  # digits that tell nobody anything
        yield "other videos, labels, groups or parts"
    elif before != now:
        yield f"{name} was {before}, is {now}"
