"""Building blocks of movement: timing curves, standing, arm postures, steps with planted feet.

Movements are described on a fine time grid (`Stage.time_s`) that begins before the clip and ends
after it, so that gaits have footprints beyond both ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from vidlabel.synthetic.skeleton import SIDE_SIGN, Array, Body, Track, heading

Arm = tuple[Array, Array]
"""Directions (T, 3) or (3,) of an upper arm and its forearm, as in `Track`."""
STEPS_PER_S = 60
"""Time steps per second of the grid on which movements are described."""
PAD_S = 1.5
"""How long the grid goes on before and after the clip, in seconds."""
FACING_VIEWER = -np.pi / 2
"""Heading of someone who looks at the viewer, in radians."""


@dataclass(frozen=True)
class Stage:
    """What a performance has to fit into: its length and how far the view reaches sideways."""

    duration_s: float
    half_width_m: float

    @property
    def time_s(self) -> Array:
        """Times (T,) of the grid; 0 is the first frame of the clip."""
        return np.arange(-PAD_S, self.duration_s + PAD_S, 1 / STEPS_PER_S)


@dataclass(frozen=True)
class Gait:
    """Style of the steps: what the feet do between two footprints.

    `width_m` is half the distance between left and right footprints; `swing_m` how high a foot
    is carried and `swing_peak` (0..1) when; `push_rad` and `strike_rad` how far the foot is
    pointed down as it leaves, and up as it lands. `lag` (phase) is by how much footprints lie
    behind the middle of their contact: feet land closer to the body than they are when they leave.
    """

    width_m: float
    swing_m: float
    swing_peak: float
    push_rad: float
    strike_rad: float
    lag: float = 0.0


def ease(time_s: Array, start_s: float, end_s: float) -> Array:
    """0 before `start_s`, 1 after `end_s`, smooth in between."""
    u = np.clip((time_s - start_s) / max(end_s - start_s, 1e-3), 0.0, 1.0)
    return u * u * (3 - 2 * u)


def pulse(time_s: Array, start_s: float, rise_s: float, hold_s: float, fall_s: float) -> Array:
    """From 0 to 1 within `rise_s`, there for `hold_s`, and back within `fall_s`."""
    top_s = start_s + rise_s
    return ease(time_s, start_s, top_s) - ease(time_s, top_s + hold_s, top_s + hold_s + fall_s)


def drift(rng: Generator, time_s: Array, period_s: float, amplitude: float) -> Array:
    """Smooth aimless wandering around 0 (T,), mostly within +-amplitude."""
    total = np.zeros_like(time_s)
    for octave in (1.0, 0.61, 0.37):
        angle = 2 * np.pi * (time_s / (period_s * octave) + rng.random())
        total += octave**0.5 * np.sin(angle)
    return amplitude * total / 1.6


def swing_arm(flex: Array | float, elbow: Array | float, outward: float = 0.12) -> Arm:
    """An arm swung forward by `flex` with the elbow bent by `elbow`."""
    flex, elbow = np.broadcast_arrays(flex, elbow)
    spread = np.full_like(flex, outward)
    upper = np.stack([np.sin(flex), spread, -np.cos(flex)], axis=-1)
    inward = spread - 0.25 * np.sin(elbow)
    fore = np.stack([np.sin(flex + elbow), inward, -np.cos(flex + elbow)], axis=-1)
    return upper, fore


def raise_arm(angle: Array | float, elbow: Array | float, forward: float = 0.1) -> Arm:
    """An arm raised sideways: `angle` 0 hangs, pi/2 level, pi overhead."""
    angle, elbow = np.broadcast_arrays(angle, elbow)
    front = np.full_like(angle, forward)
    upper = np.stack([front, np.sin(angle), -np.cos(angle)], axis=-1)
    fore = np.stack([front, np.sin(angle + elbow), -np.cos(angle + elbow)], axis=-1)
    return upper, fore


def set_arms(track: Track, arm: Arm, weight: Array | float = 1.0) -> None:
    """Blend both arms towards the same directions."""
    for side in (0, 1):
        set_arm(track, side, arm, weight)


def set_arm(track: Track, side: int, arm: Arm, weight: Array | float = 1.0) -> None:
    """Blend the arm of one side towards the directions `arm` by `weight` (T,) or a number."""
    blend = np.broadcast_to(weight, track.time_s.shape)[:, None]
    track.upper[:, side] += blend * (arm[0] - track.upper[:, side])
    track.fore[:, side] += blend * (arm[1] - track.fore[:, side])


def standing(body: Body, stage: Stage, rng: Generator, yaw_rad: float = 0.0) -> Track:
    """A person who stands at the origin, breathing and swaying a little, with hanging arms."""
    time_s = stage.time_s
    steps = len(time_s)
    width = body.hip_m * rng.uniform(0.9, 1.8)
    track = Track(
        time_s=time_s, root=np.zeros((steps, 2)), yaw=np.full(steps, yaw_rad),
        crouch=np.full(steps, 0.012), lift=np.zeros(steps),
        lean=drift(rng, time_s, 3.0, 0.025) + rng.normal(0.02, 0.03),
        roll=drift(rng, time_s, 3.4, 0.02), twist=drift(rng, time_s, 2.9, 0.04),
        nod=drift(rng, time_s, 2.3, 0.06), look=drift(rng, time_s, 2.7, 0.15),
        feet=np.zeros((steps, 2, 3)), foot_yaw=np.zeros((steps, 2)),
        foot_pitch=np.zeros((steps, 2)), planted=np.ones((steps, 2), dtype=bool),
        upper=np.zeros((steps, 2, 3)), fore=np.zeros((steps, 2, 3)),
        reach=np.zeros((steps, 2, 3)), reach_weight=np.zeros((steps, 2)),
    )  # fmt: skip
    place_feet(track, width, rng.uniform(0.05, 0.3))
    outward, elbow = rng.uniform(0.06, 0.22), rng.uniform(0.1, 0.45)
    for side in (0, 1):
        sway = drift(rng, time_s, 2.2, 0.05) + rng.normal(0.0, 0.05)
        set_arm(track, side, swing_arm(sway, elbow + drift(rng, time_s, 2.0, 0.06), outward))
    return track


def place_feet(track: Track, width_m: float, turnout_rad: float) -> None:
    """Put both feet on the ground beside the root, without steps."""
    _, left = heading(track.yaw)
    track.feet = SIDE_SIGN[:, None] * width_m * left[:, None]
    track.feet[..., :2] += track.root[:, None]
    track.foot_yaw = track.yaw[:, None] + SIDE_SIGN * turnout_rad


def tread(track: Track, side: int, contacts: Array, phase: Array, gait: Gait) -> None:
    """Move one foot from footprint to footprint.

    `contacts` (N, 2) are the first and last phase of each time on the ground. A footprint lies
    beside where the root is about the middle of its contact; `phase` (T,) must never fall.
    """
    rising = phase + 1e-6 * np.arange(len(phase))
    middle = contacts.mean(axis=1) - gait.lag
    yaw = np.interp(middle, rising, track.yaw)
    _, left = heading(yaw)
    prints = SIDE_SIGN[side] * gait.width_m * left[:, :2]
    prints[:, 0] += np.interp(middle, rising, track.root[:, 0])
    prints[:, 1] += np.interp(middle, rising, track.root[:, 1])
    now = np.clip(np.searchsorted(contacts[:, 0], phase, side="right") - 1, 0, len(contacts) - 2)
    start, end, after = contacts[now, 0], contacts[now, 1], contacts[now + 1, 0]
    swing = np.clip((phase - end) / (after - end), 0.0, 1.0)
    stance = np.clip((phase - start) / (end - start), 0.0, 1.0)
    moved = (swing * swing * (3 - 2 * swing))[:, None]
    track.feet[:, side, :2] = prints[now] + moved * (prints[now + 1] - prints[now])
    track.foot_yaw[:, side] = yaw[now] + moved[:, 0] * (yaw[now + 1] - yaw[now])
    # Someone who comes to a stop within a step puts the foot down.
    pace = np.clip(np.gradient(phase, track.time_s) / 0.35, 0.0, 1.0)
    warped = swing ** (np.log(0.5) / np.log(gait.swing_peak))
    track.feet[:, side, 2] = pace * gait.swing_m * np.sin(np.pi * warped)
    push = gait.push_rad * (ease(stance, 0.45, 1.0) - ease(swing, 0.1, 0.75))
    strike = gait.strike_rad * (ease(swing, 0.6, 1.0) - ease(stance, 0.0, 0.2))
    track.foot_pitch[:, side] = pace * (push - strike)
    track.planted[:, side] = (swing <= 0) | (pace < 0.05)


def cycle_contacts(phase: Array, offset: float, duty: float) -> Array:
    """Contacts (N, 2) of a foot that touches down once a cycle, `offset` after its beginning."""
    first = np.floor(phase[0]) - 2
    start = np.arange(first, np.ceil(phase[-1]) + 4) + offset
    return np.stack([start, start + duty], axis=1)


def walk_along(track: Track, body: Body, rng: Generator, stride_m: float) -> None:
    """Walk where `root` goes (any direction, any speed, stops included), two steps a stride."""
    step = np.linalg.norm(np.diff(track.root, axis=0, prepend=track.root[:1]), axis=1)
    phase = rng.random() + np.cumsum(step) / stride_m
    # Short steps roll the foot less.
    size = body.height_m / 1.75 * min(1.0, stride_m / 1.2)
    gait = Gait(body.hip_m * rng.uniform(0.7, 1.1), rng.uniform(0.07, 0.13) * size, 0.35,
                rng.uniform(0.75, 1.0) * size, rng.uniform(0.15, 0.4) * size, lag=0.06)  # fmt: skip
    duty = rng.uniform(0.58, 0.64)
    for side in (0, 1):
        tread(track, side, cycle_contacts(phase, 0.5 * side, duty), phase, gait)
    pace = np.clip(np.gradient(phase, track.time_s) / 0.7, 0.0, 1.0)
    swing_rad, elbow_rad = rng.uniform(0.2, 0.6), rng.uniform(0.15, 0.6)
    swing_arms(track, phase, pace * swing_rad, elbow_rad, weight=pace)
    track.lean += pace * rng.uniform(0.0, 0.09)
    track.twist += pace * rng.uniform(0.05, 0.14) * np.cos(2 * np.pi * phase)


def swing_arms(
    track: Track, phase: Array, swing_rad: Array, elbow_rad: float, weight: Array | float = 1.0
) -> None:
    """Swing each arm against the leg of its side; elbows close a little on the way forward."""
    for side in (0, 1):
        beat = -np.cos(2 * np.pi * (phase - 0.5 * side) + 0.2)
        arm = swing_arm(swing_rad * beat, elbow_rad * (1 + 0.3 * beat))
        set_arm(track, side, arm, weight)


def stride_for(speed_m_s: float, body: Body) -> float:
    """Length of a stride (two steps) that people choose at a walking speed."""
    return (0.72 + 0.48 * speed_m_s) * body.height_m / 1.75
