"""From window scores to segments: smoothed, with hysteresis and a least length."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from vidlabel.results.segments import most_probable, to_segments
from vidlabel.results.window_scores import Collector, PartScores, ScoredVideo
from vidlabel.spans import TimelineSpec
from vidlabel.specs import UNCERTAIN, Prediction, Status

CLASSES = ("hug", "run", "walk")
SURE = 0.9


def _scores(text: str, sure: float = SURE) -> np.ndarray:
    """A window per letter of CLASSES; `.` is one of which nothing is sure, `?` one that is lost."""
    rows = {name[0]: np.full(3, (1 - sure) / 2) for name in CLASSES}
    for place, name in enumerate(CLASSES):
        rows[name[0]][place] = sure
    rows |= {".": np.full(3, 1 / 3), "?": np.full(3, np.nan)}
    return np.array([rows[letter] for letter in text], np.float32)


def _video(text: str, **row: object) -> ScoredVideo:
    """Windows of 2 s, a second apart."""
    end_s = len(text) + 1.0
    known = Prediction("v.mp4", Status.OK, start_s=0.0, end_s=end_s, duration_s=end_s)
    return ScoredVideo(Prediction(**{**vars(known), **row}), _scores(text), 2.0, 1.0)


def _told(text: str, least: float = 0.6, **spec: object) -> list[tuple[str, float, float]]:
    rows = to_segments(_video(text), CLASSES, TimelineSpec(**spec), 2, least)
    return [(row.label, row.start_s, row.end_s) for row in rows]


def test_the_most_probable_sequence_is_that_of_trying_all() -> None:
    logs = np.log(np.random.default_rng(0).dirichlet(np.full(3, 0.5), 6))
    for switch in (0.0, 0.7, 3.0):

        def score(path: tuple[int, ...], switch: float = switch) -> float:
            changes = sum(a != b for a, b in pairwise(path))
            return float(sum(logs[i, k] for i, k in enumerate(path)) - switch * changes)

        best = max(product(range(3), repeat=6), key=score)
        assert tuple(most_probable(logs, switch)) == best
    assert tuple(most_probable(logs, 0.0)) == tuple(logs.argmax(1))


def test_segments_meet_between_two_windows() -> None:
    assert _told("hhhhhwwwww") == [("hug", 0.0, 5.5), ("walk", 5.5, 11.0)]
    assert _told("h") == [("hug", 0.0, 2.0)], "a short video"


def test_one_window_of_another_label_is_no_segment() -> None:
    assert _told("hhhhrhhhh") == [("hug", 0.0, 10.0)]
    assert [label for label, _, _ in _told("hhhhrrrrhhhh")] == ["hug", "run", "hug"]


def test_a_segment_begins_where_it_is_sure_and_lasts_longer() -> None:
    """0.6 to begin, 0.3 to last: a third is enough to last, a sixth is not."""
    assert _told("hhhh...hhhh") == [("hug", 0.0, 12.0)]
    assert _told(".......") == [(UNCERTAIN, 0.0, 8.0)]
    scores = _scores("hhhhhhhhhhhh")
    scores[4:8] = (1 / 6, 5 / 12, 5 / 12)
    video = ScoredVideo(_video("h" * 12).row, scores, 2.0, 1.0)
    spec = TimelineSpec(min_length_s=0.0)
    assert [row.label for row in to_segments(video, CLASSES, spec, 1, 0.6)] == ["hug", "hug"]
    (kept,) = to_segments(video, CLASSES, spec, 1, 0.0)
    assert (kept.label, kept.end_s) == ("hug", 13.0), "without a threshold"


def test_gaps_and_short_segments_are_left_out_or_told() -> None:
    text = "hhhhhhwwrrrrrr"
    assert [label for label, _, _ in _told(text)] == ["hug", "walk", "run"]
    assert [label for label, _, _ in _told(text, min_length_s=3.0)] == ["hug", "run"]
    rows = _told(text, min_length_s=3.0, gaps=True)
    assert [label for label, _, _ in rows] == ["hug", "run"], "as short as what is left out"
    with_gap = _told("hhhhhh" + "w" * 5 + "rrrrrr", least=0.95, gaps=True)
    assert {label for label, _, _ in with_gap} == {UNCERTAIN}


def test_other_is_a_gap() -> None:
    video = _video("hhhhhwwwww")
    rows = to_segments(video, ("hug", "run", "other"), TimelineSpec(), 2, 0.6)
    assert [(row.label, row.start_s, row.end_s) for row in rows] == [("hug", 0.0, 5.5)]


def test_a_row_shows_the_windows_within_its_segment() -> None:
    first, second = to_segments(_video("hhhhhwwwww"), CLASSES, TimelineSpec(), 2, 0.6)
    assert first.top[0] == ("hug", pytest.approx(SURE))
    assert first.confidence == pytest.approx(SURE)
    assert (len(first.top), first.status, second.duration_s) == (2, Status.OK, 11.0)


def test_a_video_without_segments_has_a_row_that_says_so() -> None:
    (row,) = to_segments(_video("....."), CLASSES, TimelineSpec(), 3, 0.6)
    assert (row.status, row.label, row.reason) == (Status.UNCERTAIN, UNCERTAIN, "low_confidence")
    assert "no segment" in row.detail
    assert (row.start_s, row.end_s, len(row.top)) == (0.0, 6.0, 3)
    failed = Prediction("v.mp4", Status.FAILED, reason="not_video")
    nothing = ScoredVideo(failed, np.zeros((0, 3), np.float32), 2.0, 1.0)
    assert to_segments(nothing, CLASSES, TimelineSpec(), 3, 0.6) == [failed]


def test_windows_that_are_lost_are_no_segment() -> None:
    spec = TimelineSpec(gaps=True)
    rows = to_segments(_video("hhhh????wwww"), CLASSES, spec, 2, 0.6)
    assert [(row.label, row.start_s, row.end_s) for row in rows] == [
        ("hug", 0.0, 4.5), ("walk", 8.5, 13.0)
    ]  # fmt: skip


def test_parts_come_in_any_order_and_a_lost_one_leaves_a_gap() -> None:
    collector = Collector(2.0, 1.0)
    whole = Prediction("v.mp4", Status.OK, start_s=0.0, end_s=11.0, frames_used=5)
    lost = Prediction("v.mp4", Status.PARTIAL, reason="damaged", detail="v.mp4: cut")
    assert collector.add(PartScores(0, whole, _scores("hhhh"), 0, 3)) is None
    assert collector.add(PartScores(0, whole, _scores("ww"), 2, 3)) is None
    video = collector.add(PartScores(0, lost, _scores("")[:0].reshape(0, 3), 1))
    assert video is not None
    assert np.isnan(video.scores[:, 0]).tolist() == [False] * 4 + [True] * 4 + [False] * 2
    assert (video.row.status, video.row.detail, video.row.frames_used) == (
        Status.PARTIAL, "v.mp4: cut", 10
    )  # fmt: skip
    assert video.edges_s.tolist() == [0.0, *(1.5 + n for n in range(9)), 11.0]
