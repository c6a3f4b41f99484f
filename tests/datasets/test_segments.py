"""Segments: a table of labelled stretches is a data set."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from vidlabel.datasets.leaks import find_leak, known_among
from vidlabel.datasets.open import open_dataset
from vidlabel.datasets.protocols import make_folds
from vidlabel.datasets.samples import Dataset, Sample, class_counts, hold_out
from vidlabel.datasets.table import read_table
from vidlabel.errors import UsageError
from vidlabel.train.log import write_split

HEAD = "path,label,start_s,end_s"


def table(folder: Path, *rows: str, head: str = HEAD) -> Path:
    folder.mkdir(exist_ok=True)
    place = folder / "segments.csv"
    place.write_text("\n".join([head, *rows]) + "\n")
    return place


def opened(folder: Path, *rows: str, head: str = HEAD) -> Dataset:
    return open_dataset(str(table(folder, *rows, head=head)), Path())


def test_a_row_with_times_is_a_segment(tmp_path: Path) -> None:
    samples = read_table(
        table(
            tmp_path, "a.mp4,walk,1.5,3", "a.mp4,run,3,4.25", "a.mp4,run,,2.0004",
            "b.mp4,walk,7,", "c_1.mp4,walk,,",
        )
    )  # fmt: skip
    assert [s.id for s in samples] == [
        "walk/a.mp4#t=1.5,3", "run/a.mp4#t=3,4.25", "run/a.mp4#t=0,2", "walk/b.mp4#t=7",
        "walk/c_1.mp4",
    ]  # fmt: skip
    assert [s.group for s in samples] == ["", "", "", "", "c"]
    assert class_counts(samples) == "segments of each class: run 2, walk 3"


def test_rows_of_predict_for_whole_videos_are_no_segments(tmp_path: Path) -> None:
    samples = read_table(
        table(
            tmp_path, "a_1.mp4,walk,0.000,2.400,2.400", "b.mp4,run,0.000,2.000,9.500",
            head=f"{HEAD},duration_s",
        )
    )  # fmt: skip
    assert [(s.is_segment, s.group) for s in samples] == [(False, "a"), (True, "")]


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ("0:30,40", r"segments.csv:3: start_s is '0:30'; it must be a number of seconds"),
        ("3,x", r"segments.csv:3: end_s is 'x'"),
        ("5,5", r"segments.csv:3: the segment from 5 s to 5 s must begin at 0 s or later, and end"),
        ("-1,5", r"the segment from -1 s to 5 s"),
        ("nan,5", r"the segment from nan s to 5 s"),
        ("inf,", r"the segment from inf s to inf s"),
    ],
)
def test_times_that_are_none_are_told_with_the_line(times: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        read_table(table(tmp_path, "a.mp4,walk,1,2", f"a.mp4,run,{times}"))


def test_a_segment_has_one_label(tmp_path: Path) -> None:
    told = r"segments.csv:3: a.mp4#t=1,2 has label 'run', and 'walk' in line 2; a segment has one"
    with pytest.raises(UsageError, match=told):
        read_table(table(tmp_path, "a.mp4,walk,1,2", "a.mp4,run,1,2"))
    data = opened(tmp_path, "a.mp4,walk,1,4", "a.mp4,walk,2,3", "a.mp4,run,3.5,5", "b.mp4,x,0,1")
    assert data.remarks == (
        "1 row with seconds that another row gives another class, such as "
        f"{tmp_path}/a.mp4#t=3.5,5 (run) and #t=1,4 (walk); a segment has one class",
    )


def test_segments_of_one_recording_are_one_group(tmp_path: Path) -> None:
    rows = [
        f"{name},{label},{start},{start + 1}"
        for name in ("cam_1.mp4", "cam_2.mp4", "cam_3.mp4")
        for start, label in enumerate(["walk", "run"] * 3)
    ]
    data = opened(tmp_path, *rows)
    assert {s.group for s in data.samples} == {"cam_1", "cam_2", "cam_3"}
    assert not data.remarks
    parts = hold_out(data.samples, 0.2, 0)
    sides = {split: {s.path for s in parts if s.split == split} for split in ("train", "val")}
    assert sides["train"]
    assert sides["val"]
    assert sides["train"].isdisjoint(sides["val"])
    (fold, *_) = folds = make_folds(data, "leave-one-group-out")
    assert [each.name for each in folds] == ["cam_1", "cam_2", "cam_3"]
    assert (len(fold.train), len(fold.test)) == (12, 6)
    assert len({s.path for s in fold.test}) == 1


def test_recordings_with_one_name_are_told_apart(tmp_path: Path) -> None:
    data = opened(tmp_path, "mon/cam.mp4,walk,0,1", "tue/cam.mp4,run,0,1", "tue/cam.mp4,walk,4,5")
    assert [s.group for s in data.samples] == ["mon/cam", "tue/cam", "tue/cam"]
    assert data.samples[1].id == "run/tue/cam.mp4#t=0,1"
    assert known_among({data.samples[0].id}, data.samples[1:]) == set()


def test_the_only_recording_is_divided_by_time(tmp_path: Path) -> None:
    rows = [f"a.mp4,{('walk', 'run')[i % 2]},{2 * i},{2 * i + 1}" for i in range(40)]
    data = opened(tmp_path, *rows, "a.mp4,walk,10.5,12.5")  # shares seconds with two others
    (told,) = data.remarks[1:]
    assert "a.mp4: they are divided into 10 groups by time" in told
    bounds = {}
    for sample in data.samples:
        low, high = bounds.get(sample.group, (sample.start_s, sample.end_s))
        bounds[sample.group] = (min(low, sample.start_s), max(high, sample.end_s))
    ordered = sorted(bounds.values())
    assert all(first[1] <= second[0] for first, second in pairwise(ordered))
    assert {s.split for s in hold_out(data.samples, 0.2, 0)} == {"train", "val"}


def test_stretches_are_as_short_as_the_classes_need(tmp_path: Path) -> None:
    """All of a rare class lies within a tenth of the segments."""
    rows = [f"a.mp4,{'rare' if 4 <= i < 6 else 'often'},{i},{i + 0.9}" for i in range(60)]
    data = opened(tmp_path, *rows)
    assert len({s.group for s in data.samples if s.label == "rare"}) == 2


def test_the_only_recording_keeps_a_given_split(tmp_path: Path) -> None:
    rows = [
        f"a.mp4,{('walk', 'run')[i % 2]},{i},{i + 1},{'test' if i >= 30 else 'train'}"
        for i in range(40)
    ]
    data = opened(tmp_path, *rows, head=f"{HEAD},split")
    sides = [{s.group for s in data.samples if s.split == split} for split in ("train", "test")]
    assert sides[0].isdisjoint(sides[1])
    train = [s for s in data.samples if s.split == "train"]
    test = [s for s in data.samples if s.split == "test"]
    leak, _ = find_leak({s.id for s in train}, {s.group for s in train}, test)
    assert (leak.seen, leak.siblings) == (0, 0)


def test_what_is_tested_is_another_recording(tmp_path: Path) -> None:
    rows = [
        f"{name}.mp4,{('walk', 'run')[i % 2]},{i},{i + 1},{split}"
        for name, split in (("a", ""), ("b", "test"))
        for i in range(20)
    ]
    data = opened(tmp_path, *rows, head=f"{HEAD},split")
    assert {s.group for s in data.samples if s.split == "test"} == {"b"}
    assert len({s.group for s in data.samples if not s.split}) == 10


@pytest.mark.parametrize(
    ("known", "kind"),
    [
        ("walk/a.mp4#t=1,3", "seen"),
        ("run/a.mp4#t=1,3", "seen"),  # of whatever class
        ("walk/b/a.mp4#t=2.9,8", "seen"),  # more of the path
        ("walk/a.mp4", "seen"),  # the whole video
        ("walk/a.mp4#t=3", "sibling"),
        ("walk/a.mp4#t=0,2", "sibling"),  # which ends where the clip begins
        ("walk/c.mp4#t=1,3", "new"),
    ],
)
def test_a_segment_is_known_by_its_seconds(known: str, kind: str) -> None:
    sample = Sample("/data/a.mp4", "walk", "a", start_s=2.0, end_s=3.0)
    leak, kinds = find_leak({known}, (), [sample])
    assert kinds == {"walk/a.mp4#t=2,3": kind}
    assert (leak.seen, leak.siblings) == (kind == "seen", kind == "sibling")


def test_new_seconds_of_a_known_recording_are_siblings(tmp_path: Path) -> None:
    data = opened(tmp_path, *[f"a.mp4,{'walk' if i % 2 else 'run'},{i},{i + 1}" for i in range(9)])
    leak, _ = find_leak({"walk/a.mp4#t=50,60", "run/b.mp4#t=1,2"}, {"a", "b"}, data.samples)
    assert (leak.seen, leak.siblings) == (0, 9)


def test_a_whole_video_is_known_by_its_segments() -> None:
    sample = Sample("/data/a.mp4", "walk", "x")
    assert find_leak({"run/a.mp4#t=1,3"}, (), [sample])[0].seen == 1
    assert find_leak({"run/a.mp4"}, (), [sample])[0].seen == 0


def test_the_split_of_segments_is_a_table_of_segments(tmp_path: Path) -> None:
    samples = [
        Sample(str(tmp_path / "a.mp4"), "walk", "g", "train", start_s=1.0, end_s=12345.678),
        Sample(str(tmp_path / "a.mp4"), "run", "g", "train", start_s=20.0),
        Sample(str(tmp_path / "b.mp4"), "run", "h", "val"),
    ]
    write_split(tmp_path / "split.csv", samples)
    assert read_table(tmp_path / "split.csv") == samples
    write_split(tmp_path / "split.csv", samples[2:])
    assert (tmp_path / "split.csv").read_text().startswith("path,label,group,split\n")
