"""B2 16-19: what a picture can look like: turned, tiny, wide, deep, full-range, HDR, changing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import videos

from vidlabel.clips.read import read_clip
from vidlabel.specs import ClipSpec, Limits
from vidlabel.video.reader import open_video, probe

MakeVideo = Callable[..., Path]

SMALL = ClipSpec(frames=6, size_px=32, resize_px=48)


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        ((-90, False, False), "BRWG"),
        ((180, False, False), "WBGR"),
        ((-270, False, False), "GWRB"),
        ((0, True, False), "GRWB"),
        ((0, False, True), "BWRG"),
        ((-90, True, False), "RBGW"),
        ((-90, False, True), "WGBR"),
    ],
)
def test_b2_16_turns_and_flips_reach_the_clip(
    rotation: tuple[int, bool, bool], expected: str, make_video: MakeVideo
) -> None:
    path = make_video(rotation=rotation, draw=videos.corner_frame, pix_fmt="yuv444p")
    clip = read_clip(str(path), SMALL, 1, Limits()).clips[0, 0]
    assert videos.corners(np.moveaxis(clip, 0, -1)) == expected


@pytest.mark.parametrize("size", [(65, 49), (1, 1), (2, 4096), (4096, 2), (3, 7)])
def test_b2_17_odd_sizes(size: tuple[int, int], make_video: MakeVideo) -> None:
    path = make_video(
        suffix=".mkv", codec="ffv1", pix_fmt="yuv444p", size=size, draw=videos.grey_frame, frames=8
    )
    clips = read_clip(str(path), SMALL, 1, Limits()).clips
    assert clips.shape == (1, *SMALL.shape)
    assert np.abs(clips.astype(int) - 120).max() <= 3


def test_b2_17_wide_pixels(make_video: MakeVideo) -> None:
    for aspect, size in (((2, 1), (128, 48)), ((1, 2), (32, 48))):
        path = make_video(pixel_aspect=aspect)
        info = probe(str(path))
        assert (info.width_px, info.height_px) == size
        clip = read_clip(str(path), SMALL, 1, Limits())
        assert clip.clips.shape == (1, *SMALL.shape)


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [
        ("libx264", "yuv420p10le"),
        ("libx264", "yuv422p10le"),
        ("libx264", "yuv444p"),
        ("libx264", "gray"),
        ("ffv1", "yuv420p16le"),
        ("ffv1", "gray16le"),
        ("ffv1", "yuva444p"),
        ("png", "rgba"),
        ("qtrle", "argb"),
        ("prores_ks", "yuva444p10le"),
    ],
)
def test_b2_18_deep_and_unusual_colour(codec: str, pix_fmt: str, make_video: MakeVideo) -> None:
    suffix = {"libx264": ".mp4", "ffv1": ".mkv"}.get(codec, ".mov")
    path = make_video(suffix=suffix, codec=codec, pix_fmt=pix_fmt, full_range=pix_fmt == "gray")
    with open_video(str(path)) as video:
        frames = video.frames_at([0.05, 1.35, 2.35], 48).pixels
    assert videos.read_barcodes(frames) == [0, 13, 23]
    levels = frames[1, [4, 40], [4, 60]].mean(axis=-1)  # frame 13: its first bit is set
    assert np.abs(levels - [videos.LIGHT, videos.DARK]).max() <= 8


@pytest.mark.parametrize("full_range", [False, True])
def test_b2_18_full_range(full_range: bool, make_video: MakeVideo) -> None:
    path = make_video(
        suffix=".mkv",
        codec="ffv1",
        pix_fmt="yuv444p",
        draw=videos.grey_frame,
        full_range=full_range,
    )
    for kind in ("rgb", "motion"):
        spec = ClipSpec(frames=6, size_px=32, resize_px=48, input=kind)
        clips = read_clip(str(path), spec, 1, Limits()).clips
        assert np.abs(clips.astype(int) - 120).max() <= 2


def test_b2_18_hdr_is_read_as_it_is_stored(make_video: MakeVideo) -> None:
    # No tone mapping: the levels of an HDR (PQ) video are taken for those of an ordinary one.
    colours = "colorprim=9:transfer=16:colormatrix=9"
    options = (("x265-params", f"log-level=none:pools=1:frame-threads=1:{colours}"),)
    path = make_video(codec="libx265", pix_fmt="yuv420p10le", options=options)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.color_trc == 16
    with open_video(str(path)) as video:
        frames = video.frames_at([0.05, 1.35], 48).pixels
    assert videos.read_barcodes(frames) == [0, 13]
    assert abs(int(frames.max()) - videos.LIGHT) <= 8


def test_b2_19_resolution_changes(make_video: MakeVideo, tmp_path: Path) -> None:
    parts = [make_video(suffix=".ts", size=size) for size in ((64, 48), (128, 96), (64, 96))]
    path = videos.join(parts, tmp_path / "x.ts")
    with open_video(str(path)) as video:
        times = [(i + 0.5) * video.duration_s / 9 for i in range(9)]
        frames = video.frames_at(times, 48)
    assert frames.pixels.shape == (9, 48, 64, 3)
    assert videos.read_barcodes(frames.pixels) == [4, 12, 20] * 3
