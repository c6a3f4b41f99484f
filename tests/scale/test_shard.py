"""Which videos belong to which shard, and where its results go."""

from __future__ import annotations

from pathlib import Path

import pytest
from program import Invoke, Program

from vidlabel.errors import UsageError
from vidlabel.files.find import find_videos
from vidlabel.predict.output import TableOutput
from vidlabel.scale.shard import Shard, read_shard, shard_output, take
from vidlabel.specs import VideoItem

THREE = [Shard(number, 3) for number in (1, 2, 3)]


def slurm(**values: int | str) -> dict[str, str]:
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def whose(items: list[VideoItem]) -> dict[str, int]:
    """The number of the shard, of three, of each path below the input."""
    return {item.below: shard.number for shard in THREE for item in take(items, shard)[0]}


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_shard_is_read() -> None:
    assert read_shard("3/40") == Shard(3, 40)
    assert read_shard(" 1 / 1 ") == Shard(1, 1)


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "1", "1/0", "a/4", "1/4/5", "-1/4", "1/1000000", ""]
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--shard .*must be"):
        read_shard(text)


@pytest.mark.parametrize(
    ("values", "shard"),
    [
        ({"ID": 3, "COUNT": 40, "MIN": 1, "MAX": 40, "STEP": 1}, Shard(3, 40)),
        ({"ID": 0, "COUNT": 4, "MIN": 0, "MAX": 3}, Shard(1, 4)),
        ({"ID": 12, "COUNT": 3, "MIN": 10}, Shard(3, 3)),
        ({"ID": 10, "COUNT": 3, "MIN": 2, "MAX": 10, "STEP": 4}, Shard(3, 3)),
        ({"ID": 1, "COUNT": 1, "MIN": 1, "MAX": 1}, Shard(1, 1)),
    ],
)
def test_a_task_of_a_job_array_is_a_shard(values: dict[str, int], shard: Shard) -> None:
    assert read_shard("slurm", slurm(**values)) == shard
    assert read_shard("SLURM", slurm(**values)) == shard


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "TASK_ID is not set"),
        ({"ID": 3}, "TASK_COUNT is not set"),
        ({"ID": "x", "COUNT": 3}, "must be a number"),
        ({"ID": 7, "COUNT": 1, "MIN": 7, "MAX": 7}, "--shard 7/N"),  # one task, submitted again
        ({"ID": 3, "COUNT": 2, "MIN": 3, "MAX": 9}, "submit the whole array"),  # --array=3,9
        ({"ID": 9, "COUNT": 2, "MIN": 3}, "submit the whole array"),
    ],
)
def test_a_task_that_is_no_shard_is_refused(values: dict[str, int], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read_shard("slurm", slurm(**values))


def test_each_video_has_one_shard_whatever_the_place_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{i % 3}/clip {i}.mp4" for i in range(30)]
    here, there = make(tmp_path / "a", *names), make(tmp_path / "mnt/b", *names)
    first = find_videos(here)
    owners = whose(first)
    assert sorted(owners) == sorted(names)
    assert set(owners.values()) == {1, 2, 3}
    listing = take(first, THREE[0])[1]
    monkeypatch.chdir(there)
    for given in (str(there), f"{there}/", ".", f"{there}/[0-2]/*", "*/*.mp4"):
        again = find_videos(given)
        assert whose(again) == owners
        assert take(again, THREE[0])[1] == listing


def test_a_shard_keeps_its_videos_when_others_are_added(tmp_path: Path) -> None:
    folder = make(tmp_path, *(f"{i}.mp4" for i in range(40)))
    before, listing = whose(find_videos(folder)), take(find_videos(folder), THREE[0])[1]
    make(tmp_path, *(f"0{i}.mp4" for i in range(40)), "sub/new.mp4")
    after = find_videos(folder)
    assert before.items() <= whose(after).items()
    assert take(after, THREE[0])[1].listing != listing.listing


def test_places_are_those_of_the_whole_list_and_shares_are_fair() -> None:
    items = [VideoItem(i, f"{i:05}.mp4") for i in range(4000)]
    parts = [take(items, Shard(number, 40))[0] for number in range(1, 41)]
    assert sorted(item.index for part in parts for item in part) == list(range(4000))
    assert all(60 < len(part) < 150 for part in parts)
    assert all(item.path == f"{item.index:05}.mp4" for part in parts for item in part)


def test_which_shard_a_path_has_does_not_change_between_versions() -> None:
    """Else the shards of two versions would overlap."""
    names = ["a.mp4", "b/c.mp4", "ü.mp4", "bad\udcff.mp4"]
    items = [VideoItem(i, name) for i, name in enumerate(names)]
    found = {item.path: n for n in range(1, 1001) for item in take(items, Shard(n, 1000))[0]}
    assert [found[name] for name in names] == [849, 830, 887, 341]


def test_a_shard_has_outputs_of_its_own(tmp_path: Path) -> None:
    output = TableOutput(str(tmp_path / "my.labels.csv"), embeddings=tmp_path / "e.npz")
    own = shard_output(output, Shard(3, 40))
    assert own.path == tmp_path / "my.labels.shard-3-of-40.csv"
    assert own.embeddings == tmp_path / "e.shard-3-of-40.npz"
    plain = shard_output(TableOutput(str(tmp_path / "labels"), "jsonl"), Shard(3, 40))
    assert plain.path == tmp_path / "labels.shard-3-of-40.jsonl"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "name them by --out"),
        (("-o", "labels.srt"), "vidlabel merge"),
        (("-o", "labels.csv", "--sidecar", "srt"), "leave out --sidecar"),
        (("-o", "labels.csv", "--shard", "5/4"), "must be 1/N to N/N"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(
    arguments: tuple[str, ...], why: str, vidlabel: Invoke, clips: Path
) -> None:
    code, _, err = vidlabel("predict", clips, "--shard", "1/4", *arguments)
    assert code == 2
    assert why in err


def test_slurm_names_the_shard_of_a_run(
    program: Program, clips: Path, model: Path, tmp_path: Path
) -> None:
    command = ("predict", clips, "-m", model, "-o", tmp_path / "labels.csv", "--shard", "slurm")
    done = program.run(*command, env=slurm(ID=12, COUNT=3, MIN=10, MAX=12, STEP=1))
    assert "shard 3/3: " in done.err
    assert " of 22 videos" in done.err
    assert (tmp_path / "labels.shard-3-of-3.csv").is_file()
    assert (tmp_path / "labels.shard-3-of-3.ledger").is_file()
    listed = program.run(*command[:-1], "3/3", "--dry-run").out.splitlines()
    rows = (tmp_path / "labels.shard-3-of-3.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == listed


def test_a_shard_without_videos_has_an_empty_table(
    program: Program, clips: Path, model: Path, tmp_path: Path
) -> None:
    video = clips / "0" / "00.mp4"
    runs = [
        program.run(
            "predict", video, "-m", model, "-o", tmp_path / "l.parquet", "--shard", f"{n}/2"
        )
        for n in (1, 2)
    ]
    assert [run.code for run in runs] == [0, 0], runs
    assert any("0 of 1 video" in run.err for run in runs)
    done = program.run("merge", "-o", tmp_path / "l.parquet")
    assert (done.code, "1 of 1 video from 2 shards" in done.err) == (0, True), done.err
