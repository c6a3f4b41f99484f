"""What a labelling run writes, in which formats; and the same again, from a ledger or a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidlabel import console
from vidlabel.errors import ExitCode, OutputError, UsageError
from vidlabel.files.write import check_output, make_folder
from vidlabel.results.embeddings import check_embeddings, write_embeddings
from vidlabel.results.formats.kinds import TIMELINE_FORMATS
from vidlabel.results.ledger import Ledger
from vidlabel.results.ledger_file import ledger_of
from vidlabel.results.ledger_run import LastRun
from vidlabel.results.record import TableInfo, from_record, record
from vidlabel.results.tables import STDOUT, is_table, pick_format, read_labels, write_table
from vidlabel.results.timeline_files import TimelineOutput, sidecar
from vidlabel.results.timelines import Headers, timelines_of
from vidlabel.results.topk import choice_told, choose_classes
from vidlabel.specs import Prediction
from vidlabel.text import plural


@dataclass(frozen=True)
class TableOutput:
    """Where the rows go, in which format. Raises UsageError if the format does not fit."""

    out: str  # a file, or a folder for a format of single videos; `-` is stdout
    format_name: str | None = None  # as `pick_format` takes it
    embeddings: Path | None = None  # a file for the embeddings
    excel_safe: bool = False  # as in `TableInfo`
    sidecars: tuple[str, ...] = ()  # names in TIMELINE_FORMATS, or several with commas between
    sidecar_dir: Path | None = None  # their folder; None: beside the table
    fps: float | None = None  # as in `TimelineOutput`

    def __post_init__(self) -> None:
        pick_format(self.out, self.format_name)
        if self.sidecars and self.path is None:
            raise UsageError("--sidecar: its files lie beside the table; name that by --out FILE")
        if self.sidecar_dir is not None and not self.sidecars:
            raise UsageError("--sidecar-dir needs a --sidecar")
        self.timelines()

    @property
    def path(self) -> Path | None:
        """The file or folder that is written; None for stdout."""
        return None if self.out == STDOUT else Path(self.out)

    @property
    def fmt(self) -> str:
        """The format of `out`."""
        return pick_format(self.out, self.format_name)

    @property
    def is_table(self) -> bool:
        """Whether `out` is a table with a row for every prediction."""
        return self.fmt not in TIMELINE_FORMATS

    def timelines(self) -> list[TimelineOutput]:
        """What is written as timelines: `out`, unless it is a table, and the sidecars.

        Raises UsageError: a sidecar has an unknown format.
        """
        if self.path is None:
            return []
        found = [] if self.is_table else [TimelineOutput(self.fmt, self.path, self.fps)]
        names = [name.strip() for text in self.sidecars for name in text.lower().split(",")]
        for name in dict.fromkeys(names):
            found.append(replace(sidecar(name, self.path, self.sidecar_dir), fps=self.fps))
        return found

    def check(self, videos: int | None = None) -> None:
        """Refuse, before any work, what cannot be written; make the folders of the files.

        Args:
            videos: how many there are, if that is known.

        Raises OutputError, UsageError.
        """
        if self.path is not None:
            if ledger_of(self.path) == self.path:
                raise UsageError(
                    f"--out {self.path}: this is the name of the ledger; use another suffix"
                )
            make_folder(self.path.parent)
            if self.is_table:
                check_output(self.path)
        elif self.embeddings is None and not console.has_stdout():
            raise OutputError("stdout: is closed; name a file with --out")
        if self.embeddings is not None:
            check_embeddings(self.embeddings)
            make_folder(self.embeddings.parent)
            check_output(self.embeddings)
        for each in self.timelines():
            each.check(videos)


def write_ledger_table(
    ledger: Ledger, output: TableOutput, run: LastRun, *, quiet: bool, strict: bool
) -> console.Tally:
    """Write the output of a ledger's latest run to files, as `run` shows it; returns a count of the
    rows.

    Args:
        quiet: print no remarks.
        strict: raise UsageError where a format does not fit, such as for an unknown frame rate;
            otherwise warn, and write the others.
    """
    info = run.info(output.excel_safe)
    return write_output(lambda: ledger.shown_rows(run), output, info, quiet=quiet, strict=strict)


def write_output(
    rows: Callable[[], Iterable[Prediction]], output: TableOutput, info: TableInfo, *,
    quiet: bool, strict: bool,
) -> console.Tally:  # fmt: skip
    """Write the rows, which are asked for anew for each kind of output, and embeddings and sidecars
    where asked for. Returns a count of the rows.

    Args:
        quiet, strict: as in `write_ledger_table`.
    """
    assert output.path is not None  # the caller has looked
    tally = console.Tally()
    counted = tally.counting(rows())
    timelines = output.timelines()
    if output.is_table:
        write_table(counted, output.path, output.fmt, info)
        counted = iter(rows()) if timelines else counted
    if timelines:
        headers = Headers()
        found, left_out = timelines_of((record(row, info) for row in counted), headers)
        for each in timelines:
            try:
                lines = each.write(found, left_out.copy(), headers)
            except UsageError as error:
                if strict:
                    raise
                console.warn(f"{each.format_name} is not written: {error}")
                continue
            for line in () if quiet else lines:
                console.note(line)
    if output.embeddings is not None:
        write_embeddings(rows(), output.embeddings)
    return tally


def export_labels(
    path: Path, output: TableOutput, top_k: int | None = None,
    min_confidence: float | None = None, classes: Sequence[str] = (),
) -> ExitCode:  # fmt: skip
    """Write the labels of a run again: `path` is its table, or its ledger, whose latest run is
    taken; or any other table, which is written as it is.

    Timelines are made from a table itself, which may have been corrected; a table of another format
    from its ledger, where there is one, since that has all classes. `top_k`, `min_confidence` and
    `classes` replace those of the run, and need the ledger, unless they are None or empty.

    Raises:
        UsageError: the output is stdout, the table cannot be read, or the model has no such class.
        OutputError: there is no ledger, it has no such run, or the system refuses to read or write.
    """
    if output.path is None:
        raise UsageError("--out -: labels can be exported only to a file")
    ledger_path = ledger_of(path)
    given = (top_k, min_confidence, output.embeddings, classes or None)
    asked = any(each is not None for each in given)
    again = is_table(path) and path.is_file() and path.resolve() != ledger_path.resolve()
    if again and not asked and not (output.is_table and ledger_path.is_file()):
        return _export_table(path, output)
    output.check()
    if not ledger_path.is_file():
        raise OutputError(f"{ledger_path}: there is no such ledger")
    with Ledger(ledger_path) as ledger:
        run = ledger.last_run(None if path == ledger_path else path.name)
        *others, latest = ledger.outputs()
        if others and path == ledger_path:
            console.warn(f"{path}: has the runs of several tables; this is the last, of {latest}")
        run = replace(
            run,
            top_k=top_k or run.top_k,
            min_confidence=run.min_confidence if min_confidence is None else min_confidence,
            shown=choose_classes(classes, run.classes, run.model) if classes else run.shown,
        )
        if run.shown:
            console.note(choice_told(run.shown, run.classes))
        tally = write_ledger_table(ledger, output, run, quiet=False, strict=True)
        if output.is_table:
            total = plural(ledger.count()[1], "video")
            console.note(f"{tally.videos} of {total} written to {output.out}")
    return ExitCode.OK


def _export_table(path: Path, output: TableOutput) -> ExitCode:
    """Write the rows of a table as they are."""
    labels = read_labels(path)
    output.check()
    rows = [from_record(row) for row in labels.rows]
    top_k = max(1, *(len(row.top) for row in rows))
    info = TableInfo(rows[0].model, top_k, excel_safe=output.excel_safe)
    tally = write_output(lambda: rows, output, info, quiet=False, strict=True)
    if output.is_table:
        console.note(f"{plural(tally.rows, 'row')} written to {output.out}")
    return ExitCode.OK
