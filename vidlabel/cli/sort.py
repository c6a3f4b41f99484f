"""`vidlabel sort`: a folder for each class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vidlabel.cli.log import log_options
from vidlabel.cli.options import QUIET, path_option
from vidlabel.errors import ExitCode


@click.command()
@click.argument("table", type=click.Path(path_type=Path), required=False)
@path_option("--into", "FOLDER", "The folder that gets a sub-folder for each class, and a log.")
@click.option(
    "--copy",
    "action",
    flag_value="copy",
    default="copy",
    show_default=False,
    help="Copy the videos: nothing happens to the originals, and the copies do not need them. "
    "This is the default.",
)
@click.option(
    "--link",
    "action",
    flag_value="link",
    show_default=False,
    help="Make symbolic links: they need no space, and break when the videos are moved.",
)
@click.option(
    "--move",
    "action",
    flag_value="move",
    show_default=False,
    help="Move the videos; across file systems they are copied first.",
)
@path_option(
    "--root",
    "FOLDER",
    "Folder of relative paths in TABLE.  [default: the current one, then TABLE's]",
)
@click.option("--dry-run", is_flag=True, help="List what would be done, then exit.")
@path_option(
    "--undo",
    "FOLDER",
    "Undo all that was sorted into a folder (or name the log in it); no TABLE is needed.",
)
@QUIET
@log_options
def sort(table: Path | None, into: Path | None, undo: Path | None, quiet: bool, **how: Any) -> int:
    """Sort videos into a folder for each class.

    TABLE is the output of `vidlabel predict` or a corrected table: .csv, .json, .jsonl, .parquet
    or .ledger, with one row per video. Videos without a class go into _uncertain and _failed. No
    file is ever overwritten: of two videos with the same name, one gets a number. If a run is
    interrupted, run the same command to resume; a video that has another label by then goes to
    its new folder. Exit code 0: all videos placed; 1: finished, but some videos were not; 2: wrong
    usage; 3: the run failed.
    """
    from vidlabel import console
    from vidlabel.errors import UsageError
    from vidlabel.signals import interruptible
    from vidlabel.sort.job import SortSpec, sort_table, undo_sort

    if undo and (table or into or how["dry_run"]):
        raise UsageError("--undo FOLDER takes neither a TABLE nor --into nor --dry-run")
    with interruptible() as stop:
        try:
            if undo:
                return undo_sort(undo, quiet)
            if table is None or into is None:
                raise UsageError("name a TABLE and a folder to sort --into, or one to --undo")
            return sort_table(SortSpec(table, into, **how), quiet)
        except KeyboardInterrupt:
            console.warn("stopped; run the same command to resume")
            return ExitCode(stop.exit_code)
