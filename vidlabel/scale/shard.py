"""Shards: several runs, on one machine or many, that label the videos of one list between them.

The shard of a video depends on nothing but its path below the input (the folder, or the part of a
pattern before its first `*`, `?` or `[`): so it is the same on machines that mount the videos in
different places, and stays the same when other videos are added. A file that is named itself, or in
a list, counts by its path as given.

Every shard lists all videos, labels its own, and has an output and a ledger of its own. The ledger
knows the place of each of its videos in the whole list, by which `merge` restores the order.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidlabel import console
from vidlabel.errors import ExitCode, UsageError
from vidlabel.predict.job import RunOptions, choose_videos, label_chosen
from vidlabel.predict.output import TableOutput
from vidlabel.predict.spec import ModelChoice, PredictSpec
from vidlabel.results.ledger_run import ShardOf
from vidlabel.spans import WHOLE, Span
from vidlabel.specs import VideoItem
from vidlabel.text import plural

SLURM = "slurm"
"""What --shard is where Slurm's variables say which shard it is."""

MOST = 100_000
"""Shards of one list."""

_SLURM = "SLURM_ARRAY_TASK_"


@dataclass(frozen=True)
class Shard:
    """One of the `count` shards of a list; `number` is 1 to `count`. Raises UsageError."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count <= MOST:
            raise UsageError(
                f"--shard {self}: must be 1/N to N/N, where N is the number of shards, at most "
                f"{MOST:,}"
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def takes(self, item: VideoItem) -> bool:
        """Whether a video belongs to this shard."""
        digest = hashlib.sha256(_key(item)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def beside(self, path: Path, suffix: str = "") -> Path:
        """The file of this shard in place of `path`: `labels.shard-3-of-40.csv`; with `suffix` if
        `path` has none."""
        mark = f".shard-{self.number}-of-{self.count}"
        return path.with_name(f"{path.stem}{mark}{path.suffix or suffix}")


def read_shard(text: str, environ: Mapping[str, str] = os.environ) -> Shard:
    """The shard that --shard names: `3/40`, or `slurm` for that of a task of a Slurm job array.

    Slurm's variables are those of https://slurm.schedmd.com/job_array.html. The first task of the
    array is shard 1, whatever its number.

    Raises:
        UsageError: the text is neither, or the variables are missing or of no plain range.
    """
    if text.strip().lower() == SLURM:
        return _from_slurm(environ)
    if not (found := re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", text)):
        raise UsageError(f"--shard {text}: must be like 3/40, or {SLURM}")
    return Shard(int(found[1]), int(found[2]))


def _from_slurm(environ: Mapping[str, str]) -> Shard:
    def number(name: str, default: str | None = None) -> int:
        text = environ.get(_SLURM + name, default)
        if text is None:
            raise UsageError(
                f"--shard {SLURM}: {_SLURM}{name} is not set; submit a job array, such as "
                "`sbatch --array=1-40`, or name the shard, such as --shard 3/40"
            )
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise UsageError(f"--shard {SLURM}: {_SLURM}{name} is {text!r}; it must be a number")
        return int(text)

    task, count = number("ID"), number("COUNT")
    first, step = number("MIN", "1"), number("STEP", "1") or 1
    place, off = divmod(task - first, step)
    last = number("MAX", str(first + (count - 1) * step))
    plain = not off and (last - first) // step == count - 1 and 0 <= place < count
    if not plain or (count == 1 and task > 1):  # some tasks of an earlier array
        raise UsageError(
            f"--shard {SLURM}: task {task} of an array of {plural(count, 'task')}, {first} to "
            f"{last}: no whole array, as 1-40 is; to run some tasks again, submit the whole "
            f"array again (finished tasks end at once), or name the shard, such as --shard {task}/N"
        )
    return Shard(place + 1, count)


def take(items: Sequence[VideoItem], shard: Shard) -> tuple[list[VideoItem], ShardOf]:
    """The videos of a list that belong to a shard, which keep their indices; and what the ledger of
    the shard notes."""
    listing = hashlib.sha256()
    for item in items:
        listing.update(_key(item) + b"\0")
    own = [item for item in items if shard.takes(item)]
    return own, ShardOf(shard.number, shard.count, len(items), listing.hexdigest())


def shard_output(output: TableOutput, shard: Shard) -> TableOutput:
    """The output of a shard, named after that of the whole run. Raises UsageError if that is no
    table."""
    if output.path is None:
        raise UsageError("--shard: each shard has a table and a ledger; name them by --out FILE")
    if not output.is_table or output.sidecars:
        what = "--sidecar" if output.is_table else f"--format {output.fmt}"
        raise UsageError(
            f"--shard: a shard writes a table; leave out {what} here, and give it to vidlabel merge"
        )
    vectors = output.embeddings
    return replace(
        output,
        out=str(shard.beside(output.path, f".{output.fmt}")),
        embeddings=vectors and shard.beside(vectors),
    )


def predict_shard(
    shard: Shard,
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
    """Label one shard of the videos.

    Args and Raises: as `job.predict_videos`; `output` is that of the whole run.
    """
    own_output = shard_output(output, shard)
    items, told = choose_videos(inputs, listed, include, exclude, spec.limits.formats)
    own, shard_of = take(items, shard)
    told.append(f"shard {shard}: {len(own):,} of {plural(len(items), 'video')}")
    for line in () if options.quiet else told:
        console.note(line)
    return label_chosen(own, spec, own_output, options, choice, span, shard_of)


def _key(item: VideoItem) -> bytes:
    """What a video is known by on all machines. `surrogatepass`: a name may be of any bytes."""
    return os.path.normpath(item.below).encode("utf-8", "surrogatepass")
