"""Decoder processes: what dies or hangs costs its own file only."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from fakes import CLIP, colour_video
from faulty import FaultyJob

from vidlabel.clips import read_clip
from vidlabel.errors import Reason
from vidlabel.specs import Limits, VideoItem
from vidlabel.workers import DecodeJob, DecoderPool, worker_count


@pytest.fixture(autouse=True)
def _workers_find_this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def _items(folder: Path, names: list[str]) -> list[VideoItem]:
    paths = [colour_video(folder / f"{name}.mp4", "red", seed=i) for i, name in enumerate(names)]
    return [VideoItem(i, str(path)) for i, path in enumerate(paths)]


def test_pixels_arrive_as_they_were_read(tmp_path: Path) -> None:
    items = _items(tmp_path, [f"v{i}" for i in range(9)])
    expected = [read_clip(item.path, CLIP, 2, Limits()) for item in items]
    with DecoderPool(DecodeJob(CLIP, views=2), 2) as pool:
        for done in pool.run(items):
            assert done.data is not None
            np.testing.assert_array_equal(done.data.clips, expected[done.item.index].clips)
            assert done.data.duration_s == expected[done.item.index].duration_s
            items[done.item.index] = None  # type: ignore[call-overload]
    assert items == [None] * 9


def test_b2_38_a_crash_costs_its_own_file_only(tmp_path: Path) -> None:
    names = ["a", "segfault", "b", "flaky", "c", "bug", "d", "e", "f", "g"]
    with DecoderPool(FaultyJob(CLIP), 2) as pool:
        outcome = {Path(d.item.path).stem: d.error for d in pool.run(_items(tmp_path, names))}
    assert sorted(outcome) == sorted(names)
    assert outcome.pop("segfault").reason is Reason.CRASHED  # type: ignore[union-attr]
    bug = outcome.pop("bug")
    assert bug is not None
    assert bug.reason is Reason.READ_ERROR
    assert "our own mistake" in bug.detail
    assert all(error is None for error in outcome.values()), "the flaky one passes when retried"


def test_b2_39_a_hang_is_ended_at_the_deadline(tmp_path: Path) -> None:
    names = ["a", "hang", "b", "c"]
    job = FaultyJob(CLIP, limits=Limits(timeout_s=1.0))
    with DecoderPool(job, 1) as pool:
        outcome = {Path(d.item.path).stem: d.error for d in pool.run(_items(tmp_path, names))}
    hang = outcome.pop("hang")
    assert hang is not None
    assert hang.reason is Reason.TIMEOUT
    assert outcome == {"a": None, "b": None, "c": None}


def test_known_problems_are_reported_without_a_worker(tmp_path: Path) -> None:
    item = VideoItem(0, "gone.mp4", Reason.NOT_FOUND, "gone.mp4: there is no such file or folder")
    with DecoderPool(DecodeJob(CLIP), 1) as pool:
        (done,) = pool.run([item])
    assert done.error is not None
    assert done.error.reason is Reason.NOT_FOUND


def test_leaving_the_pool_leaves_no_process(tmp_path: Path) -> None:
    items = _items(tmp_path, ["a", "b", "c"])
    with DecoderPool(DecodeJob(CLIP), 2) as pool:
        next(iter(pool.run(items)))
        pids = [worker.process.pid for worker in pool._workers]
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_worker_count() -> None:
    assert worker_count(3) == 3
    assert worker_count(None) >= 1
