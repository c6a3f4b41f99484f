"""One labelling run: inputs to rows, rows to a table; it can be stopped and resumed at any time."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, cast

from vidlabel import console
from vidlabel.clips.sample import view_count
from vidlabel.errors import ExitCode, OutputError, RunError, UsageError
from vidlabel.files.find import VIDEO_SUFFIXES, LeftOut, check_found, find_videos
from vidlabel.files.lock import holding
from vidlabel.files.text_file import read_list
from vidlabel.files.write import remove_leftovers
from vidlabel.predict.output import TableOutput, write_ledger_table
from vidlabel.predict.progress import VideoTimeProgress
from vidlabel.predict.spec import ModelChoice, PredictSpec
from vidlabel.predict.timeline import describe_windows, exact
from vidlabel.predict.timeline_run import record_parts
from vidlabel.results.embeddings import write_embeddings
from vidlabel.results.ledger import Ledger
from vidlabel.results.ledger_file import discard, ledger_of
from vidlabel.results.ledger_run import LastRun, RunSettings, ShardOf
from vidlabel.results.tables import write_rows
from vidlabel.results.topk import choice_told
from vidlabel.signals import Stop, stop_asked
from vidlabel.spans import WHOLE, Span, TimelineSpec
from vidlabel.specs import Prediction, VideoItem
from vidlabel.text import plural, text_path
from vidlabel.video.container import check_formats, suffixes_of

if TYPE_CHECKING:
    from vidlabel.predict.device_group import DeviceGroup
    from vidlabel.predict.labeller import Labeller


_LOG = logging.getLogger(__name__)
_RESUME = "; run the same command to resume"


@dataclass(frozen=True)
class RunOptions:
    """What a run does with earlier results and with failures, and what it prints."""

    restart: bool = False  # delete the ledger first
    retry_failed: bool = False  # label videos again that failed in an earlier run
    fail_fast: bool = False  # stop after the first video that cannot be labelled
    quiet: bool = False  # no progress bar and no summary
    dry_run: bool = False  # only list the videos


def predict_videos(
    inputs: Sequence[str],
    listed: bytes | None,
    spec: PredictSpec,
    output: TableOutput,
    options: RunOptions,
    choice: ModelChoice,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    span: Span = WHOLE,
) -> ExitCode:
    """Choose videos, load a model and label them, or a span of each: the whole of `vidlabel
    predict`.

    Args and Raises: as `choose_videos`, `device_group.loaded` and `label_videos`.
    """
    items, told = choose_videos(inputs, listed, include, exclude, spec.limits.formats)
    for line in () if options.quiet else told:
        console.note(line)
    return label_chosen(items, spec, output, options, choice, span)


def label_chosen(
    items: Sequence[VideoItem],
    spec: PredictSpec,
    output: TableOutput,
    options: RunOptions,
    choice: ModelChoice,
    span: Span = WHOLE,
    shard: ShardOf | None = None,
) -> ExitCode:
    """Load a model and label the items, or a span of each; or only list them.

    Args and Raises: as `device_group.loaded` and `label_videos`.
    """
    if options.dry_run:
        return list_videos(items)
    items = [replace(item, start_s=span[0], end_s=span[1]) for item in items]
    output.check(len(items))
    from vidlabel.predict.device_group import loaded  # torch takes seconds to import

    with loaded(replace(choice, classes=spec.classes)) as labeller:
        return label_videos(labeller, items, spec, output, options, shard, span)


def choose_videos(
    inputs: Sequence[str],
    listed: bytes | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    formats: Sequence[str] = (),
) -> tuple[list[VideoItem], list[str]]:
    """The videos that the inputs and a list (as in `read_list`) name, see `find_videos`; and lines
    on what was left out.

    The input `-` reads a list from stdin. The suffixes of the `formats` of `EXTRA_CONTAINERS` are
    videos too.

    Raises:
        UsageError: nothing is named, no input exists, a glob is empty, or a format is unknown.
        RunError: there are no videos.
    """
    check_formats(formats)
    if not inputs and listed is None:
        raise UsageError("name a folder, files or globs to label, or use --from-file LIST")
    named: list[str] = []
    for text in inputs:
        named += read_list(sys.stdin.buffer.read()) if text == "-" else [text]
    named += read_list(listed or b"")
    left_out = LeftOut()
    suffixes = VIDEO_SUFFIXES | suffixes_of(formats)
    items = find_videos(named, include, exclude, suffixes, left_out)
    bad = sum(item.problem is not None for item in items)
    _LOG.debug("%s name %s, %d of them unusable", plural(len(named), "input"),
               plural(len(items), "video"), bad)  # fmt: skip
    check_found(items)
    if not items:
        why = "; ".join([*left_out.lines(), "see --include"])
        raise RunError(f"no videos in {', '.join(named) or 'the list'}; {why}")
    return items, left_out.lines()


def list_videos(items: Sequence[VideoItem]) -> ExitCode:
    """Print the paths of the videos to stdout, and what is known to be wrong to stderr."""
    for item in items:
        print(text_path(item.path))
        if item.problem:
            print(f"would fail: {item.problem}: {text_path(item.detail)}", file=sys.stderr)
    print(plural(len(items), "video"), file=sys.stderr)
    return ExitCode.OK


def label_videos(
    labeller: Labeller | DeviceGroup,
    items: Sequence[VideoItem],
    spec: PredictSpec,
    output: TableOutput,
    options: RunOptions | None = None,
    shard: ShardOf | None = None,
    span: Span = WHOLE,
) -> ExitCode:
    """Label the items and write their rows in the order of the items.

    To a file: each result goes into the ledger beside it as soon as it is ready, and the whole
    table is written at the end; results of an earlier run are reused. If a signal stops the run or
    the device fails, the table of the results so far is written first.
    To stdout: a row is written as soon as it and all rows before it are ready.

    Args:
        shard: which part of a larger run this is; then the items, perhaps none, are that part.
        span: of all items of the larger run, if there are no items.

    Raises:
        OutputError: the ledger or the table cannot be written, or another run uses them.
        DeviceError: the device failed.
    """
    options = options or RunOptions()
    if spec.timeline is not None:
        if output.embeddings is not None:
            raise UsageError("--embeddings: there is one per video; leave out --timeline, --window")
        windows = labeller.windows(spec.timeline)
        if not options.quiet and (told := describe_windows(windows, spec.timeline)):
            console.note(told)
        spec = replace(spec, timeline=exact(spec.timeline, windows))
    run = LastRun(
        labeller.checkpoint.id,
        labeller.classes,
        spec.top_k,
        labeller.min_confidence(spec),
        labeller.chosen(spec),
        spec.timeline,
        shard,
    )
    if run.shown and not options.quiet:
        console.note(choice_told(run.shown, run.classes))
    with stop_asked("" if output.path is None else _RESUME) as stop:
        span = items[0].span if items else span
        job = _LabellingRun(labeller, items, span, spec, output, options, run, stop)
        if output.path is None:
            code = _to_stdout(job)
        else:
            with holding(ledger_of(output.path)):
                code = _to_file(job, output.path)
        return ExitCode(stop.exit_code or code)


@dataclass(frozen=True)
class _LabellingRun:
    """Everything about one call of `label_videos`."""

    labeller: Labeller | DeviceGroup
    items: Sequence[VideoItem]
    span: Span
    spec: PredictSpec
    output: TableOutput
    options: RunOptions
    run: LastRun
    stop: Stop
    started: float = field(default_factory=monotonic)

    def rows(
        self, items: Sequence[VideoItem], spec: PredictSpec, *, ordered: bool
    ) -> Iterator[Prediction]:
        """Predictions as they come, counted on the progress bar."""
        views = view_count(spec.views)
        done = len(self.items) - len(items)
        quiet = self.options.quiet or (self.output.path is None and console.data_watched())
        last = ""
        with console.Progress(len(self.items), quiet, done) as progress:
            for row in self.labeller.predict(items, spec, ordered=ordered, stop=self.stop):
                yield row
                if row.reason:
                    _LOG.debug("%s", row.detail or f"{row.path}: {row.reason}")
                new = row.path != last  # not another segment of the same video
                last = row.path
                progress.advance(new, clips=views if row.ok else 0, failed=not row.ok)
                if self.options.fail_fast and not row.ok:
                    console.warn(f"--fail-fast: {row.detail or f'{row.path}: {row.reason}'}")
                    return

    def recorded(
        self, ledger: Ledger, items: Sequence[VideoItem], spec: PredictSpec
    ) -> Iterator[Prediction]:
        """Label the items; each row when it, or what it is made of, is in the ledger."""
        if spec.timeline is None:
            for row in self.rows(items, spec, ordered=False):
                ledger.record(row)
                yield row
            return
        with VideoTimeProgress(len(items), self.options.quiet) as progress:
            one = cast("Labeller", self.labeller)  # a group has refused to have windows
            for row in record_parts(one, ledger, items, spec, progress, self.stop):
                yield row
                if self.options.fail_fast and not row.ok:
                    console.warn(f"--fail-fast: {row.detail or f'{row.path}: {row.reason}'}")
                    return

    def report(self, tally: console.Tally, labelled: int) -> ExitCode:
        """Print what was done; the exit code of the run."""
        if not self.options.quiet:
            where = "" if self.output.path is None else self.output.out
            console.summary(
                tally, monotonic() - self.started, self.run.name, self.labeller.device, where,
                before=tally.videos - labelled,
            )  # fmt: skip
        if tally.long and not self.options.quiet:
            which = f"{plural(tally.long, 'video')} far longer than the clips of the model"
            console.note(f"{which}, with one label; --timeline labels segments instead")
        for warning in self.labeller.warnings():
            console.warn(warning)
        if self.stop() or tally.videos < len(self.items):  # by a signal, or by --fail-fast
            how = "" if self.output.path is None else _RESUME
            total = plural(len(self.items), "video")
            console.warn(f"stopped: {tally.videos} of {total} are in the table{how}")
        return ExitCode.SOME_FAILED if tally.failed else ExitCode.OK


def _to_stdout(job: _LabellingRun) -> ExitCode:
    tally = console.Tally()
    kept: list[Prediction] = []  # for the embeddings, which are written as one file

    def rows() -> Iterator[Prediction]:
        for row in tally.counting(job.rows(job.items, job.spec, ordered=True)):
            if job.output.embeddings is not None:
                kept.append(row)
            yield row

    try:
        info = job.run.info(job.output.excel_safe)
        write_rows(rows(), sys.stdout.buffer, job.output.fmt, info, group_rows=1)
    except BrokenPipeError:  # the reader has ended
        raise
    except OSError as error:
        raise OutputError(f"stdout: cannot be written: {error.strerror or error}") from error
    if job.output.embeddings is not None:
        write_embeddings(kept, job.output.embeddings)
    return job.report(tally, tally.videos)


def _to_file(job: _LabellingRun, path: Path) -> ExitCode:
    output, options = job.output, job.options
    for each in filter(None, (path, output.embeddings)):
        remove_leftovers(each)
    if options.restart:
        discard(ledger_of(path))
    # The ledger keeps all classes, so that another --top-k or --classes needs no labelling.
    spec = replace(job.spec, top_k=len(job.labeller.classes), min_confidence=0.0, classes=())
    labelled = 0
    model, precision = job.labeller.checkpoint.digest, job.labeller.precision
    windows, (start_s, end_s) = spec.timeline or TimelineSpec(), job.span
    settings = RunSettings(
        model, spec.views, precision, spec.strategy,
        window_s=windows.window_s, stride_s=windows.stride_s,
        start_s=start_s or None, end_s=end_s if end_s < math.inf else None,
    )  # fmt: skip
    with Ledger(ledger_of(path)) as ledger:
        pending = ledger.begin(
            job.items, settings, job.run, spec.limits,
            embeddings=output.embeddings is not None, retry_failed=options.retry_failed,
            output=path.name,
        )  # fmt: skip
        _LOG.debug("ledger %s: %d done before, %d to do", ledger.path,
                   len(job.items) - len(pending), len(pending))  # fmt: skip
        try:
            for _ in job.recorded(ledger, pending, spec) if pending else ():
                labelled += 1
        except OutputError:
            raise
        except RunError:  # write the table of the results so far before the error is shown
            ledger.commit()
            if labelled:
                write_ledger_table(ledger, output, job.run, quiet=options.quiet, strict=False)
            raise
        ledger.commit()
        if labelled == len(pending):
            ledger.finish()
        if job.stop() and not ledger.count()[0]:
            kept = _RESUME if job.spec.timeline else ""
            told = f"stopped before the first video was labelled; {path} is unchanged"
            console.warn(told + kept)
            return ExitCode.OK  # the signal's code takes its place
        try:
            tally = write_ledger_table(ledger, output, job.run, quiet=options.quiet, strict=False)
        except OutputError as error:
            raise OutputError(f"{error}; the results are kept in {ledger.path}") from error
    return job.report(tally, labelled)
