"""The folds of a protocol, trained one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from vidlabel.datasets.protocols import PROTOCOLS, Fold
from vidlabel.datasets.samples import Sample
from vidlabel.evaluate.leak_check import check_tests
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.train.distributed import Team
from vidlabel.train.loop import train
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.run_folder import RunFolder, place_of
from vidlabel.train.training_folder import RESULT, TrainResult


@dataclass(frozen=True)
class Plan:
    """What a run of a protocol trains: data, folds, and how each fold is trained."""

    data: str
    group_pattern: str | None
    protocol: str
    folds: tuple[Fold, ...]
    spec: TrainSpec
    clip: ClipSpec
    model: ModelSpec

    def describe(self) -> dict[str, Any]:
        """Everything that decides the outcome, as plain values: plan.json."""
        return {
            "data": self.data,
            "group_pattern": self.group_pattern,
            "protocol": self.protocol,
            "folds": {
                fold.name: [len(fold.train), len(fold.val), len(fold.test)] for fold in self.folds
            },
            "train": asdict(self.spec),
            "clip": asdict(self.clip),
            "model": asdict(self.model),
        }


def train_folds(
    plan: Plan, run: RunFolder, team: Team, *, about: Mapping[str, Any], restart: bool = False,
    on_fold: Callable[[Fold, bool], None], **how: Any,
) -> Iterator[TrainResult]:  # fmt: skip
    """Train every fold; one that is complete is not repeated.

    Args:
        plan: what to train.
        run: the run folder; its plan is set.
        team: the processes that take part.
        about: what every checkpoint says of its data, besides protocol and fold.
        restart: start over; when the first fold begins, the run folder forgets all earlier folds.
        on_fold: is told of each fold, and whether it was complete before.
        how: device, workers, cache and observer, as in `train`.

    Raises:
        UsageError: the run folder holds something else, or as `check_tests`.
        RunError, CheckpointError, OutputError: as `train`.
    """
    check_tests(plan.folds, plan.protocol, plan.data, plan.spec.init)
    run.plan = plan.describe()
    if team.leads and not restart:
        run.check()
    team.wait()
    names = [fold.name for fold in plan.folds]
    for fold in plan.folds:
        place = place_of(run.path, names, fold.name)
        on_fold(fold, (place / RESULT).is_file() and not restart)
        yield train(
            parts_of(fold), place, plan.spec, plan.clip, plan.model,
            about={**about, "protocol": plan.protocol, "fold": fold.name}, restart=restart,
            leaky=PROTOCOLS[plan.protocol].leaky and bool(fold.val), run=run, **how,
        )  # fmt: skip


def parts_of(fold: Fold) -> list[Sample]:
    """The samples that a fold is trained on. Without a prescribed validation set they have no
    split, so that `train` takes one from the training part by group."""
    if not fold.val:
        return [replace(sample, split="") for sample in fold.train]
    # A leaky protocol validates on clips that it trains on; these are then in both parts.
    return [
        *(replace(sample, split="train") for sample in fold.train),
        *(replace(sample, split="val") for sample in fold.val),
    ]
