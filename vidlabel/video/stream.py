"""One video stream as packets and as frames; reading continues after damaged packets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vidlabel.errors import Reason, VideoError
from vidlabel.specs import Limits, OnPacket
from vidlabel.video.choice import pick_stream
from vidlabel.video.container import open_container
from vidlabel.video.disguise import ENCRYPTED
from vidlabel.video.scale import FrameScaler

MAX_FAILURES = 8
"""After this many damaged packets in a row reading stops, and decoding waits for a keyframe."""

RUN_BYTES = 64 * 2**20
"""Most bytes of packets kept in memory between a keyframe and the frame wanted after it."""

RUN_PACKETS = 400_000
"""Most packets between a keyframe and the frame wanted after it, whatever their size."""

VideoPacket: TypeAlias = "Packet[VideoStream]"


class Stream:
    """The video stream of an open container.

    Attributes:
        broken: packets that could not be read or decoded so far.
        kept: all packets, if the file is small enough to hold them.
    """

    def __init__(
        self, path: str, container: InputContainer, limits: Limits, on_packet: OnPacket = None
    ) -> None:
        self.container = container
        self.broken = 0
        self.kept: list[VideoPacket] = []
        self._first_error: Exception | None = None
        self._path = path
        self._limits = limits
        self._on_packet = on_packet or (lambda: None)
        self.stream = pick_stream(path, container, limits, on_packet)
        self.context = self.stream.codec_context
        self.check_size(self.context.width, self.context.height)
        # Decoders honour max_pixels only as an option of their own; the container ignores it.
        self.context.options = {"max_pixels": str(limits.pixels)}
        self.context.thread_type = "NONE"  # many files are decoded in parallel instead
        self.context.thread_count = 1
        if not self.stream.time_base or self.stream.time_base < 0:
            raise VideoError(Reason.NOT_VIDEO, f"{path}: the video stream has no time base")
        self.time_base = float(self.stream.time_base)

    def seek(self, pts: int) -> bool:
        """Seek to a keyframe at about `pts` or before; False if the file does not allow it."""
        try:
            self.container.seek(pts, stream=self.stream, backward=True)
        except av.error.InterruptedError:
            raise
        except (av.FFmpegError, OverflowError):  # beyond 64-bit timestamps
            return False
        return True

    def packets(self) -> Iterator[VideoPacket]:
        """The packets from the current position of the container.

        Raises:
            VideoError: `too_large` if there are more than the limit, even empty ones.
        """
        return self._demux(self.container, self.stream)

    def all_packets(self) -> Iterator[VideoPacket]:
        """The packets from the start: from memory, or read again."""
        if self.kept:
            yield from self.kept
            return
        place = self.container.streams.video.index(self.stream)
        with open_container(self._path, self._limits) as container:
            yield from self._demux(container, container.streams.video[place])

    def frames(
        self, packets: Iterable[VideoPacket], wanted: set[int] | None = None
    ) -> Iterator[VideoFrame]:
        """Decode packets that start with a keyframe, one by one.

        Args:
            packets: in decoding order.
            wanted: pts of frames to decode (None: all); others are skipped if none depends on them.
        """
        failures = 0
        self.context.flush_buffers()
        self.context.skip_frame = "DEFAULT"
        for packet in packets:
            if failures >= MAX_FAILURES and not packet.is_keyframe:
                continue
            if wanted is not None:
                # Skipping a non-reference frame changes no pixel of any other.
                keep = packet.pts in wanted
                self.context.skip_frame = "DEFAULT" if keep else "NONREF"
            decoded = self._decode(packet)
            if decoded is None:
                failures += 1
                continue
            failures = 0
            for frame in decoded:
                self.check_size(frame.width, frame.height)
                yield frame
        self.context.skip_frame = "DEFAULT"
        yield from self._decode(None) or ()

    def decode_run(
        self, scaler: FrameScaler, packets: Iterable[VideoPacket], wanted: set[int],
        further: Callable[[], Iterable[VideoPacket]],
    ) -> dict[int, NDArray[np.uint8]]:  # fmt: skip
        """Decode packets that start with a keyframe; scaled pixels of the wanted pts.

        `further` gives the same packets and those from two keyframes before; it is called if these
        packets do not give all of the wanted frames.
        """
        got: dict[int, NDArray[np.uint8]] = {}
        broken = self.broken
        for frame in self.frames(packets, wanted):
            if frame.pts in wanted and frame.pts not in got:
                got[frame.pts] = scaler.scale(frame)
                self.broken += frame.is_corrupt
                if len(got) == len(wanted):
                    break
        if missing := sorted(wanted - got.keys()):
            # A packet may have no picture (it repeats the last one) or be damaged, or the keyframe
            # was no clean start. Decode everything, from further back.
            self.broken = broken
            got |= self._decode_all(scaler, further(), missing)
        return got

    def _decode_all(
        self, scaler: FrameScaler, packets: Iterable[VideoPacket], missing: list[int]
    ) -> dict[int, NDArray[np.uint8]]:
        """Pixels of the frame on screen at each pts; the first frame for any pts before it."""
        got: dict[int, NDArray[np.uint8]] = {}
        pending = list(missing)
        shown: VideoFrame | None = None
        for frame in self.frames(packets):
            if frame.pts is None:
                continue
            while pending and pending[0] < frame.pts:
                got[pending.pop(0)] = scaler.scale(shown or frame)
            shown = frame
            if not pending:
                break
        if shown is not None:
            self.broken += shown.is_corrupt
            got |= {pts: scaler.scale(shown) for pts in pending}
        return got

    def check_size(self, width: int, height: int) -> None:
        """Raise VideoError `too_large` for frames over the limit."""
        if width * height > self._limits.pixels:
            raise VideoError(
                Reason.TOO_LARGE,
                f"{self._path}: frames of {width}x{height}, the limit is "
                f"{self._limits.pixels} pixels (--max-pixels)",
            )

    def no_frames(self) -> VideoError:
        """The error to raise if the decoder gave no frame, with the reason."""
        # For frames over its max_pixels a decoder fails with "invalid argument".
        if isinstance(self._first_error, av.error.ArgumentError):
            return VideoError(
                Reason.TOO_LARGE,
                f"{self._path}: its frames are over the limit of {self._limits.pixels} pixels "
                "(--max-pixels), or cannot be decoded",
            )
        return VideoError(Reason.NO_FRAMES, f"{self._path}: opens, but no frame can be decoded")

    def _decode(self, packet: VideoPacket | None) -> list[VideoFrame] | None:
        """The frames that a packet completes; None if it is damaged, which is counted."""
        self._on_packet()
        if packet is not None and packet.has_sidedata("encryption_info"):
            # Its headers may be clear, so that it would decode to noise.
            raise VideoError(Reason.ENCRYPTED, f"{self._path}: {ENCRYPTED}")
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
        failures = count = 0
        source = container.demux(stream)
        while failures < MAX_FAILURES:
            try:
                packet = next(source)
            except StopIteration:
                return
            except IndexError:  # PyAV at the end of a file whose stream starts late (its issue 692)
                return
            except av.error.InterruptedError:
                raise
            except av.FFmpegError:
                self.broken += not failures  # the end of a cut file fails repeatedly
                failures += 1
                source = container.demux(stream)
                continue
            failures = 0
            count += 1
            if count > self._limits.frames + 1:  # one more for PyAV's flush signal
                detail = f"{self._path}: over {self._limits.frames} frames"
                raise VideoError(Reason.TOO_LARGE, detail)
            self._on_packet()
            if packet.size:  # an empty packet is PyAV's flush signal at the end
                yield packet


def run_until(source: Iterable[VideoPacket], last: int | None) -> list[VideoPacket] | None:
    """Packets from the first keyframe until pts `last` is certainly included; to the end if None.

    None if packets have no timestamps, or there are too many.
    """
    packets: list[VideoPacket] = []
    size = 0
    for packet in source:
        if packet.pts is None or packet.dts is None:
            return None
        if not packets and not packet.is_keyframe:
            continue
        packets.append(packet)
        size += packet.size
        # Packets come in dts order and dts <= pts, so no later one can be shown before.
        if last is not None and packet.dts > last:
            break
        if size > RUN_BYTES or len(packets) > RUN_PACKETS:
            return None
    return packets
