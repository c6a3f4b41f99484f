"""The index of a video: when its frames are shown, from its packets, before any is decoded."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vidlabel.video.stream import VideoPacket

RESET_S = 0.2
"""A larger step back in decoding timestamps is the start of another recording, joined to it; a
smaller one only at a keyframe, since encoders write such steps as well."""

NONE = -(2**63)
"""In place of a timestamp that is missing, as in FFmpeg."""

MAX_PARTS = 1000
"""With more parts than this, the timestamps are noise."""

EARLY_S = 0.005
"""For pictures at regular times, a frame counts as on screen so much before its own time, since
some files round times to 1/100 s."""

LARGEST_STAMP = 2**61
"""Larger timestamps are invalid, and their differences may not fit into 64 bits."""


@dataclass(frozen=True)
class Stamps:
    """The timestamps of packets, in decoding order, in ticks; NONE where there is none."""

    pts: array[int] = field(default_factory=lambda: array("q"))
    dts: array[int] = field(default_factory=lambda: array("q"))
    ticks: array[int] = field(default_factory=lambda: array("q"))
    """Durations; 0 if unknown."""
    keyframe: bytearray = field(default_factory=bytearray)
    shown: bytearray = field(default_factory=bytearray)
    """0 for frames that are decoded but not shown: those outside of an edit list."""

    @classmethod
    def of(cls, packets: Iterable[VideoPacket]) -> Stamps:
        """Those of some packets."""
        stamps = cls()
        for packet in packets:
            stamps.add(packet)
        return stamps

    def add(self, packet: VideoPacket) -> None:
        """Append those of one packet."""
        self.pts.append(NONE if packet.pts is None else packet.pts)
        self.dts.append(NONE if packet.dts is None else packet.dts)
        self.ticks.append(max(0, packet.duration or 0))
        self.keyframe.append(packet.is_keyframe)
        self.shown.append(not packet.is_discard)

    @property
    def last_ticks(self) -> int:
        """The last duration that is known; 0 if there is none."""
        return next((ticks for ticks in reversed(self.ticks) if ticks), 0)


@dataclass(frozen=True)
class Part:
    """Consecutive packets with one clock: a recording, or what an edit list takes from one.

    Decoding never runs from one part into the next.
    """

    first: int
    """Position of its first packet."""
    end: int | None
    """Position after its last packet; None for the end of the file."""
    offset: int = 0
    """Ticks from its timestamps to those of the whole video."""
    earliest: int = -LARGEST_STAMP
    """Its frames appear at this time or later: after those of the parts before."""

    @property
    def count(self) -> int | None:
        """Number of packets; None for all."""
        return None if self.end is None else self.end - self.first

    def time(self, pts: int) -> int:
        """When a frame with this timestamp appears, in ticks of the whole video."""
        return max(pts + self.offset, self.earliest)


@dataclass(frozen=True)
class Rules:
    """Which steps in decoding timestamps start another part, in ticks."""

    gap: float = math.inf
    """A longer step ahead."""
    back: float = 0
    """A longer step back, at any packet."""
    edited: bool = False
    """True if presentation times hold for all parts, as in an edit list; otherwise the parts are
    recordings that follow each other."""


@dataclass(frozen=True)
class Index:
    """Packets in decoding order, which of them a frame depends on, and when frames are shown."""

    pts: NDArray[np.int64]
    keyframe: NDArray[np.bool_]
    parts: list[Part]
    times: NDArray[np.int64]
    """When the frames shown appear, in ticks of the whole video, ascending."""
    positions: NDArray[np.int64]
    """The positions of their packets."""
    end: int
    """When the last frame disappears; its own time if its duration is unknown."""

    @cached_property
    def _keyframes(self) -> NDArray[np.int64]:
        """Their positions, ascending."""
        return np.flatnonzero(self.keyframe)

    def wanted(self, target: int) -> int:
        """The time of the frame on screen at `target`: the latest one not after it."""
        place = int(np.searchsorted(self.times, target, side="right"))
        return int(self.times[max(0, place - 1)])

    def runs(self, wanted: Iterable[int]) -> list[Run]:
        """The packets to decode for the frames that appear at some times."""
        # Of frames that appear at once, only the last one stays on screen.
        places = np.searchsorted(self.times, sorted(set(wanted)), side="right") - 1
        runs: list[Run] = []
        for position in sorted(self.positions[places].tolist()):
            part = next(p for p in reversed(self.parts) if p.first <= position)
            first = self.run_start(position, part)
            if not runs or first > runs[-1].last or part is not runs[-1].part:
                runs.append(Run(part, first, position, set()))
            runs[-1].pts.add(int(self.pts[position]))
            runs[-1].last = position
        return runs

    def run_start(self, position: int, part: Part, back: int = 0) -> int:
        """Position of the keyframe that decoding the packet at `position` must start from; with
        `back`, of one so many keyframes before it."""
        keys = self._keyframes
        starts = keys[np.searchsorted(keys, part.first) : np.searchsorted(keys, position, "right")]
        if starts.size == 0:
            return part.first
        # A leading picture (decoded after a keyframe, shown before it) may depend on the group
        # before it.
        leading = bool(self.pts[position] < self.pts[starts[-1]])
        return int(starts[max(0, starts.size - 1 - leading - back)])


@dataclass
class Run:
    """Packets to decode: positions of the first and the last, and the pts of the frames wanted."""

    part: Part
    first: int
    last: int
    pts: set[int]


def make_index(stamps: Stamps, rules: Rules, frame: int) -> Index | None:
    """An index, or None if the presentation times are not usable: missing, or not distinct.

    Args:
        frame: ticks that a frame lasts whose duration is not known.
    """
    pts = np.array(stamps.pts)
    keyframe, shown = np.array(stamps.keyframe, dtype=bool), np.array(stamps.shown, dtype=bool)
    usable = shown.any() and pts.min() >= -LARGEST_STAMP and pts.max() <= LARGEST_STAMP
    starts = _starts(np.array(stamps.dts), keyframe, rules) if usable else []
    if not 0 < len(starts) <= MAX_PARTS:
        return None
    parts: list[Part] = []
    times: list[NDArray[np.int64]] = []
    positions: list[NDArray[np.int64]] = []
    end = -LARGEST_STAMP  # of the parts so far
    for first, after in zip(starts, [*starts[1:], len(pts)], strict=True):
        own = first + np.flatnonzero(shown[first:after])
        own = own[np.argsort(pts[own], kind="stable")]
        if not np.diff(pts[own]).all():
            return None
        part = Part(first, after)
        if own.size and times:
            begins, latest = int(pts[own[0]]), int(times[-1][-1])
            ahead = begins - latest
            joined = ahead > rules.gap or (ahead <= 0 and not rules.edited)
            part = Part(first, after, end - begins if joined else 0, latest)
        parts.append(part)
        if own.size:
            times.append(np.maximum(pts[own] + part.offset, part.earliest))
            positions.append(own)
            end = int(times[-1][-1]) + (stamps.ticks[own[-1]] or stamps.last_ticks or frame)
            if end > LARGEST_STAMP:
                return None
    return Index(pts, keyframe, parts, np.concatenate(times), np.concatenate(positions), end)


def _starts(dts: NDArray[np.int64], keyframe: NDArray[np.bool_], rules: Rules) -> list[int]:
    """The positions at which parts begin."""
    known = np.flatnonzero(dts != NONE)
    steps, later = np.diff(np.clip(dts[known], -LARGEST_STAMP, LARGEST_STAMP)), known[1:]
    least = np.where(keyframe[later], int(rules.edited), -rules.back)
    return [0, *later[(steps < least) | (steps > np.float64(rules.gap))].tolist()]


class Clock:
    """Times for frames without presentation timestamps, in the order in which they are shown.

    They follow the decoding timestamps from the first one on, and the frame rate where there are
    none or they step back. Where they jump back, or by more than `gap_s` ahead, the times continue.
    """

    def __init__(self, time_base: float, fps: float, gap_s: float = math.inf) -> None:
        self._time_base = time_base
        self._gap_s = gap_s
        self._frame_s = 1.0 / fps
        self._offset_s: float | None = None
        self._now_s = -self._frame_s

    def next(self, dts: int | None) -> float:
        """Time of the frame that comes with `dts`, seconds from the first frame."""
        following_s = self._now_s + self._frame_s
        if dts is None or dts == NONE:
            self._now_s = following_s
            return following_s
        stamp_s = dts * self._time_base
        if self._offset_s is None:
            self._offset_s = stamp_s - following_s
        ahead_s = stamp_s - self._offset_s - self._now_s
        if not -RESET_S <= ahead_s <= self._gap_s:
            self._offset_s = stamp_s - following_s
        behind = ahead_s < -1e-6  # else a frame would appear at once with one before, and be lost
        self._now_s = following_s if behind else max(self._now_s, stamp_s - self._offset_s)
        return self._now_s
