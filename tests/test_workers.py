"""Decoder processes: what dies or hangs costs its own file only."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from fakes import CLIP, colour_video

from vidlabel.clips import read_clip
from vidlabel.decoder import DecodeJob
from vidlabel.errors import Reason, RunError
from vidlabel.specs import Limits, VideoItem
from vidlabel.workers import DecoderPool, worker_count


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


def test_a_stop_is_noticed_while_waiting(tmp_path: Path) -> None:
    asked = iter([False] * 3)
    with DecoderPool(DecodeJob(CLIP), 1) as pool:
        done = list(pool.run(_items(tmp_path, ["a"] * 40), stop=lambda: next(asked, True)))
    assert len(done) < 40


def test_no_room_for_the_shared_memory_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RunError, match=r"no room for 1 MiB.*No space left.*--workers"):
        DecoderPool(DecodeJob(CLIP), 1)
