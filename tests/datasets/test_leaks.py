"""Leaks in numbers, and what an accuracy on leaky test clips is worth."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import SHARED

from vidlabel.datasets.hmdb51 import HMDB51
from vidlabel.datasets.leaks import Leak, describe_leak, find_leak, known_among, unseen_accuracy
from vidlabel.datasets.protocols import Fold, make_folds
from vidlabel.datasets.samples import Dataset, Sample
from vidlabel.datasets.ucf101 import UCF101
from vidlabel.errors import UsageError

SPLITS = SHARED / "splits"
needs_splits = pytest.mark.skipif(
    not SPLITS.is_dir(), reason="needs the official lists in ../shared/splits"
)

A_AND_D = Leak(tested=1530, seen=1150, siblings=162)


def expected_accuracy(leak: Leak, unseen: float, memorised: float = 1.0) -> float:
    """Accuracy on all test clips, with `unseen` (A) on new ones and `memorised` (M) on others."""
    return (leak.seen * memorised + leak.unseen * unseen) / leak.tested


def test_clips_are_seen_siblings_or_new() -> None:
    test = [
        Sample("/here/wave/a_0.avi", "wave", "wave/a"),
        Sample("/here/wave/a_1.avi", "wave", "wave/a"),
        Sample("/here/wave/b_0.avi", "wave", "wave/b"),
        Sample("/here/run/a_0.avi", "run", "run/a"),
    ]
    leak, kinds = find_leak(["wave/a_0.avi", "wave/c_0.avi"], ["wave/a", "wave/c"], test)
    assert leak == Leak(tested=4, seen=1, siblings=1)
    assert (leak.unseen, leak.new, leak.share) == (3, 2, 0.25)
    assert kinds == {
        "wave/a_0.avi": "seen", "wave/a_1.avi": "sibling", "wave/b_0.avi": "new",
        "run/a_0.avi": "new",
    }  # fmt: skip
    none, kinds = find_leak([], [], test)
    assert none.new == none.tested
    assert set(kinds.values()) == {"new"}
    assert find_leak([], [], [])[0].share == 0
    with pytest.raises(UsageError, match="more test clips leak"):
        Leak(3, 2, 2)


def test_a_source_is_known_by_its_name_however_the_data_was_given() -> None:
    hmdb51, ucf101 = "wave/Film_wave_f_nm_np1_fr_med_%d.avi", "YoYo/v_YoYo_g01_c0%d.avi"
    test = [
        Sample(hmdb51 % 1, "wave", "wave/Film"),
        Sample(ucf101 % 1, "YoYo", "YoYo/g01"),
        Sample("run/Film_run_f_nm_np1_fr_med_1.avi", "run", "run/Film"),
    ]
    leak, kinds = find_leak([hmdb51 % 0, ucf101 % 2, "x/y.mp4"], [], test)  # trained as a folder
    assert list(kinds.values()) == ["sibling", "sibling", "new"]
    assert (leak.seen, leak.siblings) == (0, 2)


def test_an_id_with_more_of_the_path_is_the_clip_that_ends_alike() -> None:
    def tested(name: str) -> Sample:
        return Sample(f"/any/{name}", "walk", "new", name=name)

    known = ["walk/ada/1.mp4", "walk/2.mp4", "run/bo/1.mp4"]
    for name, seen in (
        ("ada/1.mp4", True),
        ("set/walk/ada/1.mp4", True),  # of a table that says more
        ("1.mp4", True),  # of a part of the data set, where nothing else has that name
        ("bo/1.mp4", False),
        ("bo/2.mp4", True),  # of a model from before, or of a data set with one such file
        ("a/da/1.mp4", False),
        ("11.mp4", False),
    ):
        clip = tested(name)
        assert known_among(known, [clip]) == ({clip.id} if seen else set()), name
        assert find_leak(known, [], [clip])[0].seen == seen


@pytest.mark.parametrize(
    ("accuracy", "memorised", "unseen"),
    [
        (0.8839, 1.0, 0.533),
        (0.8839, 0.99, 0.563),
        (0.8839, 0.98, 0.593),
        (0.8839, 0.95, 0.684),
        (0.926, 1.0, 0.702),
        (0.926, 0.98, 0.763),
        (0.926, 0.95, 0.853),
    ],
)
def test_what_reported_figures_mean(accuracy: float, memorised: float, unseen: float) -> None:
    found = unseen_accuracy(A_AND_D, accuracy, memorised)
    assert round(found, 3) == unseen
    assert expected_accuracy(A_AND_D, found, memorised) == pytest.approx(accuracy)


@given(
    st.integers(1, 2000), st.data(), st.floats(0, 1), st.floats(0, 1)
)  # fmt: skip
def test_the_two_formulas_undo_each_other(
    tested: int, data: st.DataObject, unseen: float, memorised: float
) -> None:
    leak = Leak(tested, data.draw(st.integers(0, tested - 1)), 0)
    shown = expected_accuracy(leak, unseen, memorised)
    assert min(unseen, memorised) - 1e-9 <= shown <= max(unseen, memorised) + 1e-9
    assert unseen_accuracy(leak, shown, memorised) == pytest.approx(unseen, abs=1e-9)


def test_nothing_follows_from_nothing() -> None:
    with pytest.raises(UsageError, match="says nothing about new clips"):
        unseen_accuracy(Leak(3, 3, 0), 0.9)


def test_the_report_is_exactly_this() -> None:
    assert describe_leak(A_AND_D, "test", 0.8839) == [
        "1150 of 1530 test clips (75.2%) were trained on",
        "of the other 380, 162 share a source video (group) with a training clip and 218 are new",
        "a model that knows its training clips by heart, and nothing else, has 75.2% of the test "
        "clips right",
        "88.39% of all test clips are right: if 95% to 100% of those that were trained on are "
        "right, then 53.3% to 68.4% of the other 380 are",
    ]
    assert len(describe_leak(A_AND_D, "test")) == 3


@pytest.mark.parametrize(
    ("accuracy", "line"),
    [
        (0.72, "if 95% to 100% of those that were trained on are right, then 0.0% to 2.4%"),
        (0.99, "if 95% to 100% of those that were trained on are right, then 96.0% to 100.0%"),
        (0.5, "fewer than the 1150 that were trained on, so the model has not even learned those"),
        (0.0, "fewer than the 1150 that were trained on"),
    ],
)
@pytest.mark.field
def test_a_range_stays_within_what_is_possible(accuracy: float, line: str) -> None:
    """field 21: "no A between 0 and 1 (M from 95% to 100%)" is not what a reader understands."""
    told = describe_leak(A_AND_D, "test", accuracy)[-1]
    assert told.startswith(f"{accuracy:.2%} of all test clips are right: {line}")
    assert not re.search(r"\b[AM]\b", told)


def test_reports_of_no_leak_and_of_nothing_else() -> None:
    assert describe_leak(Leak(10, 0, 4), "test", 0.5) == [
        "0 of 10 test clips (0.0%) were trained on",
        "of the 10, 4 share a source video (group) with a training clip and 6 are new",
    ]
    assert describe_leak(Leak(10, 10, 0), "validation", 0.5)[-1] == (
        "so validation accuracy says nothing about new clips"
    )


@pytest.fixture(scope="module")
def hmdb51() -> Dataset:
    return HMDB51.from_lists(SPLITS / "hmdb51")


def _leak(train: Fold, test: tuple[Sample, ...]) -> Leak:
    return find_leak({s.id for s in train.train}, {s.group for s in train.train}, test)[0]


@pytest.mark.shared
@needs_splits
def test_systems_a_and_d_on_the_true_lists(hmdb51: Dataset) -> None:
    (fold,) = make_folds(hmdb51, "leaky-123")
    assert len(fold.train) == 3570
    assert _leak(fold, fold.test) == A_AND_D
    assert A_AND_D.new == 218
    validation = _leak(fold, fold.val)
    assert validation == Leak(tested=1530, seen=1175, siblings=170)
    assert (validation.unseen, validation.new) == (355, 185)
    assert len(set(fold.val) & set(fold.test)) == 155


@pytest.mark.shared
@needs_splits
def test_every_pair_of_splits_on_the_true_lists(hmdb51: Dataset) -> None:
    folds = make_folds(hmdb51, "official")
    leaks = [[_leak(train, test.test) for test in folds] for train in folds]
    assert [[leak.seen for leak in row] for row in leaks] == [
        [0, 1175, 1150],
        [1165, 0, 1086],
        [1120, 1129, 0],
    ]
    assert [leaks[k][k].siblings for k in range(3)] == [0, 0, 0]
    assert all(leaks[k][k].new == leaks[k][k].tested for k in range(3))


@pytest.mark.shared
@needs_splits
def test_systems_b_and_c_on_the_true_lists(hmdb51: Dataset) -> None:
    (select,) = make_folds(hmdb51, "split1-select-on-test")
    leak = _leak(select, select.test)
    assert leak.new == leak.tested
    assert select.val == select.test
    (random,) = make_folds(UCF101.from_lists(SPLITS / "ucf101"), "random-80-20")
    leak = _leak(random, random.test)
    assert (leak.tested, leak.seen) == (2664, 0)
    assert leak.siblings / leak.tested > 0.98  # a group has about five clips
