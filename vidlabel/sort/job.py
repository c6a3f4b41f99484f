"""One run of `vidlabel sort`: a folder for each class, and back again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vidlabel import console
from vidlabel.errors import ExitCode, OutputError, UsageError
from vidlabel.files.find import identity
from vidlabel.files.lock import holding
from vidlabel.files.spelling import Spellings
from vidlabel.files.write import check_folder_name, check_output, make_folder
from vidlabel.results.record import Record
from vidlabel.results.tables import read_labels
from vidlabel.sort.log import LOG_NAME, Action, SortLog
from vidlabel.sort.place import NotPlaced, is_placed, put, take_back
from vidlabel.sort.plan import Plan, Step, plan_of, sources_of
from vidlabel.text import plural

_DONE = {"copy": "copied", "link": "linked", "move": "moved"}


@dataclass(frozen=True)
class SortSpec:
    """What to sort, and how."""

    table: Path
    into: Path
    """The folder that gets one for each class, and the log."""
    action: Action = "copy"
    root: Path | None = None
    """Folder of relative paths in the table; None tries the current one, then the table's."""
    dry_run: bool = False
    """Only list what would be done, on stdout."""


def sort_table(spec: SortSpec, quiet: bool = False) -> ExitCode:
    """Place each video of a table in the folder of its class and report what was done.

    What an earlier run has placed stays there; where its label or `action` is another now, it is
    taken back first. A video that cannot be placed costs one line. With `quiet` there is neither
    progress bar nor summary.

    Raises:
        UsageError: the table cannot be read, has several rows for a video, or names no video that
            exists; the folder has a damaged log.
        OutputError: the folder cannot be written, is full, or another process sorts into it.
    """
    check_folder_name(spec.into)
    rows = read_labels(spec.table).rows
    made = [] if spec.into.is_dir() else ["."]
    sources = _sources(rows, SortLog(spec.into), spec)  # a wrong table makes no folder
    if spec.dry_run:
        return _list(plan_of(sources, SortLog(spec.into), spec.action))
    make_folder(spec.into)
    check_output(spec.into / LOG_NAME)
    with holding(spec.into / LOG_NAME):
        log = SortLog(spec.into)  # as it is by now
        plan = plan_of(sources, log, spec.action)
        _check_space(plan, spec)
        wanted = {step.folder for step in plan.steps if step.is_new}
        made += sorted(name for name in wanted if not (spec.into / name).is_dir())
        if plan.new or made:
            log.append(plan.new, made)
        failed = _place_all(plan, spec, quiet)
    if not quiet:
        _summarise(plan, failed, spec)
    return ExitCode.SOME_FAILED if failed or plan.missing else ExitCode.OK


def _sources(rows: Sequence[Record], log: SortLog, spec: SortSpec) -> list[tuple[str, str]]:
    """As `sources_of`. Raises UsageError, also where no video exists."""
    spellings = Spellings()
    roots = [spec.root] if spec.root else [Path(), spec.table.parent]
    try:
        found = sources_of(rows, roots, log, spellings)
    except UsageError as error:
        raise UsageError(f"{spec.table}: {error}") from error
    if not log.entries and not any(os.path.lexists(path) for path, _ in found):
        raise UsageError(
            f"{spec.table}: names no video that exists (the first is {found[0][0]}); --root names "
            "the folder that its paths are relative to"
        )
    if told := spellings.told():
        console.warn(f"{spec.table}: {told}")
    return found


def _check_space(plan: Plan, spec: SortSpec) -> None:
    free = shutil.disk_usage(spec.into).free
    if plan.copied_bytes > free:
        need, there = (f"{size / 2**30:.1f} GiB" for size in (plan.copied_bytes, free))
        raise OutputError(
            f"{spec.into}: the copies need {need}, and {there} are free; use --link or --move"
        )


def _list(plan: Plan) -> ExitCode:
    """Print what would be done."""
    for line in plan.missing:
        console.error(line)
    rows = [(s.entry.source, s.entry.place) for s in plan.steps if not s.is_done]
    console.table("", ["video", "place"], rows)
    return ExitCode.SOME_FAILED if plan.missing else ExitCode.OK


def _place_all(plan: Plan, spec: SortSpec, quiet: bool) -> int:
    """Do what is left to do; the number of videos that could not be placed, with a line each."""
    for line in plan.missing:
        console.error(line)
    left = [step for step in plan.steps if not step.is_done]
    failed, before = 0, len(plan.steps) - len(left)
    with console.Progress(len(plan.steps), quiet, before, "videos") as progress:
        for step in left:
            try:
                _place(step, spec.into)
            except NotPlaced as error:
                console.error(str(error))
                failed += 1
                plan.folders[step.folder] -= 1
                progress.advance(failed=1)
            else:
                progress.advance()
    return failed


def _place(step: Step, into: Path) -> None:
    for old in step.stale:
        take_back(old, into)
    entry = step.entry
    half_moved = entry.action == "move" and identity(entry.source) is not None
    if half_moved or not is_placed(entry, into):
        make_folder((into / entry.place).parent)
        put(entry, into)


def _summarise(plan: Plan, failed: int, spec: SortSpec) -> None:
    now = sum(not step.is_done for step in plan.steps) - failed
    before = len(plan.steps) - now - failed
    parts = [f"{now} {_DONE[spec.action]}"]
    parts += [f"{before} there before"] if before else []
    parts += [f"{failed + len(plan.missing)} failed"] if failed or plan.missing else []
    total = len(plan.steps) + len(plan.missing)
    console.note(f"{plural(total, 'video')}: {', '.join(parts)}")
    folders = [f"{name} {count}" for name, count in sorted(plan.folders.items()) if count]
    console.note(f"folders in {spec.into}: {', '.join(folders)}")
    console.note(f"to undo: vidlabel sort --undo {spec.into}")


def undo_sort(place: Path, quiet: bool = False) -> ExitCode:
    """Take back all that the log in a folder says, and report what was done.

    Args:
        place: the folder, or the log in it.

    Nothing is lost: a copy that has been changed, or whose original has, is kept, and so is a
    moved video whose old place has another file. The log then keeps their entries.

    Raises:
        UsageError: there is no log, or it is damaged.
        OutputError: the system refuses to write, or another process sorts into the folder.
    """
    folder = place if place.is_dir() else place.parent
    if not (folder / LOG_NAME).is_file() or place not in (folder, folder / LOG_NAME):
        raise UsageError(f"{place}: has no {LOG_NAME}, which vidlabel sort writes")
    with holding(folder / LOG_NAME):
        log = SortLog(folder)
        kept, count = [], 0
        with console.Progress(len(log.entries), quiet, doing="videos") as progress:
            for entry in reversed(log.entries):
                there = is_placed(entry, folder)
                try:
                    take_back(entry, folder)
                except NotPlaced as error:
                    console.error(str(error))
                    kept.append(entry)
                    progress.advance(failed=1)
                else:
                    count += there
                    progress.advance()
        for name in set(log.made) - {"."}:
            with suppress(OSError):  # it holds something else
                (folder / name).rmdir()
        log.keep(kept[::-1])
    with suppress(OSError):
        if not kept and "." in log.made:
            folder.rmdir()
    if not quiet:
        more = f", {len(kept)} kept" if kept else ""
        console.note(f"{plural(count, 'video')} taken back from {folder}{more}")
    return ExitCode.SOME_FAILED if kept else ExitCode.OK
