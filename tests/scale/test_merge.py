"""Shards are joined to what one run would have written, or it is said why not."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from program import Invoke, Program

from vidlabel.files.lock import holding
from vidlabel.results.ledger import Ledger
from vidlabel.results.ledger_run import LastRun, RunSettings
from vidlabel.scale.merge import merged, open_shards
from vidlabel.scale.shard import Shard, take
from vidlabel.specs import Limits, Prediction, Status, VideoItem

RUN = LastRun("m@00000000", ("a", "b"), 2, 0.0)
SETTINGS = RunSettings("0" * 64, 1, "fp32")
ITEMS = [VideoItem(i, f"clips/{i:03}.mp4", below_at=6) for i in range(60)]

Merge = Callable[..., tuple[int, list[str]]]


def row(item: VideoItem) -> Prediction:
    share = item.index / 100
    top = (("a", 1 - share), ("b", share))
    return Prediction(item.path, Status.OK, "a", 1 - share, top, 0.0, 1.0, 1.0, 8, "m@00000000")


def shard(
    folder: Path, number: int, count: int = 3, *, items: list[VideoItem] = ITEMS,
    run: LastRun = RUN, settings: RunSettings = SETTINGS, limits: Limits = Limits(),  # noqa: B008
    leave: int = 0, name: str = "",
) -> Path:  # fmt: skip
    """The ledger of a shard, as a run that labelled all but the last `leave` videos has left it."""
    own, shard_of = take(items, Shard(number, count))
    path = folder / (name or f"l.shard-{number}-of-{count}.ledger")
    with Ledger(path) as ledger:
        ledger.begin(own, settings, replace(run, shard=shard_of), limits,
                     output=path.with_suffix(".csv").name)  # fmt: skip
        for item in own[: len(own) - leave]:
            ledger.record(row(item))
        if not leave:
            ledger.finish()
    return path


@pytest.fixture
def merge(vidlabel: Invoke, tmp_path: Path) -> Merge:
    """`vidlabel merge`: the exit code and the lines on stderr."""

    def run(*arguments: object) -> tuple[int, list[str]]:
        code, _, err = vidlabel("merge", *arguments, "-o", tmp_path / "l.csv")
        return code, err.replace(f"{tmp_path}/", "").splitlines()

    return run


def paths(table: Path) -> list[str]:
    return [line.split(",")[0] for line in table.read_text().splitlines()[1:]]


def test_the_merged_outputs_are_those_of_one_run(
    program: Program, clips: Path, model: Path, whole: Path, tmp_path: Path
) -> None:
    out, vectors = tmp_path / "labels.csv", tmp_path / "labels.npz"
    command = ("predict", clips, "-m", model, "-o", out, "--embeddings", vectors)
    for number in (3, 1, 2):
        done = program.run(*command, "--shard", f"{number}/3")
        assert done.code in (0, 1), done.err
    done = program.run("merge", "-o", out, "--embeddings", vectors, "--sidecar", "srt,boris")
    assert done.code == 0, done.err
    assert f"22 of 22 videos from 3 shards written to {out}" in done.err
    assert out.read_bytes() == whole.read_bytes()
    with np.load(vectors) as mine, np.load(whole.with_suffix(".npz")) as theirs:
        assert set(mine) == set(theirs)
        assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)
    files = [path.relative_to(whole.parent) for path in whole.parent.rglob("*.srt")]
    assert len(files) == 20
    for file in files:
        assert (tmp_path / file).read_bytes() == (whole.parent / file).read_bytes()
    tables = sorted(tmp_path.glob("labels.shard-*.csv"))
    for suffix in ("json", "jsonl", "parquet"):
        program.run("merge", *tables, "-o", tmp_path / f"merged.{suffix}")
        done = program.run("export", whole, "-o", tmp_path / f"whole.{suffix}")
        assert done.code == 0, done.err
        merged = (tmp_path / f"merged.{suffix}").read_bytes()
        assert merged == (tmp_path / f"whole.{suffix}").read_bytes()


def test_a_run_again_of_a_shard_labels_only_what_is_new(
    program: Program, clips: Path, model: Path, tmp_path: Path
) -> None:
    command = ("predict", clips, "-m", model, "-o", tmp_path / "labels.csv", "--shard", "2/2")
    assert "done before" not in program.run(*command).err
    assert "all done before" in program.run(*command).err


def test_all_shards_beside_the_output_are_taken(merge: Merge, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        shard(tmp_path, number)
    shard(tmp_path, 1, name="other.shard-1-of-3.ledger")
    assert merge() == (0, ["60 of 60 videos from 3 shards written to l.csv"])
    assert paths(tmp_path / "l.csv") == [item.path for item in ITEMS]


def test_what_is_missing_is_named_and_nothing_is_written(merge: Merge, tmp_path: Path) -> None:
    shard(tmp_path, 2)
    (tmp_path / "l.csv").write_text("old")
    missing = "warning: 2 shards missing: 1/3, 3/3"
    code, lines = merge()
    assert (code, lines[0]) == (3, missing)
    assert lines[1].startswith("error: l.csv: not written")
    assert (tmp_path / "l.csv").read_text() == "old"
    own = take(ITEMS, Shard(2, 3))[0]
    told = f"{len(own)} of 60 videos from 1 shard written to l.csv"
    assert merge("--partial") == (1, [missing, told])
    assert paths(tmp_path / "l.csv") == [item.path for item in own]


def test_a_shard_that_is_not_finished_is_named(merge: Merge, tmp_path: Path) -> None:
    ledgers = [shard(tmp_path, number, leave=2 * (number == 3)) for number in (1, 2, 3)]
    code, lines = merge(*ledgers)
    total = len(take(ITEMS, Shard(3, 3))[0])
    told = f"warning: l.shard-3-of-3.ledger (shard 3/3): is not finished ({total - 2} of {total} "
    assert code == 3
    assert lines[0].startswith(told)
    assert not (tmp_path / "l.csv").exists()
    assert merge(*ledgers, "--partial")[0] == 1
    left_out = {item.path for item in take(ITEMS, Shard(3, 3))[0][-2:]}
    assert paths(tmp_path / "l.csv") == [item.path for item in ITEMS if item.path not in left_out]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"settings": replace(SETTINGS, model="1" * 64)}, "model m@00000000 1111"),
        ({"run": replace(RUN, model="n@11111111")}, "model n@11111111 0000"),
        ({"settings": replace(SETTINGS, precision="bf16")}, "precision bf16, the others with fp32"),
        ({"settings": replace(SETTINGS, views=3)}, "views 3, the others with 1"),
        ({"limits": Limits(pixels=1000)}, "pixels 1000, the others with"),
        ({"run": replace(RUN, shown=("a", "b"))}, "shown"),
        ({"run": replace(RUN, min_confidence=0.5)}, "min_confidence 0.5, the others with 0.0"),
        ({"run": replace(RUN, top_k=1)}, "top_k 1, the others with 2"),
    ],
)
def test_shards_that_were_made_otherwise_are_named_and_never_mixed(
    changes: dict[str, object], why: str, merge: Merge, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        shard(tmp_path, number, **(changes if number == 1 else {}))  # type: ignore[arg-type]
    code, lines = merge()
    assert code == 3
    assert len(lines) == 2
    assert lines[0].startswith("warning: l.shard-1-of-3.ledger (shard 1/3): is left out: ")
    assert why in lines[0]
    assert not (tmp_path / "l.csv").exists()
    assert merge("--partial")[0] == 1
    own = {item.path for item in take(ITEMS, Shard(1, 3))[0]}
    assert paths(tmp_path / "l.csv") == [item.path for item in ITEMS if item.path not in own]


def test_shards_of_another_number_are_named(merge: Merge, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        shard(tmp_path, number)
    shard(tmp_path, 1, 2)
    code, lines = merge()
    told = "l.shard-1-of-2.ledger (shard 1/2): is left out: there are 3 shards of the others"
    assert (code, lines[0]) == (3, f"warning: {told}")
    assert len(lines) == 2
    assert merge("--partial")[0] == 1
    assert paths(tmp_path / "l.csv") == [item.path for item in ITEMS]


def test_a_shard_that_is_there_twice_is_named(merge: Merge, tmp_path: Path) -> None:
    ledgers = [shard(tmp_path, number) for number in (1, 2, 3)]
    copy = shard(tmp_path, 2, name="copy.ledger", leave=1)
    assert merge(copy, *ledgers, "--partial") == (1, [
        "warning: copy.ledger (shard 2/3): is left out: l.shard-2-of-3.ledger is this shard too",
        "60 of 60 videos from 3 shards written to l.csv",
    ])  # fmt: skip
    same = merge(*ledgers, *(path.with_suffix(".csv") for path in ledgers))  # as of a shell's glob
    assert same[0] == 0


def test_a_video_that_was_added_in_between_is_told(merge: Merge, tmp_path: Path) -> None:
    more = [VideoItem(0, "clips/0.mp4", below_at=6)]
    more += [replace(item, index=item.index + 1) for item in ITEMS]
    for number in (1, 2, 3):
        shard(tmp_path, number, items=more if number == 2 else ITEMS)
    code, lines = merge()
    assert code == 3
    assert "l.shard-2-of-3.ledger (shard 2/3): was made from another list" in lines[0]
    assert "61; the others from 60" in lines[0]
    assert merge("--partial")[0] == 1
    assert set(paths(tmp_path / "l.csv")) >= {item.path for item in ITEMS}


def test_what_is_no_shard_is_named(merge: Merge, tmp_path: Path) -> None:
    ledgers = [shard(tmp_path, number) for number in (1, 2, 3)]
    with Ledger(tmp_path / "plain.ledger") as ledger:
        ledger.begin([], SETTINGS, RUN, Limits(), output="plain.csv")
    (tmp_path / "text.ledger").write_text("no ledger")
    bad = [tmp_path / name for name in ("plain.ledger", "text.ledger", "none.csv")]
    code, lines = merge(*ledgers, *bad)
    assert code == 3
    assert "plain.ledger: is of an undivided run" in lines[0]
    assert "text.ledger: this file is not a ledger" in lines[1]
    assert "none.ledger: there is no such ledger" in lines[2]
    assert not (tmp_path / "l.csv").exists()
    assert not (tmp_path / "none.ledger").exists()


def test_a_shard_that_is_running_is_named(merge: Merge, tmp_path: Path) -> None:
    ledgers = [shard(tmp_path, number) for number in (1, 2, 3)]
    with holding(ledgers[1]):
        code, lines = merge()
    assert code == 3
    assert "l.shard-2-of-3.ledger: in use by process" in lines[0]


def test_embeddings_that_were_not_kept_are_named(merge: Merge, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        shard(tmp_path, number)
    code, lines = merge("--embeddings", tmp_path / "e.npz")
    assert code == 3
    assert sum("run it with --embeddings" in line for line in lines) == 3
    assert not (tmp_path / "e.npz").exists()


def test_no_shards_and_no_file_are_wrong_usage(vidlabel: Invoke, tmp_path: Path) -> None:
    code, _, err = vidlabel("merge", "-o", tmp_path / "l.csv")
    assert (code, "there are no shards of" in err) == (2, True)
    code, _, err = vidlabel("merge", "-o", "-")
    assert (code, "only into a file" in err) == (2, True)


def test_a_ledger_of_an_earlier_run_is_told(merge: Merge, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        shard(tmp_path, number)
    with Ledger(tmp_path / "l.ledger") as ledger:
        ledger.begin([], SETTINGS, RUN, Limits(), output="l.csv")
    code, lines = merge()
    assert code == 0
    assert lines[0] == "warning: l.ledger: is of an earlier run, and knows nothing of l.csv"


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """One row of each ledger at a time."""
    peaks = []
    for count in (300, 3000):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        items = [VideoItem(i, f"{i:06}.mp4") for i in range(count)]
        ledgers = [shard(folder, number, items=items) for number in (1, 2, 3)]
        with open_shards(ledgers) as (parts, problems):
            assert problems == []
            tracemalloc.start()
            assert sum(1 for _ in merged(parts)) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
