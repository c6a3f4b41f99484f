"""What is presented, and when, is the only truth: field 2.

Edit lists of several parts, recordings that were joined into one file, and lengths that are counted
from another moment, each as a small file, read in full, and as a large one, reached by seeking.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import videos

from vidlabel.clips.read import read_clip
from vidlabel.render.frames import PreviewFrames
from vidlabel.render.spec import RenderSpec
from vidlabel.specs import ClipSpec, Limits, VideoItem
from vidlabel.video import reader as video_module
from vidlabel.video.reader import open_video, probe

MakeVideo = Callable[..., Path]
pytestmark = pytest.mark.field

EDITS = {
    "two parts": [(2.0, 0.0), (2.0, 4.0)],
    "parts from within groups of pictures": [(1.5, 0.5), (1.3, 3.7)],
    "out of order and again": [(1.0, 5.0), (1.0, 1.3), (1.0, 5.0)],
    "many parts": [(0.5, 0.7 * n) for n in range(9)],
    "delayed and trimmed": [(1.0, None), (2.0, 3.5)],
    "end left out": [(2.0, 0.0)],
}


@pytest.fixture(params=[2**25, 0], ids=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file as a small one, and treated as a large one."""
    monkeypatch.setattr(video_module, "WALK_BYTES", request.param)


def presented(path: Path) -> tuple[list[int], np.ndarray]:
    """The frames that FFmpeg shows and their times from 0; of those at one time, the last.

    Where parts with B-frames meet, FFmpeg's times may step back by a frame or two.
    """
    with av.open(str(path)) as container:
        frames = [*container.decode(video=0)]
    times_s = np.maximum.accumulate([float(frame.time) for frame in frames])
    numbers = [videos.read_barcode(frame.to_ndarray(format="rgb24")) for frame in frames]
    last = dict(zip(times_s, numbers, strict=True))
    return list(last.values()), np.array([*last]) - times_s[0]


@pytest.mark.parametrize("bf", [0, 2])
@pytest.mark.parametrize("name", EDITS)
def test_edit_list(name: str, bf: int, make_video: MakeVideo, tmp_path: Path, size: None) -> None:
    """field 2: frames that are never shown were counted, and the video froze on its last frame."""
    path = videos.with_edits(make_video(frames=80, bf=bf), tmp_path / "x.mp4", EDITS[name])
    numbers, times_s = presented(path)
    with open_video(str(path)) as video:
        assert video.duration_s == pytest.approx(times_s[-1] + 0.1)
        if video.frame_times_s is not None:
            assert np.unique(video.frame_times_s) == pytest.approx(times_s)
        frames = video.frames_at((times_s + 0.01).tolist(), 48)
        assert videos.read_barcodes(frames.pixels) == numbers
        assert frames.times_s == pytest.approx(times_s)
        assert frames.damaged == ""
        assert [videos.read_barcode(pixels) for _, pixels in video.frames(48)] == numbers


def test_every_way_to_look_at_an_edited_video(make_video: MakeVideo, tmp_path: Path) -> None:
    """field 2: info, the clip of a model and a preview agree."""
    path = videos.with_edits(make_video(frames=80, bf=2), tmp_path / "x.mp4", EDITS["two parts"])
    info = probe(str(path))
    assert (info.frames, info.duration_s, info.fps) == (40, pytest.approx(4.0), 10.0)
    clip = read_clip(str(path), ClipSpec(frames=8, size_px=48, resize_px=48), 1, Limits())
    shown = videos.read_barcodes(np.moveaxis(clip.clips[0], 1, -1)[:, :, :48])
    assert len(shown) == clip.frames_used == 8
    assert not clip.padded
    preview = PreviewFrames(VideoItem(0, str(path)), None, RenderSpec())
    drawn = [videos.read_barcode(pixels) for pixels in preview.frames()]
    assert drawn == [*range(20), *range(40, 60)]
    assert (preview.end_s, preview.damaged) == (pytest.approx(4.0), "")


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="compares with ffprobe, which is missing")
@pytest.mark.parametrize("name", EDITS)
def test_info_counts_as_ffprobe(name: str, make_video: MakeVideo, tmp_path: Path) -> None:
    """field 2: frames and length are those that ffprobe shows."""
    path = videos.with_edits(make_video(frames=80, bf=2), tmp_path / "x.mp4", EDITS[name])
    words = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_frames", "-of", "json"]
    told = subprocess.run([*words, path], capture_output=True, check=True).stdout
    frames = json.loads(told)["frames"]
    info = probe(str(path))
    assert info.frames == len(frames)
    span_s = float(frames[-1]["pts_time"]) - float(frames[0]["pts_time"])
    assert info.duration_s == pytest.approx(span_s + 0.1)


def numbered(first: int, number: int, width: int, height: int) -> videos.Pixels:
    return videos.barcode(first + number, width, height)


FIRST, SECOND, THIRD = (partial(numbered, first) for first in (0, 100, 200))

JOINED = {
    "ts": {"suffix": ".ts"},
    "ts B-frames": {"suffix": ".ts", "bf": 2},
    "mpeg2 ts": {"suffix": ".ts", "codec": "mpeg2video", "fps": 25},
    "mpg": {"suffix": ".mpg", "codec": "mpeg2video", "fps": 25},
    "mkv": {"suffix": ".mkv", "bf": 2},
}


@pytest.mark.parametrize("name", JOINED)
@pytest.mark.parametrize("offset_s", [0, 2, 7], ids=["from 0", "a little back", "not back"])
def test_joined_recordings(
    offset_s: int, name: str, make_video: MakeVideo, tmp_path: Path, size: None
) -> None:
    """field 2: where clocks step back, parts were lost or mixed."""
    spec = JOINED[name]
    parts = [
        make_video(**spec, frames=60, draw=FIRST),
        make_video(**spec, frames=50, draw=SECOND, offset_s=offset_s),
    ]
    path = videos.join(parts, tmp_path / f"x{spec['suffix']}")
    fps = spec.get("fps", 10)
    expected = [*range(60), *range(100, 150)]
    with open_video(str(path)) as video:
        assert video.frame_times_s is not None
        assert [videos.read_barcode(pixels) for _, pixels in video.frames(48)] == expected
        times_s = video.frame_times_s + 0.01
        pixels = video.frames_at(times_s.tolist(), 48).pixels
        if offset_s < 60 / fps:
            assert video.duration_s == pytest.approx(110 / fps, abs=0.05)
    assert videos.read_barcodes(pixels) == expected


def test_three_joined_recordings_cost_no_more_than_their_groups(
    make_video: MakeVideo, tmp_path: Path, size: None
) -> None:
    """field 2: two steps back, one of them by half a second."""
    parts = [
        make_video(suffix=".ts", frames=30, draw=FIRST, offset_s=60),
        make_video(suffix=".ts", frames=30, draw=SECOND, offset_s=62),
        make_video(suffix=".ts", frames=30, draw=THIRD, offset_s=3),
    ]
    path = videos.join(parts, tmp_path / "x.ts")
    with open_video(str(path)) as video:
        assert video.duration_s == pytest.approx(9.0)
        frames = video.frames_at([0.05, 2.95, 3.05, 5.95, 6.05, 8.95], 48)
    assert videos.read_barcodes(frames.pixels) == [0, 29, 100, 129, 200, 229]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".flv", ".mov"])
def test_a_late_start_is_no_damage(suffix: str, make_video: MakeVideo, size: None) -> None:
    """field 2: the length in a header was compared with one from the first frame."""
    codec = "flv" if suffix == ".flv" else "libx264"
    with open_video(str(make_video(suffix=suffix, codec=codec, offset_s=5))) as video:
        frames = video.frames_at([0.05, 2.35], 48)
        assert video.duration_s == pytest.approx(2.4, abs=0.01)
    assert videos.read_barcodes(frames.pixels) == [0, 23]
    assert frames.damaged == ""


def test_a_late_start_hides_no_damage(make_video: MakeVideo, tmp_path: Path, size: None) -> None:
    """field 2: what is cut off is still told."""
    whole = make_video(suffix=".mkv", offset_s=5, frames=60)
    path = videos.cut(whole, tmp_path / "cut.mkv", whole.stat().st_size * 8 // 10)
    with open_video(str(path)) as video:
        assert "the file ends after" in video.frames_at([0.05], 48).damaged


def test_timestamps_that_step_back_within_a_recording(make_video: MakeVideo) -> None:
    """field 2: frames whose times FFmpeg guesses wrongly were left out of previews."""
    path = make_video(suffix=".mpg", codec="mpeg2video", fps=25, bf=2, frames=60)
    with open_video(str(path)) as video:
        assert video.duration_s == pytest.approx(2.4)
        assert [videos.read_barcode(pixels) for _, pixels in video.frames(48)] == [*range(60)]
