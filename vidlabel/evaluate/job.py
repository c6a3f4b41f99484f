"""One run of `vidlabel eval`: open the data, test the folds, write the reports, print the figures.

`vidlabel train` ends with the same test of what it has trained.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidlabel import console
from vidlabel.datasets.class_map import read_map
from vidlabel.datasets.leaks import describe_leak
from vidlabel.datasets.open import open_dataset
from vidlabel.datasets.protocols import PROTOCOLS, Fold, doubt_classes, doubt_groups, make_folds
from vidlabel.datasets.samples import Dataset, file_identities
from vidlabel.errors import UsageError
from vidlabel.evaluate.choice import ClassChoice
from vidlabel.evaluate.evaluate import Evaluation, across, check_classes, evaluate, merge
from vidlabel.evaluate.leak_check import check_leak, leak_lines
from vidlabel.evaluate.plan import PLAN, SPEC, read_description
from vidlabel.evaluate.report import mistakes, summarise, write_report
from vidlabel.files.write import check_folder_name
from vidlabel.models.checkpoint import BEST, describe_model, read_header
from vidlabel.predict.labeller import PredictSpec, load_labeller
from vidlabel.specs import Precision, Strategy, StreamName
from vidlabel.text import first_few, plural, text_path

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvalRequest:
    """What to test and how; the fields are the options of `vidlabel eval`."""

    data: str
    model: str
    out: Path | None = None
    """Folder for the report; None for that of a run folder, or for none."""
    protocol: str | None = None
    split: str | None = None
    folds: int = 5
    splits: Path | None = None
    group_pattern: str | None = None
    mapped: Sequence[str] = ()
    """Values of --map."""
    classes: tuple[str, ...] = ()
    ignore_unknown: bool = False
    allow_leak: bool = False
    views: int = 1
    strategy: Strategy = "clip"
    stream: StreamName | None = None
    device: str = "auto"
    precision: Precision = "auto"
    workers: int | None = None
    seed: int = 0
    quiet: bool = False

    @property
    def choice(self) -> ClassChoice:
        """Which classes to test. Raises UsageError as `read_map`."""
        return ClassChoice(read_map(self.mapped), self.classes, self.ignore_unknown)

    def classes_for(self, fold: Fold) -> tuple[str, ...]:
        """The classes of a zero-shot model: those asked for, or those of the data."""
        labels = {sample.label for part in (fold.train, fold.val, fold.test) for sample in part}
        return self.classes or tuple(sorted(labels))

    def as_in_run(self) -> EvalRequest:
        """The same request, with the data divided as the run folder `model` divided it, unless
        the request names another protocol."""
        plan = read_description(Path(self.model) / PLAN)
        if not plan or self.protocol not in (None, plan.get("protocol")):
            return self
        names, split = list(plan["folds"]), self.split
        if plan["protocol"] == "official" and split is None:
            split = "all" if len(names) > 1 else names[0].removeprefix("split-")
        return replace(
            self,
            protocol=plan["protocol"],
            split=split,
            folds=len(names),
            seed=plan["train"]["seed"],
            group_pattern=self.group_pattern or plan.get("group_pattern"),
            mapped=self.mapped or plan.get("map", ()),
        )


def run_evaluation(request: EvalRequest) -> bool:
    """Test a model, write the report, and print the figures; True if clips could not be read.

    Raises:
        UsageError: the options do not fit each other, the data, or the model.
        RunError: no clip of a fold can be read.
        OutputError: the report cannot be written.
    """
    if request.out is not None:
        check_folder_name(request.out)
    request = request.as_in_run()
    run = Path(request.model)
    dataset = open_dataset(
        request.data, run if run.is_dir() else Path(), group_pattern=request.group_pattern,
        splits=request.splits, mapped=request.mapped, seed=request.seed,
    )  # fmt: skip
    warn_of_doubts(dataset)
    folds, protocol = choose_folds(
        request.data, dataset, request.protocol, request.split, request.folds, request.seed,
        tests_only=True,
    )  # fmt: skip
    for line in leak_lines(folds, protocol):
        console.warn(line)
    if request.out is None and run.is_dir():
        request = replace(request, out=report_of(request, folds, protocol))
    return evaluate_and_report(folds, protocol, request)


def choose_folds(
    data: str, dataset: Dataset, protocol: str | None, split: str | None, folds: int, seed: int,
    *, tests_only: bool = False,
) -> tuple[list[Fold], str]:  # fmt: skip
    """The folds that the options ask for, and the name of the protocol; `tests_only` as in
    `make_folds`.

    Without a protocol the name is "" and there is one fold: its test part is what a table calls
    `test`, or all clips if the table has no such rows.

    Raises:
        UsageError: --split does not fit, or as `make_folds`.
    """
    if protocol is None and (dataset.official or split is not None):
        protocol = "official"
    if protocol is None:
        samples = dataset.samples
        test = tuple(s for s in samples if s.split == "test")
        train = tuple(s for s in samples if s.split != "test") if test else ()
        test = test or tuple(s for s in samples if s.split != "train")
        return [Fold(Path(data).stem or "all", train, (), test)], ""
    if protocol not in PROTOCOLS:
        raise UsageError(f"--protocol {protocol}: not known; one of {', '.join(PROTOCOLS)}")
    if protocol != "official" and split is not None:
        raise UsageError(f"--split is for --protocol official, not for {protocol}")
    if protocol == "official" and split != "all" and dataset.official:
        wanted = {n: ids for n, ids in dataset.official.items() if str(n) == (split or "1")}
        if not wanted:
            there = ", ".join(map(str, sorted(dataset.official)))
            raise UsageError(f"--split {split}: there are {there}, or all")
        dataset = replace(dataset, official=wanted)
    found = make_folds(dataset, protocol, folds=folds, seed=seed, tests_only=tests_only)
    return found, protocol


def warn_of_doubts(dataset: Dataset) -> None:
    """Warn of groups and classes that look wrong, of what was left out, and of clips that are on
    the disk or in the official lists, but not in both."""
    for remark in dataset.remarks:
        console.warn(remark)
    for doubt in filter(None, (doubt_groups(dataset), doubt_classes(dataset))):
        console.warn(doubt)
    astray = {
        "clips of the official lists are missing": dataset.missing,
        "clips are in no official list": dataset.extra,
    }
    for what, ids in astray.items():
        if ids:
            console.warn(f"{dataset.name}: {len(ids)} {what}: {first_few(ids, 3)}")


def model_of(model: str, folds: Sequence[Fold], fold: Fold) -> str:
    """The checkpoint that tests a fold: the fold's own in a run folder, or the one named.

    Raises:
        UsageError: there is none for this fold, or one model is named for several folds.
    """
    run = Path(model)
    if not run.is_dir():
        if len(folds) > 1:
            raise UsageError(
                f"--model {model}: {len(folds)} folds need a model each; name the run folder of "
                "`vidlabel train` with the same --protocol, or one --split"
            )
        return model
    choices = [run / fold.name / BEST, *([run / BEST] if len(folds) == 1 else [])]
    for choice in choices:
        if choice.is_file():
            return str(choice)
    raise UsageError(f"--model {model}: has no model for {fold.name}: {_why_none(run, fold)}")


def _why_none(run: Path, fold: Fold) -> str:
    """Why a run folder has no model for a fold, and what to do."""
    plan, one = read_description(run / PLAN), (run / BEST).is_file()
    names = list(plan.get("folds", {}))
    if one and not plan:
        return "it was trained without a protocol; leave out --protocol and --split"
    if plan and (one or fold.name not in names):
        return (
            f"it was trained on {plan['protocol']}: {first_few(names)}; test that, without "
            "--protocol and --split, or train with the same ones"
        )
    if plan or (run / "spec.json").is_file():
        return "no epoch of its training is finished; run the same `vidlabel train` command again"
    return "it is not the run folder of a training"


def report_of(request: EvalRequest, folds: Sequence[Fold], protocol: str) -> Path:
    """The folder for the report of a test of a run folder.

    `report` is the run's own, of its own test clips, and is never replaced. A test of other clips,
    or in another way, goes to `report-` and the name of what differs.
    """
    run, data = Path(request.model), request.data
    plan = read_description(run / PLAN)
    names = [fold.name for fold in folds]
    tested = plan["protocol"] if plan else "", list(plan.get("folds", names))
    differs = []
    if not _is_own_data(request, plan, folds[0]):
        differs.append(Path(data).stem)
    elif not plan and not protocol and not folds[0].train:  # no test part: all clips
        differs.append("all")
    if plan and request.group_pattern != plan.get("group_pattern"):
        differs.append("regrouped")
    if (protocol, names) != tested:
        differs.append(names[0] if len(names) == 1 else protocol)
    differs += ["mapped"] if list(request.mapped) != list(plan.get("map", ())) else []
    differs += ["of", *request.classes] if request.classes else []
    differs += [f"views-{request.views}"] if request.views > 1 else []
    differs += [request.strategy] if request.strategy != "clip" else []
    differs += [request.stream] if request.stream else []
    differs += [request.precision] if request.precision != "auto" else []
    what = re.sub(r"[^\w+.-]+", "-", "-".join(differs))[:100]
    return run / (f"report-{what}" if what else "report")


def _is_own_data(request: EvalRequest, plan: Mapping[str, Any], fold: Fold) -> bool:
    """Whether the data are those that a run folder was trained on: at the same path, and its clips
    unchanged."""
    run = Path(request.model)
    own = plan.get("data")
    if not plan and (run / BEST).is_file():
        own = read_header(run / BEST).training.get("data")
    here = text_path(os.path.abspath(request.data))  # noqa: PTH100
    if own is None or here != os.path.abspath(own):  # noqa: PTH100
        return False
    found = file_identities([*fold.train, *fold.val, *fold.test])
    places = (run / fold.name, run)
    files = next(filter(None, (read_description(at / SPEC).get("files") for at in places)), found)
    return bool(files.items() <= found.items())


def evaluate_folds(
    folds: Sequence[Fold], protocol: str, request: EvalRequest, doing: str = "testing"
) -> Iterator[Evaluation]:
    """Test each fold with its own model; `doing` is the label of the progress bar.

    A leaky protocol ("" for none) may test on clips that were trained on.

    Raises:
        UsageError: a model is missing, knows the test clips, or does not fit the data's classes.
        RunError: no clip of a fold can be read.
    """
    allowed = request.allow_leak or (protocol != "" and PROTOCOLS[protocol].leaky)
    models = [model_of(request.model, folds, fold) for fold in folds]
    choice, total, done = request.choice, 0, 0
    for fold, model in zip(folds, models, strict=True):  # before anything is decoded
        tests = plural(len(fold.test), "test clip")
        _LOG.debug("%s: %s, model %s", fold.name, tests, text_path(model))
        header = describe_model(model, request.classes_for(fold))
        classes = choice.of(header.classes, model)
        tested, _ = classes.tested(fold.test)
        check_classes(classes.names, tested, request.data)
        check_leak(header, replace(fold, test=tuple(tested)), model, allowed=allowed)
        total += len(tested)
    spec = PredictSpec(views=request.views, workers=request.workers, strategy=request.strategy)
    for number, (fold, model) in enumerate(zip(folds, models, strict=True), 1):
        labeller = load_labeller(
            model, request.device, request.precision, request.stream, request.classes_for(fold)
        )
        which = f"{doing} fold {number} of {len(folds)}" if len(folds) > 1 else doing
        with console.Progress(total, request.quiet, done, which) as progress:
            found = evaluate(
                labeller, fold.test, spec, name=fold.name, data=request.data, choice=choice,
                on_clip=progress.advance,
            )  # fmt: skip
        yield found
        done += len(found.tested)


def evaluate_and_report(folds: Sequence[Fold], protocol: str, request: EvalRequest) -> bool:
    """Test the folds, write their reports, print the figures; True if clips could not be read.

    Raises:
        UsageError, RunError: as `evaluate_folds`.
        OutputError: the report cannot be written.
    """
    report = request.out
    found, summaries = [], []
    for each in evaluate_folds(folds, protocol, request):
        found.append(each)
        summaries.append(summarise(each))
        if report is not None and len(folds) > 1:
            write_report(report / each.name, each, summaries[-1])
    whole, values = found[0], summaries[0]
    if len(found) > 1:
        whole = merge(found, protocol)
        values = summarise(whole)
        values["folds"] = {s["fold"]: s["video_level"] for s in summaries}
        values["across_folds"] = across(summaries)
    if report is not None:
        write_report(report, whole, values)
    surest = [
        (text_path(str(each.sample.video)), each.sample.label, each.row.label,
         f"{each.row.confidence:.3f}")
        for each in mistakes(whole)
    ]  # fmt: skip
    console.evaluation(values, surest, "" if report is None else str(report))
    if whole.leak.seen:
        top1 = values["video_level"]["top1"]["value"]
        console.warn(describe_leak(whole.leak, "test", top1)[-1])
    return bool(whole.unreadable)
