"""`vidlabel eval`: how good a model is on clips that it has not seen."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidlabel.cli.options import (
    DEVICE,
    FOLDS,
    GROUP_PATTERN,
    PRECISION,
    PROTOCOL,
    SPLIT,
    SPLITS,
    STRATEGY,
    STREAM,
    VIEWS,
    WORKERS,
)
from vidlabel.errors import ExitCode, UsageError
from vidlabel.text import first_few

if TYPE_CHECKING:
    from vidlabel.datasets.protocols import Fold
    from vidlabel.datasets.samples import Dataset
    from vidlabel.predict.labeller import PredictSpec


@click.command("eval")
@click.argument("data")
@click.option(
    "-m",
    "--model",
    required=True,
    metavar="FILE|RUN",
    help="A checkpoint, a shipped model, or the run folder of `vidlabel train`.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where the report goes.  [default: RUN/report, or RUN/report-WHAT for other clips or "
    "another way to test than the run's own]",
)
@PROTOCOL
@SPLIT
@FOLDS
@SPLITS
@GROUP_PATTERN
@click.option(
    "--allow-leak",
    is_flag=True,
    help="Test on clips the model knows, and report seen and unseen ones apart.",
)
@VIEWS
@STRATEGY
@STREAM
@DEVICE
@PRECISION
@WORKERS
@click.option("--seed", default=0, show_default=True, help="Of random protocols.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def evaluate(
    data: str, model: str, out: Path | None, protocol: str | None, split: str | None,
    folds: int, splits: Path | None, group_pattern: str | None, allow_leak: bool, views: int,
    strategy: Any, stream: Any, device: str, precision: Any, workers: int | None, seed: int,
    quiet: bool,
) -> int:  # fmt: skip
    """Measure a model on DATA: accuracy with intervals, calibration, per class, mistakes.

    DATA is as in train. The test clips are those of the --protocol and --split; without one, the
    official test list of HMDB51 and UCF-101, the rows that a table calls `test` (or, if it has
    none, does not call `train`), or all clips. Clips that the model was trained on, or that come
    from the same source video, are refused.
    """
    from vidlabel import console
    from vidlabel.datasets.open import open_dataset
    from vidlabel.predict.labeller import PredictSpec
    from vidlabel.signals import interruptible
    from vidlabel.train.folds import leak_lines
    from vidlabel.train.state import PLAN, read_description

    plan = read_description(Path(model) / PLAN)
    if plan and protocol in (None, plan.get("protocol")):  # divide the data as the run did
        protocol, made = plan["protocol"], list(plan["folds"])
        folds, seed = len(made), plan["train"]["seed"]
        group_pattern = group_pattern or plan.get("group_pattern")
        if protocol == "official" and split is None:
            split = "all" if len(made) > 1 else made[0].removeprefix("split-")
    dataset = open_dataset(
        data, Path(model) if Path(model).is_dir() else Path(), group_pattern=group_pattern,
        splits=splits, seed=seed,
    )  # fmt: skip
    say_found(dataset)
    chosen, protocol = choose_folds(data, dataset, protocol, split, folds, seed)
    for line in (line for fold in chosen for line in leak_lines(fold, protocol)):
        console.warn(line)
    spec = PredictSpec(views=views, workers=workers, strategy=strategy)
    report = out
    if report is None and Path(model).is_dir():
        how = [name for name in (stream, precision) if name not in (None, "auto")]
        report = report_of(Path(model), data, group_pattern, chosen, protocol, spec, how)
    with interruptible() as stop:
        try:
            unreadable = evaluate_and_show(
                chosen, protocol, data, model, spec, report, allow_leak=allow_leak,
                device=device, precision=precision, stream=stream, quiet=quiet,
            )  # fmt: skip
        except KeyboardInterrupt:
            console.warn("stopped")
            return ExitCode(stop.exit_code)
    return ExitCode.SOME_FAILED if unreadable else ExitCode.OK


def report_of(
    run: Path, data: str, group_pattern: str | None, folds: Sequence[Fold], protocol: str,
    spec: PredictSpec, how: Sequence[str],
) -> Path:  # fmt: skip
    """Where the report of a test of a run folder goes.

    `report` is what the run has written itself, of its own test clips, and stays what it is. What
    tests other clips, or in another way, is `report-` and what differs.
    """
    from vidlabel.models.checkpoint import read_header
    from vidlabel.text import text_path
    from vidlabel.train.state import BEST, PLAN, read_description

    plan = read_description(run / PLAN)
    own = plan.get("data")
    if not plan and (run / BEST).is_file():
        own = read_header(run / BEST).training.get("data")
    names = [fold.name for fold in folds]
    tested = plan["protocol"] if plan else "", list(plan.get("folds", names))
    differs = []
    if own is None or text_path(os.path.abspath(data)) != os.path.abspath(own):  # noqa: PTH100
        differs.append(Path(data).stem)
    elif not plan and not protocol and not folds[0].train:  # no test part: all clips
        differs.append("all")
    if plan and group_pattern != plan.get("group_pattern"):
        differs.append("regrouped")
    if (protocol, names) != tested:
        differs.append(names[0] if len(names) == 1 else protocol)
    differs += [f"views-{spec.views}"] if spec.views > 1 else []
    differs += [spec.strategy] if spec.strategy != "clip" else []
    what = re.sub(r"[^\w+.-]+", "-", "-".join([*differs, *how]))[:100]
    return run / (f"report-{what}" if what else "report")


def evaluate_and_show(
    folds: Sequence[Fold], protocol: str, data: str, model: str, spec: PredictSpec,
    report: Path | None, *, allow_leak: bool = False, device: str = "auto",
    precision: Any = "auto", stream: Any = None, quiet: bool = False,
) -> bool:  # fmt: skip
    """Test the folds, write their reports, print the figures; True if clips could not be read."""
    from vidlabel import console
    from vidlabel.datasets.leaks import describe_leak
    from vidlabel.evaluate.evaluate import across, merge
    from vidlabel.evaluate.report import mistakes, summarise, write_report
    from vidlabel.text import text_path
    from vidlabel.train.folds import evaluate_folds

    found, summaries = [], []
    for each in evaluate_folds(
        folds, protocol, data, model, spec, allow_leak=allow_leak, device=device,
        precision=precision, stream=stream,
        counting=lambda total: console.Progress(total, quiet=quiet, doing="testing"),
    ):  # fmt: skip
        found.append(each)
        summaries.append(summarise(each))
        if report is not None and len(folds) > 1:
            write_report(report / each.name, each, summaries[-1])
    if len(found) == 1:
        whole, values = found[0], summaries[0]
    else:
        whole = merge(found, protocol)
        values = summarise(whole)
        values["folds"] = {s["fold"]: s["video_level"] for s in summaries}
        values["across_folds"] = across(summaries)
    if report is not None:
        write_report(report, whole, values)
    surest = [
        (text_path(each.row.path), each.sample.label, each.row.label, f"{each.row.confidence:.3f}")
        for each in mistakes(whole)
    ]
    console.evaluation(values, surest, "" if report is None else str(report))
    if whole.leak.seen:
        top1 = values["video_level"]["top1"]["value"]
        console.warn(describe_leak(whole.leak, "test", top1)[-1])
    return bool(whole.unreadable)


def choose_folds(
    data: str, dataset: Dataset, protocol: str | None, split: str | None, folds: int, seed: int
) -> tuple[list[Fold], str]:
    """The folds that the options mean, and the protocol's name, "" where there is none: then what a
    table calls `test` is tested, and the rest is for training; or all clips are tested.

    Raises:
        UsageError: --split does not fit, or as `make_folds`.
    """
    from vidlabel.datasets.protocols import PROTOCOLS, Fold, make_folds

    if protocol is None and (dataset.official or split is not None):
        protocol = "official"
    if protocol is None:
        marked = any(s.split == "test" for s in dataset.samples)
        test = tuple(
            s for s in dataset.samples if s.split == "test" or not (marked or s.split == "train")
        )
        train = tuple(s for s in dataset.samples if marked and s.split != "test")
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
    return make_folds(dataset, protocol, folds=folds, seed=seed), protocol


def say_found(dataset: Dataset) -> None:
    """Warn of clips that lists and disk do not agree on, of groups that may be none, and of classes
    that may be one."""
    from vidlabel import console
    from vidlabel.datasets.protocols import doubt_classes, doubt_groups

    for doubt in filter(None, (doubt_groups(dataset), doubt_classes(dataset))):
        console.warn(doubt)
    for what, ids in (
        ("clips of the official lists are missing", dataset.missing),
        ("clips are in no official list", dataset.extra),
    ):
        if ids:
            console.warn(f"{dataset.name}: {len(ids)} {what}: {first_few(ids, 3)}")
