"""One labelling run: inputs to rows, rows to a table; stopped cleanly, continued at any time."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from vidlabel import console
from vidlabel.clips.sample import view_count
from vidlabel.errors import ExitCode, OutputError, RunError, UsageError
from vidlabel.files.lock import holding
from vidlabel.files.write import check_output, remove_leftovers
from vidlabel.predict.labeller import Labeller, PredictSpec
from vidlabel.results import formats as exports
from vidlabel.results.ledger import LastRun, Ledger, Settings, discard, ledger_of
from vidlabel.results.topk import shown
from vidlabel.signals import Stop, stop_asked
from vidlabel.specs import Prediction, VideoItem
from vidlabel.version import __version__


@dataclass(frozen=True)
class Output:
    """Where the rows go. `path` None is stdout; `embeddings` None writes none."""

    path: Path | None
    fmt: exports.Format
    embeddings: Path | None = None
    excel_safe: bool = False
    """In CSV, keep spreadsheets from taking a cell for a formula."""

    def check(self) -> None:
        """Refuse, before any work, what could not be written. Raises OutputError, UsageError."""
        if self.path is not None:
            if ledger_of(self.path) == self.path:
                raise UsageError(
                    f"--out {self.path}: that is the ledger's name; use another suffix"
                )
            check_output(self.path)
        if self.embeddings is not None:
            exports.check_embeddings(self.embeddings)
            check_output(self.embeddings)


@dataclass(frozen=True)
class RunOptions:
    """How a run deals with what is done, what fails, and what it says meanwhile."""

    restart: bool = False
    """Forget what the ledger holds."""
    retry_failed: bool = False
    """Try videos again that failed in an earlier run."""
    fail_fast: bool = False
    """Stop after the first video that cannot be labelled."""
    quiet: bool = False
    """No progress bar and no summary."""


def label_videos(
    labeller: Labeller,
    items: Sequence[VideoItem],
    spec: PredictSpec,
    output: Output,
    options: RunOptions | None = None,
) -> ExitCode:
    """Label the items and write their rows in the order of the items.

    To a file, each result goes into the ledger beside it as soon as it is there, and the table is
    written as a whole at the end; what an earlier run has recorded is not done again. Stopped by a
    signal, or ended by a device that was lost, the table of what is done is written first.
    To stdout, rows are written as soon as those before them are.

    Raises:
        OutputError: the ledger or the table cannot be written, or another run holds them.
        DeviceError: the device was lost.
    """
    options = options or RunOptions()
    run = LastRun(
        labeller.checkpoint.id,
        labeller.classes,
        min(spec.top_k, len(labeller.classes)),
        spec.min_confidence,
    )
    with stop_asked() as stop:
        if output.path is None:
            code = _to_stdout(_Job(labeller, items, spec, output, options, run, stop))
        else:
            with holding(ledger_of(output.path)):
                code = _to_file(_Job(labeller, items, spec, output, options, run, stop))
        return ExitCode(stop.exit_code or code)


def write_table(ledger: Ledger, output: Output, run: LastRun) -> console.Tally:
    """Write the table (and the embeddings, if asked for) of a ledger's latest run.

    Args:
        ledger: what has been done.
        output: where to; its path must be a file.
        run: what to show of it.

    Returns:
        A count of the rows.

    Raises:
        OutputError: the system refuses to write, or to read the ledger.
    """
    assert output.path is not None  # the caller has looked
    tally = console.Tally()
    info = exports.RunInfo(run.model, run.top_k, __version__, excel_safe=output.excel_safe)

    def rows() -> Iterator[Prediction]:
        return (shown(row, run.top_k, run.min_confidence) for row in ledger.rows())

    exports.write_predictions(tally.counting(rows()), output.path, output.fmt, info)
    if output.embeddings is not None:
        exports.write_embeddings(rows(), output.embeddings)
    return tally


def export_ledger(
    path: Path, output: Output, top_k: int | None = None, min_confidence: float | None = None
) -> tuple[console.Tally, int]:
    """Write the table of a ledger's latest run again.

    Args:
        path: the ledger, or a table beside it.
        output: where to and in which format.
        top_k: classes to show; None as in the run.
        min_confidence: None as in the run.

    Returns:
        A count of the rows, and how many videos the run has.

    Raises:
        OutputError: there is no ledger, or the system refuses to read or write.
    """
    ledger_path = ledger_of(path)
    if not ledger_path.is_file():
        raise OutputError(f"{ledger_path}: there is no such ledger")
    with Ledger(ledger_path) as ledger:
        run = ledger.last_run()
        run = replace(
            run,
            top_k=min(top_k or run.top_k, len(run.classes)),
            min_confidence=run.min_confidence if min_confidence is None else min_confidence,
        )
        return write_table(ledger, output, run), ledger.count()[1]


@dataclass(frozen=True)
class _Job:
    """Everything about one call of `label_videos`."""

    labeller: Labeller
    items: Sequence[VideoItem]
    spec: PredictSpec
    output: Output
    options: RunOptions
    run: LastRun
    stop: Stop

    def rows(
        self, items: Sequence[VideoItem], spec: PredictSpec, *, ordered: bool
    ) -> Iterator[Prediction]:
        """Predictions as they come, counted on the bar."""
        views = view_count(spec.views)
        done = len(self.items) - len(items)
        with console.Progress(len(self.items), quiet=self.options.quiet, done=done) as progress:
            for row in self.labeller.predict(items, spec, ordered=ordered, stop=self.stop):
                yield row
                progress.advance(clips=views if row.ok else 0, failed=not row.ok)
                if self.options.fail_fast and not row.ok:
                    return

    def report(self, tally: console.Tally, started: float, labelled: int) -> ExitCode:
        """Say what was done; the exit code it deserves."""
        if not self.options.quiet:
            where = "" if self.output.path is None else str(self.output.path)
            console.summary(
                tally, monotonic() - started, self.run.model, self.labeller.device, where,
                before=tally.videos - labelled,
            )  # fmt: skip
        for warning in self.labeller.warnings():
            console.warn(warning)
        if self.stop():
            go_on = "" if self.output.path is None else "; the same command goes on"
            total = len(self.items)
            console.warn(f"stopped: {tally.videos} of {total} videos are in the table{go_on}")
        return ExitCode.SOME_FAILED if tally.failed else ExitCode.OK


def _to_stdout(job: _Job) -> ExitCode:
    started = monotonic()
    tally = console.Tally()
    info = exports.RunInfo(
        job.run.model, job.run.top_k, __version__, excel_safe=job.output.excel_safe
    )
    kept: list[Prediction] = []  # for the embeddings, which are one file

    def rows() -> Iterator[Prediction]:
        spec = replace(job.spec, top_k=job.run.top_k)
        for row in tally.counting(job.rows(job.items, spec, ordered=True)):
            if job.output.embeddings is not None:
                kept.append(row)
            yield row

    try:
        for chunk in job.output.fmt.chunks(rows(), info):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
    except BrokenPipeError:  # whoever read it wants no more
        raise
    except OSError as error:
        raise OutputError(f"stdout: cannot be written: {error.strerror or error}") from error
    if job.output.embeddings is not None:
        exports.write_embeddings(kept, job.output.embeddings)
    return job.report(tally, started, tally.videos)


def _to_file(job: _Job) -> ExitCode:
    started = monotonic()
    out, options = job.output, job.options
    assert out.path is not None  # the caller has looked
    for each in filter(None, (out.path, out.embeddings)):
        remove_leftovers(each)
    if options.restart:
        discard(ledger_of(out.path))
    # The ledger keeps all classes, so that another --top-k needs no labelling.
    spec = replace(job.spec, top_k=len(job.labeller.classes), min_confidence=0.0)
    labelled = 0
    with Ledger(ledger_of(out.path)) as ledger:
        pending = ledger.begin(
            job.items,
            Settings(
                job.labeller.checkpoint.digest, spec.views, job.labeller.precision, spec.strategy
            ),
            job.run,
            spec.limits,
            embeddings=out.embeddings is not None,
            retry_failed=options.retry_failed,
        )
        try:
            for row in job.rows(pending, spec, ordered=False) if pending else ():
                ledger.record(row)
                labelled += 1
        except OutputError:
            raise
        except RunError:  # the table of what is done, then the reason
            ledger.commit()
            if labelled:
                write_table(ledger, out, job.run)
            raise
        ledger.commit()
        if job.stop() and not ledger.count()[0]:
            console.warn(f"stopped before the first video was done; {out.path} is as it was")
            return ExitCode.OK  # the signal's code takes its place
        try:
            tally = write_table(ledger, out, job.run)
        except OutputError as error:
            raise OutputError(f"{error}; what was labelled is kept in {ledger.path}") from error
    return job.report(tally, started, labelled)
