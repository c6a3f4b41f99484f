"""The index of a video: times and keyframes from its packets, before any is decoded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidlabel.video.stream import VideoPacket

RESET_S = 1.0
"""A larger step back in decoding timestamps is the start of another recording, joined to it."""

MAX_SPAN = 2**62
"""Timestamps further apart are invalid, and their differences may not fit into 64 bits."""


@dataclass(frozen=True)
class Stamps:
    """The timestamps of packets, in decoding order."""

    pts: list[int | None]
    dts: list[int | None]
    shown: list[bool]
    """False for frames that are decoded but not shown: those before the start of an edit list."""

    def timed(self, gap: float = math.inf) -> bool:
        """True if the presentation times are usable: none missing, distinct, in one piece.

        A step of more than `gap` ticks in decoding time means that another recording starts.
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
        """Presentation timestamps of the frames shown, ascending; for `timed` stamps."""
        pts = [p for p, shown in zip(self.pts, self.shown, strict=True) if shown]
        return np.sort(np.array(pts, dtype=np.int64))


@dataclass(frozen=True)
class Index:
    """Packets in decoding order, and which of them a frame depends on."""

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

    def runs(self, wanted: set[int]) -> list[tuple[int, int, set[int]]]:
        """The packets to decode for some frames: positions of the first and the last packet, and
        the pts of the frames, of each run."""
        position_of = {int(pts): i for i, pts in enumerate(self.pts)}
        runs: list[tuple[int, int, set[int]]] = []
        for pts in sorted(wanted, key=lambda p: position_of[p]):
            position = position_of[pts]
            start = self.run_start(position)
            if runs and start <= runs[-1][1]:
                first, last, members = runs[-1]
                runs[-1] = (first, max(last, position), members | {pts})
            else:
                runs.append((start, position, {pts}))
        return runs

    def run_start(self, position: int) -> int:
        """Position of the keyframe that decoding the packet at `position` must start from."""
        starts = np.flatnonzero(self.keyframe[: position + 1])
        if starts.size == 0:
            return 0
        # A leading picture (decoded after a keyframe, shown before it) may depend on the group
        # before it.
        leading = bool(self.pts[position] < self.pts[starts[-1]])
        return int(starts[max(0, starts.size - 1 - leading)])


def ticks_of(packet: VideoPacket) -> int:
    """Duration of a packet in ticks; 0 if it has none, or an invalid one."""
    return max(0, packet.duration or 0)


def make_index(packets: Sequence[VideoPacket]) -> Index | None:
    """An index, or None if the presentation times are not usable."""
    stamps = Stamps(
        [p.pts for p in packets], [p.dts for p in packets], [not p.is_discard for p in packets]
    )
    if not stamps.timed():
        return None
    return Index(
        pts=np.array(stamps.pts, dtype=np.int64),
        keyframe=np.array([p.is_keyframe for p in packets], dtype=np.bool_),
        shown=stamps.shown_pts(),
        packets=packets,
    )


class Clock:
    """Times for frames without presentation timestamps, in the order in which they are shown.

    They follow the decoding timestamps from the first one on, or the frame rate if there are none.
    Where the timestamps jump back, or by more than `gap_s` ahead, the times continue.
    """

    def __init__(self, time_base: float, fps: float, gap_s: float = math.inf) -> None:
        self._time_base = time_base
        self._gap_s = gap_s
        self._frame_s = 1.0 / fps
        self._offset_s: float | None = None
        self._now_s: float | None = None

    def next(self, dts: int | None) -> float:
        """Time of the frame that comes with `dts`, seconds from the first frame."""
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
