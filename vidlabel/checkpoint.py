"""Checkpoints: one .safetensors file that describes itself. No pickle is ever read.

The header (a JSON text under the key `vidlabel`) holds the model and clip specs, the class names,
the temperature, how the model was trained and measured, and which clips it has seen.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vidlabel.errors import CheckpointError, UsageError
from vidlabel.files import write_bytes
from vidlabel.models import build_model
from vidlabel.models.cnn_birnn import CnnBiRnn
from vidlabel.specs import SHIPPED, ClipSpec, ModelSpec, from_dict, to_dict

FORMAT = 1
MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit


@dataclass(frozen=True)
class Header:
    """Everything a checkpoint says about itself.

    `temperature` divides the logits so that probabilities are calibrated (Guo et al. 2017,
    arXiv 1706.04599). `training` says what on and how; `metrics` what was measured, and on what;
    `trained_on` lists the ids of the training clips, for the leak check.
    """

    model: ModelSpec
    clip: ClipSpec
    classes: tuple[str, ...]
    temperature: float = 1.0
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    trained_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.classes) != self.model.classes:
            raise UsageError(
                f"{len(self.classes)} class names for a model of {self.model.classes} classes"
            )
        if len(set(self.classes)) != len(self.classes):
            raise UsageError("two classes have the same name")
        if not 0 < self.temperature < 1000:
            raise UsageError(f"the temperature must be over 0, got {self.temperature}")

    def to_json(self) -> str:
        """The header as one JSON object, keys sorted so that equal headers are equal text."""
        return json.dumps(
            {
                "format": FORMAT,
                "model": to_dict(self.model),
                "clip": to_dict(self.clip),
                "classes": list(self.classes),
                "temperature": self.temperature,
                "training": self.training,
                "metrics": self.metrics,
                "trained_on": list(self.trained_on),
            },
            sort_keys=True,
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Header:
        """Raises UsageError, KeyError, TypeError or ValueError where the text is not a header."""
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise UsageError(f"its format is {values['format']}; this vidlabel reads {FORMAT}")
        return cls(
            model=from_dict(ModelSpec, values["model"]),
            clip=from_dict(ClipSpec, values["clip"]),
            classes=tuple(values["classes"]),
            temperature=float(values["temperature"]),
            training=dict(values["training"]),
            metrics=dict(values["metrics"]),
            trained_on=tuple(values["trained_on"]),
        )


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with its header; `digest` is the file's SHA-256."""

    name: str
    header: Header
    network: CnnBiRnn
    digest: str

    @property
    def id(self) -> str:
        """Name and first 8 digits of the digest: what the `model` column shows."""
        return f"{self.name}@{self.digest[:8]}"


def find_checkpoint(name: str) -> Path:
    """The file of a shipped model's name, or the path itself.

    Raises:
        CheckpointError: there is neither.
    """
    path = Path(name)
    if name in SHIPPED:
        package = Path(__file__).parent
        for folder in (package / "weights", package.parent / "weights"):  # wheel, source tree
            if (folder / SHIPPED[name]).is_file():
                return folder / SHIPPED[name]
        raise CheckpointError(f"the model {name} is missing from this installation; reinstall it")
    if not path.is_file():
        known = ", ".join(sorted(SHIPPED))
        raise CheckpointError(f"{name}: no such checkpoint; give a .safetensors file or: {known}")
    return path


def save_checkpoint(path: Path, header: Header, network: CnnBiRnn) -> None:
    """Write a checkpoint as a whole or not at all. Raises OutputError."""
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    write_bytes(path, [save(state, metadata={"vidlabel": header.to_json()})])


def read_header(path: Path) -> Header:
    """The header alone, without the weights. Raises CheckpointError as `load_checkpoint`."""
    try:
        with path.open("rb") as file:
            return _parse_header(path, file.read(8), file.read)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error


def load_checkpoint(name: str) -> Checkpoint:
    """Load a model by shipped name or path, ready for inference on the CPU.

    Raises:
        CheckpointError: missing, not a safetensors file, truncated, without vidlabel's header,
            with weights that do not fit its own description, or with weights that are not finite.
    """
    path = find_checkpoint(name)
    header = read_header(path)
    try:
        data = path.read_bytes()
        state = load(data)
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(f"{path}: corrupt checkpoint ({error})") from error
    network = build_model(header.model, header.clip)
    _check_fit(path, network.state_dict(), state)
    network.load_state_dict(state)
    return Checkpoint(path.stem, header, network.eval(), hashlib.sha256(data).hexdigest())


def _parse_header(path: Path, prefix: bytes, read: Any) -> Header:
    # The layout of a safetensors file: 8 bytes of length, then that much JSON, then the tensors.
    if len(prefix) < 8 or (size := struct.unpack("<Q", prefix)[0]) > MAX_HEADER_BYTES:
        raise CheckpointError(f"{path}: not a checkpoint of vidlabel (no safetensors header)")
    try:
        text = json.loads(read(size)).get("__metadata__", {})["vidlabel"]
    except (ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of vidlabel, or cut off") from error
    except KeyError as error:
        raise CheckpointError(f"{path}: a safetensors file, but not one of vidlabel's") from error
    try:
        return Header.from_json(text)
    except (UsageError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its description is wrong: {error}") from error


def _check_fit(path: Path, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or extra:
        raise CheckpointError(
            f"{path}: the weights do not fit the model it names: "
            f"missing {missing[:3] or 'none'}, unexpected {extra[:3] or 'none'}"
        )
    for key, value in found.items():
        if value.shape != expected[key].shape:
            raise CheckpointError(
                f"{path}: {key} is {tuple(value.shape)}, the model needs "
                f"{tuple(expected[key].shape)}"
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path}: {key} holds values that are not finite")
