"""The folder of a training: kept from others, looked at, made ready, and completed."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidlabel.datasets.samples import Sample
from vidlabel.errors import OutputError, UsageError
from vidlabel.files.lock import holding
from vidlabel.files.write import write_bytes
from vidlabel.models.checkpoint import Header, read_header
from vidlabel.text import text_path
from vidlabel.train.distributed import Team
from vidlabel.train.observer import Epoch
from vidlabel.train.state import (
    BEST,
    PLAN,
    RESULT,
    SPEC,
    STATE,
    check_description,
    forget,
    has_begun,
    keep_description,
    read_description,
    remove_torn,
)


@dataclass(frozen=True)
class TrainResult:
    """What training ended with: the best epoch's figures, and its checkpoint."""

    checkpoint: Path
    best: Epoch
    unreadable: tuple[str, ...]
    header: Header


@dataclass(frozen=True)
class RunFolder:
    """The folder of one training, for all of its processes; the first of them writes."""

    path: Path
    description: Mapping[str, Any]
    """What decides the outcome: `state.describe`."""
    team: Team

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other trainings out of the folder, which is made.

        Raises:
            OutputError: it cannot be made, or another process holds it.
        """
        if not self.team.leads:
            yield
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._refused(error) from error
        with holding(self.path / SPEC):
            yield

    def look(self, *, restart: bool, fold: bool) -> TrainResult | None:
        """See that this training may be in the folder, of which nothing is changed.

        Args:
            restart: it may take the place of what is there.
            fold: it is one of a protocol's.

        Returns:
            What the training ended with, if it is complete.

        Raises:
            UsageError: a protocol's folds are there, or a training with other settings.
        """
        ended = None
        if self.team.leads:
            if not fold and (self.path / PLAN).exists():
                raise UsageError(
                    f"{self.path}: holds the folds of a protocol ({PLAN}); name another --out"
                )
            if not restart and has_begun(self.path):
                check_description(self.path / SPEC, self.description)
                if (self.path / RESULT).is_file():
                    ended = self._ended()
                    remove_torn(self.path)
                    self._drop_state()  # if it was ended just before
        return self.team.share(ended)

    def make_ready(self, samples: Sequence[Sample], *, restart: bool) -> None:
        """Write what is trained, and on which videos, after what is not to stay is forgotten.

        Raises:
            OutputError: it cannot be written.
        """
        self.team.wait()  # nothing is forgotten before all processes can begin
        if not self.team.leads:
            return
        try:
            if restart:
                forget(self.path)
            elif not has_begun(self.path):
                (self.path / SPEC).unlink(missing_ok=True)  # of one that failed before that
            remove_torn(self.path)
            keep_description(self.path / SPEC, self.description)
            _write_split(self.path / "split.csv", samples)
        except OSError as error:
            raise self._refused(error) from error

    def complete(self, best: Epoch, unreadable: Sequence[str], header: Header) -> TrainResult:
        """Write how the training ended, and remove what only going on with it would need.

        Raises:
            OutputError: it cannot be written.
        """
        if self.team.leads:
            result = {"best": asdict(best), "unreadable": list(map(text_path, unreadable))}
            write_bytes(self.path / RESULT, [json.dumps(result).encode()])
            self._drop_state()
            header = read_header(self.path / BEST)
        return TrainResult(self.path / BEST, best, tuple(unreadable), self.team.share(header))

    def _ended(self) -> TrainResult:
        path = self.path / RESULT
        values = read_description(path)
        try:
            best, unreadable = Epoch(**values["best"]), tuple(values["unreadable"])
        except (KeyError, TypeError) as error:
            raise UsageError(f"{path}: cannot be read; --restart begins anew") from error
        if not (self.path / BEST).is_file():
            raise UsageError(f"{self.path}: was trained, but has no {BEST}; --restart begins anew")
        return TrainResult(self.path / BEST, best, unreadable, read_header(self.path / BEST))

    def _drop_state(self) -> None:
        """Remove what only a training that is not complete needs; it is large."""
        try:
            (self.path / STATE).unlink(missing_ok=True)
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> OutputError:
        return OutputError(f"{self.path}: cannot be written: {error.strerror}")


def _write_split(path: Path, samples: Sequence[Sample]) -> None:
    """A table that `vidlabel` reads wherever it is: of which video was in which part."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "group", "split"])
    for sample in samples:
        place = os.path.abspath(sample.path)  # noqa: PTH100 - links are not followed
        writer.writerow([place, sample.label, sample.group, sample.split])
    write_bytes(path, [text.getvalue().encode("utf-8", "surrogateescape")])
