"""`vidlabel review`: a page to check and correct labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vidlabel.cli.completion import FILES
from vidlabel.cli.log import log_options
from vidlabel.cli.options import QUIET, path_option
from vidlabel.errors import ExitCode


@click.command()
@click.argument("table", type=click.Path(path_type=Path))
@path_option(
    "-o --out --output",
    "FILE",
    "The page (.html); its previews go into a folder beside it.  [default: TABLE's name]",
)
@click.option(
    "--truth",
    metavar="DATA",
    shell_complete=FILES,
    help="The true classes, to show what is right and wrong: a folder with one sub-folder per "
    "class, a .csv table path,label, hmdb51:ROOT or ucf101:ROOT.",
)
@path_option(
    "--root",
    "FOLDER",
    "Folder of relative paths in TABLE.  [default: the current one, then TABLE's]",
)
@click.option(
    "--timeline/--no-timeline",
    default=None,
    help="Show each video once, with its rows as segments on a strip to edit.  [default: if a "
    "video has several rows with start_s and end_s]",
)
@click.option(
    "--order",
    type=click.Choice(["value", "uncertain", "confidence", "path"]),
    default="value",
    help="Open the page with the videos first that teach a model most (value: uncertain and "
    "different from each other), whose two best classes are closest (uncertain), that are least "
    "confident, or in the order of their paths.",
)
@path_option(
    "--embeddings",
    "FILE",
    "The feature vectors from `predict --embeddings`, by which --order value tells how much videos "
    "differ.  [default: by their probabilities]",
)
@click.option("--no-clips", is_flag=True, help="Only still posters: faster and smaller.")
@click.option(
    "--restart",
    "--overwrite",
    is_flag=True,
    help="Make all previews again, also those that are up to date.",
)
@QUIET
@log_options
def review(no_clips: bool, quiet: bool, **options: Any) -> int:
    """Make a page to check and correct labels: one HTML file that needs no server.

    TABLE is the output of `vidlabel predict`: .csv, .json, .jsonl, .parquet or its .ledger.
    Corrections stay in the browser until you save them as a table for `vidlabel train`. Exit code
    0: finished; 1: finished, but some videos have no preview; 2: wrong usage; 3: the run failed.
    """
    from vidlabel import console
    from vidlabel.review.job import ReviewSpec, review_table
    from vidlabel.signals import interruptible

    spec = ReviewSpec(**options, with_clips=not no_clips)
    with interruptible() as stop:
        try:
            return review_table(spec, quiet)
        except KeyboardInterrupt:
            console.warn("stopped; run the same command to resume")
            return ExitCode(stop.exit_code)
