"""Figures of timelines, against examples computed by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from program import Program

from vidlabel.evaluate.timeline import (
    Counts,
    Segment,
    Timeline,
    average_precision,
    count_segments,
    edit_score,
    measure,
    runs,
    seconds_right,
)

A, B, C = "abc"


def timeline(true: list[Segment], predicted: list[Segment], name: str = "x") -> Timeline:
    return Timeline(name, tuple(true), tuple(predicted), 100.0)


def test_overlap_is_intersection_over_union() -> None:
    assert Segment(0, 10, A).overlap(Segment(5, 15, A)) == pytest.approx(5 / 15)
    assert Segment(0, 10, A).overlap(Segment(2, 4, A)) == pytest.approx(0.2)
    assert Segment(0, 10, A).overlap(Segment(10, 12, A)) == 0


def test_average_precision_is_that_of_activitynet() -> None:
    """Three true segments. By confidence: right, wrong (its segment is taken), right, wrong.
    Precision at the right ones: 1/1 and 2/3; recall rises by a third at each: (1 + 2/3) / 3."""
    true = [Segment(0, 10, A), Segment(20, 30, A), Segment(40, 50, A)]
    predicted = [
        Segment(0, 9, A, 0.9),  # overlaps 0.9
        Segment(1, 10, A, 0.8),  # the same one again
        Segment(22, 30, A, 0.7),  # 0.8
        Segment(40, 44, A, 0.6),  # 0.4
        Segment(60, 70, B, 0.95),  # another class
    ]
    one = [timeline(true, predicted)]
    assert average_precision(one, A, 0.5) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(one, A, 0.4) == pytest.approx((1 + 3 / 4 + 3 / 4) / 3), "monotonic"
    assert average_precision(one, A, 0.85) == pytest.approx(1 / 3)
    assert math.isnan(average_precision(one, B, 0.5))


def test_a_prediction_finds_segments_in_its_own_video_only() -> None:
    videos = [
        timeline([Segment(0, 10, A)], [], "x"),
        timeline([Segment(20, 30, A)], [Segment(0, 10, A, 0.9), Segment(20, 30, A, 0.2)], "y"),
    ]
    assert average_precision(videos, A, 0.5) == pytest.approx(0.5 / 2)


def test_a_prediction_takes_the_next_best_if_the_best_is_taken() -> None:
    true = [Segment(0, 10, A), Segment(2, 12, A)]
    predicted = [Segment(0, 10, A, 0.9), Segment(0, 10, A, 0.8)]
    assert average_precision([timeline(true, predicted)], A, 0.6) == pytest.approx(1.0)


def test_one_label_at_a_time() -> None:
    segments = [
        Segment(2, 6, A, 0.5), Segment(4, 8, B, 0.9), Segment(8, 9, B, 0.4), Segment(5, 7, C, 0.1),
    ]  # fmt: skip
    assert [(s.label, s.start_s, s.end_s) for s in runs(segments, 10)] == [
        ("", 0, 2), (A, 2, 4), (B, 4, 9), ("", 9, 10),
    ]  # fmt: skip
    assert runs([], 3) == [Segment(0, 3, "")]


def test_f1_is_that_of_lea() -> None:
    """True: a 0-10, b 10-20, a 20-30. Predicted: a 0-6 (overlaps 0.6), b 6-20 (10/14), a 20-22
    (0.2), a 25-30 (0.5, the same one)."""
    true = runs([Segment(0, 10, A), Segment(10, 20, B), Segment(20, 30, A)], 40)
    predicted = runs(
        [Segment(0, 6, A), Segment(6, 20, B), Segment(20, 22, A), Segment(25, 30, A)], 40
    )
    assert count_segments(true, predicted, 0.10) == Counts(3, 1, 0)
    assert count_segments(true, predicted, 0.25) == Counts(3, 1, 0)
    assert count_segments(true, predicted, 0.50) == Counts(3, 1, 0)
    assert count_segments(true, predicted, 0.65) == Counts(1, 3, 2)
    assert Counts(3, 1, 0).f1 == pytest.approx(2 * 0.75 / 1.75)
    assert math.isnan(Counts(0, 0, 0).f1)


def test_the_edit_score_counts_labels_and_not_seconds() -> None:
    """a b c against a c c': one to delete, one to insert, over three."""
    true = runs([Segment(0, 1, A), Segment(1, 9, B), Segment(9, 10, C)], 10)
    split = runs([Segment(0, 8, A), Segment(8, 9, C), Segment(9.5, 10, C)], 10)
    assert edit_score(true, true) == 1
    assert edit_score(true, split) == pytest.approx(1 - 1 / 3), "b became c, c stayed"
    assert edit_score(true, runs([], 10)) == 0
    assert edit_score(runs([], 10), runs([], 10)) == 1


def test_frames_are_right_by_time() -> None:
    true = runs([Segment(0, 4, A), Segment(6, 8, B)], 10)
    predicted = runs([Segment(1, 7, A)], 10)
    assert seconds_right(true, predicted) == {A: [3, 4], "": [2, 4], B: [0, 2]}
    found = measure([Timeline("x", (Segment(0, 4, A), Segment(6, 8, B)), (Segment(1, 7, A),), 10)])
    assert found.frame_accuracy == pytest.approx(5 / 10)
    assert found.labelled_accuracy == pytest.approx(3 / 6)
    assert found.class_accuracy == {A: pytest.approx(0.75), B: 0}


def test_all_right_is_one_everywhere() -> None:
    segments = [Segment(0, 4, A), Segment(6, 8, B), Segment(8, 9, A)]
    found = measure([timeline(segments, segments, name) for name in "xy"])
    assert set(found.mean_ap.values()) == set(found.f1.values()) == {1.0}
    assert (found.edit, found.frame_accuracy, found.labelled_accuracy) == (1, 1, 1)
    nothing = measure([timeline(segments, [])])
    assert set(nothing.mean_ap.values()) == set(nothing.f1.values()) == {0.0}
    assert (nothing.edit, nothing.labelled_accuracy) == (0, 0)
    assert nothing.frame_accuracy == pytest.approx(0.93)


# --- the command ----------------------------------------------------------------------------------


def _tables(folder: Path, predicted: list[str], true: list[str]) -> tuple[Path, Path]:
    head = "path,status,label,confidence,start_s,end_s,duration_s"
    (folder / "labels").mkdir()
    pred, truth = folder / "labels" / "pred.csv", folder / "true.csv"
    pred.write_text("\n".join([head, *predicted]) + "\n")
    truth.write_text("\n".join(["path,label,start_s,end_s", *true]) + "\n")
    return pred, truth


def test_a_table_is_measured_against_another(program: Program, tmp_path: Path) -> None:
    pred, truth = _tables(
        tmp_path,
        [
            f"{tmp_path}/a.mp4,ok,walk,0.9,0,10,40",
            f"{tmp_path}/a.mp4,uncertain,uncertain,0.3,10,12,40",
            f"{tmp_path}/a.mp4,partial,run,0.8,20,30,40",
            "elsewhere/b.mp4,ok,walk,0.7,0,5,10",
            "c.mp4,ok,walk,0.7,0,5,10",
            "bad.mp4,failed,,,,,",
        ],
        ["a.mp4,walk,0,10", "a.mp4,run,22,30", "b.mp4,walk,5,", "lost.mp4,run,1,2"],
    )  # fmt: skip
    done = program.run("eval", pred, "--truth", truth, "--out", tmp_path / "report")
    assert done.code == 0, done.err
    assert f"{truth}: no row of {pred} is of 1 of its 3 videos" in done.err
    assert f"2 videos of {pred} left out, since {truth} has no segment of them: bad.mp4" in done.err
    values = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert values["videos"] == 3
    assert values["segments"] == {"true": 4, "predicted": 3}
    # walk: right, then wrong, of 2; run: 8/10 overlap, of 2
    assert values["mean_ap"]["0.5"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert values["f1"]["0.50"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    assert values["edit"] == pytest.approx((1 + 1 + 0) / 3)
    # a: 40 s, 2 wrong; b: 10 s, all wrong; lost: 2 s, of which the first is background
    assert values["frame_accuracy"] == pytest.approx((38 + 0 + 1) / 52, abs=1e-6)
    rows = (tmp_path / "report" / "per_class.csv").read_text().splitlines()
    assert rows[0].startswith("class,true,predicted,frame_accuracy,ap_0.1,")
    assert rows[1].startswith("run,2,1,0.888889,0.500000")
    assert "mAP 0.5" in done.out
    assert "F1@50" in done.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--model", "starter", "--truth", "t.csv"],
            "--truth compares two tables; leave out --model",
        ),
        ([], "--model is missing"),
        (["--truth", "t.csv", "--views", "3"], "--truth compares two tables; leave out --views"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    arguments: list[str], told: str, program: Program, tmp_path: Path
) -> None:
    done = program.run("eval", tmp_path / "p.csv", *arguments)
    assert done.code == 2
    assert told in done.err


def test_tables_that_share_no_video_are_refused(program: Program, tmp_path: Path) -> None:
    pred, truth = _tables(tmp_path, ["x.mp4,ok,walk,0.9,0,10,40"], ["a.mp4,walk,0,10"])
    done = program.run("eval", pred, "--truth", truth)
    assert done.code == 2
    assert f"{truth}: has none of the videos in {pred}" in done.err
