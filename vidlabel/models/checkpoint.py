"""Checkpoints: one .safetensors file that describes itself; pickles are never read.

The header (JSON under the key `vidlabel`) holds the model and clip specs, the class names, the
temperature, how the model was trained and measured, and the clips it was trained on.

A checkpoint may come from anywhere, so it is not trusted: its tensors are compared with the model
it names before memory is used for either, and every problem is one line.

torchvision's networks of `KINETICS` are known by name: `vidlabel.models.weights` downloads their
files and runs no code in them; their headers are made here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import struct
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from vidlabel.errors import CheckpointError, UsageError
from vidlabel.files.write import write_bytes
from vidlabel.models.base import ClipModel
from vidlabel.models.build import build_model
from vidlabel.models.kinetics import KINETICS
from vidlabel.models.video_net import fetch_kinetics, kinetics_classes
from vidlabel.models.weights import shipped_file
from vidlabel.specs import SHIPPED, ClipSpec, ModelSpec, from_dict, to_dict
from vidlabel.text import safe

FORMAT = 1
MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit
MAX_CLIP_BYTES = 64 * 1024**2
MAX_CLASS_NAME = 255  # longest name of a folder
BEST = "best.safetensors"
_FOLDS_NAMED = 10
_LATER = {"sources", "selected_on", "min_confidence"}  # missing in the first checkpoints

_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "I64": torch.int64}


@dataclass(frozen=True)
class Header:
    """Everything a checkpoint says about itself.

    `temperature` divides the logits so that probabilities are calibrated (Guo et al. 2017,
    arXiv 1706.04599). `training` describes data and settings; `metrics` holds what was measured,
    and on what; `trained_on` lists the ids of the training clips (`Sample.id`), `sources` the
    groups they come from, and `selected_on` the ids of the clips that the epoch was chosen on; the
    leak check of `eval` needs them. `sources` and `selected_on` are empty where unknown.
    `min_confidence` is the default of --min-confidence: the probability below which a video is
    likely to show none of the classes.
    """

    model: ModelSpec
    clip: ClipSpec
    classes: tuple[str, ...]
    temperature: float = 1.0
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    trained_on: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    selected_on: tuple[str, ...] = ()
    min_confidence: float = 0.0

    def __post_init__(self) -> None:
        if len(self.classes) != self.model.classes:
            raise UsageError(
                f"{len(self.classes)} class names for a model of {self.model.classes} classes"
            )
        if len(set(self.classes)) != len(self.classes):
            raise UsageError("two classes have the same name")
        for name in self.classes:
            if not name.strip() or len(name) > MAX_CLASS_NAME or safe(name) != name:
                raise UsageError(
                    f"a class cannot be called '{safe(name[:MAX_CLASS_NAME])}': a name has 1 to "
                    f"{MAX_CLASS_NAME} characters and no control characters"
                )
        if not 0 < self.temperature < 1000:
            raise UsageError(f"the temperature must be 0 to 1000, got {self.temperature}")
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"min_confidence must be 0 to 1, got {self.min_confidence}")
        if math.prod(self.clip.shape) > MAX_CLIP_BYTES:
            raise UsageError(
                f"a clip of {self.clip.frames} frames of {self.clip.size_px} pixels takes more "
                f"than {MAX_CLIP_BYTES >> 20} MiB; lower --frames or --size"
            )

    def to_json(self) -> str:
        """The header as one JSON object, keys sorted so that equal headers are equal text."""
        specs = {"model": to_dict(self.model), "clip": to_dict(self.clip)}
        values = vars(self) | specs | {"format": FORMAT}
        return json.dumps(values, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Header:
        """Parse a header. Raises UsageError or ValueError with what is wrong."""
        values = _object("the header", _parse(text))
        if values.get("format") != FORMAT:
            raise UsageError(f"its format is {values.get('format')}; this vidlabel reads {FORMAT}")
        absent = sorted({f.name for f in fields(cls)} - _LATER - values.keys())
        if absent:
            raise UsageError(f"{', '.join(absent)} missing")
        temperature = values["temperature"]
        if type(temperature) not in (int, float):
            raise UsageError(f"the temperature must be a number, got {temperature!r}")
        least = values.get("min_confidence", 0.0)
        if type(least) not in (int, float):
            raise UsageError(f"min_confidence must be a number, got {least!r}")
        return cls(
            model=_spec("model", ModelSpec, values["model"]),
            clip=_spec("clip", ClipSpec, values["clip"]),
            classes=_texts("classes", values["classes"]),
            temperature=temperature,
            training=_object("training", values["training"]),
            metrics=_object("metrics", values["metrics"]),
            trained_on=_texts("trained_on", values["trained_on"]),
            sources=_texts("sources", values.get("sources", [])),
            selected_on=_texts("selected_on", values.get("selected_on", [])),
            min_confidence=least,
        )


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


def describe_model(name: str) -> Header:
    """The header of any model that `load_checkpoint` accepts, without its weights; nothing is
    downloaded. Raises CheckpointError as `load_checkpoint`."""
    return _kinetics_header(name) if name in KINETICS else read_header(find_checkpoint(name))


def load_checkpoint(name: str) -> Checkpoint:
    """Load a model by name or path, ready for inference on the CPU.

    Args:
        name: a shipped model, one of torchvision's in `KINETICS` (from torch's cache, or
            downloaded), or the path of a checkpoint or run folder.

    Raises:
        CheckpointError: the file is missing, not a safetensors file, truncated, without vidlabel's
            header, with weights that do not fit it, or with weights that are not finite; or
            torchvision's weights cannot be downloaded.
    """
    if name in KINETICS:
        return _load_kinetics(name)
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
        return prefix + text, _object("the header", _parse(text))
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


def _parse(text: str | bytes) -> Any:
    """JSON without duplicate keys. Raises ValueError for everything else."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{name} must be an object")
    return value


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise UsageError(f"{name} must be a list of strings")
    return tuple(value)


S = TypeVar("S", ClipSpec, ModelSpec)


def _spec(name: str, kind: type[S], values: Any) -> S:
    """A spec whose fields have the types of their defaults; an int is accepted for a float."""
    defaults = {f.name: f.default for f in fields(kind)}
    for key, value in _object(name, values).items():
        wanted = type(defaults.get(key, value))
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise UsageError(f"{name}: {key} must be of type {wanted.__name__}, got {value!r}")
    return from_dict(kind, values)
