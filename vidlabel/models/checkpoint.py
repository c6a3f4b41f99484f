"""Checkpoints: one .safetensors file that describes itself; pickles are never read.

The header (JSON under the key `vidlabel`) holds the model and clip specs, the class names, the
temperature, how the model was trained and measured, and the clips it was trained on.

A checkpoint may come from anywhere, so it is not trusted: its tensors are compared with the model
it names before memory is used for either, and every problem is one line.

torchvision's networks of `KINETICS` are known by name: `vidlabel.models.weights` downloads their
files and runs no code in them; their headers are made here. Those of Transformers, `hf:NAME`, are
read by `vidlabel.models.hugging_face`.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from vidlabel.errors import CheckpointError, UsageError
from vidlabel.files.write import write_bytes
from vidlabel.models.base import ClipModel
from vidlabel.models.build import build_model
from vidlabel.models.header import Header as Header
from vidlabel.models.header import as_object, parse_json
from vidlabel.models.hugging_face import HF, describe_hf, load_hf
from vidlabel.models.kinetics import KINETICS
from vidlabel.models.video_net import fetch_kinetics, kinetics_classes
from vidlabel.models.weights import shipped_file
from vidlabel.specs import SHIPPED, ModelSpec
from vidlabel.text import safe

MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit
BEST = "best.safetensors"
_FOLDS_NAMED = 10

_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "I64": torch.int64}


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with its header; `digest` is the file's SHA-256."""

    name: str
    header: Header
    network: ClipModel
    digest: str

    @property
    def id(self) -> str:
        """Name and first 8 digits of the digest, as in the `model` column."""
        return f"{self.name}@{self.digest[:8]}"


def find_checkpoint(name: str) -> Path:
    """The file of a shipped model, the best model of a run folder, or the path itself. Raises
    CheckpointError if there is none, or it is not a regular file."""
    if name in SHIPPED:
        return shipped_file(SHIPPED[name])
    path = Path(name)
    if os.path.isdir(path):  # noqa: PTH112 - a name that is too long is refused below
        path = _best_of(path)
    _check_regular(path)
    return path


def save_checkpoint(path: Path, header: Header, network: ClipModel) -> None:
    """Write a checkpoint atomically. Raises OutputError."""
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    write_bytes(path, [save(state, metadata={"vidlabel": header.to_json()})])


def read_header(path: Path) -> Header:
    """The header alone, without the weights. Raises CheckpointError as `load_checkpoint`."""
    return _read(path, whole=False)[0]


def describe_model(name: str, classes: Sequence[str] = ()) -> Header:
    """The header of any model that `load_checkpoint` accepts, without its weights; nothing is
    downloaded. Raises CheckpointError and UsageError as `load_checkpoint`."""
    if name.startswith(HF):
        return describe_hf(name, classes)
    return _kinetics_header(name) if name in KINETICS else read_header(find_checkpoint(name))


def load_checkpoint(name: str, classes: Sequence[str] = ()) -> Checkpoint:
    """Load a model by name or path, ready for inference on the CPU.

    Args:
        name: a shipped model, one of torchvision's in `KINETICS` (from torch's cache, or
            downloaded), the path of a checkpoint or run folder, or `hf:` and a folder of
            Transformers or a name in the cache of Hugging Face.
        classes: the classes of a zero-shot model; others know their own.

    Raises:
        CheckpointError: the file is missing, not a safetensors file, truncated, without vidlabel's
            header, with weights that do not fit it, or with weights that are not finite; or
            torchvision's weights cannot be downloaded.
        UsageError: a zero-shot model is given fewer than two classes, or Transformers is missing.
    """
    if name in KINETICS:
        return _load_kinetics(name)
    if name.startswith(HF):
        header, network, digest = load_hf(name, classes)
        _check_finite(Path(name), network)
        return Checkpoint(
            Path(name.removeprefix(HF)).absolute().name, header, network.eval(), digest
        )
    path = find_checkpoint(name)
    header, data = _read(path, whole=True)
    try:
        state = load(data)
    except (SafetensorError, ValueError) as error:
        _refuse(path, f"corrupt checkpoint ({error})", error)
    network = build_model(header.model, header.clip)
    network.load_state_dict(state)
    _check_finite(path, network)
    return Checkpoint(_name_of(path), header, network.eval(), hashlib.sha256(data).hexdigest())


def _name_of(path: Path) -> str:
    """The name of a model: in a run folder, the run's, with that of its fold."""
    folder = path.absolute().parent
    if not (folder / "spec.json").is_file():
        return path.stem
    run = folder.parent
    of_a_fold = (run / "plan.json").is_file() and not (folder / "plan.json").is_file()
    name = f"{run.name}-{folder.name}" if of_a_fold else folder.name
    return name if path.name == BEST else f"{name}-{path.stem}"


def _load_kinetics(name: str) -> Checkpoint:
    """One of torchvision's, from torch's cache or downloaded."""
    state, digest = fetch_kinetics(name)  # first, as building the largest takes seconds
    header = _kinetics_header(name)
    network = build_model(header.model, header.clip)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        _refuse(Path(name), "the weights are of another network", error)
    _check_finite(Path(name), network)
    return Checkpoint(name, header, network.eval(), digest)


def _kinetics_header(name: str) -> Header:
    """The header of one of torchvision's video networks, whose file has none."""
    about = KINETICS[name]
    classes = kinetics_classes(name)
    return Header(
        # The dropout is that of the recipe: --init trains with it.
        model=ModelSpec(arch="video-net", classes=len(classes), trunk=name, dropout=0.5),
        clip=about.clip,
        classes=classes,
        training={"data": "Kinetics-400", "weights": f"torchvision's {about.weights}"},
        metrics={"top1": about.top1, "top5": about.top5, "measured": about.protocol},
    )


def _check_finite(path: Path, network: ClipModel) -> None:
    for key, value in network.state_dict().items():  # after loading: a cast can overflow
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            _refuse(path, f"{key} holds values that are not finite")


def _check_regular(path: Path) -> None:
    """Check before opening: a FIFO would block, and a device may never end."""
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        known = ", ".join([*sorted(SHIPPED), *KINETICS])
        _refuse(path, f"no such checkpoint; give a .safetensors file or: {known}")
    except (OSError, ValueError) as error:
        _refuse(path, f"cannot be read: {getattr(error, 'strerror', None) or error}", error)
    if not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "a pipe, socket or device"
        _refuse(path, f"{what}, not a checkpoint")


def _best_of(run: Path) -> Path:
    """The best model of a run folder of `vidlabel train`."""
    best = run / BEST
    if best.exists():
        return best
    folds = sorted(path.parent.name for path in run.glob(f"*/{BEST}"))
    if folds:
        each = ", ".join([*folds[:_FOLDS_NAMED], *(["..."] if len(folds) > _FOLDS_NAMED else [])])
        _refuse(run, f"has a model for each fold; choose one, FOLD/{BEST}, of the folds {each}")
    if (run / "spec.json").is_file():
        _refuse(
            run,
            f"a run folder without {BEST}: no epoch is finished, or it was removed; run the same "
            "`vidlabel train` command again",
        )
    _refuse(run, "a folder, not a checkpoint")


def _refuse(path: Path, why: str, cause: Exception | None = None) -> NoReturn:
    """Raise an error of one line, whatever a hostile file contains."""
    raise CheckpointError(f"{safe(str(path))}: {safe(why[:500])}") from cause


def _read(path: Path, *, whole: bool) -> tuple[Header, bytes]:
    """The header, and, if `whole`, the bytes of the file, which were checked against the header.

    The layout of a safetensors file: 8 bytes of length, JSON of that length, and the tensors.
    """
    try:
        _check_regular(path)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start, table = _read_table(path, file, size)
            header = _header(path, table)
            if not whole:
                return header, b""
            length = len(start) + _check_fit(path, header, table)
            if size != length:
                _refuse(path, f"corrupt checkpoint: it has {size} bytes instead of {length}")
            return header, start + file.read(length - len(start))
    except OSError as error:
        _refuse(path, f"cannot be read: {error.strerror}", error)


def _read_table(path: Path, file: BinaryIO, size: int) -> tuple[bytes, dict[str, Any]]:
    """The bytes up to the first tensor, and the JSON in them: the table of tensors."""
    prefix = file.read(8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else MAX_HEADER_BYTES + 1
    if length > MAX_HEADER_BYTES:
        pickled = prefix.startswith((b"PK\3\4", b"\x80"))
        hint = "pickles (.pt, .pth) can run code and are never read"
        _refuse(path, f"not a checkpoint of vidlabel ({hint if pickled else 'no header'})")
    if length > size - 8:
        _refuse(path, "not a checkpoint of vidlabel, or truncated")
    text = file.read(length)
    try:
        return prefix + text, as_object("the header", parse_json(text))
    except (UsageError, ValueError) as error:
        _refuse(path, f"not a checkpoint of vidlabel, or truncated ({error})", error)


def _header(path: Path, table: dict[str, Any]) -> Header:
    metadata = table.get("__metadata__")
    text = metadata.get("vidlabel") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        _refuse(path, "a safetensors file, but not a checkpoint of vidlabel")
    try:
        return Header.from_json(text)
    except (UsageError, ValueError) as error:
        _refuse(path, f"its header is wrong: {error}", error)


def _check_fit(path: Path, header: Header, table: dict[str, Any]) -> int:
    """Size of the tensors, bytes, if they are those of the model that the header names."""
    try:
        with torch.device("meta"):  # shapes only: a small file can name a huge model
            expected = build_model(header.model, header.clip).state_dict()
    except (UsageError, RuntimeError, OverflowError) as error:
        _refuse(path, f"its header is wrong: {error}", error)
    found = table.keys() - {"__metadata__"}
    missing, extra = sorted(expected.keys() - found), sorted(found - expected.keys())
    if missing or extra:
        _refuse(
            path,
            "the weights do not fit the model in its header: "
            f"missing {missing[:3] or 'none'}, unexpected {extra[:3] or 'none'}",
        )
    length = 0
    for key, tensor in expected.items():
        entry = table[key] if isinstance(table[key], dict) else {}
        shape, name = entry.get("shape"), entry.get("dtype")
        if shape != list(tensor.shape):
            found_shape = tuple(shape) if isinstance(shape, list) else shape
            _refuse(path, f"{key} is {found_shape}, the model needs {tuple(tensor.shape)}")
        dtype = _DTYPES.get(name) if isinstance(name, str) else None
        if dtype is None or dtype.is_floating_point != tensor.is_floating_point():
            _refuse(path, f"{key} is of type {name}, the model needs {tensor.dtype}")
        length += tensor.numel() * dtype.itemsize
    return length
