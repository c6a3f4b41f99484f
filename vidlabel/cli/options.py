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
