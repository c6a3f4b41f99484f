"""The header of a checkpoint: what a model says of itself, as JSON that is not trusted."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from vidlabel.errors import UsageError
from vidlabel.specs import ClipSpec, ModelSpec, from_dict, to_dict
from vidlabel.text import safe

FORMAT = 1
MAX_CLIP_BYTES = 64 * 1024**2
MAX_CLASS_NAME = 255  # longest name of a folder
_LATER = {"sources", "selected_on", "min_confidence"}  # missing in the first checkpoints


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
        values = as_object("the header", parse_json(text))
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
            classes=as_texts("classes", values["classes"]),
            temperature=temperature,
            training=as_object("training", values["training"]),
            metrics=as_object("metrics", values["metrics"]),
            trained_on=as_texts("trained_on", values["trained_on"]),
            sources=as_texts("sources", values.get("sources", [])),
            selected_on=as_texts("selected_on", values.get("selected_on", [])),
            min_confidence=least,
        )


def parse_json(text: str | bytes) -> Any:
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


def as_object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{name} must be an object")
    return value


def as_texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise UsageError(f"{name} must be a list of strings")
    return tuple(value)


S = TypeVar("S", ClipSpec, ModelSpec)


def _spec(name: str, kind: type[S], values: Any) -> S:
    """A spec whose fields have the types of their defaults; an int is accepted for a float."""
    defaults = {f.name: f.default for f in fields(kind)}
    for key, value in as_object(name, values).items():
        wanted = type(defaults.get(key, value))
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise UsageError(f"{name}: {key} must be of type {wanted.__name__}, got {value!r}")
    return from_dict(kind, values)
