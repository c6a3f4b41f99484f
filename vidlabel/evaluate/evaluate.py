"""Test a model on labelled videos, with the decoding, sampling and model path of `predict`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidlabel.datasets.leaks import Leak, find_leak, known_among
from vidlabel.datasets.samples import Sample
from vidlabel.errors import RunError, UsageError
from vidlabel.models.checkpoint import Header
from vidlabel.predict.labeller import Labeller, PredictSpec
from vidlabel.specs import Prediction, Strategy, VideoItem
from vidlabel.text import first_few


@dataclass(frozen=True)
class ClipResult:
    """One test clip: its sample, its row, and what the model knew of it.

    `views` are the probabilities (V, K) of each view, None if the clip could not be read. `kind` is
    `new`, `seen` (trained on), `sibling` (another clip of its source was trained on, see
    `datasets.leaks`), or `selected` (in the validation set that chose the epoch).
    """

    sample: Sample
    row: Prediction
    views: np.ndarray[Any, np.dtype[np.float32]] | None
    kind: str = "new"
    temperature: float = 1.0
    """Temperature of the model that predicted it."""


@dataclass(frozen=True)
class Evaluation:
    """The results of a model on the test clips of a fold, in the order of the clips."""

    name: str
    """Of the fold, such as `split-1`."""
    model: str
    classes: tuple[str, ...]
    tested: tuple[ClipResult, ...]
    leak: Leak
    selected: int = 0
    """How many of the test clips chose the epoch."""
    notes: tuple[str, ...] = field(default=())
    strategy: Strategy = "clip"
    """What the model saw of each video."""

    @property
    def read(self) -> list[ClipResult]:
        """The clips that could be read."""
        return [each for each in self.tested if each.views is not None]

    @property
    def unreadable(self) -> list[ClipResult]:
        """The clips that could not be read; no figure includes them."""
        return [each for each in self.tested if each.views is None]

    def video_level(self, kind: str | None = None) -> tuple[Tensor, Tensor]:
        """Probabilities (N, K), mean over the views of each video, and labels (N,)."""
        chosen = [each for each in self.read if kind in (None, each.kind)]
        means = [_mean(each) for each in chosen]
        return _stacked(means, len(self.classes)), self._labels(chosen)

    def temperatures(self) -> Tensor:
        """(N, 1), the temperatures behind the probabilities of `video_level`."""
        return torch.tensor([[each.temperature] for each in self.read])

    def clip_level(self) -> tuple[Tensor, Tensor]:
        """Probabilities (N V, K) of each view on its own, and labels (N V,)."""
        views = [view for each in self.read for view in _views(each)]
        labels = [self.classes.index(e.sample.label) for e in self.read for _ in _views(e)]
        return _stacked(views, len(self.classes)), torch.tensor(labels, dtype=torch.long)

    def _labels(self, chosen: Sequence[ClipResult]) -> Tensor:
        labels = [self.classes.index(each.sample.label) for each in chosen]
        return torch.tensor(labels, dtype=torch.long)


def check_classes(header: Header, samples: Sequence[Sample], data: str) -> tuple[str, ...]:
    """Notes on classes of the model without test clips.

    Raises:
        UsageError: there is nothing to test, or the model does not know a class of the data.
    """
    if not samples:
        raise UsageError(f"{data}: no clips to test")
    labels = {sample.label for sample in samples}
    unknown = sorted(labels - set(header.classes))
    if unknown:
        raise UsageError(
            f"{data}: {len(unknown)} of its {len(labels)} classes are unknown to the model "
            f"({first_few(unknown)}); it knows {len(header.classes)}: {first_few(header.classes)}"
        )
    absent = sorted(set(header.classes) - labels)
    what = "class" if len(absent) == 1 else "classes"
    return (f"no test clips of {len(absent)} {what}: {first_few(absent)}",) if absent else ()


def evaluate(
    labeller: Labeller, samples: Sequence[Sample], spec: PredictSpec, *, name: str, data: str = "",
    on_clip: Callable[[], None] = lambda: None,
) -> Evaluation:  # fmt: skip
    """Predict every sample and compare it with its label.

    Args:
        labeller: the model.
        samples: the test clips.
        spec: how to predict; all classes are kept whatever its `top_k`.
        name: of the fold.
        data: the data set's name, for messages.
        on_clip: is called after each clip.

    Raises:
        UsageError: as `check_classes`.
        RunError: no clip can be read.
    """
    header = labeller.checkpoint.header
    notes = check_classes(header, samples, data)
    leak, kinds = find_leak(set(header.trained_on), set(header.sources), samples)
    chosen_on = known_among(header.selected_on, samples)
    spec = replace(spec, top_k=len(labeller.classes), min_confidence=0.0)
    items = [VideoItem(i, sample.path) for i, sample in enumerate(samples)]
    done: dict[int, ClipResult] = {}
    for index, row, views in labeller.predict_views(items, spec):
        sample = samples[index]
        kept = None if views is None else np.array(views)
        kind = kinds[sample.id]
        if kind == "new" and sample.id in chosen_on:
            kind = "selected"
        row = replace(row, embedding=())  # not needed, and large
        done[index] = ClipResult(sample, row, kept, kind, header.temperature)
        on_clip()
    tested = tuple(done[i] for i in range(len(samples)))
    found = Evaluation(
        name, labeller.checkpoint.id, labeller.classes, tested, leak, len(chosen_on), notes,
        spec.strategy,
    )  # fmt: skip
    if not found.read:
        raise RunError(f"{data}: none of {len(samples)} test clips can be read")
    return found


def merge(folds: Sequence[Evaluation], name: str) -> Evaluation:
    """The clips of several folds together.

    Raises:
        UsageError: the models of the folds have different classes.
    """
    if len({fold.classes for fold in folds}) > 1:
        raise UsageError("the models of the folds do not have the same classes")
    first = folds[0]
    leaks = [fold.leak for fold in folds]
    return replace(
        first,
        name=name,
        model=first.model if len(folds) == 1 else f"{len(folds)} models",
        tested=tuple(each for fold in folds for each in fold.tested),
        leak=Leak(
            sum(leak.tested for leak in leaks),
            sum(leak.seen for leak in leaks),
            sum(leak.siblings for leak in leaks),
        ),
        selected=sum(fold.selected for fold in folds),
        notes=tuple(dict.fromkeys(note for fold in folds for note in fold.notes)),
    )


def across(summaries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation (n - 1) of the video-level figures over the folds."""
    result = {}
    for figure in summaries[0]["video_level"]:
        values = [summary["video_level"][figure]["value"] for summary in summaries]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        result[figure] = {"mean": float(np.mean(values)), "std": spread}
    return result


def _views(each: ClipResult) -> np.ndarray[Any, np.dtype[np.float32]]:
    assert each.views is not None  # only clips that could be read are asked
    return each.views


def _mean(each: ClipResult) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(_views(each).astype(np.float64).mean(0), dtype=np.float32)


def _stacked(rows: Sequence[np.ndarray[Any, np.dtype[np.float32]]], classes: int) -> Tensor:
    return torch.from_numpy(np.stack(rows)) if rows else torch.zeros(0, classes)
