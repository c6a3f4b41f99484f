"""`vidlabel eval`: how good a model is on clips that it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vidlabel.cli import options as shared
from vidlabel.cli.completion import FILES, MODELS
from vidlabel.cli.log import log_options
from vidlabel.errors import ExitCode


@click.command("eval")
@click.argument("data", shell_complete=FILES)
@click.option(
    "-m", "--model", required=True, metavar="FILE|RUN", shell_complete=MODELS,
    help="A checkpoint, a shipped model, or the run folder of `vidlabel train`.",
)  # fmt: skip
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
def evaluate(**options: Any) -> int:
    """Measure a model on DATA: accuracy with intervals, calibration, per class, mistakes.

    DATA is as in train. The test clips are those of the --protocol and --split. Without these
    options they are the official test list of HMDB51 and UCF-101, the rows of a table with split
    `test` (or, if it has none, all rows without split `train`), or all clips of a folder. Clips
    that the model was trained on, or that come from the same source video, are refused.
    """
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
