"""`vidlabel train`: labelled videos to a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidlabel.cli.options import (
    DEVICE,
    FOLDS,
    GROUP_PATTERN,
    PROTOCOL,
    SPLIT,
    SPLITS,
    WORKERS,
    SectionedCommand,
    setting_options,
)
from vidlabel.errors import ExitCode, UsageError
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.train.observer import Together, Watch
from vidlabel.train.recipes import DEFAULT_RECIPE
from vidlabel.train.settings import RECIPE_NAMES, Settings, gather

if TYPE_CHECKING:
    from vidlabel.datasets.protocols import Fold
    from vidlabel.datasets.samples import Dataset, Sample
    from vidlabel.train.distributed import Team
    from vidlabel.train.loop import TrainResult

HELD_OUT = "held-out part, on which the epoch was chosen"
"""The title of its report: on new clips a model is worse."""


@click.command(cls=SectionedCommand)
@click.argument("data", required=False, metavar="DATA")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where checkpoints, log.csv, split.csv and reports go.",
)
@click.option(
    "--recipe",
    type=click.Choice(RECIPE_NAMES),
    help="Settings that go together: the best we know, or what is published of the original."
    f"  [default: {DEFAULT_RECIPE}]",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings from a TOML file, such as the recipe.toml of a run; flags go before it.",
)
@click.option(
    "--show-recipe", is_flag=True, help="Print all settings and where each is from, and stop."
)
@PROTOCOL
@SPLIT
@FOLDS
@SPLITS
@GROUP_PATTERN
@click.option(
    "--per-class",
    default=100,
    show_default=True,
    metavar="N",
    help="With DATA `synthetic`: clips to generate of each class.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where decoded frames are kept for later runs.  [default: the user's cache folder]",
)
@click.option("--tensorboard", is_flag=True, help="Also write the epochs for TensorBoard.")
@DEVICE
@WORKERS
@click.option(
    "--resume/--restart",
    default=True,
    help="Go on with the run that the folder holds (the default), or begin anew.",
)
@click.option("-q", "--quiet", is_flag=True, help="Only errors and warnings.")
@setting_options
def train(
    data: str | None, out: Path | None, recipe: str | None, config: Path | None,
    show_recipe: bool, protocol: str | None, split: str | None, folds: int, splits: Path | None,
    group_pattern: str | None, per_class: int, cache: Path | None, tensorboard: bool, device: str,
    workers: int | None, resume: bool, quiet: bool, **said: Any,
) -> int:  # fmt: skip
    """Train a model on DATA and keep its best checkpoint.

    DATA is `hmdb51:ROOT`, `ucf101:ROOT`, a folder with one sub-folder per class, a CSV file
    `path,label[,group][,split]` with split train, val, test or empty, or `synthetic` for generated
    clips. Videos of one group are never divided between the training part and the held-out part
    that the epoch is chosen on. With a --protocol or --split, each of its folds is trained and then
    tested on its test clips; the same command again goes on with the folds that are not done.

    Every setting under a heading of its own is a key of a --config file too. What is not said as
    a flag or there is taken from the checkpoint of --init (clips and network), then from the
    --recipe.
    """
    from vidlabel import console
    from vidlabel.device import pick_device
    from vidlabel.signals import interruptible
    from vidlabel.train.distributed import join_team, speaks_first
    from vidlabel.train.run_info import RunInfo

    settings = gather({**said, "recipe": recipe}, config, _specs_of)
    if show_recipe:
        console.table(f"recipe {settings.recipe}", ["setting", "value", "from"], settings.rows())
        return ExitCode.OK
    if data is None or out is None:
        missing = "DATA" if data is None else "--out FOLDER"
        raise UsageError(f"{missing} is missing; see `vidlabel train --help`")
    team = join_team(pick_device(device))
    quiet = quiet or not team.leads
    info = RunInfo(out, sys.argv, settings, device, restart=not resume)
    watch = Together(info, *_viewers(quiet, tensorboard)) if team.leads else Watch()
    job = _Job(
        data, out, settings, device, workers, cache, restart=not resume, quiet=quiet, team=team,
        watch=watch,
    )  # fmt: skip
    with interruptible() as stop:
        try:
            dataset = job.open(group_pattern, splits, per_class)
            if protocol is None and split is None and not dataset.official:
                unreadable = job.one_model(dataset)
            else:
                unreadable = job.folds(dataset, group_pattern, protocol, split, folds)
        except KeyboardInterrupt:
            if team.leads and (team.size == 1 or speaks_first()):
                console.warn(_stopped(restart=not resume, begun=info.written))
            return ExitCode(stop.exit_code)
        except UsageError as error:
            raise UsageError(settings.with_origins(str(error))) from error
    return ExitCode.SOME_FAILED if unreadable else ExitCode.OK


def _stopped(*, restart: bool, begun: bool) -> str:
    """What to say of a run that was asked to stop: how it goes on."""
    if restart and not begun:
        return "stopped before anything was trained; the same command begins anew"
    again = "the same command without --restart" if restart else "the same command"
    return f"stopped; what is done is kept; {again} goes on"


def _specs_of(name: str) -> tuple[ClipSpec, ModelSpec]:
    """Clip and network of a checkpoint."""
    from vidlabel.models.checkpoint import describe_model

    header = describe_model(name)
    return header.clip, header.model


def _viewers(quiet: bool, tensorboard: bool) -> list[Watch]:
    """Who shows how the training goes.

    Raises:
        UsageError: the package for TensorBoard is missing.
    """
    from vidlabel.train.progress import TrainView
    from vidlabel.train.tensorboard import TrainBoard

    return [TrainView(quiet), *([TrainBoard()] if tensorboard else [])]


@dataclass(frozen=True)
class _Job:
    """What is trained, and what is said of it. Its methods say whether videos were unreadable."""

    data: str
    out: Path
    settings: Settings
    device: str
    workers: int | None
    cache: Path | None
    restart: bool
    quiet: bool
    team: Team
    watch: Watch

    @property
    def about(self) -> dict[str, Any]:
        """What the checkpoint says of its training, beside what `train` itself does."""
        from vidlabel.text import text_path
        from vidlabel.train.run_info import versions

        recipe = self.settings.recipe
        return {"data": text_path(self.data), "recipe": recipe, "versions": versions()}

    def open(self, group_pattern: str | None, splits: Path | None, per_class: int) -> Dataset:
        """Find the videos, or make them; of several processes the first does that alone."""
        from vidlabel import console
        from vidlabel.cli.eval import say_found
        from vidlabel.datasets.open import open_dataset
        from vidlabel.synthetic.clips import ACTIONS

        making = self.data == "synthetic"
        if making and not self.team.leads:
            self.team.wait()
        total = per_class * len(ACTIONS) if making else 0
        with console.Progress(total, quiet=self.quiet or not making, doing="making") as progress:
            dataset = open_dataset(
                self.data, self.out, group_pattern=group_pattern, splits=splits,
                per_class=per_class, seed=self.settings.train.seed, on_clip=progress.advance,
            )  # fmt: skip
        if self.team.leads:
            say_found(dataset)
            if making:
                self.team.wait()
        if told := self.settings.told:
            self.note(told)
        return dataset

    def one_model(self, dataset: Dataset) -> bool:
        """Train on all that is not called `test`; test on that, or where there is none, report on
        the held-out part."""
        from vidlabel.cli.eval import choose_folds
        from vidlabel.datasets.samples import hold_out
        from vidlabel.train.folds import check_tests
        from vidlabel.train.loop import train as run_training

        spec = self.settings.train
        learned = [sample for sample in dataset.samples if sample.split != "test"]
        tests: list[Fold] = []
        if len(learned) < len(dataset.samples):
            tests, _ = choose_folds(self.data, dataset, None, None, 0, spec.seed)
            check_tests(tests, "", self.data, spec.init)
        result = run_training(
            learned, self.out, spec, self.settings.clip, self.settings.model,
            device=self.device, workers=self.workers, restart=self.restart, cache=self.cache,
            about=self.about, watch=self.watch,
        )  # fmt: skip
        unreadable = self.finish(result)
        if tests:
            return self.test(tests, "") or unreadable
        parts = hold_out(learned, spec.val_fraction, spec.seed)
        held = {s.path: s for s in parts if s.split == "val" and s.path not in result.unreadable}
        if self.team.leads:
            self.report_held_out(list(held.values()), result)
        return unreadable

    def report_held_out(self, held: Sequence[Sample], result: TrainResult) -> None:
        """Write, and show, what the model of the best epoch says of the held-out part. That part
        has chosen the epoch, which the report's title says."""
        from vidlabel import console
        from vidlabel.datasets.protocols import Fold
        from vidlabel.evaluate.report import summarise, write_report
        from vidlabel.predict.labeller import PredictSpec
        from vidlabel.train.folds import evaluate_folds

        (found,) = evaluate_folds(
            [Fold(HELD_OUT, (), (), tuple(held))], "", self.data, str(result.checkpoint),
            PredictSpec(workers=self.workers), allow_leak=True, device=self.device,
            counting=lambda total: console.Progress(total, quiet=self.quiet, doing="reporting"),
        )  # fmt: skip
        values = summarise(found)
        write_report(self.out / "report", found, values)
        if not self.quiet:
            console.evaluation(values, (), str(self.out / "report"))

    def folds(
        self, dataset: Dataset, group_pattern: str | None, protocol: str | None,
        split: str | None, count: int,
    ) -> bool:  # fmt: skip
        """Train and test the folds of a protocol; a leaky one says so first."""
        from vidlabel import console
        from vidlabel.cli.eval import choose_folds
        from vidlabel.train.folds import Plan, leak_lines, train_folds

        spec, clip, model = self.settings.train, self.settings.clip, self.settings.model
        chosen, protocol = choose_folds(self.data, dataset, protocol, split, count, spec.seed)
        if self.team.leads:
            for line in (line for fold in chosen for line in leak_lines(fold, protocol)):
                console.warn(line)
        plan = Plan(self.data, group_pattern, protocol, tuple(chosen), spec, clip, model)
        unreadable = False
        for result in train_folds(
            plan, self.out, device=self.device, workers=self.workers, restart=self.restart,
            cache=self.cache, about=self.about, watch=self.watch, on_fold=self.on_fold,
        ):  # fmt: skip
            unreadable |= self.finish(result)
        return self.test(chosen, protocol) or unreadable

    def test(self, folds: Sequence[Fold], protocol: str) -> bool:
        """Test what was trained; of several processes the first does that alone."""
        from vidlabel.cli.eval import evaluate_and_show
        from vidlabel.predict.labeller import PredictSpec

        if not self.team.leads:
            return False
        return evaluate_and_show(
            folds, protocol, self.data, str(self.out), PredictSpec(workers=self.workers),
            self.out / "report", device=self.device, quiet=self.quiet,
        )  # fmt: skip

    def on_fold(self, fold: Fold, complete: bool) -> None:
        self.note(f"{fold.name}: {'trained before' if complete else 'training'}")

    def finish(self, result: TrainResult) -> bool:
        """Name the unreadable videos and the best epoch."""
        from vidlabel import console

        for path in result.unreadable if self.team.leads else ():
            console.warn(f"not trained on, cannot be read: {path}")
        count = result.header.metrics["held_out_videos"]
        self.note(
            f"best: epoch {result.best.epoch}, top-1 {result.best.val_top1:.1%} on {count} "
            f"held-out video{'' if count == 1 else 's'}; {result.checkpoint}"
        )
        return bool(result.unreadable)

    def note(self, line: str) -> None:
        from vidlabel import console

        if not self.quiet:
            console.note(line)
