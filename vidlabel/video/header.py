"""What the header of a video says, without reading its packets."""

from __future__ import annotations

from dataclasses import dataclass

from vidlabel.files.find import check_video_file
from vidlabel.specs import Limits
from vidlabel.video.choice import pick_stream
from vidlabel.video.container import (
    has_timestamps,
    known_rate,
    mapped_errors,
    open_container,
    promised_s,
)


@dataclass(frozen=True)
class Header:
    """Frame rate and length of a video as its header gives them; None where it does not."""

    fps: float | None
    """Mean frames per second."""
    duration_s: float | None


def read_header(path: str, limits: Limits | None = None) -> Header:
    """Read the header of a video. Raises VideoError as `reader.open_video`."""
    limits = limits or Limits()
    check_video_file(path)
    with mapped_errors(path), open_container(path, limits) as container:
        stream = pick_stream(path, container, limits)
        start_s = float((stream.start_time or 0) * (stream.time_base or 0))
        length_s = promised_s(container, stream, start_s)
        rate = known_rate(stream, has_timestamps(container, stream))
        return Header(rate, length_s if length_s > 0 else None)
