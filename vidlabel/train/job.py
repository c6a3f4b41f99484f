"""One run of `vidlabel train`: open the data, train one model or the folds of a protocol, test."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vidlabel import console
from vidlabel.datasets.negatives import with_negatives
from vidlabel.datasets.open import open_dataset
from vidlabel.datasets.protocols import PROTOCOLS, Fold
from vidlabel.datasets.samples import Dataset, Sample, hold_out, noun
from vidlabel.device import pick_device
from vidlabel.errors import UsageError
from vidlabel.evaluate.job import (
    EvalRequest,
    choose_folds,
    evaluate_and_report,
    evaluate_folds,
    warn_of_doubts,
)
from vidlabel.evaluate.leak_check import check_tests, leak_lines
from vidlabel.evaluate.plan import read_description
from vidlabel.evaluate.report import METRICS, summarise, write_report
from vidlabel.files.write import check_folder_name
from vidlabel.specs import to_dict
from vidlabel.synthetic.clips import ACTIONS
from vidlabel.text import plural, text_path
from vidlabel.train import quick
from vidlabel.train.distributed import join_team, speaks_first
from vidlabel.train.loop import train
from vidlabel.train.progress import TrainBoard, TrainView
from vidlabel.train.recipes import QUICK, QUICK_CLIPS
from vidlabel.train.run_folder import RunFolder, describe_session, place_of, versions
from vidlabel.train.settings import Settings
from vidlabel.train.training_folder import RESULT, TrainResult

_LOG = logging.getLogger(__name__)

VALIDATION_SET = "validation set, on which the epoch was chosen"
"""The title of its report: on new clips a model is worse."""


@dataclass(frozen=True)
class TrainRequest:
    """What to train and how; the fields are the options of `vidlabel train`."""

    data: str
    out: Path
    settings: Settings
    protocol: str | None = None
    split: str | None = None
    folds: int = 5
    splits: Path | None = None
    group_pattern: str | None = None
    mapped: Sequence[str] = ()
    """Values of --map."""
    pseudo_labels: float | None = None
    per_class: int = 100
    other: Path | None = None
    """A folder of clips of none of the classes."""
    cache: Path | None = None
    tensorboard: bool = False
    device: str = "auto"
    workers: int | None = None
    resume: bool = True
    quiet: bool = False
    arguments: Sequence[str] = ()
    """The command line, for run.json; the program's name first."""


def run_training(request: TrainRequest) -> bool:
    """Train what is asked for, then test it and write a report; True if videos could not be read.

    Raises:
        UsageError: options, settings or data do not fit each other, or what the folder holds.
        RunError, CheckpointError, OutputError: as `train.loop.train`.
        KeyboardInterrupt: it was stopped; a warning has said how to resume.
    """
    check_folder_name(request.out)
    job = _TrainJob(request)
    try:
        return job.run()
    except KeyboardInterrupt:
        if job.team.leads and (job.team.size == 1 or speaks_first()):
            console.warn(_stopped(request, begun=job.folder.begun))
        raise
    except UsageError as error:
        raise UsageError(request.settings.with_origins(str(error))) from error


def _stopped(request: TrainRequest, *, begun: bool) -> str:
    """What to say of a run that was stopped: how to resume it."""
    if not request.resume and not begun:
        return "stopped before anything was trained; run the same command to start over"
    again = "the same command" if request.resume else "the same command without --restart"
    return f"stopped; completed epochs are saved; run {again} to resume"


class _TrainJob:
    """A run; its methods return whether videos could not be read."""

    def __init__(self, request: TrainRequest) -> None:
        settings = request.settings
        self.team = join_team(pick_device(request.device))
        self._request = replace(request, quiet=request.quiet or not self.team.leads)
        session = describe_session(request.arguments, request.device, settings.train.seed)
        self.folder = RunFolder(request.out, self.team, session, settings.to_toml())
        view = TrainBoard if request.tensorboard and self.team.leads else TrainView
        self._view = view(self._request.quiet)
        self._chose_quick = False
        self._about: dict[str, Any] = {
            "data": text_path(request.data),
            "recipe": settings.recipe,
            "versions": versions(),
        }
        if request.mapped:
            self._about["map"] = list(request.mapped)
        if request.pseudo_labels is not None:
            self._about["pseudo_labels"] = request.pseudo_labels

    def run(self) -> bool:
        dataset = self._open()
        self._choose_recipe(dataset)
        asked = self._request
        if asked.protocol is None and asked.split is None and not dataset.official:
            return self._one_model(dataset)
        return self._folds(dataset)

    def _open(self) -> Dataset:
        """Find the videos, or generate them; of several processes only the first one does that."""
        asked = self._request
        generated = asked.data == "synthetic"
        if generated and not self.team.leads:
            self.team.wait()
        total = asked.per_class * len(ACTIONS) if generated else 0
        with console.Progress(total, asked.quiet or not generated, doing="generating") as progress:
            dataset = open_dataset(
                asked.data, asked.out, group_pattern=asked.group_pattern, splits=asked.splits,
                mapped=asked.mapped, pseudo_labels=asked.pseudo_labels,
                per_class=asked.per_class, seed=asked.settings.train.seed, on_clip=progress.advance,
            )  # fmt: skip
        if asked.other is not None:
            dataset = with_negatives(dataset, asked.other)
        if self.team.leads:
            warn_of_doubts(dataset)
            if generated:
                self.team.wait()
        return dataset

    def _choose_recipe(self, dataset: Dataset) -> None:
        """Take `quick` for few clips, unless the user has chosen otherwise."""
        settings = self._request.settings
        clips = len({sample.path for sample in dataset.samples if sample.split != "test"})
        if settings.for_few and clips <= QUICK_CLIPS and self.team.size == 1:
            settings = settings.for_few
            self._request = replace(self._request, settings=settings)
            self.folder.recipe = settings.to_toml()
            self._about["recipe"] = settings.recipe
            self._chose_quick = True
        if settings.told:
            self._note(settings.told)
        for row in settings.rows():
            _LOG.debug("setting %s: %s, from %s", *row)

    def _tell_chosen(self) -> None:
        """Once all is checked, say that `quick` was chosen."""
        if self._chose_quick:
            self._note(
                f"recipe quick, for up to {QUICK_CLIPS} clips: a classifier on what the shipped "
                "CNN sees (--recipe best trains the CNN too, and takes longer)"
            )

    def _one_model(self, dataset: Dataset) -> bool:
        """Train on all clips without split `test`; test on those, or if there are none, report on
        the validation set."""
        asked, spec = self._request, self._request.settings.train
        learned = [sample for sample in dataset.samples if sample.split != "test"]
        tests: list[Fold] = []
        if len(learned) < len(dataset.samples):
            tests, _ = choose_folds(asked.data, dataset, None, None, 0, spec.seed)
            check_tests(tests, "", asked.data, spec.init)
        self._tell_chosen()
        result = self._train(learned, asked.out)
        if tests:
            return self._test(tests, "") or bool(result.unreadable)
        if asked.settings.recipe == QUICK:
            self._show_cross_validation()
            return bool(result.unreadable)
        parts = hold_out(learned, spec.val_fraction, spec.seed)
        held = {s.video: s for s in parts if s.split == "val"}
        if self.team.leads:
            readable = [s for s in held.values() if str(s.video) not in result.unreadable]
            self._report_validation(readable, result)
        return bool(result.unreadable)

    def _report_validation(self, held: Sequence[Sample], result: TrainResult) -> None:
        """Write and show what the model of the best epoch predicts of the validation set."""
        request = replace(self._test_request(), model=str(result.checkpoint), allow_leak=True)
        fold = Fold(VALIDATION_SET, (), (), tuple(held))
        (found,) = evaluate_folds([fold], "", request, "reporting")
        values, report = summarise(found), self._request.out / "report"
        write_report(report, found, values)
        if not request.quiet:
            console.evaluation(values, (), str(report))

    def _show_cross_validation(self) -> None:
        """Show the report that a quick training has written."""
        report = self._request.out / quick.REPORT
        if (report / METRICS).is_file() and not self._request.quiet:
            console.evaluation(read_description(report / METRICS), (), str(report))

    def _folds(self, dataset: Dataset) -> bool:
        """Train and test the folds of a protocol; warn first if it leaks."""
        asked, settings = self._request, self._request.settings
        folds, protocol = choose_folds(
            asked.data, dataset, asked.protocol, asked.split, asked.folds, settings.train.seed
        )
        if self.team.leads:
            for line in leak_lines(folds, protocol):
                console.warn(line)
        check_tests(folds, protocol, asked.data, settings.train.init)
        self.folder.plan = {
            "data": asked.data,
            "group_pattern": asked.group_pattern,
            "other": None if asked.other is None else text_path(str(asked.other)),
            "protocol": protocol,
            **({"map": list(asked.mapped)} if asked.mapped else {}),
            "folds": {each.name: [*map(len, (each.train, each.val, each.test))] for each in folds},
            "train": asdict(settings.train),
            "clip": to_dict(settings.clip),
            "model": asdict(settings.model),
        }
        if self.team.leads and asked.resume:
            self.folder.check()
        self.team.wait()
        self._tell_chosen()
        unreadable = False
        places = [place_of(asked.out, [each.name for each in folds], f.name) for f in folds]
        complete = [(place / RESULT).is_file() and asked.resume for place in places]
        for number, (fold, place) in enumerate(zip(folds, places, strict=True), 1):
            which = f"fold {number} of {len(folds)}" if len(folds) > 1 else ""
            self._view.fold(which, complete[number:].count(False))
            state = "complete already" if complete[number - 1] else "training"
            self._note(f"{which}{', ' if which else ''}{fold.name}: {state}")
            about = {"protocol": protocol, "fold": fold.name}
            leaky = PROTOCOLS[protocol].leaky and bool(fold.val)
            result = self._train(_parts_of(fold), place, about, leaky=leaky)
            unreadable |= bool(result.unreadable)
        return self._test(folds, protocol) or unreadable

    def _test(self, folds: Sequence[Fold], protocol: str) -> bool:
        """Test what was trained, in the first process only."""
        return self.team.leads and evaluate_and_report(folds, protocol, self._test_request())

    def _test_request(self) -> EvalRequest:
        asked = self._request
        return EvalRequest(
            asked.data, str(asked.out), asked.out / "report", device=asked.device,
            workers=asked.workers, quiet=asked.quiet,
        )  # fmt: skip

    def _train(
        self, samples: Sequence[Sample], out: Path, about: Mapping[str, str] | None = None,
        leaky: bool = False,
    ) -> TrainResult:  # fmt: skip
        """Train one model in a folder; name the unreadable videos and the best epoch."""
        asked, settings = self._request, self._request.settings
        fit = quick.fit if settings.recipe == QUICK else partial(train, leaky=leaky)
        result = fit(
            samples, out, settings.train, settings.clip, settings.model, device=asked.device,
            workers=asked.workers, about={**self._about, **(about or {})},
            restart=not asked.resume, cache=asked.cache, run=self.folder, observer=self._view,
        )  # fmt: skip
        for video in result.unreadable if self.team.leads else ():
            console.warn(f"cannot be read, left out of training: {video}")
        if settings.recipe == QUICK:
            self._note_quick(result)
            return result
        count = result.header.metrics["held_out_videos"]
        self._note(
            f"best: epoch {result.best.epoch}, top-1 {result.best.val_top1:.1%} on "
            f"{plural(count, f'validation {noun(samples)}')}; {result.checkpoint}"
        )
        return result

    def _note_quick(self, result: TrainResult) -> None:
        tested = result.header.metrics["cross_validated_videos"]
        right = f"top-1 {result.best.val_top1:.1%} in cross-validation, " if tested else ""
        clips = plural(len(result.header.trained_on), "clip")
        self._note(f"{right}fitted on all {clips}; {result.checkpoint}")

    def _note(self, line: str) -> None:
        if not self._request.quiet:
            console.note(line)


def _parts_of(fold: Fold) -> list[Sample]:
    """The samples that a fold is trained on. Without a prescribed validation set they have no
    split, so that `train` takes one from the training part by group."""
    if not fold.val:
        return [replace(sample, split="") for sample in fold.train]
    # A leaky protocol validates on clips that it trains on; these are then in both parts.
    learned = [replace(sample, split="train") for sample in fold.train]
    return learned + [replace(sample, split="val") for sample in fold.val]
