"""The cache of decoded frames: right pixels, whatever happens to its files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fakes import CLIP, COLOURS, MeanColour, colour_checkpoint, colour_frames, colour_video
from hypothesis import given
from hypothesis import strategies as st
from places import TESTS
from program import Program
from torch import Tensor

from vidlabel.clips.read import read_time_steps
from vidlabel.clips.sample import clip_times
from vidlabel.errors import OutputError, RunError
from vidlabel.predict.labeller import Labeller
from vidlabel.spans import VideoSpan
from vidlabel.specs import ClipSpec, Limits
from vidlabel.train.cache_folder import UNUSED_DAYS, default_folder, remove_unused, usage
from vidlabel.train.frame_cache import (
    LEAST_KEPT,
    OVERSAMPLE,
    FrameCache,
    held_out_moments,
    kept_time_steps,
)
from vidlabel.train.training_clips import centre_square
from vidlabel.train.training_frames import Gathered, TrainingFrames, Where, places
from vidlabel.video.write import write_video

CPU = torch.device("cpu")
FLOW = replace(CLIP, frames=1, input="flow", step_s=0.0, pairs=2)


class _Counter:
    """Counts the videos that are decoded."""

    def __init__(self) -> None:
        self.total = self.done = 0

    @contextmanager
    def __call__(self, total: int) -> Iterator[_Counter]:
        self.total += total
        yield self

    def advance(self) -> None:
        self.done += 1


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[VideoSpan]:
    folder = tmp_path_factory.mktemp("entries")
    paths = [colour_video(folder / f"{c}.mp4", c, 14, seed=i) for i, c in enumerate(COLOURS)]
    return [VideoSpan(str(path)) for path in paths]


def _expected(video: VideoSpan) -> np.ndarray:
    path, span = video.path, video.span
    return read_time_steps(path, CLIP, 1, Limits(), each=OVERSAMPLE, span=span).clips[0]


def _fill(folder: Path, videos: list[VideoSpan], clip: object = CLIP) -> tuple[FrameCache, int]:
    """A filled cache, and how many videos were decoded for it."""
    cache, counter = FrameCache(folder, clip), _Counter()  # type: ignore[arg-type]
    assert cache.fill(videos, 1, counter) == {}
    assert counter.done == counter.total
    return cache, counter.done


def _check(cache: FrameCache, videos: list[VideoSpan]) -> None:
    for path in videos:
        np.testing.assert_array_equal(cache.frames(path).numpy(), _expected(path))


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.npy"))


def test_videos_are_decoded_once_and_read_as_decoded(
    videos: list[VideoSpan], tmp_path: Path
) -> None:
    cache, decoded = _fill(tmp_path, videos)
    assert decoded == 3
    _check(cache, videos)
    again, decoded = _fill(tmp_path, videos)
    assert decoded == 0
    _check(again, videos)
    assert len(_entries(tmp_path)) == 3


def test_each_span_of_a_video_has_its_own_entry(videos: list[VideoSpan], tmp_path: Path) -> None:
    path = videos[0].path
    spans = [VideoSpan(path), VideoSpan(path, 0.0, 0.6), VideoSpan(path, 0.6), VideoSpan(path, 9)]
    cache, counter = FrameCache(tmp_path, CLIP), _Counter()
    assert cache.fill(spans, 1, counter).keys() == {spans[3]}, "after the end"
    _check(cache, spans[:3])
    assert len({cache.frames(span).numpy().tobytes() for span in spans[:3]}) == 3
    assert _fill(tmp_path, spans[:3])[1] == 0


def test_what_decides_the_pixels_decides_the_entry(videos: list[VideoSpan], tmp_path: Path) -> None:
    _fill(tmp_path, videos)
    assert _fill(tmp_path, videos, replace(CLIP, size_px=34))[1] == 0, "cropped later"
    assert _fill(tmp_path, videos, replace(CLIP, step_s=0.5))[1] == 0, "of motion only"
    assert _fill(tmp_path, videos, replace(CLIP, resize_px=40))[1] == 3
    assert _fill(tmp_path, videos, replace(CLIP, frames=5))[1] == 3
    motion = replace(CLIP, input="motion")
    assert _fill(tmp_path, videos, motion)[1] == 3
    assert _fill(tmp_path, videos, replace(motion, step_s=0.1))[1] == 3


def test_flow_is_kept_as_frames_are(videos: list[VideoSpan], tmp_path: Path) -> None:
    cache, decoded = _fill(tmp_path, videos[:2], FLOW)
    assert decoded == 2
    shape = (kept_time_steps(FLOW), 4, 36, 48)
    for path in videos[:2]:
        assert cache.frames(path).shape == shape
        assert cache.frames(path).nbytes == np.prod(shape)
    again, decoded = _fill(tmp_path, videos[:2], replace(FLOW, size_px=34))
    assert decoded == 0
    assert torch.equal(again.frames(videos[0]), cache.frames(videos[0]))
    assert not torch.equal(cache.frames(videos[0]), cache.frames(videos[1]))


def test_what_decides_the_flow_decides_its_entry(tmp_path: Path) -> None:
    path = VideoSpan(str(tmp_path / "x.mp4"))

    def digest(clip: ClipSpec) -> str:
        return FrameCache(tmp_path, clip)._digest(path)

    changes: list[dict[str, Any]] = [
        {"pairs": 3}, {"step_s": 0.1}, {"aspect": 1.0}, {"fps": 5.0, "frames": 4}, {"frames": 4},
        {"resize_px": 40}, {"input": "rgb+flow"}, {"input": "rgb", "step_s": 0.1},
    ]  # fmt: skip
    (tmp_path / "x.mp4").write_bytes(b"x")
    clips = [FLOW, *(replace(FLOW, **change) for change in changes)]
    assert len({digest(clip) for clip in clips}) == len(clips)
    rgb = replace(FLOW, input="rgb", step_s=0.1)
    assert digest(rgb) == digest(replace(rgb, pairs=3, step_s=0.2)), "of flow and motion only"
    paced = replace(rgb, frames=4, fps=5.0)
    assert digest(paced) != digest(replace(paced, fps=6.0))


@pytest.mark.parametrize(
    ("frames", "kept"), [(1, 8), (2, 8), (3, 9), (4, 8), (5, 10), (8, 16), (16, 32)]
)
def test_at_least_eight_steps_or_twice_as_many_are_kept(frames: int, kept: int) -> None:
    clip = ClipSpec(frames=frames)
    assert kept_time_steps(clip) == kept >= max(LEAST_KEPT, OVERSAMPLE * frames)
    moments = held_out_moments(clip)
    assert moments.shape == (frames,)
    assert (moments.diff() == kept // frames).all()


@pytest.mark.parametrize("fps", [0.0, 7.0])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 16])
@given(duration_s=st.floats(0.01, 100_000.0))
def test_what_predict_sees_is_among_the_steps_that_are_kept(
    fps: float, frames: int, duration_s: float
) -> None:
    clip = ClipSpec(frames=frames * (2 if fps else 1), fps=fps)
    video: Any = SimpleNamespace(duration_s=duration_s, frame_times_s=None, fps=10.0)
    every, _ = clip_times(video, clip, 1, kept_time_steps(clip) // clip.frames)
    seen, _ = clip_times(video, clip, 1)
    found = every[0, held_out_moments(clip), 0]
    if fps:
        np.testing.assert_allclose(found, seen[0, :, 0], rtol=1e-12)
    else:
        assert (found == seen[0, :, 0]).all(), "to the last bit: it decides which frame is shown"
        apart = np.diff(every[0, :, 0])
        np.testing.assert_allclose(apart, duration_s / kept_time_steps(clip), rtol=1e-6)
        assert 0 <= every.min() <= every.max() < duration_s


_SEEN: list[Tensor] = []


class _Recorder(MeanColour):
    """Notes the clips that it is shown."""

    fixed_time_steps = False

    def frame_features(self, clips: Tensor) -> Tensor:
        _SEEN.append(clips)
        return super().frame_features(clips[:, :, :3])


@pytest.mark.parametrize(
    "clip",
    [
        replace(FLOW, frames=2, step_s=0.1, aspect=1.0),
        replace(FLOW, frames=4, fps=8.0, input="rgb+flow"),
        replace(CLIP, frames=3),
        replace(CLIP, frames=8),
    ],
    ids=["flow", "rgb+flow", "rgb", "many"],
)
def test_what_is_held_out_is_what_predict_sees(clip: ClipSpec, tmp_path: Path) -> None:
    path = str(colour_video(tmp_path / "x.mp4", "red", 25))
    cache, _ = _fill(tmp_path / "cache", [VideoSpan(path)], clip)
    kept = TrainingFrames(cache, [VideoSpan(path)], CPU).take(0, held_out_moments(clip))
    checkpoint = colour_checkpoint()
    header = replace(checkpoint.header, clip=clip)
    labeller = Labeller(replace(checkpoint, header=header, network=_Recorder()), "cpu")  # type: ignore[arg-type]
    _SEEN.clear()
    (row,) = labeller.predict([path])
    assert row.ok
    (shown,) = _SEEN
    assert shown.shape[1:] == clip.shape
    assert torch.equal(shown[0], centre_square(kept, clip.size_px))


def test_a_video_that_has_changed_is_decoded_again(tmp_path: Path) -> None:
    path = VideoSpan(str(colour_video(tmp_path / "x.mp4", "red", 14)))
    _fill(tmp_path / "cache", [path])
    colour_video(tmp_path / "x.mp4", "blue", 15)
    cache, decoded = _fill(tmp_path / "cache", [path])
    assert decoded == 1
    _check(cache, [path])


def test_a_video_that_changes_during_a_training_does_not_matter(tmp_path: Path) -> None:
    path = colour_video(tmp_path / "x.mp4", "red", 14)
    video = VideoSpan(str(path))
    cache, _ = _fill(tmp_path / "cache", [video])
    before = cache.frames(video).clone()
    path.write_bytes(b"gone")
    assert torch.equal(cache.frames(video), before)


@pytest.mark.parametrize(
    "damage",
    ["cut", "longer", "garbage", "zip", "empty", "header", "shape", "negative", "type", "pickle"],
)
def test_a_broken_entry_is_decoded_again(
    damage: str, videos: list[VideoSpan], tmp_path: Path
) -> None:
    _fill(tmp_path, videos[:1])
    (entry,) = _entries(tmp_path)
    data = entry.read_bytes()
    if damage in ("shape", "type", "pickle"):
        values = {
            "shape": np.zeros((8, 3, 36, 10), np.uint8),
            "type": np.zeros((8, 3, 36, 48), np.int8),
            "pickle": np.array([{}], dtype=object),
        }
        np.save(entry, values[damage], allow_pickle=True)
    else:
        kinds = {
            "cut": data[:-1],
            "longer": data + b"x",
            "garbage": b"x" * 300,
            "zip": b"PK\x03\x04" + b"x" * 300,
            "empty": b"",
            "header": data[:10] + b"(" * 118 + data[128:],
            "negative": data.replace(b"3, 36, 48)", b"3,-36, 48)"),
        }
        entry.write_bytes(kinds[damage])
    cache, decoded = _fill(tmp_path, videos[:1])
    assert decoded == 1
    _check(cache, videos[:1])


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\0\x08\0((((((((", None])
def test_an_entry_that_breaks_in_use_is_one_clear_line(
    damage: bytes | None, videos: list[VideoSpan], tmp_path: Path
) -> None:
    cache, _ = _fill(tmp_path, videos[:1])
    (entry,) = _entries(tmp_path)
    entry.unlink()
    if damage is not None:
        entry.write_bytes(damage)
    with pytest.raises(RunError, match="was the cache removed"):
        cache.frames(videos[0])


def test_a_video_named_twice_is_decoded_once(videos: list[VideoSpan], tmp_path: Path) -> None:
    assert _fill(tmp_path, [videos[0]] * 3)[1] == 1


def test_an_unreadable_video_is_named_and_tried_again(
    videos: list[VideoSpan], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    bad = [VideoSpan(str(broken)), VideoSpan(str(tmp_path / "missing.mp4"))]
    for _ in range(2):
        cache, counter = FrameCache(tmp_path / "cache", CLIP), _Counter()
        found = cache.fill([*videos, *bad], 1, counter)
        assert found.keys() == set(bad)
        assert all(why and "\n" not in why for why in found.values())
    assert counter.done == 2


_FILL = """
import sys
from pathlib import Path
from fakes import CLIP
from vidlabel.spans import VideoSpan
from vidlabel.train.frame_cache import FrameCache
from vidlabel.train.observer import TrainObserver
cache = FrameCache(Path(sys.argv[1]), CLIP)
videos = [VideoSpan(path) for path in sys.argv[2:]]
assert cache.fill(videos, 1, TrainObserver().decoding) == {}
"""


def _start(folder: Path, videos: list[VideoSpan]) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", _FILL, str(folder), *(each.path for each in videos)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths})


def test_two_processes_fill_one_cache(videos: list[VideoSpan], tmp_path: Path) -> None:
    running = [_start(tmp_path, order) for order in (videos, videos[::-1])]
    assert [process.wait(100) for process in running] == [0, 0]
    cache, decoded = _fill(tmp_path, videos)
    assert decoded == 0
    _check(cache, videos)
    assert usage(tmp_path).videos == 3


def test_a_fill_that_is_killed_leaves_no_wrong_entry(
    videos: list[VideoSpan], tmp_path: Path
) -> None:
    copies = [VideoSpan(str(tmp_path / f"{i}.mp4")) for i in range(150)]
    for number, copy in enumerate(copies):
        os.link(videos[number % len(videos)].path, copy.path)
    folder = tmp_path / "cache"
    process = _start(folder, copies)
    deadline = time.monotonic() + 60
    while not _entries(folder) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(_entries(folder))
    assert 0 < done < len(copies), "the kill came too late"
    cache, decoded = _fill(folder, copies)
    assert decoded == len(copies) - done
    _check(cache, copies[:3] + copies[-3:])


def test_a_folder_that_cannot_be_written_is_one_clear_line(
    videos: list[VideoSpan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file: decoded frames cannot be cached there.*--cache"):
        _fill(tmp_path / "file", videos)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OutputError, match=r"No space left on device.*--cache FOLDER"):
        _fill(tmp_path / "cache", videos)
    assert usage(tmp_path / "cache").size == 0, "nothing half written stays"

    def half_written(*arguments: object) -> None:  # what NumPy then says
        raise OSError("43512 requested and 24448 written")

    monkeypatch.setattr(np, "save", half_written)
    with pytest.raises(OutputError, match=r"\(is the disk full\?\); .*--cache FOLDER"):
        _fill(tmp_path / "cache", videos)


def test_a_folder_that_cannot_be_made_is_said_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file", tmp_path / "file" / "cache"):
        with pytest.raises(OutputError, match=r"frames cannot be cached there.*--cache FOLDER"):
            FrameCache(bad, CLIP).make_folder()
    FrameCache(tmp_path / "new" / "cache", CLIP).make_folder()
    assert (tmp_path / "new" / "cache").is_dir()


def test_a_cache_that_is_removed_in_use_is_one_clear_line(
    videos: list[VideoSpan], tmp_path: Path
) -> None:
    cache, _ = _fill(tmp_path, videos)
    usage(tmp_path, clear=True)
    with pytest.raises(RunError, match="was the cache removed"):
        cache.frames(videos[0])


def test_what_is_not_used_goes_and_what_is_used_stays(
    videos: list[VideoSpan], tmp_path: Path
) -> None:
    _fill(tmp_path, videos)
    old = time.time() - (UNUSED_DAYS + 1) * 86400
    for entry in _entries(tmp_path):
        os.utime(entry, (old, old))
    folders = sorted(tmp_path.iterdir())
    torn = _entries(tmp_path)[0].with_suffix(".abc_12.part")
    for path in (torn, torn.with_suffix(".npy.txt")):
        path.write_text("")
        os.utime(path, (old, old))
    _, decoded = _fill(tmp_path, videos[:1])
    assert decoded == 0
    assert len(_entries(tmp_path)) == 1
    assert not torn.exists()
    torn.with_suffix(".npy.txt").unlink()
    remove_unused(tmp_path)
    assert sorted(tmp_path.iterdir()) == folders, "another process may be about to write there"
    fresh = torn.with_suffix(".xyz.part")
    fresh.write_text("")
    remove_unused(tmp_path)
    assert fresh.exists(), "another process is writing it"


def test_what_this_training_uses_stays_however_old_it_seems(
    videos: list[VideoSpan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(tmp_path, videos)
    old = time.time() - (UNUSED_DAYS + 1) * 86400
    for entry in _entries(tmp_path):
        os.utime(entry, (old, old))

    def refused(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refused)
    _fill(tmp_path, videos[:2])
    assert len(_entries(tmp_path)) == 2


def test_one_entry_that_cannot_be_removed_keeps_no_other(
    videos: list[VideoSpan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(tmp_path, videos)
    first, *_ = _entries(tmp_path)
    for entry in _entries(tmp_path):
        os.utime(entry, (0, 0))
    unlink = Path.unlink

    def refusing(path: Path, missing_ok: bool = False) -> None:
        if path == first:
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refusing)
    remove_unused(tmp_path)
    assert _entries(tmp_path) == [first]


def test_clear_removes_its_own_files_only(
    videos: list[VideoSpan], tmp_path: Path, program: Program
) -> None:
    folder = tmp_path / "cache"
    _fill(folder, videos)
    shown = program.run("cache", "--folder", folder)
    assert shown.code == 0
    assert "entries  3" in shown.out
    entry = _entries(folder)[0]
    foreign = [folder / "notes.txt", entry.with_name("mine.npy"), folder / "zz" / entry.name]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    link = entry.with_name("0" * 64 + ".npy")
    link.symlink_to(foreign[0])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    foreign.append(elsewhere / entry.name)
    foreign[-1].write_text("mine")
    linked = next(
        place for place in (folder / f"{n:02x}" for n in range(256)) if not place.exists()
    )
    linked.symlink_to(elsewhere)
    assert program.run("cache", "--folder", folder, "--clear").code == 0
    assert all(path.read_text() == "mine" for path in foreign)
    assert link.is_symlink()
    assert usage(folder).videos == 0
    nowhere = program.run("cache", "--folder", tmp_path / "none")
    assert nowhere.code == 0
    assert "entries  0" in nowhere.out


def test_the_command_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from vidlabel.cli.main import cli\n"
        "cli(['cache', '--folder', sys.argv[1]], standalone_mode=False)\n"
        "assert not {'torch', 'av', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDLABEL_CACHE", "/a")
    assert default_folder() == Path("/a")
    monkeypatch.delenv("VIDLABEL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert default_folder() == Path("/b/vidlabel/frames")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert default_folder() == Path("/c/.cache/vidlabel/frames")


def test_frames_are_taken_at_moments(videos: list[VideoSpan], tmp_path: Path) -> None:
    cache, _ = _fill(tmp_path, videos)
    frames = TrainingFrames(cache, videos, CPU)
    assert frames.where == "disk"
    assert frames.nbytes == sum(cache.frames(path).nbytes for path in videos)
    moments = torch.tensor([0, 2, 2, 7])
    assert torch.equal(frames.take(1, moments), cache.frames(videos[1])[moments])


def _shown(gathered: Gathered, channels: int = 3) -> list[Tensor]:
    """The frames (T, C, H, W) of each clip."""
    memory = gathered.memory.cpu()
    assert memory.dtype == torch.uint8
    return [
        torch.stack([memory[s : s + channels * h * w].view(channels, h, w) for s in starts])
        for starts, (h, w) in zip(gathered.starts.tolist(), gathered.sizes.tolist(), strict=True)
    ]


def _check_gathered(frames: TrainingFrames, cache: FrameCache, videos: list[VideoSpan]) -> None:
    numbers = [1, 0, 1]
    moments = torch.tensor([[0, 2, 2, 7], [3, 3, 3, 3], [7, 6, 1, 5]])
    shown = _shown(frames.gather(numbers, moments))
    for clip, number, at in zip(shown, numbers, moments, strict=True):
        assert torch.equal(clip, cache.frames(videos[number])[at])


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory, videos: list[VideoSpan]) -> list[str]:
    """Videos of different sizes."""
    path = tmp_path_factory.mktemp("uneven") / "upright.mp4"
    upright = (frame.transpose(1, 0, 2) for frame in colour_frames("red", 14))
    write_video(path, (frame[:, 10:] for frame in upright), 12)
    return [videos[0], VideoSpan(str(path)), videos[1]]


def test_frames_of_a_batch_are_gathered(uneven: list[VideoSpan], tmp_path: Path) -> None:
    cache, _ = _fill(tmp_path, uneven)
    assert len({cache.frames(path).shape for path in uneven}) == 2
    _check_gathered(TrainingFrames(cache, uneven, CPU), cache, uneven)


@pytest.mark.parametrize("where", ["GPU memory", "pinned memory"])
@pytest.mark.parametrize("block", [1, 100_000, 2**20])  # smaller than a video, two of them, all
def test_blocks_hold_the_same_frames(
    where: Where, block: int, uneven: list[VideoSpan], tmp_path: Path
) -> None:
    """On the CPU, which stands in for the memory of a GPU; nothing is pinned without one."""
    cache, _ = _fill(tmp_path, uneven)
    frames = TrainingFrames(cache, uneven, CPU, [where], block)
    assert frames.where == where
    _check_gathered(frames, cache, uneven)


def test_frames_that_do_not_fit_after_all_are_not_held(
    videos: list[VideoSpan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, _ = _fill(tmp_path, videos)
    empty = torch.empty

    def full(*size: object, **how: object) -> torch.Tensor:
        if size == (0,):
            return empty(0, dtype=torch.uint8)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "empty", full)
    frames = TrainingFrames(cache, videos, CPU, ["GPU memory", "pinned memory"])
    monkeypatch.undo()
    assert frames.where == "disk"
    moments = torch.tensor([1, 3])
    assert torch.equal(frames.take(2, moments), cache.frames(videos[2])[moments])


def test_frames_are_held_where_they_fit() -> None:
    assert places(50, 100, 1000) == ["GPU memory", "pinned memory"]
    assert places(70, 100, 1000) == ["pinned memory"]
    assert places(700, 100, 1000) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("where", ["GPU memory", "pinned memory", "disk"])
def test_a_gpu_takes_the_same_frames_from_everywhere(
    where: Where, uneven: list[VideoSpan], tmp_path: Path
) -> None:
    cache, _ = _fill(tmp_path, uneven)
    frames = TrainingFrames(cache, uneven, torch.device("cuda"), [where][: where != "disk"])
    assert frames.where == where
    moments = torch.tensor([0, 2, 2, 7])
    assert frames.gather([0], moments[None]).memory.device.type == "cuda"
    _check_gathered(frames, cache, uneven)
