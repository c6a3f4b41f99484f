"""Which moments are sampled, and the clips made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import videos
from hypothesis import given
from hypothesis import strategies as st

from vidlabel.clips import clip_times, crop, read_clip, read_steps, step_times, to_channels
from vidlabel.clips import view_count as count_of
from vidlabel.errors import VideoError
from vidlabel.specs import ClipSpec, Limits

MakeVideo = Callable[..., Path]

durations = st.floats(0.01, 200_000.0)
counts = st.integers(1, 64)


def fake_video(duration_s: float, times_s: list[float] | None = None) -> Any:
    """What `clip_times` reads of a video; without times it is a large file."""
    known = None if times_s is None else np.array(times_s)
    return SimpleNamespace(duration_s=duration_s, frame_times_s=known)


@given(durations, counts, st.integers(1, 8))
def test_steps_cover_the_whole_video_evenly(duration_s: float, steps: int, stretches: int) -> None:
    times = step_times(duration_s, steps, stretches)
    assert times.shape == (stretches, steps)
    flat = times.ravel()
    part = duration_s / flat.size
    assert ((flat > 0) & (flat < duration_s)).all()
    assert flat[0] == pytest.approx(part / 2)
    assert duration_s - flat[-1] == pytest.approx(part / 2, rel=1e-6)
    assert np.diff(flat) == pytest.approx(part, rel=1e-6)


@given(durations, counts, st.floats(0.001, 10.0), st.integers(1, 4))
def test_motion_triplets_stay_inside_and_in_order(
    duration_s: float, frames: int, step_s: float, stretches: int
) -> None:
    spec = ClipSpec(frames=frames, input="motion", step_s=step_s)
    times, padded = clip_times(fake_video(duration_s), spec, stretches)
    assert times.shape == (stretches, frames, 3)
    assert not padded
    assert ((times >= 0) & (times <= duration_s)).all()
    assert (np.diff(times, axis=-1) >= 0).all()
    assert (np.diff(times[..., 1].ravel()) >= 0).all()
    # each triplet spans what was asked for, or else the whole video
    span = times[..., 2] - times[..., 0]
    assert span == pytest.approx(min(2 * step_s, duration_s), rel=1e-6, abs=1e-9)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3))
def test_short_videos_give_each_frame_once_then_the_last(
    shot: int, frames: int, stretches: int
) -> None:
    shown = [i / 10 for i in range(shot)]
    times, padded = clip_times(fake_video(shot / 10, shown), ClipSpec(frames=frames), stretches)
    assert times.shape == (stretches, frames, 1)
    assert padded == (shot < frames)
    if padded:
        for row in times[..., 0]:
            assert row.tolist() == shown + [shown[-1]] * (frames - shot)


@given(st.integers(32, 80), st.integers(0, 200), st.booleans())
def test_crops_are_square_and_where_they_should_be(side: int, extra: int, wide: bool) -> None:
    size = 32
    height, width = (side, side + extra) if wide else (side + extra, side)
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([rows, columns, rows])[None].astype(np.uint16)
    for place, share in (("left", 0.0), ("centre", 0.5), ("right", 1.0)):
        square = crop(pixels, size, place)
        assert square.shape == (1, 3, size, size)
        along, across = (1, 0) if width >= height else (0, 1)
        long, short = max(height, width), min(height, width)
        assert square[0, along, 0, 0] == round((long - size) * share)
        assert square[0, across, 0, 0] == round((short - size) * 0.5)


def test_to_channels_puts_colour_or_time_first() -> None:
    rgb = np.arange(2 * 4 * 1 * 5 * 6 * 3, dtype=np.int64).reshape(2, 4, 1, 5, 6, 3)
    steps = to_channels(rgb)
    assert steps.shape == (2, 4, 3, 5, 6)
    assert np.array_equal(steps[1, 2, :, 3, 4], rgb[1, 2, 0, 3, 4])
    luma = np.arange(2 * 4 * 3 * 5 * 6 * 1, dtype=np.int64).reshape(2, 4, 3, 5, 6, 1)
    steps = to_channels(luma)
    assert steps.shape == (2, 4, 3, 5, 6)
    assert np.array_equal(steps[1, 2, :, 3, 4], luma[1, 2, :, 3, 4, 0])


@pytest.mark.parametrize(("views", "clips"), [(1, 1), (2, 6), (5, 15)])
@pytest.mark.parametrize("kind", ["rgb", "motion"])
def test_clip_shape(views: int, clips: int, kind: str, make_video: MakeVideo) -> None:
    spec = ClipSpec(frames=5, size_px=32, resize_px=40, input=kind)
    data = read_clip(str(make_video()), spec, views, Limits())
    assert count_of(views) == clips
    assert data.clips.shape == (clips, 5, 3, 32, 32)
    assert data.clips.dtype == np.uint8
    assert data.clips.flags.c_contiguous
    assert data.clips.max() > 150 > 100 > data.clips.min()
    assert data.duration_s == pytest.approx(2.4)
    assert (data.padded, data.damaged) == (False, "")


def shown(clip: np.ndarray) -> list[int]:
    """The numbers in steps (T, 3, H, W) that are not cropped."""
    return videos.read_barcodes(np.moveaxis(clip, 1, -1))


def test_steps_show_the_middles_of_equal_parts(make_video: MakeVideo) -> None:
    spec = ClipSpec(frames=6, size_px=32, resize_px=48)
    data = read_steps(str(make_video()), spec, 2, Limits())
    assert data.clips.shape == (2, 6, 3, 48, 64)
    assert [shown(clip) for clip in data.clips] == [[1, 3, 5, 7, 9, 11], [13, 15, 17, 19, 21, 23]]
    assert data.frames_used == 12


def test_motion_steps_show_three_moments(make_video: MakeVideo) -> None:
    spec = ClipSpec(frames=3, size_px=32, resize_px=48, input="motion", step_s=0.2)
    data = read_steps(str(make_video()), spec, 1, Limits())
    numbers = [[videos.read_barcode(luma[..., None]) for luma in step] for step in data.clips[0]]
    assert numbers == [[2, 4, 6], [10, 12, 14], [18, 20, 22]]
    assert data.frames_used == 9


def test_views_look_at_both_ends_of_a_wide_frame(make_video: MakeVideo) -> None:
    spec = ClipSpec(frames=2, size_px=32, resize_px=32)
    path = make_video(size=(128, 64), draw=videos.corner_frame, pix_fmt="yuv444p", frames=8)
    clips = np.moveaxis(read_clip(str(path), spec, 2, Limits()).clips, 2, -1)
    looks = [videos.corners(clip[0]) for clip in clips]
    assert looks == ["RGBW", "RRBB", "GGWW"] * 2  # centre, left, right of both stretches


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("suffix", [".mp4", ".h264"])
def test_short_video_is_padded_with_its_last_frame(
    frames: int, suffix: str, make_video: MakeVideo
) -> None:
    spec = ClipSpec(frames=5, size_px=32, resize_px=48)
    data = read_steps(str(make_video(frames=frames, suffix=suffix)), spec, 1, Limits())
    assert data.padded
    assert data.frames_used == frames
    last = frames - 1
    assert shown(data.clips[0]) == [*range(frames), *[last] * (5 - frames)]


def test_single_frame_has_motion_clip(make_video: MakeVideo) -> None:
    spec = ClipSpec(frames=4, size_px=32, resize_px=48, input="motion")
    data = read_clip(str(make_video(frames=1)), spec, 1, Limits())
    assert data.padded
    assert np.array_equal(data.clips[0, 0, 0], data.clips[0, 3, 2])


def test_damage_is_passed_on(make_video: MakeVideo, tmp_path: Path) -> None:
    whole = make_video(frames=60, gop=6, mux=(("movflags", "+faststart"),))
    path = videos.cut(whole, tmp_path / "cut.mp4", whole.stat().st_size * 7 // 10)
    data = read_clip(str(path), ClipSpec(frames=4, size_px=32, resize_px=32), 1, Limits())
    assert "the file ends after" in data.damaged


def test_unreadable_file_raises(tmp_path: Path) -> None:
    with pytest.raises(VideoError):
        read_clip(str(tmp_path / "none.mp4"), ClipSpec(), 1, Limits())
