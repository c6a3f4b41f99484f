"""`vidlabel eval`: how good a model is on clips that it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from vidlabel.cli import options as shared
from vidlabel.cli.completion import FILES, MODELS
from vidlabel.cli.log import log_options
from vidlabel.errors import ExitCode, UsageError


@click.command("eval")
@click.argument("data", shell_complete=FILES)
@click.option(
    "-m", "--model", metavar="NAME|FILE|RUN|hf:MODEL", shell_complete=MODELS,
    help="A model, as in predict, or the run folder of `vidlabel train`.",
)  # fmt: skip
@shared.path_option(
    "--truth",
    "FILE",
    "In place of a model: DATA is a table of labels over time, as predict writes it, and FILE a "
    "table path,label,start_s,end_s of the true segments. Reports mAP at overlaps of 0.1 to 0.7, "
    "F1 of segments at 10, 25 and 50 %, edit score, and accuracy per frame.",
)
@click.option(
    "-o", "--out", "--output", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Folder for the report.  [default: RUN/report, or RUN/report-WHAT for a test of other "
    "clips or with other options than the run's own test]",
)  # fmt: skip
@shared.PROTOCOL
@shared.SPLIT
@shared.FOLDS
@shared.SPLITS
@shared.GROUP_PATTERN
@shared.CLASS_MAP
@shared.CLASSES
@click.option(
    "--ignore-unknown",
    is_flag=True,
    help="Leave out clips of classes that the model does not know, and say how many.",
)
@click.option(
    "--allow-leak",
    is_flag=True,
    help="Also test on clips that the model knows; seen and unseen clips are reported apart.",
)
@shared.VIEWS
@shared.STRATEGY
@shared.STREAM
@shared.DEVICE
@shared.PRECISION
@shared.WORKERS
@click.option("--seed", default=0, help="Random seed of random protocols.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
@log_options
def evaluate(truth: Path | None, **options: Any) -> int:
    """Measure a model on DATA: accuracy with intervals, calibration, per class, mistakes.

    DATA is as in train. The test clips are those of the --protocol and --split. Without these
    options they are the official test list of HMDB51 and UCF-101, the rows of a table with split
    `test` (or, if it has none, all rows without split `train`), or all clips of a folder. Clips
    that the model was trained on, or that come from the same source video, are refused.
    """
    if truth is not None:
        return _compare(truth, options)
    if options["model"] is None:
        raise UsageError("--model is missing; see `vidlabel eval --help`")

    from vidlabel import console
    from vidlabel.evaluate.job import EvalRequest, run_evaluation
    from vidlabel.signals import interruptible

    with interruptible() as stop:
        try:
            unreadable = run_evaluation(EvalRequest(**options))
        except KeyboardInterrupt:
            console.warn("stopped")
            return ExitCode(stop.exit_code)
    return ExitCode.SOME_FAILED if unreadable else ExitCode.OK


def _compare(truth: Path, options: dict[str, Any]) -> int:
    """Measure a table of segments, for which only --out matters."""
    context = click.get_current_context()
    for name in options.keys() - {"data", "out", "quiet"}:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"--truth compares two tables; leave out {flag}")

    from vidlabel.evaluate.timeline_job import evaluate_timelines

    evaluate_timelines(Path(options["data"]), truth, options["out"])
    return ExitCode.OK
