"""`vidlabel predict` and `vidlabel export`: videos to tables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidlabel.cli.options import (
    DEVICE,
    EMBEDDINGS,
    EXCEL_SAFE,
    PRECISION,
    QUIET,
    STRATEGY,
    STREAM,
    VIEWS,
    WORKERS,
)
from vidlabel.errors import ExitCode, RunError, UsageError
from vidlabel.specs import Limits

if TYPE_CHECKING:
    from vidlabel.specs import VideoItem

_DEFAULT_LIMITS = Limits()


@click.command()
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option(
    "-o",
    "--out",
    default="-",
    metavar="FILE",
    help="Table to write: .csv, .json, .jsonl or .parquet; - is stdout.  [default: -]",
)
@click.option(
    "--format",
    "format_name",
    metavar="NAME",
    help="csv, json, jsonl or parquet, instead of what the suffix says.",
)
@click.option(
    "--from-file",
    type=click.File("rb"),
    metavar="LIST",
    help="Read paths from a file, one a line (or NUL-separated); - is stdin.",
)
@click.option(
    "--include",
    multiple=True,
    metavar="GLOB",
    help="In folders, take only files that match. May be repeated.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="In folders, leave out files and folders that match. May be repeated.",
)
@click.option(
    "-m",
    "--model",
    default="starter",
    show_default=True,
    metavar="NAME|FILE|RUN",
    help="A name that `vidlabel models` lists, a .safetensors checkpoint, or the folder of a "
    "training.",
)
@click.option("-k", "--top-k", default=5, show_default=True, help="Classes listed per video.")
@VIEWS
@STRATEGY
@STREAM
@click.option(
    "--min-confidence",
    default=0.0,
    metavar="P",
    help="Label a video `uncertain` when its best class is less likely.",
)
@EMBEDDINGS
@DEVICE
@PRECISION
@click.option("--batch-size", type=int, metavar="N", help="Clips per batch.  [default: auto]")
@WORKERS
@click.option(
    "--timeout",
    default=_DEFAULT_LIMITS.timeout_s,
    show_default=True,
    metavar="S",
    help="Seconds after which decoding one file is given up.",
)
@click.option(
    "--max-pixels",
    default=_DEFAULT_LIMITS.pixels,
    show_default=True,
    metavar="N",
    help="Refuse videos with larger frames.",
)
@click.option(
    "--max-duration",
    default=_DEFAULT_LIMITS.duration_s,
    show_default=True,
    metavar="S",
    help="Refuse longer videos.",
)
@click.option(
    "--max-memory",
    default=_DEFAULT_LIMITS.memory_mb,
    show_default=True,
    metavar="MB",
    help="Most memory a decoder process may take (Linux).",
)
@click.option(
    "--allow-formats",
    multiple=True,
    metavar="NAME",
    help="Also read a rarer format, such as gif. May be repeated.",
)
@click.option("--restart", is_flag=True, help="Label everything again; forget the ledger.")
@click.option("--retry-failed", is_flag=True, help="Try videos again that failed before.")
@EXCEL_SAFE
@click.option("--fail-fast", is_flag=True, help="Stop at the first video that cannot be labelled.")
@click.option("--dry-run", is_flag=True, help="List the videos that would be labelled, and stop.")
@QUIET
def predict(
    inputs: tuple[str, ...], out: str, format_name: str | None, from_file: Any,
    include: tuple[str, ...], exclude: tuple[str, ...], model: str, top_k: int, views: int,
    strategy: Any, stream: Any, min_confidence: float, embeddings: Path | None, device: str,
    precision: Any, batch_size: int | None, workers: int | None, timeout: float, max_pixels: int,
    max_duration: float, max_memory: int, allow_formats: tuple[str, ...], restart: bool,
    retry_failed: bool, excel_safe: bool, fail_fast: bool, dry_run: bool, quiet: bool,
) -> int:  # fmt: skip
    """Label videos: folders (recursively), files and globs; - reads a list from stdin.

    Every video gets one row in the table, also one that cannot be read. What is done is kept in
    a ledger beside the output (labels.ledger): the same command again labels only what is new or
    has changed. Exit code 0: all labelled; 1: done, but some videos failed; 2: wrong usage;
    3: could not run, or not to its end.
    """
    from vidlabel.files.find import VIDEO_SUFFIXES
    from vidlabel.results.formats import STDOUT, pick_format
    from vidlabel.video.container import EXTRA_CONTAINERS, check_formats

    fmt = pick_format(out, format_name)
    check_formats(allow_formats)
    extra = {suffix for name in allow_formats for suffix in EXTRA_CONTAINERS[name].split()}
    items = _collect(inputs, from_file, include, exclude, VIDEO_SUFFIXES | extra)
    if dry_run:
        return _list_items(items)

    from vidlabel.predict.job import Output, RunOptions, label_videos
    from vidlabel.predict.labeller import PredictSpec, load_labeller

    output = Output(None if out == STDOUT else Path(out), fmt, embeddings, excel_safe)
    output.check()
    limits = Limits(
        pixels=max_pixels, duration_s=max_duration, timeout_s=timeout, memory_mb=max_memory,
        formats=tuple(sorted(set(allow_formats))),
    )  # fmt: skip
    spec = PredictSpec(top_k, views, batch_size, workers, min_confidence, limits, strategy)
    options = RunOptions(restart, retry_failed, fail_fast, quiet)
    labeller = load_labeller(model, device, precision, stream)
    return label_videos(labeller, items, spec, output, options)


@click.command()
@click.argument("ledger", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Table to write: .csv, .json, .jsonl or .parquet.",
)
@click.option("--format", "format_name", metavar="NAME", help="Instead of what the suffix says.")
@click.option("-k", "--top-k", type=int, metavar="N", help="[default: as in the run]")
@click.option("--min-confidence", type=float, metavar="P", help="[default: as in the run]")
@EMBEDDINGS
@EXCEL_SAFE
def export(
    ledger: Path, out: Path, format_name: str | None, top_k: int | None,
    min_confidence: float | None, embeddings: Path | None, excel_safe: bool,
) -> int:  # fmt: skip
    """Write a run's table again from its LEDGER, in any format, without labelling again.

    LEDGER is the file that `vidlabel predict` keeps beside its output, or that output itself.
    """
    from vidlabel import console
    from vidlabel.predict.job import Output, export_ledger
    from vidlabel.results.formats import pick_format

    output = Output(out, pick_format(str(out), format_name), embeddings, excel_safe)
    output.check()
    tally, total = export_ledger(ledger, output, top_k, min_confidence)
    console.note(f"{tally.videos} of {total} videos written to {out}")
    return ExitCode.OK


def _collect(
    inputs: tuple[str, ...], from_file: Any, include: tuple[str, ...], exclude: tuple[str, ...],
    suffixes: frozenset[str],
) -> list[VideoItem]:  # fmt: skip
    """The videos meant by arguments, list files and stdin."""
    from vidlabel.files.find import find_videos, read_list

    named: list[str] = []
    for text in inputs:
        named += read_list(sys.stdin.buffer.read()) if text == "-" else [text]
    if from_file is not None:
        named += read_list(from_file.read())
    if not inputs and from_file is None:
        raise UsageError("name a folder, files or globs to label, or --from-file LIST")
    items = find_videos(named, include, exclude, suffixes)
    if not items:
        raise RunError(f"no videos in {', '.join(named) or 'the list'}; see --include")
    return items


def _list_items(items: list[VideoItem]) -> int:
    from vidlabel.text import text_path

    for item in items:
        click.echo(text_path(item.path))
        if item.problem:
            click.echo(f"would fail: {item.problem}: {text_path(item.detail)}", err=True)
    click.echo(f"{len(items)} videos", err=True)
    return ExitCode.OK
