"""What can be known of a video from its packets, before any is decoded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidlabel.video.stream import VideoPacket

RESET_S = 1.0
"""Decoding timestamps that fall back by more than this start anew (two recordings joined)."""

MAX_SPAN = 2**62
"""Timestamps further apart are nonsense, and their differences may not fit into 64 bits."""


@dataclass(frozen=True)
class Stamps:
    """The timestamps of packets, in decoding order."""

    pts: list[int | None]
    dts: list[int | None]
    shown: list[bool]
    """False for what is decoded but never shown: the part before the start of an edit list."""

    def timed(self, gap: float = math.inf) -> bool:
        """True if the presentation times can be trusted: all there, distinct, in one piece.

        Args:
            gap: a step in decoding time over this means that the timestamps start anew.
        """
        if None in self.pts or not any(self.shown):
            return False
        pts = self.shown_pts()
        if int(pts[-1]) - int(pts[0]) > MAX_SPAN or not np.diff(pts).all():
            return False
        dts = np.array([d for d in self.dts if d is not None], dtype=np.int64)
        steps = np.diff(dts)
        return bool(((steps >= 0) & (steps <= gap)).all())

    def shown_pts(self) -> NDArray[np.int64]:
        """Presentation timestamps of what is shown, ascending; for `timed` stamps."""
        pts = [p for p, shown in zip(self.pts, self.shown, strict=True) if shown]
        return np.sort(np.array(pts, dtype=np.int64))


@dataclass(frozen=True)
class Index:
    """Packets in decoding order, with what is needed to decode few of them."""

    pts: NDArray[np.int64]
    keyframe: NDArray[np.bool_]
    shown: NDArray[np.int64]
    """The pts of the packets whose frames are shown, ascending."""
    packets: Sequence[VideoPacket]

    def wanted(self, target: int) -> int:
        """The pts of the frame on screen at `target`: the latest one not after it."""
        place = int(np.searchsorted(self.shown, target, side="right"))
        return int(self.shown[max(0, place - 1)])

    def gap_at(self, target: int) -> int:
        """Ticks between the frame on screen at `target` and the next; 0 before and after all."""
        place = int(np.searchsorted(self.shown, target, side="right"))
        around = self.shown[max(0, place - 1) : place + 1]
        return int(around[-1]) - int(around[0])

    def run_start(self, position: int) -> int:
        """Position of the keyframe that decoding the packet at `position` must start from."""
        starts = np.flatnonzero(self.keyframe[: position + 1])
        if starts.size == 0:
            return 0
        # A leading picture (decoded after a keyframe, shown before it) may refer to the group
        # before; start there.
        leading = bool(self.pts[position] < self.pts[starts[-1]])
        return int(starts[max(0, starts.size - 1 - leading)])


def ticks_of(packet: VideoPacket) -> int:
    """For how long a packet says it is shown; 0 if it says nothing, or nonsense."""
    return max(0, packet.duration or 0)


def stamps_of(packets: Sequence[VideoPacket]) -> Stamps:
    """The timestamps of packets."""
    return Stamps(
        pts=[p.pts for p in packets],
        dts=[p.dts for p in packets],
        shown=[not p.is_discard for p in packets],
    )


def make_index(packets: Sequence[VideoPacket]) -> Index | None:
    """An index, or None where the presentation times cannot be trusted."""
    stamps = stamps_of(packets)
    if not stamps.timed():
        return None
    return Index(
        pts=np.array([p.pts for p in packets], dtype=np.int64),
        keyframe=np.array([p.is_keyframe for p in packets], dtype=np.bool_),
        shown=stamps.shown_pts(),
        packets=packets,
    )


class Clock:
    """Times for frames without presentation timestamps, in the order they are shown.

    They follow the decoding timestamps from the first one on, or the frame rate where there are
    none; where timestamps start anew, further back or `gap_s` ahead, time goes on.
    """

    def __init__(self, time_base: float, fps: float, gap_s: float = math.inf) -> None:
        self._time_base = time_base
        self._gap_s = gap_s
        self._frame_s = 1.0 / fps
        self._offset_s: float | None = None
        self._now_s: float | None = None

    def next(self, dts: int | None) -> float:
        """Seconds since the first frame of the frame that comes with `dts`."""
        following_s = 0.0 if self._now_s is None else self._now_s + self._frame_s
        if dts is None:
            self._now_s = following_s
            return following_s
        stamp_s = dts * self._time_base
        ahead_s = 0.0 if self._offset_s is None else stamp_s - self._offset_s - following_s
        if self._offset_s is None or not -RESET_S <= ahead_s <= self._gap_s:
            self._offset_s = stamp_s - following_s
        self._now_s = max(self._now_s or 0.0, stamp_s - self._offset_s)
        return self._now_s
