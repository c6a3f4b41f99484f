"""The terminal: messages, progress and summary on stderr; tables of data on stdout.

Names of files and classes are not ours. They pass through `safe` and reach rich as Text or with
markup off: rich would read `[bold]x.mp4` as a style and raise an error for `[/].mp4`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol, Self

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column, Table
from rich.text import Text

from vidlabel.errors import Reason
from vidlabel.specs import Prediction, Status
from vidlabel.text import plural, safe, time_left

_LABELS_SHOWN = 10

_LOG = logging.getLogger(__name__)
logging.getLogger("vidlabel").addHandler(logging.NullHandler())  # no second copy on stderr

# One console for all of stderr: rich keeps messages above a progress bar of the same console.
# A test may replace either console by one that writes elsewhere.
stderr = Console(stderr=True, markup=False, highlight=False, emoji=False)
stdout = Console(markup=False, highlight=False, emoji=False)


def error(message: str) -> None:
    """Print one line that says what went wrong."""
    _LOG.error("%s", message)
    _print(Text.assemble(("error: ", "bold red"), safe(message)))


def warn(message: str) -> None:
    """Print one line that the user should know about; the run continues."""
    _LOG.warning("%s", message)
    _print(Text.assemble(("warning: ", "bold yellow"), safe(message)))


def note(message: str) -> None:
    """Print one line without a prefix."""
    _LOG.info("%s", message)
    _print(Text(safe(message)))


def detail(message: str) -> None:
    """Print one line of --verbose, which is in no log yet."""
    _print(Text(safe(message), style="dim"))


def line(text: Text) -> None:
    """Print one coloured line, cropped to the width of the terminal."""
    with suppress(OSError):  # as in `_print`
        stderr.print(text, no_wrap=True, overflow="crop")


def watched() -> bool:
    """Whether stderr is a terminal that can show a progress bar."""
    return _is_terminal(stderr) and not stderr.is_dumb_terminal


def has_stdout() -> bool:
    """Whether there is a stdout, so that a table on it is not lost: it may have been closed when
    the program was started."""
    return sys.__stdout__ is not None or getattr(sys.stdout, "name", os.devnull) != os.devnull


def bar(*columns: ProgressColumn, quiet: bool = False) -> RichProgress:
    """A progress bar on the last line of stderr's terminal, removed when it ends.

    It is hidden when `quiet`, and where stderr is not a terminal.
    """
    return RichProgress(
        *columns,
        console=stderr,
        disable=quiet or not watched(),
        transient=True,  # the summary takes its place
        redirect_stdout=False,  # stdout is data; rich would send it to stderr
        expand=True,
    )


def _print(what: Text | Table) -> None:
    # A closed terminal, or a log on a full disk, must not prevent results from being saved.
    with suppress(OSError):
        stderr.print(what, soft_wrap=isinstance(what, Text))


def data_watched() -> bool:
    """Whether stdout is a terminal: a bar would be left between the rows that are shown there."""
    return _is_terminal(stdout)


def _is_terminal(console: Console) -> bool:
    # Console.is_terminal would be true for a pipe if FORCE_COLOR is set.
    try:
        return console.file.isatty()
    except (AttributeError, ValueError):  # a program's own stream in place of stderr, or closed
        return False


class Counting(Protocol):
    """A counter, such as a progress bar."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: Any) -> None: ...

    def advance(self) -> None:
        """Count one more item."""


class Progress:
    """Progress bar of a run of `total` videos; hidden as `bar`.

    Args:
        done: number of videos that an earlier run finished; they do not count for the speed.
        doing: name of the activity, if it is not labelling; the speed is then in videos per second
            instead of clips per second.
        clock: seconds since any moment.
    """

    def __init__(
        self, total: int, quiet: bool = False, done: int = 0, doing: str = "",
        clock: Callable[[], float] = monotonic,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._began = clock()
        self._bar = bar(
            *([TextColumn(doing, markup=False)] if doing else []),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            _Counts(self._elapsed, done, doing, Column(no_wrap=True)),  # cropped where narrow
            _Left(self._elapsed, done),
            quiet=quiet,
        )
        # Until it is started, at the first video that is done, the bar moves to and fro.
        self._task = self._bar.add_task(
            "", start=False, total=total, completed=done, clips=0, failed=0
        )

    def __enter__(self) -> Progress:
        with suppress(OSError):  # as in `_print`
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._bar.stop()

    def advance(self, videos: int = 1, clips: int = 0, failed: int = 0) -> None:
        """Count finished videos, clips that the model has processed, and failed videos."""
        self._bar.start_task(self._task)
        counts = self._bar.tasks[self._task].fields
        self._bar.update(
            self._task,
            advance=videos,
            clips=counts["clips"] + clips,
            failed=counts["failed"] + failed,
        )

    def _elapsed(self) -> float:
        return self._clock() - self._began


class _Counts(ProgressColumn):
    """Clips (or videos) per second since the start, and the number of failed videos."""

    def __init__(
        self, elapsed: Callable[[], float], before: int, doing: str = "",
        table_column: Column | None = None,
    ) -> None:  # fmt: skip
        super().__init__(table_column)
        self._elapsed = elapsed
        self._before = before
        self._doing = doing

    def render(self, task: Task) -> Text:
        count = task.completed - self._before if self._doing else task.fields["clips"]
        if not task.started:
            return Text("starting")
        speed = count / max(self._elapsed(), 1e-3)
        text = Text(f"{speed:.1f} {'videos' if self._doing else 'clips'}/s")
        if task.fields["failed"]:
            text.append(f", {task.fields['failed']} failed", style="red")
        return text


class _Left(_Counts):
    """Time left. Rich's own estimate leaves out the start, and takes a batch of videos that are
    done at the same moment for a speed."""

    def render(self, task: Task) -> Text:
        done, to_come = task.completed - self._before, task.remaining or 0.0
        return Text(time_left(self._elapsed(), done, to_come))


class Tally:
    """Counts rows for the summary as they are written; it keeps none of them."""

    def __init__(self) -> None:
        self.rows = 0
        self.videos = 0
        self.states: Counter[Status] = Counter()
        self.reasons: Counter[str] = Counter()
        """Failed rows by reason."""
        self._labels: Counter[str] = Counter()
        self._confidence: defaultdict[str, float] = defaultdict(float)
        self._path = ""
        self.long = 0
        """Rows of videos that are far too long for one label."""

    @property
    def failed(self) -> int:
        """Rows without a label."""
        return self.states[Status.FAILED]

    def counting(self, rows: Iterable[Prediction]) -> Iterator[Prediction]:
        """Yield the same rows and count each."""
        for row in rows:
            self._count(row)
            yield row

    def labels(self) -> list[tuple[str, int, str]]:
        """The most frequent labels: name, number of rows, mean confidence."""
        often = sorted(self._labels.items(), key=lambda item: (-item[1], item[0]))
        return [
            (label, count, f"{self._confidence[label] / count:.2f}")
            for label, count in often[:_LABELS_SHOWN]
        ]

    @property
    def labels_left_out(self) -> int:
        """Labels that `labels` does not give."""
        return max(0, len(self._labels) - _LABELS_SHOWN)

    def _count(self, row: Prediction) -> None:
        self.rows += 1
        self.videos += row.path != self._path  # the rows of a timeline follow each other
        self._path = row.path
        self.states[row.status] += 1
        self.long += row.reason == Reason.LONG
        if row.ok and row.status is not Status.UNCERTAIN:
            self._labels[row.label] += 1
            self._confidence[row.label] += row.confidence
        elif not row.ok:
            self.reasons[row.reason] += 1


def summary(
    tally: Tally, elapsed_s: float, model: str, device: str, out: str = "", before: int = 0
) -> None:
    """Print the summary of a run; on a terminal, with tables of labels and failures.

    `device` includes the precision; `before` is the number of videos that an earlier run labelled.
    """
    note(_headline(tally, elapsed_s, model, device, before))
    reasons = tally.reasons.most_common()
    labels = tally.labels()
    shown = _is_terminal(stderr)
    more = f"and {plural(tally.labels_left_out, 'more label')}" if tally.labels_left_out else ""
    if labels and shown:
        _print(_table("", ("label", "count", "mean confidence"), labels))
        if more:
            note(f"  {more}")
    elif labels:
        told = [f"{name} {n} ({mean})" for name, n, mean in labels]
        note(f"labels: {', '.join(told)} {more}".rstrip())
    if reasons and shown:
        _print(_table("", ("reason of failure", "count"), reasons))
    elif reasons:
        note("failed: " + ", ".join(f"{reason} {n}" for reason, n in reasons))
    if out:
        note(f"written to {out}")


def _headline(tally: Tally, elapsed_s: float, model: str, device: str, before: int) -> str:
    what = plural(tally.videos, "video")
    if tally.rows > tally.videos:  # a timeline has a row per segment
        what += f", {plural(tally.rows, 'segment')}"
    shown = [each for each in Status if each is not Status.UNCERTAIN or tally.states[each]]
    states = ", ".join(f"{tally.states[status]} {status}" for status in shown)
    now = tally.videos - before
    if before and not now:
        return f"{what}: {states}; all done before with {model}"
    done = f"{before} done before, {now} in " if before else ""
    speed = f" ({now / elapsed_s:.1f} videos/s)" if elapsed_s > 0 else ""
    return f"{what}: {states}; {done}{elapsed_s:.1f} s{speed} with {model} on {device}"


def evaluation(values: Mapping[str, Any], mistakes: Sequence[Sequence[str]], out: str = "") -> None:
    """Print the figures of an evaluation on stdout.

    Args:
        values: the result of `report.summarise`, with `folds` and `across_folds` if there are any.
        mistakes: path, truth, label and confidence of the most confident mistakes.
        out: the folder of the report.
    """
    unreadable = len(values["unreadable"])
    left_out = f", {unreadable} of them unreadable and excluded" if unreadable else ""
    tested = plural(values["videos"], "video")
    title = f"{values['fold']}: {values['model']} on {tested}{left_out}"
    measured = ["value", "95 % interval"]
    rows = [[name, *_measured(each)] for name, each in values["video_level"].items()]
    if across := values.get("across_folds"):
        for row in rows:
            row += [_figure(across[row[0]][what]) for what in ("mean", "std")]
    more = ["mean of folds", "std"] if across else []
    table(title, ["video level", *measured, *more], rows)
    if values["clip_level"]:
        level = f"clip level ({values['views_per_video']} views per video)"
        rows = [[name, *_measured(each)] for name, each in values["clip_level"].items()]
        table("", [level, *measured], rows)
    if "folds" in values:
        rows = [[name, *_measured(each["top1"])] for name, each in values["folds"].items()]
        table("", ["fold", "top1", "95 % interval"], rows)
    if "by_kind" in values:
        told = {
            "seen": "trained on",
            "sibling": "from a source trained on",
            "selected": "used to choose the epoch",
            "new": "new",
        }
        rows = [
            [told[kind], each["videos"], *_measured(each["top1"])]
            for kind, each in values["by_kind"].items()
        ]
        table("", ["test videos that are", "videos", "top1", "95 % interval"], rows)
    if mistakes:
        table("", ["most confident mistakes", "truth", "label", "confidence"], mistakes)
    calibration = values["calibration"]
    used = ", ".join(f"{temperature:g}" for temperature in calibration["temperatures"])
    note(
        f"calibration error {calibration['error_before_temperature']:.3f} before temperature "
        f"scaling, {calibration['error_after_temperature']:.3f} after (temperature {used})"
    )
    for line in values["notes"]:
        note(line)
    if out:
        note(f"report written to {out}")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _measured(figure: Mapping[str, float | None]) -> list[str]:
    """A value and its confidence interval."""
    low, high = _figure(figure["low"]), _figure(figure["high"])
    return [_figure(figure["value"]), f"{low} to {high}" if low else ""]


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print data on stdout: a table on a terminal, otherwise columns separated by two spaces.

    The title and the header are not shown if they are empty.
    """
    if _is_terminal(stdout):
        stdout.print(_table(title, columns, rows))
        return
    lines = [[safe(str(value)) for value in row] for row in (columns, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    if title:
        _print_plain(safe(title))
    for line in lines if any(columns) else lines[1:]:
        padded = (set_cell_size(*cell) for cell in zip(line, widths, strict=True))
        _print_plain("  ".join(padded).rstrip())


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    shown = Table(
        title=Text(safe(title)) if title else None,
        title_justify="left",
        box=box.SIMPLE,
        show_header=any(columns),
    )
    for column in columns:
        shown.add_column(Text(safe(column)), overflow="fold")  # wrap in narrow terminals
    for row in rows:
        shown.add_row(*(Text(safe(str(value))) for value in row))
    return shown


def _print_plain(line: str) -> None:
    # A stdout with another encoding than UTF-8 must not end the command.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding))
