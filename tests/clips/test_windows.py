"""The windows of a long video: a grid of moments, read part by part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from fakes import CLIP
from numpy.typing import NDArray

from vidlabel.clips.read import read_clip
from vidlabel.clips.windows import LEAST_CLIPS, Windows, read_moments, window_count
from vidlabel.decode.open_videos import OpenVideos
from vidlabel.spans import WHOLE, Span
from vidlabel.specs import ClipSpec, Limits
from vidlabel.video.reader import open_video

MakeVideo = Callable[..., Path]
MOTION = replace(CLIP, input="difference", step_s=0.1)
LENGTH_S = 16.0
SMALL = {"most_bytes": 1}  # the smallest parts


def _windows(clip: ClipSpec = CLIP, window_s: float = 1.2, every: int = 2) -> Windows:
    return Windows(clip, window_s, every, **SMALL)


def _read(path: Path, windows: Windows, span: Span = WHOLE) -> NDArray[np.uint8]:
    """All windows (N, T, C, S, S) of a video, from its parts."""
    found = []
    videos = OpenVideos(Limits())
    part = parts = 0
    while part < max(parts, 1):
        with videos.reading(str(path)) as video:
            data = read_moments(video, str(path), windows, part, span)
        parts, part = data.parts, part + 1
        moments = data.clips[0]
        starts = range(0, len(moments) - windows.clip.frames + 1, windows.every)
        found += [moments[start : start + windows.clip.frames] for start in starts]
    assert parts > 1 or span != WHOLE
    return np.stack(found)


@pytest.fixture(scope="module")
def long_video(make_video: MakeVideo) -> Path:
    return make_video(frames=round(LENGTH_S * 10), gop=7, bf=2)


def test_windows_end_within_the_video() -> None:
    assert window_count(10.0, 2.0, 0.5) == 17
    assert window_count(10.4, 2.0, 0.5) == 17
    assert window_count(2.0, 2.0, 0.5) == 1
    assert window_count(0.3, 2.0, 0.5) == 1, "a short video is one window"
    assert window_count(0.3 + 0.6, 0.3, 0.1) == 7, "whatever the rounding"


def test_every_window_is_in_one_part() -> None:
    windows = _windows()
    for length_s in (1.0, 5.0, LENGTH_S, 123.4):
        parts = [windows.in_part(length_s, part) for part in range(windows.parts(length_s))]
        assert [n for part in parts for n in part] == list(range(windows.count(length_s)))
        assert all(parts)
    assert windows.moments_per_part <= LEAST_CLIPS * CLIP.frames
    usual = Windows(ClipSpec(12, 112, 112, "difference"), 2.0, 3)
    assert 60 < usual.per_part * usual.stride_s < 180
    shared = usual.clip.frames - usual.every
    assert shared / usual.moments_per_part < 0.02, "hardly any moment is decoded twice"


@pytest.mark.parametrize("clip", [CLIP, MOTION], ids=["rgb", "difference"])
@pytest.mark.parametrize("start_s", [0.0, 2.5])
def test_a_window_is_the_clip_of_its_span(long_video: Path, clip: ClipSpec, start_s: float) -> None:
    windows = _windows(clip)
    found = _read(long_video, windows, (start_s, 15.0))
    assert len(found) == windows.count(15.0 - start_s)
    for number in (0, 7, 14, len(found) - 1):
        begins_s = start_s + number * windows.stride_s
        span = (begins_s, begins_s + windows.window_s)
        clips = read_clip(str(long_video), clip, 1, Limits(), span=span).clips
        np.testing.assert_array_equal(found[number], clips[0])


def test_a_window_is_the_clip_of_the_video_that_is_cut_out(
    make_video: MakeVideo, tmp_path: Path
) -> None:
    """Of keyframes only, packets can be copied: the same pixels."""
    whole, cut = make_video(frames=160, gop=1), tmp_path / "cut.mp4"
    first, count = 24, 12  # at 10 fps, window 4 with a stride of 0.6 s
    with av.open(str(whole)) as old, av.open(str(cut), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.size]
        start = packets[first].dts
        for packet in packets[first : first + count]:
            packet.pts, packet.dts, packet.stream = packet.pts - start, packet.dts - start, stream
            new.mux(packet)
    clips = read_clip(str(cut), CLIP, 1, Limits()).clips
    np.testing.assert_array_equal(_read(whole, _windows())[4], clips[0])


@pytest.mark.parametrize(
    "how",
    [{"suffix": ".avi", "codec": "mpeg4", "bf": 2}, {"suffix": ".h264"}, {"suffix": ".ts"}],
    ids=["avi", "h264", "ts"],
)
def test_files_of_all_kinds_are_read_on(make_video: MakeVideo, how: dict[str, object]) -> None:
    """Also those without timestamps, which are decoded in order."""
    path, windows = make_video(frames=160, gop=7, **how), _windows()
    found = _read(path, windows)
    with open_video(str(path)) as video:
        for number in (0, 13, len(found) - 1):
            alone = replace(windows, most_bytes=2**30)
            moments = read_moments(video, str(path), alone, 0).clips[0]
            start = number * windows.every
            np.testing.assert_array_equal(found[number], moments[start : start + CLIP.frames])


def test_each_frame_counts_once(long_video: Path) -> None:
    windows, frames = _windows(CLIP, 0.4, 1), round(LENGTH_S * 10)  # every frame is seen
    with open_video(str(long_video)) as video:
        count = windows.parts(video.duration_s)
        parts = [read_moments(video, str(long_video), windows, n) for n in range(count)]
    assert count > 2
    assert sum(part.frames_used for part in parts) == frames
    assert sum(len(part.clips[0]) for part in parts) > frames, "although parts overlap"


def test_a_short_video_is_one_window_as_a_clip(make_video: MakeVideo) -> None:
    path = make_video(frames=9)
    with open_video(str(path)) as video:
        data = read_moments(video, str(path), _windows(), 0)
    np.testing.assert_array_equal(data.clips[0], read_clip(str(path), CLIP, 1, Limits()).clips[0])
    assert (data.parts, data.padded) == (1, False)


def test_a_video_stays_open_until_it_changes(make_video: MakeVideo, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.mp4" for i in range(3)]
    for path in paths:
        path.write_bytes(make_video().read_bytes())
    packets: list[int] = []
    videos = OpenVideos(Limits(), lambda: packets.append(1))

    def reads(path: Path) -> int:
        """Packets that are read to use a video; none if it is still open."""
        packets.clear()
        with videos.reading(str(path)) as video:
            assert video.duration_s > 0
        return len(packets)

    assert reads(paths[0])
    assert reads(paths[1])
    assert not reads(paths[0])
    paths[0].write_bytes(make_video(frames=9).read_bytes())
    assert reads(paths[0]), "it is another file now"
    with pytest.raises(ZeroDivisionError), videos.reading(str(paths[0])):
        raise ZeroDivisionError
    assert reads(paths[0]), "after an error it is opened again"
    assert reads(paths[2])
    assert reads(paths[1]), "not all stay open"
