"""Which moments are sampled, and the clips made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import videos
from hypothesis import example, given
from hypothesis import strategies as st

from vidlabel.clips.read import ClipData, crop, read_clip, read_run, read_time_steps, to_channels
from vidlabel.clips.sample import clip_times, sample_times
from vidlabel.clips.sample import view_count as count_of
from vidlabel.errors import UsageError, VideoError
from vidlabel.specs import ClipSpec, Limits

MakeVideo = Callable[..., Path]

durations = st.floats(0.01, 200_000.0)
counts = st.integers(1, 64)
KINDS: tuple[Any, ...] = ("rgb", "motion", "difference", "rgb+difference", "flow", "rgb+flow")
FLOW = ClipSpec(frames=3, size_px=32, resize_px=48, input="flow", step_s=0.0, pairs=4)


def fake_video(duration_s: float, times_s: list[float] | None = None, fps: float = 10.0) -> Any:
    """What `clip_times` reads of a video; without times it is a large file."""
    known = None if times_s is None else np.array(times_s)
    return SimpleNamespace(duration_s=duration_s, frame_times_s=known, fps=fps)


def filmed(frames: int, fps: float = 10.0) -> Any:
    """What it reads of one whose frames are known, and come at a constant rate."""
    return fake_video(frames / fps, [i / fps for i in range(frames)], fps)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are as large as those that are not walked through."""
    monkeypatch.setattr("vidlabel.video.reader.WALK_BYTES", 0)


@given(durations, counts, st.integers(1, 8))
def test_steps_cover_the_whole_video_evenly(duration_s: float, steps: int, stretches: int) -> None:
    times = sample_times(duration_s, steps, stretches)
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


@given(durations, st.integers(1, 32), st.floats(0.1, 240.0), st.integers(1, 4))
@example(1.0, 8, 15.0, 1)  # rounds to a little before the start
@example(0.3, 2, 10.0, 1)
@example(0.3, 2, 10.0, 2)
def test_steps_at_a_rate_are_so_far_apart_around_the_middle_of_each_stretch(
    duration_s: float, half: int, fps: float, stretches: int
) -> None:
    spec = ClipSpec(frames=2 * half, fps=fps)
    times, looped = clip_times(fake_video(duration_s), spec, stretches)
    assert times.shape == (stretches, 2 * half, 1)
    assert ((times >= 0) & (times <= duration_s)).all()
    steps = np.diff(times[..., 0])
    span_s = (2 * half - 1) / fps
    if abs(span_s - duration_s) > 1e-5:
        assert looped == (span_s > duration_s)
    if span_s > duration_s + 1e-9:
        apart = np.abs(steps % duration_s - 1 / fps % duration_s)
        assert np.minimum(apart, duration_s - apart) == pytest.approx(0, abs=1e-5)
        return
    assert steps == pytest.approx(1 / fps, rel=1e-6, abs=2e-6)
    if span_s > duration_s - 1e-3:
        return
    middles = times[..., 0].mean(1)
    wanted = (np.arange(stretches) + 0.5) * duration_s / stretches
    if stretches == 1:
        assert middles == pytest.approx(wanted)
    for middle, place in zip(middles, wanted, strict=True):  # no further away than it must be
        first, last = place - half / fps, place + half / fps
        if first >= 0 and last <= duration_s:
            assert middle == pytest.approx(place)
        elif 2 * half / fps < duration_s:
            edge = half / fps if first < 0 else duration_s - half / fps
            assert middle == pytest.approx(edge)


def test_steps_at_a_rate_are_those_of_the_video(make_video: MakeVideo) -> None:
    spec = ClipSpec(frames=4, size_px=32, resize_px=48, fps=5)
    data = read_time_steps(str(make_video()), spec, 1, Limits())
    assert shown(data.clips[0]) == [9, 11, 13, 15]
    assert (data.padded, data.frames_used) == (False, 4)
    views = read_time_steps(str(make_video()), spec, 3, Limits())
    assert [shown(clip) for clip in views.clips] == [
        [1, 3, 5, 7],
        [9, 11, 13, 15],
        [17, 19, 21, 23],
    ]
    looped = read_time_steps(str(make_video()), replace(spec, frames=8, fps=2), 1, Limits())
    assert shown(looped.clips[0]) == [18, 23, 4, 9, 14, 19, 0, 5]
    assert looped.padded


@pytest.mark.parametrize("frames", [30, 31])
def test_a_clip_as_long_as_the_video_is_not_torn_at_its_ends(
    frames: int, make_video: MakeVideo
) -> None:
    """16 steps of 1/15 s span a second: the first moment is that of a video, the last its end."""
    spec = ClipSpec(frames=16, size_px=32, resize_px=48, fps=15)
    data = read_time_steps(str(make_video(frames=frames, fps=30)), spec, 1, Limits())
    numbers = shown(data.clips[0])
    assert numbers == sorted(numbers)
    assert (numbers[0], numbers[-1]) == (0, frames - 1)
    assert data.padded == (frames == 30)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 10), st.booleans(), st.integers(1, 3))
def test_flow_takes_frames_in_a_row_around_each_step(
    count: int, frames: int, pairs: int, known: bool, stretches: int
) -> None:
    video = filmed(count) if known else fake_video(count / 10)
    spec = replace(FLOW, frames=frames, pairs=pairs)
    times, padded = clip_times(video, spec, stretches)
    assert times.shape == (stretches, frames, pairs + 1)
    assert padded == (known and count < frames)
    numbers = np.floor(times * 10 + 1e-3).astype(int)
    assert ((numbers >= 0) & (numbers < count)).all()
    if count <= pairs:
        whole = [*range(count), *[count - 1] * (pairs + 1 - count)]
        assert (numbers == whole).all()
        return
    assert (np.diff(numbers, axis=-1) == 1).all()
    wanted, _ = clip_times(video, ClipSpec(frames=frames), stretches)
    middle = np.floor(wanted[..., 0] * 10 + 1e-3).astype(int)
    before = (pairs + 1) // 2  # no further away from it than the ends demand
    inside = np.clip(middle, before, count - 1 - (pairs - before))
    assert (numbers[..., before] == inside).all()


@given(durations, st.integers(1, 12), st.integers(1, 10), st.floats(0.001, 10.0), st.booleans())
def test_flow_at_a_step_is_so_far_apart_or_moved_inside(
    duration_s: float, frames: int, pairs: int, step_s: float, known: bool
) -> None:
    shot = [0.0, *(duration_s * np.arange(1, 100) / 100)] if known else None
    video = fake_video(duration_s, shot)
    last = shot[-1] if shot else duration_s
    spec = replace(FLOW, frames=frames, pairs=pairs, step_s=step_s)
    times, _ = clip_times(video, spec, 1)
    assert times.shape == (1, frames, pairs + 1)
    assert ((times >= 0) & (times <= last)).all()
    if (pairs + 1) * step_s < last:
        assert np.diff(times, axis=-1) == pytest.approx(step_s, rel=1e-3, abs=1e-8)
    middles = times[0, :, (pairs + 1) // 2]
    wanted = sample_times(duration_s, frames)[0]
    before, after = (pairs + 1) // 2 * step_s, pairs // 2 * step_s
    free = (wanted >= before) & (wanted <= last - after)
    assert middles[free] == pytest.approx(wanted[free])


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        (
            {"input": "optical"},
            "--input must be rgb or motion or difference or rgb\\+difference or flow or rgb\\+flow",
        ),
        ({"step_s": -0.1}, "--step must be at least 0 "),
        ({"input": "motion", "step_s": 0.0}, "--step must be over 0 "),
        ({"input": "difference", "step_s": 0.0}, "--step must be over 0 "),
        ({"input": "flow", "step_s": -0.1}, "--step must be at least 0 "),
        ({"input": "flow", "step_s": 10.5}, "--step .* at most 10 s, got 10.5"),
        ({"input": "flow", "pairs": 0}, "--pairs must be 1 to 32, got 0"),
        ({"input": "flow", "pairs": 33}, "--pairs must be 1 to 32, got 33"),
        ({"fps": -1.0}, "--fps must be 0 to 240, got -1"),
        ({"fps": 241.0}, "--fps must be 0 to 240, got 241"),
        ({"fps": float("nan")}, "--fps must be 0 to 240, got nan"),
        ({"fps": 5.0, "frames": 3}, "--frames must be even with --fps, got 3"),
        ({"aspect": 0.2}, "--aspect must be 0, or 0.25 to 4, got 0.2"),
        ({"aspect": -1.0}, "--aspect must be 0, or 0.25 to 4, got -1"),
        ({"aspect": 4.1}, "--aspect must be 0, or 0.25 to 4, got 4.1"),
    ],
)
def test_wrong_clips_name_their_flag(values: dict[str, Any], flag: str) -> None:
    with pytest.raises(UsageError, match=flag):
        ClipSpec(**values)


def test_a_clip_knows_its_channels() -> None:
    assert [replace(FLOW, input=kind, step_s=1).channels for kind in KINDS] == [3, 3, 3, 6, 8, 11]
    assert [replace(FLOW, input=kind, step_s=1).decoded_channels for kind in KINDS] == [
        3, 3, 3, 6, 5, 8,
    ]  # fmt: skip
    assert replace(FLOW, input="rgb+flow").shape == (3, 11, 32, 32)


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
    steps = to_channels(rgb, ClipSpec())
    assert steps.shape == (2, 4, 3, 5, 6)
    assert np.array_equal(steps[1, 2, :, 3, 4], rgb[1, 2, 0, 3, 4])
    luma = np.arange(2 * 4 * 3 * 5 * 6 * 1, dtype=np.int64).reshape(2, 4, 3, 5, 6, 1)
    steps = to_channels(luma, ClipSpec(input="motion"))
    assert steps.shape == (2, 4, 3, 5, 6)
    assert np.array_equal(steps[1, 2, :, 3, 4], luma[1, 2, :, 3, 4, 0])
    both = np.arange(2 * 4 * 6 * 5 * 6 * 4, dtype=np.int64).reshape(2, 4, 6, 5, 6, 4)
    steps = to_channels(both, ClipSpec(input="rgb+flow", pairs=4))
    assert steps.shape == (2, 4, 3 + 5, 5, 6)
    assert np.array_equal(steps[1, 2, :3, 3, 4], both[1, 2, 0, 3, 4, :3])
    assert np.array_equal(steps[1, 2, 3:, 3, 4], both[1, 2, 1:, 3, 4, 3])
    moving = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 5, 6, 4), dtype=np.uint8)
    steps = to_channels(moving, ClipSpec(input="rgb+difference"))
    alone = to_channels(moving[:, :, 1:, :, :, 3:], ClipSpec(input="difference"))
    assert np.array_equal(steps[:, :, :3], np.moveaxis(moving[:, :, 0, :, :, :3], -1, -3))
    assert np.array_equal(steps[:, :, 3:], alone)


def test_difference_pictures_by_hand() -> None:
    # One pixel of five frames, and one that is always as it was.
    luma = np.array([[10, 90], [20, 90], [5, 90], [200, 90], [0, 90]], dtype=np.uint8)
    steps = to_channels(luma.reshape(1, 5, 1, 2, 1), ClipSpec(input="difference"))
    assert steps.dtype == np.uint8
    # 128 + 2 (5 - 10), 128 + 2 (200 - 20) cut at 255, 128 + 2 (0 - 5)
    assert steps[0, :, 0, 0].tolist() == [118, 255, 118]
    assert steps[0, :, 0, 1].tolist() == [128, 128, 128]


@pytest.mark.parametrize(("views", "clips"), [(1, 1), (2, 6), (5, 15)])
@pytest.mark.parametrize("kind", ["rgb", "motion", "difference", "rgb+difference"])
def test_clip_shape(views: int, clips: int, kind: str, make_video: MakeVideo) -> None:
    spec = ClipSpec(frames=5, size_px=32, resize_px=40, input=kind)
    data = read_clip(str(make_video()), spec, views, Limits())
    assert count_of(views) == clips
    assert data.clips.shape == (clips, 5, spec.channels, 32, 32)
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
    data = read_time_steps(str(make_video()), spec, 2, Limits())
    assert data.clips.shape == (2, 6, 3, 48, 64)
    assert [shown(clip) for clip in data.clips] == [[1, 3, 5, 7, 9, 11], [13, 15, 17, 19, 21, 23]]
    assert data.frames_used == 12


def test_motion_steps_show_three_moments(make_video: MakeVideo) -> None:
    spec = ClipSpec(frames=3, size_px=32, resize_px=48, input="motion", step_s=0.2)
    data = read_time_steps(str(make_video()), spec, 1, Limits())
    numbers = [[videos.read_barcode(luma[..., None]) for luma in step] for step in data.clips[0]]
    assert numbers == [[2, 4, 6], [10, 12, 14], [18, 20, 22]]
    assert data.frames_used == 9


def lumas(step: np.ndarray) -> list[int]:
    """The numbers in pictures (n, H, W) of luma."""
    return videos.read_barcodes(step[..., None])


@pytest.mark.parametrize("kind", ["flow", "rgb+flow"])
def test_flow_is_made_of_frames_in_a_row(kind: Any, make_video: MakeVideo) -> None:
    spec = replace(FLOW, frames=4, input=kind)
    data = read_time_steps(str(make_video()), spec, 1, Limits())
    assert data.clips.shape == (1, 4, spec.decoded_channels, 48, 64)
    expected = [[1, 2, 3, 4, 5], [7, 8, 9, 10, 11], [13, 14, 15, 16, 17], [19, 20, 21, 22, 23]]
    assert [lumas(step[-5:]) for step in data.clips[0]] == expected
    assert data.frames_used == 20
    if kind == "rgb+flow":
        assert shown(data.clips[0][:, :3]) == [3, 9, 15, 21]


def test_colours_are_of_the_frame_shown_then_also_where_its_stack_is_moved_inside(
    make_video: MakeVideo,
) -> None:
    spec = replace(FLOW, frames=12, input="rgb+flow")
    data = read_time_steps(str(make_video()), spec, 1, Limits())
    assert shown(data.clips[0][:, :3]) == list(range(1, 24, 2)), "as with input rgb"
    stacks = [lumas(step[3:]) for step in data.clips[0]]
    assert [stacks[0], stacks[1], stacks[-1]] == [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5],
                                                  [19, 20, 21, 22, 23]]  # fmt: skip


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(("fps", "suffix"), [(10, ".mp4"), (30, ".mkv")])  # 33, 67, 100 ms, ...
def test_flow_of_a_large_file_is_made_of_frames_in_a_row(
    fps: int, suffix: str, make_video: MakeVideo
) -> None:
    """Also where a step is so near to an end that its frames are moved inside."""
    path = make_video(fps=fps, suffix=suffix, frames=48)
    data = read_time_steps(str(path), replace(FLOW, frames=24), 1, Limits())
    numbers = [lumas(step) for step in data.clips[0]]
    starts = [min(max(0, 1 + 2 * i - 2), 43) for i in range(24)]
    assert numbers == [list(range(start, start + 5)) for start in starts]


def test_flow_at_a_step_leaves_frames_out(make_video: MakeVideo) -> None:
    spec = replace(FLOW, frames=2, pairs=2, step_s=0.3)
    data = read_time_steps(str(make_video()), spec, 1, Limits())
    assert [lumas(step) for step in data.clips[0]] == [[3, 6, 9], [15, 18, 21]]


@pytest.mark.parametrize("size", [(64, 48), (128, 72), (72, 128)])
@pytest.mark.parametrize("turn", [0, 90])
@pytest.mark.parametrize(
    ("side", "aspect", "expected"),
    [
        (48, 1.0, (48, 48)), (48, 171 / 128, (48, 64)), (128, 171 / 128, (128, 171)),
        (48, 0.75, (64, 48)), (32, 4.0, (32, 128)), (32, 0.25, (128, 32)),
    ],
)  # fmt: skip
def test_frames_are_squashed_to_an_aspect(
    side: int, aspect: float, expected: tuple[int, int], size: tuple[int, int], turn: int,
    make_video: MakeVideo,
) -> None:  # fmt: skip
    path = make_video(
        size=size, rotation=(-turn, False, False), draw=videos.corner_frame, pix_fmt="yuv444p",
        frames=4, codec="libx264",
    )  # fmt: skip
    spec = ClipSpec(frames=2, size_px=32, resize_px=side, aspect=aspect)
    data = read_time_steps(str(path), spec, 1, Limits())
    assert data.clips.shape == (1, 2, 3, *expected)
    pixels = np.moveaxis(data.clips[0, 0], 0, -1)
    assert videos.corners(pixels) == ("BRWG" if turn else "RGBW"), "all of it, upright"
    square = read_clip(str(path), replace(spec, size_px=side), 1, Limits()).clips
    assert square.shape == (1, 2, 3, side, side)


@pytest.mark.parametrize("aspect", [0.0, 1.0])
def test_colour_and_luma_together_are_as_apart(aspect: float, make_video: MakeVideo) -> None:
    path = str(make_video(draw=videos.corner_frame, pix_fmt="yuv444p", rotation=(90, False, True)))
    both = replace(FLOW, frames=4, pairs=2, input="rgb+flow", aspect=aspect)
    together = read_time_steps(path, both, 2, Limits()).clips
    rgb = read_time_steps(path, replace(both, input="rgb", step_s=0.1), 2, Limits()).clips
    luma = read_time_steps(path, replace(both, input="flow"), 2, Limits()).clips
    assert np.array_equal(together[:, :, :3], rgb)
    assert np.array_equal(together[:, :, 3:], luma)
    assert rgb.max() > 200 > 50 > luma.min()
    assert not np.array_equal(luma[:, :, :1], rgb[:, :, :1])


def parts_of(path: Path, spec: ClipSpec) -> list[ClipData]:
    """All parts of a video."""
    first = read_run(str(path), spec, 0, Limits())
    rest = [read_run(str(path), spec, part, Limits()) for part in range(1, first.parts)]
    assert {data.parts for data in rest} <= {first.parts}
    return [first, *rest]


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidlabel.clips.read.RUN", 5)


RUNS: list[dict[str, Any]] = [{}, {"suffix": ".h264"}, {"suffix": ".mkv", "fps": 30}]


@pytest.mark.usefixtures("short_runs")
@pytest.mark.parametrize("walked", [True, False])
@pytest.mark.parametrize("values", RUNS)
@pytest.mark.parametrize("frames", [1, 5, 24, 25])
def test_the_parts_of_a_video_have_each_frame_once(
    frames: int, values: dict[str, Any], walked: bool, make_video: MakeVideo, request: Any
) -> None:
    if not walked:
        request.getfixturevalue("large")
    spec = ClipSpec(frames=1, size_px=32, resize_px=48)
    parts = parts_of(make_video(frames=frames, **values), spec)
    assert len(parts) == -(-frames // 5)
    assert all(part.clips.shape[:3] == (1, part.frames_used, 3) for part in parts)
    assert [number for part in parts for number in shown(part.clips[0])] == list(range(frames))
    assert sum(part.frames_used for part in parts) == frames
    assert not any(part.padded or part.damaged for part in parts)


@pytest.mark.usefixtures("short_runs")
@pytest.mark.parametrize("values", RUNS)
@pytest.mark.parametrize(("kind", "channels"), [("flow", 1), ("rgb+flow", 4)])
@pytest.mark.parametrize("frames", [4, 8, 9, 24])
def test_the_parts_of_a_video_have_each_stack_of_flow_once(
    frames: int, kind: Any, channels: int, values: dict[str, Any], make_video: MakeVideo
) -> None:
    spec = replace(FLOW, frames=1, pairs=3, input=kind)
    parts = parts_of(make_video(frames=frames, **values), spec)
    stacks = []
    for part in parts:
        assert part.clips.shape[2:] == (channels, 48, 64)
        numbers = lumas(part.clips[0, :, -1])
        stacks += [numbers[i : i + 4] for i in range(len(numbers) - 3)]
        assert 1 + 3 <= len(numbers) <= 5 + 3
        if channels == 4:
            assert shown(part.clips[0, :, :3]) == numbers
    assert stacks == [[i, i + 1, i + 2, i + 3] for i in range(frames - 3)]
    assert sum(part.frames_used for part in parts) == frames
    assert not any(part.padded for part in parts)


@pytest.mark.parametrize("suffix", [".mp4", ".h264"])
@pytest.mark.parametrize("frames", [1, 3])
def test_a_video_shorter_than_a_stack_of_flow_is_padded(
    frames: int, suffix: str, make_video: MakeVideo
) -> None:
    path = make_video(frames=frames, suffix=suffix)
    (part,) = parts_of(path, replace(FLOW, frames=1, pairs=3))
    assert lumas(part.clips[0, :, 0]) == [*range(frames), *[frames - 1] * (4 - frames)]
    assert (part.padded, part.frames_used) == (True, frames)
    steps = read_time_steps(str(path), replace(FLOW, frames=1, pairs=3), 1, Limits())
    assert np.array_equal(steps.clips[0, 0], part.clips[0, :, 0]), "as a clip is"


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
    data = read_time_steps(str(make_video(frames=frames, suffix=suffix)), spec, 1, Limits())
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


def test_difference_steps_are_those_of_five_frames_around_the_moment(make_video: MakeVideo) -> None:
    spec = ClipSpec(frames=3, size_px=32, resize_px=48, input="difference", step_s=0.1)
    luma = replace(spec, input="flow", pairs=4)  # decoded: the same five frames, as they are
    data = read_time_steps(str(make_video()), spec, 1, Limits())
    frames = read_time_steps(str(make_video()), luma, 1, Limits()).clips[0].astype(int)
    assert data.clips.shape == (1, 3, 3, 48, 64)
    wanted = (128 + 2 * (frames[:, 2:] - frames[:, :3])).clip(0, 255)
    assert np.array_equal(data.clips[0], wanted)
    assert [lumas(step.astype(np.uint8)) for step in frames] == [
        [2, 3, 4, 5, 6], [10, 11, 12, 13, 14], [18, 19, 20, 21, 22],
    ]  # fmt: skip
    assert data.frames_used == 15
