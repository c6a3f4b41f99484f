"""The file of a ledger: its name, and how it is deleted."""

from __future__ import annotations

from pathlib import Path

from vidlabel.errors import OutputError
from vidlabel.files.names import LONGEST, shortened
from vidlabel.results.ledger_tables import check_is_ledger

SUFFIX = ".ledger"


def ledger_of(out: Path) -> Path:
    """The ledger of an output: `labels.csv`, `labels.json`, ... share `labels.ledger`."""
    path = out.with_suffix(SUFFIX)
    return path.with_name(shortened(path.name, LONGEST - len("-journal")))


def discard(path: Path) -> None:
    """Delete a ledger, so that everything is labelled again.

    Raises:
        OutputError: the file is not a ledger, or cannot be deleted.
    """
    check_is_ledger(path)
    try:
        for each in (path.with_name(path.name + "-journal"), path):
            each.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be deleted: {error.strerror}") from error
