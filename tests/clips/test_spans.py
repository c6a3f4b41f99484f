"""Clips of stretches of a video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import videos
from fakes import CLIP, colour_checkpoint, colour_frames

from vidlabel.clips.read import read_clip, read_run, read_time_steps
from vidlabel.errors import Reason, UsageError, VideoError
from vidlabel.predict.labeller import Labeller
from vidlabel.spans import WHOLE, Span
from vidlabel.specs import ClipSpec, Limits, Status, VideoItem
from vidlabel.video.write import write_video

MakeVideo = Callable[..., Path]

LARGE_BYTES = 2000
SMALL = ClipSpec(frames=4, size_px=32, resize_px=48)


@pytest.fixture(params=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Files of over a kilobyte are as those that are read once, or as those that are not."""
    if request.param == "large":
        monkeypatch.setattr("vidlabel.video.reader.WALK_BYTES", LARGE_BYTES)
    return request.param


def shown(path: Path, spec: ClipSpec, stretches: int, span: Span, each: int = 1) -> list[Any]:
    """The numbers of the frames of each time step, for each stretch, and whether it is padded."""
    data = read_time_steps(str(path), spec, stretches, Limits(), each=each, span=span)
    steps = data.clips.transpose(0, 1, 3, 4, 2)[..., 1:2]  # of motion, the middle frame
    return [*map(videos.read_barcodes, steps), data.padded]


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("each", [1, 2])
@pytest.mark.parametrize("stretches", [1, 2])
@pytest.mark.parametrize(
    "values",
    [{}, {"frames": 12}, {"fps": 5}, {"frames": 10, "fps": 10}, {"frames": 8, "fps": 4}],
    ids=["spread", "padded", "paced", "filled", "looped"],
)
def test_a_span_is_sampled_as_a_video_of_its_own(
    values: dict[str, Any], stretches: int, each: int, make_video: MakeVideo
) -> None:
    spec = replace(SMALL, **values)
    short, long = make_video(frames=10), make_video(frames=60)
    assert short.stat().st_size < LARGE_BYTES < long.stat().st_size
    *own, padded = shown(short, spec, stretches, WHOLE, each)
    *found, found_padded = shown(long, spec, stretches, (3.0, 4.0), each)
    assert [[number - 30 for number in row] for row in found] == own
    assert found_padded == padded


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("frames", [3, 60])
@pytest.mark.parametrize("kind", ["rgb", "motion"])
def test_the_span_of_all_is_the_whole_video(kind: Any, frames: int, make_video: MakeVideo) -> None:
    spec = replace(SMALL, input=kind)
    path = str(make_video(frames=frames))
    whole = read_clip(path, spec, 1, Limits())
    for end_s in (frames / 10, 1e6):
        clips = read_clip(path, spec, 1, Limits(), span=(0.0, end_s)).clips
        np.testing.assert_array_equal(clips, whole.clips)


def test_the_frames_that_show_motion_may_lie_outside(size: str, make_video: MakeVideo) -> None:
    spec = replace(SMALL, frames=1, input="motion", step_s=1.0)
    read = [
        read_time_steps(str(make_video(frames=60)), spec, 1, Limits(), span=span).clips[0, 0]
        for span in ((3.0, 3.1), (0.0, 0.1), (5.9, 6.0))
    ]
    numbers = [videos.read_barcodes(step[..., None]) for step in read]
    last = [39, 49, 59] if size == "small" else [40, 50, 59]
    assert numbers == [[20, 30, 40], [0, 10, 20], last], "and never outside the video"


@pytest.mark.usefixtures("size")
def test_every_frame_of_a_span(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidlabel.clips.read.RUN", 5)
    path, span = str(make_video(frames=60)), (2.0, 3.2)
    parts = [read_run(path, SMALL, part, Limits(), span=span) for part in range(3)]
    frames = [part.clips[0].transpose(0, 2, 3, 1) for part in parts]
    assert [n for each in frames for n in videos.read_barcodes(each)] == list(range(20, 32))
    assert {part.parts for part in parts} == {3}


@pytest.mark.parametrize("bounds_s", [(-1.0, 2.0), (2.0, 2.0), (3.0, 2.0), (np.nan, 2.0)])
def test_a_span_must_be_one(bounds_s: Span) -> None:
    with pytest.raises(UsageError, match=r"a\.mp4: a stretch must begin at 0 s or later"):
        VideoItem(0, "a.mp4", start_s=bounds_s[0], end_s=bounds_s[1])


def test_a_span_after_the_end_is_refused(make_video: MakeVideo) -> None:
    with pytest.raises(VideoError, match=r"ends at 2\.40 s; a stretch from 2\.40 s on") as raised:
        read_clip(str(make_video()), SMALL, 1, Limits(), span=(2.4, 3.0))
    assert raised.value.reason == Reason.OUT_OF_RANGE


def test_a_late_span_costs_no_more_than_an_early_one(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidlabel.video.reader.WALK_BYTES", 0)
    path = str(make_video(frames=1200))

    def packets(start_s: float) -> int:
        count: list[int] = []
        read_clip(path, SMALL, 1, Limits(), lambda: count.append(1), span=(start_s, start_s + 1))
        return len(count)

    assert packets(110.0) <= packets(10.0) + 12 < 200  # of 1,200 frames, in groups of 12


def test_each_stretch_of_a_recording_has_its_own_row(tmp_path: Path) -> None:
    path = str(tmp_path / "long.mp4")
    colours = [frame for name in ("red", "blue") for frame in colour_frames(name, 20)]
    write_video(path, iter(colours), fps=10)
    items = [
        VideoItem(0, path, start_s=2.0, end_s=4.0),
        VideoItem(1, path, end_s=2.0),
        VideoItem(2, path, start_s=3.5, end_s=9.0),
        VideoItem(3, path, start_s=4.5),
    ]
    assert CLIP.frames == 4
    rows = list(Labeller(colour_checkpoint(), "cpu").predict(items))
    assert [(row.label, row.start_s, row.end_s) for row in rows[:3]] == [
        ("blue", 2.0, 4.0), ("red", 0.0, 2.0), ("blue", 3.5, pytest.approx(4.0)),
    ]  # fmt: skip
    assert [row.duration_s for row in rows[:3]] == [pytest.approx(4.0)] * 3
    assert (rows[3].status, rows[3].reason) == (Status.FAILED, Reason.OUT_OF_RANGE)
