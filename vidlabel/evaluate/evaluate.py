"""Test a model on labelled videos, with the decoding, sampling and model path of `predict`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidlabel.datasets.leaks import Leak, find_leak, known_among
from vidlabel.datasets.samples import Sample
from vidlabel.errors import RunError, UsageError
from vidlabel.evaluate.choice import ClassChoice, TestedClasses
from vidlabel.predict.labeller import Labeller, PredictSpec
from vidlabel.results.topk import model_name, ranked, scaled, shown
from vidlabel.specs import Prediction, Strategy, VideoItem
from vidlabel.text import first_few, with_hint


@dataclass(frozen=True)
class ClipResult:
    """One test clip: its sample, its row, and what the model knew of it.

    `views` are the probabilities (V, S) of each view, V = 0 if it could not be read; they sum to
    less than 1 if the test is restricted to some of the model's classes. `kind` is
    `new`, `seen` (trained on), `sibling` (another clip of its source was trained on, see
    `datasets.leaks`), or `selected` (in the validation set that chose the epoch).
    """

    sample: Sample
    row: Prediction
    views: NDArray[np.float32]
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
    notes: tuple[str, ...] = ()
    strategy: Strategy = "clip"
    """What the model saw of each video."""
    restricted: bool = False
    """Whether `classes` are only some of the model's."""

    @property
    def read(self) -> list[ClipResult]:
        """The clips that could be read."""
        return [each for each in self.tested if len(each.views)]

    @property
    def unreadable(self) -> list[ClipResult]:
        """The clips that could not be read; no figure includes them."""
        return [each for each in self.tested if not len(each.views)]

    def video_level(self, kind: str | None = None) -> tuple[Tensor, Tensor]:
        """Probabilities (N, S), mean over the views of each video, and labels (N,)."""
        chosen = [each for each in self.read if kind in (None, each.kind)]
        means = [each.views.astype(np.float64).mean(0) for each in chosen]
        return self._tensors(means, chosen)

    def temperatures(self) -> Tensor:
        """(N, 1), the temperatures behind the probabilities of `video_level`."""
        return torch.tensor([[each.temperature] for each in self.read])

    def clip_level(self) -> tuple[Tensor, Tensor]:
        """Probabilities (N V, S) of each view on its own, and labels (N V,)."""
        views = [view for each in self.read for view in each.views]
        return self._tensors(views, [each for each in self.read for _ in each.views])

    def _tensors(
        self, rows: Sequence[NDArray[Any]], clips: Sequence[ClipResult]
    ) -> tuple[Tensor, Tensor]:
        """Rows of probabilities as (N, S), and the labels (N,) of their clips."""
        table = np.array(rows, dtype=np.float32).reshape(-1, len(self.classes))
        table = scaled(table) if self.restricted else table
        labels = [self.classes.index(each.sample.label) for each in clips]
        return torch.from_numpy(table), torch.tensor(labels, dtype=torch.long)


def check_classes(known: Sequence[str], samples: Sequence[Sample], data: str) -> tuple[str, ...]:
    """Notes on the `known` classes of a model that are without test clips.

    Raises:
        UsageError: there is nothing to test, or the model does not know a class of the data.
    """
    if not samples:
        raise UsageError(f"{data}: no clips to test")
    labels = {sample.label for sample in samples}
    unknown = sorted(labels - set(known))
    if unknown:
        few = first_few([with_hint(name, known) for name in unknown])
        raise UsageError(
            f"{data}: {len(unknown)} of its {len(labels)} classes are unknown to the model "
            f"({few}); it knows {len(known)}: {first_few(known)}; --map renames classes, and "
            "--ignore-unknown leaves them out"
        )
    absent = sorted(set(known) - labels)
    what = "class" if len(absent) == 1 else "classes"
    return (f"no test clips of {len(absent)} {what}: {first_few(absent)}",) if absent else ()


def evaluate(
    labeller: Labeller, samples: Sequence[Sample], spec: PredictSpec, *, name: str, data: str = "",
    choice: ClassChoice | None = None, on_clip: Callable[[], None] = lambda: None,
) -> Evaluation:  # fmt: skip
    """Predict every sample of the fold `name`, with all classes of the `choice` whatever the spec's
    `top_k`, and compare it with its label; `data` names the data set in messages.

    Raises:
        UsageError: as `check_classes`.
        RunError: no clip can be read.
    """
    header = labeller.checkpoint.header
    classes = (choice or ClassChoice()).of(labeller.classes, labeller.checkpoint.id)
    samples, left_out = classes.tested(samples)
    notes = check_classes(classes.names, samples, data)
    leak, kinds = find_leak(set(header.trained_on), set(header.sources), samples)
    chosen_on = known_among(header.selected_on, samples)
    kinds |= {clip: "selected" for clip in chosen_on if kinds[clip] == "new"}
    spec = replace(spec, top_k=len(labeller.classes), min_confidence=0.0, classes=())
    items = [
        VideoItem(i, sample.path, start_s=sample.start_s, end_s=sample.end_s)
        for i, sample in enumerate(samples)
    ]
    done: dict[int, ClipResult] = {}
    for index, row, views in labeller.predict_views(items, spec):
        sample = samples[index]
        kept, row = _of_classes(row, views, classes)
        done[index] = ClipResult(sample, row, kept, kinds[sample.id], header.temperature)
        on_clip()
    tested = tuple(done[i] for i in range(len(samples)))
    model = model_name(labeller.checkpoint.id, classes.names if classes.restricted else ())
    notes = tuple(filter(None, (*classes.notes, left_out, *notes)))
    found = Evaluation(
        name, model, classes.names, tested, leak, len(chosen_on), notes, spec.strategy,
        classes.restricted,
    )  # fmt: skip
    if not found.read:
        raise RunError(f"{data}: none of {len(samples)} test clips can be read")
    return found


def _of_classes(
    row: Prediction, views: NDArray[np.float32] | None, classes: TestedClasses
) -> tuple[NDArray[np.float32], Prediction]:
    """Probabilities (V, K) of a model's classes, and the row, as those of the tested classes."""
    row = replace(row, embedding=())  # not needed, and large
    if views is None:
        return np.zeros((0, len(classes.names)), np.float32), row
    if classes.whole:
        return np.array(views), row
    mean = classes.of(views.astype(np.float64).mean(0).astype(np.float32))
    top = ranked(classes.names, scaled(mean) if classes.restricted else mean)
    return classes.of(views), shown(replace(row, top=top), len(top), 0.0)


def merge(folds: Sequence[Evaluation], name: str) -> Evaluation:
    """The clips of two or more folds together.

    Raises:
        UsageError: the models of the folds have different classes.
    """
    if len({fold.classes for fold in folds}) > 1:
        raise UsageError("the models of the folds do not have the same classes")
    counts = zip(*(astuple(fold.leak) for fold in folds), strict=True)
    return replace(
        folds[0],
        name=name,
        model=f"{len(folds)} models",
        tested=tuple(each for fold in folds for each in fold.tested),
        leak=Leak(*map(sum, counts)),
        selected=sum(fold.selected for fold in folds),
        notes=tuple(dict.fromkeys(note for fold in folds for note in fold.notes)),
    )


def across(summaries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation (n - 1) of the video-level figures over two or more folds."""
    result = {}
    for figure in summaries[0]["video_level"]:
        values = [summary["video_level"][figure]["value"] for summary in summaries]
        result[figure] = {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1))}
    return result
