"""Join the results of shards to the output of one undivided run.

Every ledger has its videos in the order of their places in the list of all videos, so the rows of
any number of ledgers are merged as sorted streams: memory holds one video of each at a time.
"""

from __future__ import annotations

import heapq
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from vidlabel import console
from vidlabel.errors import ExitCode, OutputError, UsageError
from vidlabel.files.lock import holding
from vidlabel.files.write import remove_leftovers
from vidlabel.machine import allow_open_files
from vidlabel.predict.output import TableOutput, write_output
from vidlabel.results.ledger import Ledger
from vidlabel.results.ledger_file import SUFFIX, ledger_of
from vidlabel.results.ledger_run import LastRun, ShardOf
from vidlabel.specs import Prediction
from vidlabel.text import first_few, plural

_FILES_PER_SHARD = 4  # the ledger, its journal, its lock, and one to spare


@dataclass(frozen=True)
class Part:
    """The open ledger of a shard."""

    path: Path
    ledger: Ledger
    run: LastRun
    shard: ShardOf
    made_with: Mapping[str, str]
    """What the rows depend on; parts of one table are alike in all of it."""
    embeddings: bool
    finished: bool
    done: int
    """Videos that have a result."""
    videos: int

    def rows(self) -> Iterator[tuple[int, int, list[Prediction]]]:
        """By ascending place: place, number of the shard, and the rows of the video."""
        places = self.ledger.places()
        for path, rows in groupby(self.ledger.shown_rows(self.run), attrgetter("path")):
            place = next(place for place, name in places if name == path)
            yield place, self.shard.number, list(rows)

    @property
    def alike(self) -> tuple[object, ...]:
        """The same for all parts of one table."""
        return self.shard.count, *sorted(self.made_with.items())

    def __str__(self) -> str:
        return f"{self.path} (shard {self.shard.number}/{self.shard.count})"


def merge_shards(
    shards: Sequence[Path], output: TableOutput, *, partial: bool = False, quiet: bool = False
) -> ExitCode:
    """Write the output of one run from the ledgers of its shards, `vidlabel merge`: byte for byte
    what an undivided run would have written.

    Args:
        shards: tables or ledgers of shards; if there are none, those beside the output.
        output: as in `predict_videos`; a file.
        partial: write what there is, although shards are missing or unfinished; those that do not
            fit the others are left out.

    Raises:
        UsageError: no shard is named or found, a file is none, or the output is stdout.
        OutputError: shards are missing, unfinished or do not fit, and `partial` is not set; a
            ledger is damaged; the system refuses to read or write.
    """
    if output.path is None:
        raise UsageError("--out -: shards can be merged only into a file")
    paths = shards or _beside(output.path)
    if not paths:
        raise UsageError(
            f"there are no shards of {output.path} beside it; name their tables or ledgers"
        )
    with open_shards(paths) as (parts, problems):
        if output.embeddings is not None:
            problems += [f"{p}: has no embeddings; run it with --embeddings"
                         for p in parts if not p.embeddings]  # fmt: skip
        for problem in problems:
            console.warn(problem)
        if problems and not (partial and parts):
            then = "" if partial else "; --partial writes what there is"
            raise OutputError(f"{output.path}: not written, for the reasons above{then}")
        return _write(parts, output, quiet=quiet, whole=not problems)


def _write(parts: Sequence[Part], output: TableOutput, *, quiet: bool, whole: bool) -> ExitCode:
    assert output.path is not None  # the caller has looked
    first = parts[0]
    output.check(first.shard.videos)
    ledger = ledger_of(output.path)
    with holding(ledger):
        remove_leftovers(*filter(None, (output.path, output.embeddings)))
        info = first.run.info(output.excel_safe)
        tally = write_output(lambda: merged(parts), output, info, quiet=quiet, strict=False)
        if ledger.exists():
            console.warn(f"{ledger}: is of an earlier run, and knows nothing of {output.path}")
    if not quiet:
        total, count = plural(first.shard.videos, "video"), plural(len(parts), "shard")
        console.note(f"{tally.videos} of {total} from {count} written to {output.path}")
    return ExitCode.OK if whole else ExitCode.SOME_FAILED


@contextmanager
def open_shards(paths: Sequence[Path]) -> Iterator[tuple[list[Part], list[str]]]:
    """The shards of one table, and a line on each that is missing, unfinished, does not fit the
    others or cannot be used. They are locked inside the block.

    Args:
        paths: tables or ledgers of shards.
    """
    allow_open_files(_FILES_PER_SHARD * len(paths))
    with ExitStack() as stack:
        opened, problems = _opened(paths, stack)
        parts, misfits = _fitting(opened)
        yield parts, problems + misfits + _gaps(parts, opened)


def merged(parts: Sequence[Part]) -> Iterator[Prediction]:
    """The rows of all parts in the order of one run; each is read when it is its turn."""
    streams: list[Iterable[tuple[int, int, list[Prediction]]]] = [part.rows() for part in parts]
    for *_, rows in heapq.merge(*streams):  # no two have the same place and shard
        yield from rows


def _beside(out: Path) -> list[Path]:
    """The ledgers of all shards of an output, in its folder."""
    names = re.compile(rf"{re.escape(out.stem)}\.shard-([0-9]+)-of-([0-9]+){re.escape(SUFFIX)}")
    there = out.parent.iterdir() if out.parent.is_dir() else ()
    return sorted(path for path in there if names.fullmatch(path.name))


def _opened(paths: Iterable[Path], stack: ExitStack) -> tuple[list[Part], list[str]]:
    """The shards, locked until the stack ends; and a line on each that cannot be used."""
    parts, problems = [], []
    ledgers = {(p if p.suffix == SUFFIX else ledger_of(p)): p for p in paths}
    for path, given in ledgers.items():
        try:
            if not path.is_file():
                raise OutputError(f"{path}: there is no such ledger")
            stack.enter_context(holding(path))
            ledger = stack.enter_context(Ledger(path))
            run = ledger.last_run(None if given == path else given.name)
        except OutputError as error:
            problems.append(str(error))
            continue
        if run.shard is None:
            problems.append(f"{path}: is of an undivided run, not of a shard")
            continue
        about = ledger.about_run()
        values = asdict(replace(run, shard=None)) | about["settings"] | about["limits"]
        values["model"] = f"{run.model} {about['settings']['model']}"
        made_with = {name: json.dumps(value) for name, value in values.items()}
        parts.append(
            Part(path, ledger, run, run.shard, made_with, about["embeddings"],
                  about["finished"], *ledger.count())
        )  # fmt: skip
    return parts, problems


def _fitting(parts: Sequence[Part]) -> tuple[list[Part], list[str]]:
    """The parts of the table that most are of, each shard once; and a line on each other one."""
    if not parts:
        return [], []
    usual, _ = Counter(part.alike for part in parts).most_common(1)[0]
    model = next(part for part in parts if part.alike == usual)
    kept: dict[int, Part] = {}
    problems = []
    for part in sorted(parts, key=lambda p: (p.shard.number, not p.finished, -p.done)):
        if part.alike != usual:
            problems.append(f"{part}: is left out: {_differences(part, model)}")
        elif part.shard.number in kept:
            problems.append(
                f"{part}: is left out: {kept[part.shard.number].path} is this shard too"
            )
        else:
            kept[part.shard.number] = part
    return list(kept.values()), problems


def _differences(part: Part, other: Part) -> str:
    if part.shard.count != other.shard.count:
        return f"there are {plural(other.shard.count, 'shard')} of the others"
    names = sorted(part.made_with.keys() | other.made_with.keys())
    pairs = [(name, part.made_with.get(name), other.made_with.get(name)) for name in names]
    told = [f"{name} {_short(a)}, the others with {_short(b)}" for name, a, b in pairs if a != b]
    return f"it was made with {first_few(told, 3, ' and ')}"


def _short(text: str | None, most: int = 40) -> str:
    text = "none" if text is None else text.strip('"')
    return text if len(text) <= most else f"{text[:most]}..."


def _gaps(parts: Sequence[Part], opened: Sequence[Part]) -> list[str]:
    """Lines on what the parts lack of a whole table."""
    if not parts:
        return []
    listing, _ = Counter(part.shard.listing for part in parts).most_common(1)[0]
    videos = next(p.shard.videos for p in parts if p.shard.listing == listing)
    problems = []
    for part in parts:
        if part.shard.listing != listing:
            problems.append(
                f"{part}: was made from another list of videos ({part.shard.videos:,}; the others "
                f"from {videos:,}); run it again if videos were added, moved or removed"
            )
        if not part.finished:
            done = f"{part.done} of {plural(part.videos, 'video')}"
            problems.append(f"{part}: is not finished ({done}); run it again")
    count = parts[0].shard.count
    there = {part.shard.number for part in opened if part.shard.count == count}
    missing = [f"{number}/{count}" for number in range(1, count + 1) if number not in there]
    if missing:
        problems.append(f"{plural(len(missing), 'shard')} missing: {first_few(missing, 10)}")
    return problems
