"""Which classes a test is about: those of the model and of the data, renamed, joined, or some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vidlabel.datasets.class_map import ClassMap
from vidlabel.datasets.samples import Sample
from vidlabel.errors import UsageError
from vidlabel.results.topk import choice_told, choose_classes
from vidlabel.text import first_few, plural


@dataclass(frozen=True)
class ClassChoice:
    """What a test asks of classes.

    `map` is applied to the model's classes, and has been applied to the data. With `classes`, the
    model chooses among these only, and only their clips are tested. With `ignore_unknown`, clips of
    classes that the model does not know are left out.
    """

    map: ClassMap = field(default_factory=ClassMap)
    classes: tuple[str, ...] = ()
    ignore_unknown: bool = False

    def of(self, known: Sequence[str], model: str) -> TestedClasses:
        """The classes of a model that knows the K classes `known`.

        Raises:
            UsageError: the map leaves only one, or as `choose_classes`.
        """
        names = tuple(dict.fromkeys(map(self.map.of, known)))
        if len(names) < 2:
            raise UsageError(f"--map: all classes of {model} become one, {names[0]}")
        chosen = choose_classes(self.classes, names, model)
        names = chosen or names
        places = {name: place for place, name in enumerate(names)}
        members = np.zeros((len(known), len(names)), np.float64)
        for column, name in enumerate(map(self.map.of, known)):
            if name in places:
                members[column, places[name]] = 1
        joined = {
            name: [old for old in known if self.map.of(old) == name]
            for name in names
            if members[:, places[name]].sum() > 1
        }
        notes = [f"{name} is any of {', '.join(old)}" for name, old in joined.items()]
        if chosen:
            notes.append(choice_told(names, known))
        renamed = tuple(map(self.map.of, known)) != tuple(known)
        return TestedClasses(
            names, members, bool(chosen), renamed, self.ignore_unknown, tuple(notes)
        )


@dataclass(frozen=True)
class TestedClasses:
    """The S classes of a test of one model."""

    __test__ = False  # for pytest

    names: tuple[str, ...]
    members: NDArray[np.float64]
    """(K, S), 1 where a class of the model counts as a class of the test."""
    restricted: bool
    """Whether the model has more classes, so that probabilities do not sum to 1."""
    renamed: bool
    """Whether a class has not the name that it has in the model."""
    ignore_unknown: bool
    notes: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether they are the model's own classes, all of them and under their names."""
        return not self.restricted and not self.renamed

    def of(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (..., K) of a model's classes to those of the test (..., S), not scaled."""
        return (probabilities.astype(np.float64) @ self.members).astype(np.float32)

    def tested(self, samples: Sequence[Sample]) -> tuple[list[Sample], str]:
        """The clips to test, and a line on those that are left out; "" if none are."""
        if not self.restricted and not self.ignore_unknown:
            return list(samples), ""
        kept = [sample for sample in samples if sample.label in self.names]
        left = Counter(sample.label for sample in samples if sample.label not in self.names)
        if not left:
            return kept, ""
        each = first_few([f"{label} {count}" for label, count in sorted(left.items())])
        clips = plural(left.total(), "clip")
        return kept, f"{clips} of {plural(len(left), 'other class')} left out: {each}"
