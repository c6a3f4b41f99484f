"""One labelling run: inputs to items, items to rows, rows to a table; stopped cleanly."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from vidlabel import __version__, console, exports
from vidlabel.clips import view_count
from vidlabel.errors import ExitCode
from vidlabel.files import check_output
from vidlabel.predict import Labeller, PredictSpec
from vidlabel.specs import Prediction, VideoItem


@dataclass(frozen=True)
class Output:
    """Where the rows go. `path` None is stdout; `embeddings` None writes none."""

    path: Path | None
    fmt: exports.Format
    embeddings: Path | None = None

    def check(self) -> None:
        """Refuse, before any work, what could not be written. Raises OutputError, UsageError."""
        if self.path is not None:
            check_output(self.path)
        if self.embeddings is not None:
            exports.check_embeddings(self.embeddings)
            check_output(self.embeddings)


def label_videos(
    labeller: Labeller,
    items: Sequence[VideoItem],
    spec: PredictSpec,
    output: Output,
    *,
    fail_fast: bool = False,
    quiet: bool = False,
) -> ExitCode:
    """Label the items and write their rows in the order of the items.

    Stopped by Ctrl-C or SIGTERM, it writes the rows that are done. To stdout, rows are written as
    soon as those before them are; to a file, all at the end and as a whole.

    Args:
        fail_fast: stop after the first video that cannot be labelled.
        quiet: no progress bar and no summary.

    Raises:
        OutputError: the rows cannot be written.
    """
    spec = replace(spec, top_k=min(spec.top_k, len(labeller.classes)))
    run = exports.RunInfo(labeller.checkpoint.id, spec.top_k, __version__)
    done: list[tuple[int, Prediction]] = []
    started = monotonic()
    code = ExitCode.OK
    with stopping() as signals:
        try:
            rows = _counted(labeller, items, spec, done, fail_fast, quiet, output.path is None)
            if output.path is None:
                for chunk in output.fmt.chunks(rows, run):
                    sys.stdout.buffer.write(chunk)
                    sys.stdout.buffer.flush()
            else:
                for _ in rows:
                    pass
        except KeyboardInterrupt:
            code = ExitCode.TERMINATED if signals else ExitCode.INTERRUPTED
    table = [row for _, row in sorted(done, key=lambda pair: pair[0])]
    if output.path is not None:
        exports.write_predictions(table, output.path, output.fmt, run)
    if output.embeddings is not None:
        exports.write_embeddings(table, output.embeddings)
    if not quiet:
        where = "" if output.path is None else str(output.path)
        elapsed_s = monotonic() - started
        console.summary(table, elapsed_s, labeller.checkpoint.id, labeller.device, where)
    if code:
        console.warn(f"stopped: {len(table)} of {len(items)} videos are in the table")
    failed = any(not row.ok for row in table)
    return code or (ExitCode.SOME_FAILED if failed else ExitCode.OK)


def _counted(
    labeller: Labeller,
    items: Sequence[VideoItem],
    spec: PredictSpec,
    done: list[tuple[int, Prediction]],
    fail_fast: bool,
    quiet: bool,
    ordered: bool,
) -> Iterator[Prediction]:
    """Predictions as they come, noted in `done` with their place, and counted on the bar."""
    place = {item.path: item.index for item in items}
    views = view_count(spec.views)
    with console.Progress(len(items), quiet=quiet) as progress:
        for row in labeller.predict(items, spec, ordered=ordered):
            done.append((place[row.path], row))
            progress.advance(clips=views if row.ok else 0, failed=not row.ok)
            yield row
            if fail_fast and not row.ok:
                return


@contextmanager
def stopping() -> Iterator[list[int]]:
    """SIGTERM ends the block like Ctrl-C, by KeyboardInterrupt; the list then holds its number."""
    received: list[int] = []

    def stop(number: int, frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)
