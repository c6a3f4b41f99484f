"""`vidlabel predict` and `vidlabel export`: videos to tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from vidlabel.cli import options
from vidlabel.cli.completion import DEVICES, FILES, MODELS, format_names, offer
from vidlabel.cli.log import log_options
from vidlabel.errors import UsageError
from vidlabel.spans import TimelineSpec
from vidlabel.specs import Limits

_LIMITS = (
    ("--timeout", Limits.timeout_s, "S", "Give up decoding one file after S seconds."),
    ("--max-pixels", Limits.pixels, "N", "Refuse videos with more pixels per frame."),
    ("--max-duration", Limits.duration_s, "S", "Refuse videos longer than S seconds."),
    ("--max-memory", Limits.memory_mb, "MB", "Memory limit of each decoder process, MiB (Linux)."),
)


def _limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add a flag for each limit on a file."""
    for flag, default, metavar, text in reversed(_LIMITS):
        command = click.option(flag, default=default, metavar=metavar, help=text)(command)
    return command


@click.command()
@click.argument("inputs", nargs=-1, metavar="INPUT...", shell_complete=FILES)
@click.option(
    "-o",
    "--out",
    "--output",
    default="-",
    metavar="FILE",
    shell_complete=FILES,
    help="Table to write: .csv, .json, .jsonl or .parquet; - is stdout. Or another --format: for "
    "one video a file such as .srt, for several a folder.",
)
@options.FORMAT
@options.SIDECAR
@options.SIDECAR_DIR
@click.option(
    "--from-file",
    type=click.File("rb"),
    metavar="LIST",
    help="Read paths from a file, one per line or NUL-separated; - is stdin.",
)
@click.option(
    "--include",
    multiple=True,
    metavar="GLOB",
    help="In folders, label only files that match. May be repeated.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="In folders, skip files and folders that match. May be repeated.",
)
@click.option(
    "-m",
    "--model",
    default="starter",
    metavar="NAME|FILE|RUN|hf:MODEL",
    shell_complete=MODELS,
    help="A name listed by `vidlabel models`, a .safetensors checkpoint, the folder of a training "
    "run, or hf: and a folder of Transformers or a name in the cache of Hugging Face.",
)
@options.CLASSES
@options.timeline_options
@click.option("-k", "--top-k", default=5, help="Classes shown per video.")
@options.VIEWS
@options.STRATEGY
@options.STREAM
@click.option(
    "--min-confidence",
    "--conf",
    type=float,
    metavar="P",
    help="Label a video `uncertain` if the probability of its best class is lower.  "
    "[default: the model's own]",
)
@options.EMBEDDINGS
@click.option(
    "--shard",
    metavar="K/N|slurm",
    help="Label only part K of N, to label the other parts elsewhere; `slurm` takes K and N from "
    "the job array. The table of part 3 of 40 is labels.shard-3-of-40.csv; `vidlabel merge` joins "
    "them.",
)
@click.option(
    "--device",
    default="auto",
    shell_complete=DEVICES,
    help="Device: auto, cpu, cuda, cuda:N or mps. Several, such as cuda:0,cuda:1, have a process "
    "each; all: every GPU.",
)
@options.PRECISION
@options.ENGINE
@click.option("--batch-size", type=int, metavar="N", help="Clips per batch.  [default: auto]")
@options.WORKERS
@_limit_options
@click.option(
    "--allow-formats",
    multiple=True,
    metavar="NAME",
    shell_complete=offer(format_names),
    help="Also take files of this rarer format, such as gif, from folders, and read it under any "
    "name. May be repeated.",
)
@click.option(
    "--restart", "--overwrite", is_flag=True, help="Delete the ledger and label everything again."
)
@click.option(
    "--retry-failed", is_flag=True, help="Label videos again that failed in an earlier run."
)
@options.EXCEL_SAFE
@click.option("--fail-fast", is_flag=True, help="Stop at the first video that cannot be labelled.")
@click.option("--dry-run", is_flag=True, help="List the videos that would be labelled, then exit.")
@options.RECURSIVE
@options.config_option
@options.QUIET
@log_options
def predict(
    inputs: tuple[str, ...], out: str, format_name: str | None, sidecars: tuple[str, ...],
    sidecar_dir: Path | None, from_file: Any,
    include: tuple[str, ...], exclude: tuple[str, ...], model: str, timeline: bool,
    window: float | None, stride: float | None, min_length: float | None, gaps: bool, start: float,
    end: float | None, top_k: int, views: int,
    strategy: Any, stream: Any, min_confidence: float | None, embeddings: Path | None, device: str,
    precision: Any, batch_size: int | None, workers: int | None, timeout: float, max_pixels: int,
    max_duration: float, max_memory: int, allow_formats: tuple[str, ...], restart: bool,
    retry_failed: bool, excel_safe: bool, fail_fast: bool, dry_run: bool, quiet: bool,
    classes: tuple[str, ...], shard: str | None, engine: Any,
) -> int:  # fmt: skip
    """Label videos: folders (recursively), files and globs; - reads a list from stdin.

    Every video gets one row in the table, also if it cannot be read; with --timeline, every segment
    of a video does. Results are kept in a ledger beside the output (labels.ledger): run the same
    command again to label only videos that are new or have changed, and to go on inside a video.
    Exit code 0: all videos labelled; 1: finished, but some videos failed; 2: wrong usage; 3: the
    run could not start or finish.
    """
    from vidlabel.predict.job import RunOptions, predict_videos
    from vidlabel.predict.output import TableOutput
    from vidlabel.predict.spec import ModelChoice, PredictSpec

    if end is not None and end <= start:
        raise UsageError(f"--end must be after --start, got {end:g} s and {start:g} s")
    windows = None
    if timeline or window is not None or stride is not None:
        windows = TimelineSpec(window, stride, min_length, gaps)
    elif gaps or min_length is not None:
        raise UsageError("--min-length and --gaps are for timelines; use them with --timeline")
    limits = Limits(
        pixels=max_pixels, duration_s=max_duration, timeout_s=timeout, memory_mb=max_memory,
        formats=tuple(sorted(set(allow_formats))),
    )  # fmt: skip
    run = predict_videos
    if shard is not None:
        from vidlabel.scale.shard import predict_shard, read_shard

        run = partial(predict_shard, read_shard(shard))
    return run(
        inputs,
        from_file.read() if from_file else None,
        PredictSpec(
            top_k, views, batch_size, workers, min_confidence, limits, strategy, classes, windows
        ),
        TableOutput(out, format_name, embeddings, excel_safe, sidecars, sidecar_dir),
        RunOptions(restart, retry_failed, fail_fast, quiet, dry_run),
        ModelChoice(model, device, precision, stream, engine=engine),
        include=include, exclude=exclude,
        span=(start, math.inf if end is None else end),
    )  # fmt: skip


@click.command()
@click.argument("labels", type=click.Path(path_type=Path))
@options.path_option(
    "-o --out --output",
    "FILE|FOLDER",
    "Table to write: .csv, .json, .jsonl or .parquet. Or another --format: for one video a file "
    "such as .srt, for several a folder.",
    required=True,
)
@options.FORMAT
@options.CLASSES
@click.option(
    "--fps",
    type=float,
    metavar="X",
    help="Frame rate of formats that count frames, edl and label-studio.  [default: from each "
    "video's header]",
)
@click.option(
    "-k", "--top-k", type=int, metavar="N", help="Classes shown.  [default: as in the run]"
)
@click.option(
    "--min-confidence",
    "--conf",
    type=float,
    metavar="P",
    help="Label less probable classes `uncertain`.  [default: as in the run]",
)
@options.EMBEDDINGS
@options.EXCEL_SAFE
def export(
    labels: Path, out: Path, format_name: str | None, fps: float | None, top_k: int | None,
    min_confidence: float | None, embeddings: Path | None, excel_safe: bool,
    classes: tuple[str, ...],
) -> int:  # fmt: skip
    """Write LABELS again in any format, without labelling again.

    LABELS is the output of `vidlabel predict`, or the ledger that it keeps beside it: then the
    latest run is taken, if several outputs share the ledger. Or it is any table with the columns
    path, label and, for parts of a video, start_s and end_s: subtitles and other labels over time
    are made from the table itself, so that it may have been corrected.
    """
    from vidlabel.predict.output import TableOutput, export_labels

    output = TableOutput(str(out), format_name, embeddings, excel_safe, fps=fps)
    return export_labels(labels, output, top_k, min_confidence, classes)
