"""One run of `vidlabel eval`: open the data, test the folds, write the reports, print the figures.

`vidlabel train` ends with the same test of what it has trained.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidlabel import console
from vidlabel.datasets.leaks import describe_leak
from vidlabel.datasets.open import open_dataset
from vidlabel.datasets.protocols import Fold
from vidlabel.evaluate.evaluate import across, merge
from vidlabel.evaluate.folds import choose_folds, evaluate_folds, warn_of_doubts
from vidlabel.evaluate.leak_check import leak_lines
from vidlabel.evaluate.plan import PLAN, read_description
from vidlabel.evaluate.report import mistakes, summarise, write_report
from vidlabel.models.checkpoint import BEST, read_header
from vidlabel.models.fusion import StreamName
from vidlabel.predict.labeller import PredictSpec
from vidlabel.specs import Precision, Strategy
from vidlabel.text import text_path


@dataclass(frozen=True)
class EvalRequest:
    """What to test and how; the fields are the options of `vidlabel eval`."""

    data: str
    model: str
    out: Path | None = None
    protocol: str | None = None
    split: str | None = None
    folds: int = 5
    splits: Path | None = None
    group_pattern: str | None = None
    allow_leak: bool = False
    views: int = 1
    strategy: Strategy = "clip"
    stream: StreamName | None = None
    device: str = "auto"
    precision: Precision = "auto"
    workers: int | None = None
    seed: int = 0
    quiet: bool = False

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
        )


def run_evaluation(request: EvalRequest) -> bool:
    """Test a model, write the report, and print the figures; True if clips could not be read.

    Raises:
        UsageError: the options do not fit each other, the data, or the model.
        RunError: no clip of a fold can be read.
        OutputError: the report cannot be written.
    """
    request = request.as_in_run()
    data, run = request.data, Path(request.model)
    dataset = open_dataset(
        data, run if run.is_dir() else Path(), group_pattern=request.group_pattern,
        splits=request.splits, seed=request.seed,
    )  # fmt: skip
    warn_of_doubts(dataset)
    folds, protocol = choose_folds(
        data, dataset, request.protocol, request.split, request.folds, request.seed
    )
    for line in (line for fold in folds for line in leak_lines(fold, protocol)):
        console.warn(line)
    spec = PredictSpec(
        views=request.views, workers=request.workers, strategy=request.strategy
    )  # fmt: skip
    report = request.out
    if report is None and run.is_dir():
        how = [name for name in (request.stream, request.precision) if name not in (None, "auto")]
        report = report_of(run, data, request.group_pattern, folds, protocol, spec, how)
    return evaluate_and_report(
        folds, protocol, data, request.model, spec, report, allow_leak=request.allow_leak,
        device=request.device, precision=request.precision, stream=request.stream,
        quiet=request.quiet,
    )  # fmt: skip


def report_of(
    run: Path, data: str, group_pattern: str | None, folds: Sequence[Fold], protocol: str,
    spec: PredictSpec, how: Sequence[str | None],
) -> Path:  # fmt: skip
    """The folder for the report of a test of a run folder.

    `report` is the run's own, of its own test clips, and is never replaced. A test of other clips,
    or in another way, goes to `report-` and the name of what differs.
    """
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
    what = re.sub(r"[^\w+.-]+", "-", "-".join([*differs, *filter(None, how)]))[:100]
    return run / (f"report-{what}" if what else "report")


def evaluate_and_report(
    folds: Sequence[Fold], protocol: str, data: str, model: str, spec: PredictSpec,
    report: Path | None, *, allow_leak: bool = False, device: str = "auto",
    precision: Precision = "auto", stream: StreamName | None = None, quiet: bool = False,
) -> bool:  # fmt: skip
    """Test the folds, write their reports, print the figures; True if clips could not be read."""
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
