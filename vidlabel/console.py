"""The terminal: messages, progress and summary on stderr; tables of data on stdout.

Names of files and classes come from elsewhere. They pass through `safe`, and are handed to rich
as Text or with markup off: rich would read `[bold]x.mp4` as a style and stumble over `[/].mp4`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from types import TracebackType

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column, Table
from rich.text import Text

from vidlabel.specs import Prediction, Status
from vidlabel.text import safe

__all__ = ["Progress", "error", "note", "safe", "summary", "table", "warn"]

_LABELS_SHOWN = 10

# One console for all of stderr: rich keeps messages above a progress bar of the same console.
_stderr = Console(stderr=True, markup=False, highlight=False, emoji=False)
_stdout = Console(markup=False, highlight=False, emoji=False)


def error(message: str) -> None:
    """One line: what went wrong."""
    _say("error", "bold red", message)


def warn(message: str) -> None:
    """One line: what the user should know, though the run goes on."""
    _say("warning", "bold yellow", message)


def note(message: str) -> None:
    """One line, without a prefix."""
    _stderr.print(Text(safe(message)), soft_wrap=True)


def _say(kind: str, style: str, message: str) -> None:
    _stderr.print(Text.assemble((f"{kind}: ", style), safe(message)), soft_wrap=True)


def _is_terminal(console: Console) -> bool:
    # Not Console.is_terminal: FORCE_COLOR makes that true for a pipe.
    return console.file.isatty()


class Progress:
    """A bar on stderr while a run lasts; silent when stderr is not a terminal, or when `quiet`.

    Args:
        total: videos of the run.
        quiet: show nothing.
        done: videos of the run that an earlier one has finished; they do not count for the speed.
    """

    def __init__(self, total: int, quiet: bool = False, done: int = 0) -> None:
        hidden = quiet or not _is_terminal(_stderr) or _stderr.is_dumb_terminal
        self._bar = RichProgress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            _Counts(table_column=Column(no_wrap=True)),  # narrow terminals cut it off
            TimeRemainingColumn(compact=True),
            console=_stderr,
            disable=hidden,
            transient=True,  # the summary follows
            redirect_stdout=False,  # stdout is data; rich would send it to stderr
            expand=True,
        )
        self._task = self._bar.add_task("", total=total, completed=done, clips=0, failed=0)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, videos: int = 1, clips: int = 0, failed: int = 0) -> None:
        """Count finished videos, the clips the model has seen, and how many videos failed."""
        counts = self._bar.tasks[self._task].fields
        self._bar.update(
            self._task,
            advance=videos,
            clips=counts["clips"] + clips,
            failed=counts["failed"] + failed,
        )


class _Counts(ProgressColumn):
    """Clips per second since the start, and failed videos if there are any."""

    def render(self, task: Task) -> Text:
        text = Text(f"{task.fields['clips'] / max(task.elapsed or 0.0, 1e-3):.1f} clips/s")
        if task.fields["failed"]:
            text.append(f", {task.fields['failed']} failed", style="red")
        return text


def summary(
    rows: Sequence[Prediction], elapsed_s: float, model: str, device: str, out: str = ""
) -> None:
    """What a run did: a few lines, and on a terminal tables of labels and failures.

    Args:
        rows: every row of the run.
        elapsed_s: how long it took.
        model: name of the model.
        device: what it ran on.
        out: where the rows were written; "" says nothing about it.
    """
    note(_headline(rows, elapsed_s, model, device))
    reasons = Counter(row.reason for row in rows if not row.ok).most_common()
    labels = _label_counts(rows)
    if _is_terminal(_stderr):
        if labels:
            _stderr.print(_table("", ("label", "count", "mean confidence"), labels))
        if reasons:
            _stderr.print(_table("", ("failed because", "count"), reasons))
    else:
        if labels:
            note("labels: " + ", ".join(f"{name} {n} ({mean})" for name, n, mean in labels))
        if reasons:
            note("failed: " + ", ".join(f"{reason} {n}" for reason, n in reasons))
    if out:
        note(f"written to {out}")


def _headline(rows: Sequence[Prediction], elapsed_s: float, model: str, device: str) -> str:
    videos = len({row.path for row in rows})
    what = _plural(videos, "video")
    if len(rows) > videos:  # a timeline has a row per segment
        what += f", {_plural(len(rows), 'segment')}"
    counts = Counter(row.status for row in rows)
    states = ", ".join(f"{counts[status]} {status}" for status in Status)
    speed = f" ({videos / elapsed_s:.1f} videos/s)" if elapsed_s > 0 else ""
    return f"{what}: {states}; {elapsed_s:.1f} s{speed} with {model} on {device}"


def _label_counts(rows: Sequence[Prediction]) -> list[tuple[str, int, str]]:
    """The most frequent labels: name, rows, mean confidence."""
    confidences: dict[str, list[float]] = {}
    for row in rows:
        if row.ok:
            confidences.setdefault(row.label, []).append(row.confidence)
    often = sorted(confidences.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        (label, len(values), f"{sum(values) / len(values):.2f}")
        for label, values in often[:_LABELS_SHOWN]
    ]


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Data on stdout: a table on a terminal, otherwise plain columns, two spaces apart.

    Args:
        title: a line above; "" for none.
        columns: the header; not shown if all of it is empty.
        rows: as many values as there are columns, shown by `str`.
    """
    if _is_terminal(_stdout):
        _stdout.print(_table(title, columns, rows))
        return
    lines = [[safe(str(value)) for value in row] for row in (columns, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    if title:
        _print_plain(safe(title))
    for line in lines if any(columns) else lines[1:]:
        padded = (
            cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)
        )
        _print_plain("  ".join(padded).rstrip())


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    shown = Table(
        title=Text(safe(title)) if title else None,
        title_justify="left",
        box=box.SIMPLE,
        show_header=any(columns),
    )
    for column in columns:
        shown.add_column(Text(safe(column)), overflow="fold")  # narrow terminals lose nothing
    for row in rows:
        shown.add_row(*(Text(safe(str(value))) for value in row))
    return shown


def _print_plain(line: str) -> None:
    # A stdout that is not UTF-8 must not end the command.
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding))
