"""Which video stream of a file is the video."""

from __future__ import annotations

from itertools import islice

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from vidlabel.errors import Reason, VideoError
from vidlabel.specs import Limits, OnPacket
from vidlabel.video.container import open_container

PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails
"""Streams that are pictures beside a video or a song."""

LOOK_BYTES = 32 * 2**20
"""So much of a file is read to compare its streams."""

LOOK_PACKETS = 100_000
"""Most packets that are read to compare the streams of a file."""

STILL_FPS = 1.0
"""A stream with at most so many frames a second is a slide show, not a moving picture."""

WHOLE = 0.9
"""A stream of at least this share of the longest one counts as equally long."""


def pick_stream(
    path: str, container: InputContainer, limits: Limits, on_packet: OnPacket = None
) -> VideoStream:
    """The stream that is the video of a file; attached pictures are not.

    Of several, moving pictures come before still ones, then those that the file marks as default,
    then those that are as long as the longest, then the larger ones, then the first.

    Raises:
        VideoError: `no_video_stream`, or `no_decoder` if FFmpeg has none for its codec.
    """
    streams = [s for s in container.streams.video if not s.disposition & PICTURES]
    if not streams:
        kind = "only cover art" if container.streams.video else "no video stream"
        raise VideoError(Reason.NO_VIDEO_STREAM, f"{path}: {kind} in this file")
    usable = [s for s in streams if s.codec_context is not None]
    if not usable:
        raise VideoError(Reason.NO_DECODER, f"{path}: no decoder for its video codec")
    if len(usable) == 1:
        return usable[0]
    seen = _look(path, [s.index for s in usable], limits, on_packet)
    longest_s = max(length_s for _, length_s in seen.values())

    def rank(stream: VideoStream) -> tuple[bool, bool, bool, int, int]:
        frames, length_s = seen[stream.index]
        moving = frames > max(1.0, STILL_FPS * longest_s)
        area = stream.codec_context.width * stream.codec_context.height
        default = bool(stream.disposition & Disposition.default)
        return moving, default, length_s >= WHOLE * longest_s, area, -stream.index

    return max(usable, key=rank)


def _look(
    path: str, indices: list[int], limits: Limits, on_packet: OnPacket
) -> dict[int, tuple[int, float]]:
    """The number of frames of each stream and the seconds that they cover, by its index; of a large
    file, in its first part."""
    stamps: dict[int, list[float]] = {index: [] for index in indices}
    size = 0
    with open_container(path, limits) as container:
        streams = [s for s in container.streams.video if s.index in stamps]
        try:
            for packet in islice(container.demux(streams), LOOK_PACKETS):
                if on_packet is not None:
                    on_packet()
                stamp = packet.dts if packet.pts is None else packet.pts
                if packet.size and stamp is not None and not packet.is_discard:
                    stamps[packet.stream_index].append(float(stamp * packet.time_base))
                size += packet.size
                if size > LOOK_BYTES:
                    break
        except av.error.InterruptedError:
            raise
        except (av.FFmpegError, IndexError):  # a damaged file; what is known has to do
            pass
    return {
        index: (len(times), max(times) - min(times) if times else 0.0)
        for index, times in stamps.items()
    }
