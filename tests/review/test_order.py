"""In which order the review page opens."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from program import Invoke

from vidlabel.errors import UsageError
from vidlabel.results.embeddings import Embeddings, read_embeddings, write_embeddings
from vidlabel.results.record import Record, TableInfo, record
from vidlabel.review.order import by_worth
from vidlabel.specs import Prediction, Status


def row(path: str, *top: tuple[str, float], **more: object) -> Record:
    prediction = Prediction(path, Status.OK, top[0][0], top[0][1], top, **more)
    return record(prediction, TableInfo("tiny", 3))


SURE = [row(f"sure{i}", ("walk", 0.98), ("run", 0.01)) for i in range(20)]
ONE_DOUBT = [row(f"walk or run {i}", ("walk", 0.5), ("run", 0.49)) for i in range(20)]
OTHER_DOUBT = [row("hug or kick", ("hug", 0.6), ("kick", 0.4))]


def test_what_comes_first_is_uncertain_and_of_several_kinds() -> None:
    rows = [*SURE, *ONE_DOUBT, *OTHER_DOUBT]
    order = by_worth(rows)
    assert sorted(order) == list(range(len(rows)))
    first = [rows[i]["path"] for i in order[:2]]
    assert "hug or kick" in first, "not 20 times the same question"
    assert any("walk or run" in path for path in first)
    assert order == by_worth(rows), "the same page each time"
    assert {rows[i]["path"][:4] for i in order[-19:]} == {"sure"}


def test_embeddings_tell_apart_what_probabilities_do_not() -> None:
    """Two kinds of video with the same doubt: one of each comes first."""
    kinds = np.array([[1.0, 0.0]] * 19 + [[0.0, 1.0]], np.float32)
    paths = tuple(each["path"] for each in ONE_DOUBT)
    order = by_worth(ONE_DOUBT, Embeddings(paths, kinds))
    assert 19 in order[:2]
    assert sorted(order) == list(range(20))


def test_segments_of_a_video_have_embeddings_in_order() -> None:
    rows = [row("a", ("walk", 0.5), ("run", 0.4)) for _ in range(4)]
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    assert 3 in by_worth(rows, Embeddings(("a",) * 4, vectors))[:2]
    assert sorted(by_worth(rows, Embeddings(("b",), vectors[:1]))) == [0, 1, 2, 3]


def test_rows_without_probabilities_come_last_as_they_are() -> None:
    failed = record(Prediction("x", Status.FAILED, reason="empty"), TableInfo("tiny", 3))
    plain = [Record(**{**each, "confidence": None, "top": []}) for each in SURE[:3]]
    assert by_worth([failed, *plain, *OTHER_DOUBT]) == [4, 0, 1, 2, 3]
    assert by_worth([failed]) == [0]


def test_long_tables_are_ordered_by_margin_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidlabel.review.order.FIRST", 2)
    monkeypatch.setattr("vidlabel.review.order.CANDIDATES", 30)
    rows = [row(f"{i}", ("a", 0.5 + i / 1000), ("b", 0.4)) for i in range(200)]
    order = by_worth(rows)
    assert set(order[:2]) < set(range(30))
    assert order[2:] == sorted(order[2:])


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_embeddings_are_read_back(suffix: str, tmp_path: Path) -> None:
    top = (("walk", 0.5),)
    rows = [Prediction(name, Status.OK, "walk", 0.5, top, embedding=(i, 2.0))
            for i, name in enumerate(["a", "caf\udce9"])]  # fmt: skip
    write_embeddings(rows, tmp_path / f"e.{suffix}")
    found = read_embeddings(tmp_path / f"e.{suffix}")
    assert found.paths == ("a", "caf\\xe9")
    assert found.vectors.tolist() == [[0, 2], [1, 2]]


@pytest.mark.parametrize("name", ["e.csv", "none.npz", "text.npz", "text.parquet", "other.npz"])
def test_wrong_embeddings_are_refused(name: str, tmp_path: Path) -> None:
    if name.startswith("text"):
        (tmp_path / name).write_text("text")
    if name.startswith("other"):
        np.savez(tmp_path / name, paths=np.array(["a"]), embeddings=np.zeros(3))
    with pytest.raises(UsageError):
        read_embeddings(tmp_path / name)


@pytest.mark.parametrize("order", ["value", "uncertain", "confidence", "path"])
def test_the_page_opens_in_the_order_asked_for(
    order: str, vidlabel: Invoke, tmp_path: Path
) -> None:
    """The rows stay in the order of the table, by whose numbers the browser keeps corrections."""
    lines = [json.dumps({**each, "reason": "crashed", "status": "failed"}) + "\n"
             for each in (*SURE[:2], *OTHER_DOUBT)]  # fmt: skip
    lines[1:] = [json.dumps(each) + "\n" for each in (*SURE[:1], *OTHER_DOUBT)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    asked = () if order == "value" else ("--order", order)
    assert vidlabel("review", tmp_path / "a.jsonl", *asked)[0] == 1, "there are no such videos"
    text = (tmp_path / "a.html").read_text()
    (selected,) = re.findall(r'<option value="(\w+)" selected>', text)
    assert selected == order
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert data
    rows = json.loads(data[1])["rows"]
    assert [each["shown"] for each in rows] == ["sure0", "sure0", "hug or kick"]
    assert [each["rank"] for each in rows] == [2, 1, 0]


def test_embeddings_of_other_videos_are_told(vidlabel: Invoke, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(SURE[0]) + "\n")
    np.savez(tmp_path / "e.npz", paths=np.array(["x"]), embeddings=np.ones((1, 2)))
    words = ("review", tmp_path / "a.jsonl", "--embeddings", tmp_path / "e.npz")
    assert "has none of the videos" in vidlabel(*words)[2]
