"""Maps of classes: one class is renamed, or several are joined under one name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vidlabel.datasets.samples import Dataset, Sample
from vidlabel.datasets.table import read_values
from vidlabel.errors import UsageError
from vidlabel.text import first_few, safe, with_hint


@dataclass(frozen=True)
class ClassMap:
    """New names of classes, which keep their own where there is none; a map is not applied to its
    own results."""

    names: Mapping[str, str] = field(default_factory=dict)

    def of(self, label: str) -> str:
        """The name that a class has from now on."""
        return self.names.get(label, label)

    def samples(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples with their new labels."""
        return [replace(sample, label=self.of(sample.label)) for sample in samples]

    def dataset(self, dataset: Dataset) -> Dataset:
        """A data set with its new labels, also in its official lists."""

        def new_id(clip: str) -> str:
            label, _, name = clip.partition("/")
            return f"{self.of(label)}/{name}"

        return replace(
            dataset,
            samples=tuple(self.samples(dataset.samples)),
            official={
                number: {new_id(clip): part for clip, part in parts.items()}
                for number, parts in dataset.official.items()
            },
            missing=tuple(sorted(map(new_id, dataset.missing))),
            extra=tuple(sorted(map(new_id, dataset.extra))),
            classes=tuple(sorted({*map(self.of, dataset.classes)})),
            remarks=(*dataset.remarks, *self.told(dataset.classes)),
        )

    def told(self, labels: Iterable[str]) -> list[str]:
        """A line on the classes of the map that are not among the labels, if there are any."""
        there = set(labels)
        strange = [with_hint(name, there) for name in self.names if name not in there]
        return [f"--map: the data have no class {first_few(strange)}"] if strange else []


def read_map(given: Sequence[str]) -> ClassMap:
    """The map of the values of --map: `old=new`, or a CSV table with the columns old and new.

    Raises:
        UsageError: a value is neither, the table cannot be read, or a class gets two names.
    """
    names: dict[str, str] = {}
    for text in given:
        if "=" in text and not Path(text).is_file():
            old, _, new = text.partition("=")
            pairs = [(old.strip(), new.strip(), f"--map {safe(text)}")]
        elif Path(text).suffix.lower() == ".csv":
            pairs = _read_pairs(Path(text))
        else:
            raise UsageError(f"--map {safe(text)}: must be OLD=NEW, or a .csv table old,new")
        for old, new, where in pairs:
            if not old or not new:
                raise UsageError(f"{where}: a name is empty")
            if names.setdefault(old, new) != new:
                raise UsageError(f"{where}: {old} is {names[old]} already; a class has one name")
    return ClassMap(names)


def _read_pairs(table: Path) -> list[tuple[str, str, str]]:
    """Old and new name of each row, and its place."""
    rows, columns = read_values(table)
    head = [name.strip().lower() for name in rows[0][:columns]] if rows else []
    if not {"old", "new"} <= set(head):
        raise UsageError(f"{table}:1: the first line must be old,new")
    old, new = head.index("old"), head.index("new")
    return [
        (row[old].strip(), row[new].strip(), f"{table}: row {number}")
        for number, row in enumerate(rows[1:], 1)
        if any(row)
    ]
