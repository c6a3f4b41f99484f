"""Still frames of several videos on one picture, a row for each video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from vidlabel.errors import VideoError
from vidlabel.render.captions import Caption, Line, draw_caption
from vidlabel.render.layout import letterboxed, side_by_side, stacked
from vidlabel.render.spec import RenderSpec
from vidlabel.specs import VideoItem
from vidlabel.video.reader import open_video
from vidlabel.video.scale import Pixels

DEFAULT_WIDTH_PX = 160
"""Width of a frame if none is given."""


@dataclass(frozen=True)
class Stills:
    """A few frames of a video, all of one size."""

    pictures: Sequence[Pixels]
    damaged: str
    """What could not be decoded, in words."""


def read_stills(item: VideoItem, count: int, spec: RenderSpec) -> Stills:
    """Read so many frames, evenly spread over a video. Raises VideoError."""
    if item.problem is not None:
        raise VideoError(item.problem, item.detail)
    width, height = _size_px(spec)
    with open_video(item.path) as video:
        end_s = min(video.duration_s, spec.max_s)
        moments_s = (np.arange(count) + 0.5) / count * end_s
        found = video.frames_at(moments_s.tolist(), max(width, height))
    return Stills([letterboxed(each, width, height) for each in found.pixels], found.damaged)


def write_sheet(
    path: Path, videos: Sequence[tuple[str, Caption, Stills]], spec: RenderSpec
) -> None:
    """Write a .png with a row for each video: its caption and file name, then its frames.

    Args:
        path: the file to write.
        videos: path, caption and frames of each video.
        spec: width of a frame.
    """
    text_width = round(1.6 * _size_px(spec)[0])
    rows = []
    for name, caption, stills in videos:
        lines = (*caption.lines, Line(Path(name).name))
        text = draw_caption(Caption(lines, caption.verdict), text_width, 1, below=True)
        rows.append(side_by_side([text.rgba[..., :3], *stills.pictures]))
    iio.imwrite(path, stacked(rows), plugin="pillow", extension=".png")


def _size_px(spec: RenderSpec) -> tuple[int, int]:
    """Width and height of the frames."""
    width = spec.width_px or DEFAULT_WIDTH_PX
    return width, max(1, round(width * 3 / 4))
