"""Decoder processes: what dies or hangs costs its own file only."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import CLIP, colour_video
from faulty import FaultyJob
from places import TESTS

from vidlabel.clips.read import RUN, read_clip, read_run, read_time_steps
from vidlabel.decode.pool import DEPTH, DecoderPool, slot_count
from vidlabel.decode.worker import DecodeJob
from vidlabel.errors import Reason, RunError
from vidlabel.specs import Limits, VideoItem

MakeVideo = Callable[..., Path]
FLOW = replace(CLIP, frames=2, input="flow", step_s=0.0, pairs=2)


@pytest.fixture(autouse=True)
def _workers_find_this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


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


@pytest.mark.parametrize("kind", ["flow", "rgb+flow"])
def test_frames_for_flow_arrive_whole(kind: Any, tmp_path: Path) -> None:
    """It is computed before they are cropped, of each view's stretch."""
    clip = replace(FLOW, input=kind)
    (item,) = _items(tmp_path, ["v"])
    expected = read_time_steps(item.path, clip, 2, Limits())
    with DecoderPool(DecodeJob(clip, views=2), 1) as pool:
        (done,) = pool.run([item])
        assert done.data is not None
        np.testing.assert_array_equal(done.data.clips, expected.clips)
    assert expected.clips.shape == (2, 2, clip.decoded_channels, 36, 48)


@pytest.mark.parametrize("clip", [CLIP, replace(FLOW, input="rgb+flow")], ids=["rgb", "rgb+flow"])
def test_parts_that_are_added_on_the_way_are_those_of_the_video(
    clip: Any, tmp_path: Path, make_video: MakeVideo
) -> None:
    """Also when a process dies over one of them."""
    path = tmp_path / "flaky.mp4"
    path.write_bytes(make_video(frames=2 * RUN + 20).read_bytes())
    others = _items(tmp_path, ["a", "b"])
    seen = []
    with DecoderPool(FaultyJob(clip, every=True), 2) as pool:
        for done in pool.run([VideoItem(7, str(path)), *others]):
            assert done.data is not None, done.error
            expected = read_run(done.item.path, clip, done.item.part, Limits())
            np.testing.assert_array_equal(done.data.clips, expected.clips)
            assert done.data.frames_used == expected.frames_used
            seen.append((done.item.index, done.item.part))
            if done.item.index == 7 and done.item.part == 0:
                assert done.data.parts == 3
                for part in (1, 2):
                    pool.add(replace(done.item, part=part))
    assert sorted(seen) == [(0, 0), (1, 0), (7, 0), (7, 1), (7, 2)]


@pytest.mark.parametrize(
    "job",
    [
        DecodeJob(CLIP), DecodeJob(CLIP, views=3), DecodeJob(CLIP, cropped=False),
        DecodeJob(FLOW, views=2), DecodeJob(replace(FLOW, input="rgb+flow")),
        DecodeJob(replace(FLOW, aspect=0.25)), DecodeJob(replace(CLIP, aspect=2.5), cropped=False),
        DecodeJob(CLIP, every=True), DecodeJob(FLOW, every=True),
        DecodeJob(replace(FLOW, input="rgb+flow", aspect=4 / 3), every=True),
        DecodeJob(replace(CLIP, aspect=1.0), every=True),
    ],
    ids=lambda job: f"{job.clip.input} {job.clip.aspect:.2g} {job.views} {job.every}",
)  # fmt: skip
def test_a_slot_holds_the_most_that_a_file_can_give(job: DecodeJob, make_video: MakeVideo) -> None:
    """A frame of 8:1 is squashed to 4:1; a video longer than a part has a part of full length."""
    path = str(make_video(size=(512, 64), frames=RUN + 5))
    assert job.read(path).clips.nbytes == job.slot_bytes


def test_large_slots_cost_the_decoders_none_of_their_memory(tmp_path: Path) -> None:
    clip = replace(CLIP, frames=1000)
    job = DecodeJob(clip, views=40, limits=Limits(memory_mb=512), cropped=False)
    assert job.slot_bytes > 540 * 2**20
    assert slot_count(job, 1) == 1
    broken = tmp_path / "broken.mp4"
    broken.write_text("not a video")
    with DecoderPool(job, 1) as pool:
        (done,) = pool.run([VideoItem(0, str(broken))])
    assert done.error is not None
    assert done.error.reason is Reason.NOT_VIDEO


@pytest.mark.parametrize(("workers", "slots"), [(1, DEPTH), (2, 6), (3, 6), (7, 7), (8, 8)])
def test_memory_is_shared_for_one_file_each_and_for_more_if_there_is_room(
    workers: int, slots: int
) -> None:
    job = DecodeJob(CLIP)
    assert slot_count(job, workers, shared_bytes=7 * job.slot_bytes) == slots


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
