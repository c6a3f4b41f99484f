"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

DEVICE = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N, mps."
)
WORKERS = click.option(
    "-j", "--workers", type=int, metavar="N", help="Decoder processes.  [default: one per core]"
)
EMBEDDINGS = click.option(
    "--embeddings",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the model's feature vectors: .npz or .parquet.",
)
EXCEL_SAFE = click.option(
    "--excel-safe",
    is_flag=True,
    help="In CSV, put ' before texts that a spreadsheet would run as a formula.",
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="No progress bar and no summary.")
PROTOCOL = click.option(
    "--protocol",
    metavar="NAME",
    help="official, group-kfold, leave-one-group-out, or by name one that leaks: leaky-123, "
    "random-80-20, split1-select-on-test.",
)
SPLIT = click.option(
    "--split", metavar="N|all", help="Which official split of HMDB51 or UCF-101.  [default: 1]"
)
FOLDS = click.option("--folds", default=5, show_default=True, help="Of group-kfold.")
SPLITS = click.option(
    "--splits",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The official split lists, if not beside or under ROOT.",
)
GROUP_PATTERN = click.option(
    "--group-pattern",
    metavar="REGEX",
    help="What in a video's path names its group (person, film, camera).",
)
