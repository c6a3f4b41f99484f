"""One video stream as packets and as frames; reading goes on past what is broken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidlabel.container import open_container, pick_stream
from vidlabel.errors import Reason, VideoError
from vidlabel.specs import Limits

MAX_FAILURES = 8
"""Reading and decoding stop after so many broken packets in a row."""

VideoPacket: TypeAlias = "Packet[VideoStream]"


class Stream:
    """The video stream of an open container.

    Attributes:
        broken: packets that could not be read or decoded so far.
        kept: all packets, where the file is small enough to hold them.
    """

    def __init__(self, path: str, container: InputContainer, limits: Limits) -> None:
        self.container = container
        self.broken = 0
        self.kept: list[VideoPacket] = []
        self._first_error: Exception | None = None
        self._path = path
        self._limits = limits
        self.stream = pick_stream(path, container)
        self.context = self.stream.codec_context
        self.check_size(self.context.width, self.context.height)
        # Decoders honour max_pixels only as an option of their own; the container ignores it.
        self.context.options = {"max_pixels": str(limits.pixels)}
        self.context.thread_type = "NONE"  # threads come from decoding many files at once
        self.context.thread_count = 1
        if self.stream.time_base is None:
            raise VideoError(Reason.NOT_VIDEO, f"{path}: the video stream has no time base")
        self.time_base = float(self.stream.time_base)

    def seek(self, pts: int) -> bool:
        """Go to a keyframe before `pts`, or nearly so; False if the file cannot be sought in."""
        try:
            self.container.seek(pts, stream=self.stream, backward=True)
        except av.error.InterruptedError:
            raise
        except av.FFmpegError:
            return False
        return True

    def packets(self) -> Iterator[VideoPacket]:
        """The packets from where the container stands."""
        return self._demux(self.container, self.stream)

    def all_packets(self) -> Iterator[VideoPacket]:
        """The packets from the start: those kept in memory, or read again."""
        if self.kept:
            yield from self.kept
            return
        with open_container(self._path, self._limits.pixels) as container:
            yield from self._demux(container, container.streams.video[self._place()])

    def frames(
        self, packets: Iterable[VideoPacket], wanted: set[int] | None = None
    ) -> Iterator[VideoFrame]:
        """Decode packets that start with a keyframe, one by one.

        Args:
            packets: in decoding order.
            wanted: pts of frames to decode; of the others, those that nothing depends on are
                skipped. None decodes all.
        """
        failures = 0
        self.context.flush_buffers()
        self.context.skip_frame = "DEFAULT"
        for packet in packets:
            if wanted is not None:
                # Skipping a non-reference frame changes no pixel of any other.
                keep = packet.pts in wanted
                self.context.skip_frame = "DEFAULT" if keep else "NONREF"
            decoded = self._decode(packet)
            if decoded is None:
                failures += 1
                if failures >= MAX_FAILURES:
                    break
                continue
            failures = 0
            for frame in decoded:
                self.check_size(frame.width, frame.height)
                yield frame
        self.context.skip_frame = "DEFAULT"
        yield from self._decode(None) or ()

    def check_size(self, width: int, height: int) -> None:
        """Raise VideoError `too_large` for frames over the limit."""
        if width * height > self._limits.pixels:
            raise VideoError(
                Reason.TOO_LARGE,
                f"{self._path}: frames of {width}x{height}, the limit is "
                f"{self._limits.pixels} pixels (--max-pixels)",
            )

    def no_frames(self) -> VideoError:
        """The error for when nothing came out of the decoder, with the reason."""
        # What a decoder answers to frames over its max_pixels is "invalid argument".
        if isinstance(self._first_error, av.error.ArgumentError):
            return VideoError(
                Reason.TOO_LARGE,
                f"{self._path}: its frames are over the limit of {self._limits.pixels} pixels "
                "(--max-pixels), or cannot be decoded",
            )
        return VideoError(Reason.NO_FRAMES, f"{self._path}: opens, but no frame can be decoded")

    def _decode(self, packet: VideoPacket | None) -> list[VideoFrame] | None:
        """The frames that a packet completes; None, and counted, if it is broken."""
        try:
            frames = self.context.decode(packet)
        except av.error.InterruptedError:
            raise
        except (av.FFmpegError, ValueError) as error:
            self._first_error = self._first_error or error
            self.broken += 1
            return None
        self.broken += packet is not None and packet.is_corrupt
        return frames

    def _demux(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoPacket]:
        failures = 0
        source = container.demux(stream)
        while failures < MAX_FAILURES:
            try:
                packet = next(source)
            except StopIteration:
                return
            except av.error.InterruptedError:
                raise
            except av.FFmpegError:
                self.broken += not failures  # the end of a cut file fails again and again
                failures += 1
                source = container.demux(stream)
                continue
            failures = 0
            if packet.size:  # an empty packet is PyAV's flush signal at the end
                yield packet

    def _place(self) -> int:
        return [s.index for s in self.container.streams.video].index(self.stream.index)
