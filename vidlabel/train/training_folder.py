"""The folder of one training: its lock, its description, its state after each epoch, its result."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vidlabel.datasets.samples import Sample, file_identities
from vidlabel.errors import CheckpointError, UsageError
from vidlabel.evaluate.plan import PLAN, SPEC, read_description
from vidlabel.files.lock import holding
from vidlabel.files.write import cannot_write, remove_leftovers, write_bytes
from vidlabel.models.checkpoint import BEST, Header, read_header
from vidlabel.spans import VideoSpan
from vidlabel.specs import ClipSpec, ModelSpec, to_dict
from vidlabel.text import first_few, text_path
from vidlabel.train.distributed import Team
from vidlabel.train.log import write_split
from vidlabel.train.observer import Epoch
from vidlabel.train.recipes import TrainSpec

STATE = "state.pt"
LOG = "log.csv"
LAST = "last.safetensors"
RESULT = "result.json"
"""Written last: a training whose folder has it is complete."""
RUN, RECIPE = "run.json", "recipe.toml"

_STATE_KEYS = {"trainer", "log", "best"}
_MADE = (STATE, RESULT, BEST, LAST, LOG, "split.csv", "curves.png", RUN, RECIPE, SPEC)
"""spec.json comes last: as long as any of the others exists, it says what they belong to."""


@dataclass(frozen=True)
class TrainResult:
    """The outcome of a training: the best epoch's figures and its checkpoint."""

    checkpoint: Path
    best: Epoch
    unreadable: tuple[str, ...]
    """The paths of videos; of a segment, with its seconds."""
    header: Header


@dataclass(frozen=True)
class TrainingFolder:
    """The folder of one training, for all of its processes; only the first one writes."""

    path: Path
    description: Mapping[str, Any]
    """From `describe`."""
    team: Team

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and lock it against other trainings. Raises OutputError."""
        if not self.team.leads:
            yield
            return
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with holding(self.path / SPEC):
            yield

    def check(self, samples: Sequence[Sample], *, restart: bool, fold: bool) -> TrainResult | None:
        """Check that this training may use the folder; nothing that it needs is changed.

        Args:
            samples: those of `describe`.
            restart: it may replace what is there.
            fold: it is a fold of a protocol.

        Returns:
            The result of the training, if it is complete.

        Raises:
            UsageError: the folder holds the folds of a protocol, or other settings.
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
                    ended = self._ended(samples)
                    self._remove_torn()
                    self._drop_state()  # if the training was killed just before that
        return self.team.share(ended)

    def begin(self, samples: Sequence[Sample]) -> None:
        """Write what is trained, and which video is in which part. Raises OutputError."""
        if not self.team.leads:
            return
        with writing(self.path):
            if not has_begun(self.path):
                (self.path / SPEC).unlink(missing_ok=True)  # of one that failed before its epochs
            self._remove_torn()
            if not check_description(self.path / SPEC, self.description):
                write_json(self.path / SPEC, self.description)
            write_split(self.path / "split.csv", samples)

    def save_state(self, values: Mapping[str, Any]) -> None:
        """Save the state of the training after an epoch, completely or not at all: `trainer` is
        `Trainer.state()`, `log` the epochs as plain values, `best` the index of the best one in the
        log. Raises OutputError."""
        data = io.BytesIO()
        torch.save(dict(values), data)
        write_bytes(self.path / STATE, [data.getvalue()])

    def load_state(self, device: torch.device) -> dict[str, Any] | None:
        """The saved state, or None. Code in the file is never run.

        Raises:
            CheckpointError: it cannot be read, or is not what `save_state` writes.
        """
        path = self.path / STATE
        if not path.is_file():
            return None
        try:
            with path.open("rb") as file:
                values = torch.load(file, map_location=device, weights_only=True)
        except (
            OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError
        ) as error:  # fmt: skip
            raise CheckpointError(f"{path}: corrupt; --restart starts over") from error
        if not isinstance(values, dict) or not values.keys() >= _STATE_KEYS:
            raise self.state_does_not_fit()
        return values

    def state_does_not_fit(self) -> CheckpointError:
        """The error for a state that can be read, but not used."""
        return CheckpointError(
            f"{self.path / STATE}: is not the state of this training, or was saved by another "
            "version; --restart starts over"
        )

    def complete(
        self, best: Epoch, samples: Sequence[Sample], unreadable: Collection[VideoSpan],
        header: Header,
    ) -> TrainResult:  # fmt: skip
        """Write the result, with the ids of the samples whose videos are `unreadable`, and remove
        what only resuming would need. Raises OutputError."""
        if self.team.leads:
            ids = sorted({text_path(each.id) for each in samples if each.video in unreadable})
            result = {"best": asdict(best), "unreadable": ids}
            write_bytes(self.path / RESULT, [json.dumps(result).encode()])
            self._drop_state()
            header = read_header(self.path / BEST)
        told = tuple(map(str, unreadable))
        return TrainResult(self.path / BEST, best, told, self.team.share(header))

    def _ended(self, samples: Sequence[Sample]) -> TrainResult:
        path = self.path / RESULT
        values = read_description(path)
        try:
            best, ids = Epoch(**values["best"]), set(values["unreadable"])
        except (KeyError, TypeError) as error:
            raise UsageError(f"{path}: cannot be read; --restart starts over") from error
        if not (self.path / BEST).is_file():
            raise UsageError(f"{self.path}: was trained, but has no {BEST}; --restart starts over")
        unreadable = sorted({str(each.video) for each in samples if text_path(each.id) in ids})
        return TrainResult(self.path / BEST, best, tuple(unreadable), read_header(self.path / BEST))

    def _drop_state(self) -> None:
        """Remove the state, which is large."""
        with writing(self.path):
            (self.path / STATE).unlink(missing_ok=True)

    def _remove_torn(self) -> None:
        """Remove temporary files of trainings that were killed while they wrote."""
        for name in _MADE:
            remove_leftovers(self.path / name)


def describe(
    spec: TrainSpec, clip: ClipSpec, model: ModelSpec, samples: Sequence[Sample]
) -> dict[str, Any]:
    """What decides the outcome of a training, as plain values: among it the clips, by id, size and
    time, so that data that were only moved are the same."""
    digest = hashlib.sha256()
    for row in sorted((s.id, s.group, s.split) for s in samples):
        digest.update("\0".join(map(text_path, row)).encode() + b"\n")
    return {
        "train": asdict(spec),
        "clip": to_dict(clip),
        "model": asdict(model),
        "samples": {"count": len(samples), "sha256": digest.hexdigest()},
        "files": file_identities(samples),
    }


def check_description(path: Path, now: Mapping[str, Any]) -> bool:
    """Compare the description in a file with the present one; False if there is no file. Where the
    data lie does not matter.

    Raises:
        UsageError: they differ, or the file cannot be read.
    """
    before = read_description(path)
    changed = sorted(_differences(before, json.loads(json.dumps(now)))) if before else []
    if changed:
        raise UsageError(
            f"{path.parent}: holds a run with other settings ({'; '.join(changed[:3])}); "
            "use --restart to start over, or name another --out"
        )
    return bool(before)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Replace a file. Raises OutputError."""
    write_bytes(path, [json.dumps(values, indent=1).encode(), b"\n"])


def has_begun(out: Path) -> bool:
    """Whether a training in `out` has completed an epoch, which would be lost."""
    return any((out / name).exists() for name in (RESULT, STATE, LOG))


def forget(out: Path) -> None:
    """Remove what a training has written to `out`, and nothing else."""
    for name in _MADE:
        (out / name).unlink(missing_ok=True)
    for events in (out / "tensorboard").glob("events.out.tfevents.*"):
        events.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Encloses changes of a folder. Raises OutputError where one is refused."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def _differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    if name == "data":
        return
    if name == "files":
        changed = [
            clip for clip in sorted(before or ()) if now.get(clip, before[clip]) != before[clip]
        ]
        if changed:
            yield f"videos that have changed since: {first_few(changed)}"
    elif isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}".strip("."))
    elif before != now and name == "samples.sha256":  # a hash would tell the user nothing
        yield "other videos, labels, groups or parts"
    elif before != now:
        yield f"{name} was {before}, is {now}"
