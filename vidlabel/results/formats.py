"""Results to files: one small writer per format, found by the suffix of the output."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vidlabel.errors import UsageError
from vidlabel.files.write import write_bytes
from vidlabel.results import csv, json, jsonl, parquet
from vidlabel.results.embeddings import check_embeddings, write_embeddings
from vidlabel.results.record import Format, RunInfo
from vidlabel.specs import Prediction

__all__ = [
    "FORMATS",
    "STDOUT",
    "Format",
    "RunInfo",
    "check_embeddings",
    "pick_format",
    "write_embeddings",
    "write_predictions",
]

FORMATS: dict[str, Format] = {
    "csv": csv.FORMAT,
    "json": json.FORMAT,
    "jsonl": jsonl.FORMAT,
    "parquet": parquet.FORMAT,
}
"""Suffix without its dot -> writer."""

STDOUT = "-"
"""What `--out` is for standard output."""


def pick_format(out: str, format_name: str | None = None) -> Format:
    """The writer for an output: by --format where given, otherwise by the suffix, in any case.

    Raises:
        UsageError: the format is not known, cannot go to stdout, or needs a missing package.
    """
    if format_name is not None:
        name, source = format_name.lower(), f"--format {format_name}"
    elif out == STDOUT:
        name, source = "csv", "stdout"
    else:
        name, source = Path(out).suffix.lower().removeprefix("."), f"--out {out}"
    if name not in FORMATS:
        known = ", ".join(FORMATS)
        raise UsageError(f"{source}: no known format; --out must end in, or --format be: {known}")
    chosen = FORMATS[name]
    if out == STDOUT and not chosen.streams:
        fit = " and ".join(known.name for known in FORMATS.values() if known.streams)
        raise UsageError(f"--format {name} cannot be written to stdout; {fit} can")
    chosen.check()
    return chosen


def write_predictions(rows: Iterable[Prediction], out: Path, fmt: Format, run: RunInfo) -> None:
    """Replace `out` by a file with these rows; it is never half written.

    The rows are read once and not kept, so they can be many.

    Raises:
        UsageError: a package that the format needs is missing.
        OutputError: the system refused to write.
    """
    write_bytes(out, fmt.chunks(rows, run))
