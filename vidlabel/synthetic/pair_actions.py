"""Actions between two people: greetings and single blows.

Person 0 of a pair stands on the left and faces +x; the acting one is person 0. Tracks are made on
the grid of the `Stage`; all randomness comes from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.random import Generator

from vidlabel.synthetic.motion import (
    Stage,
    ease,
    pulse,
    raise_arm,
    set_arm,
    set_arms,
    standing,
    swing_arm,
    walk_along,
)
from vidlabel.synthetic.skeleton import SIDE_SIGN, Array, Body, Joint, Track, heading, joints_of

_RIGHT = 1


@dataclass(frozen=True)
class Blow:
    """One attack: when it lands, what it is (`punch`, `kick` or `push`), by which limb."""

    lands_s: float
    kind: str
    side: int
    power: float


def _pair(bodies: Sequence[Body], stage: Stage, rng: Generator, *x: Array) -> list[Track]:
    """Two people who face each other and walk where `x` (T,) says."""
    tracks = []
    for body, way, yaw in zip(bodies, x, (0.0, np.pi), strict=True):
        track = standing(body, stage, rng, yaw)
        track.root[:, 0] = way
        walk_along(track, body, rng, rng.uniform(0.65, 0.9))
        tracks.append(track)
    return tracks


def _meeting(
    bodies: Sequence[Body], stage: Stage, rng: Generator, near_m: float
) -> tuple[list[Track], Array]:
    """Two people who come to a distance `near_m` and part, and how near they are (T,), 0..1."""
    time, total = stage.time_s, stage.duration_s
    far_m = rng.uniform(1.5, min(2.6, max(1.7, 1.5 * stage.half_width_m)))
    start, meet = rng.uniform(-0.1, 0.12) * total, rng.uniform(0.28, 0.4) * total
    part, gone = rng.uniform(0.7, 0.8) * total, rng.uniform(0.95, 1.2) * total
    near = ease(time, start, meet) - ease(time, part, gone)
    share = rng.uniform(0.25, 0.75)
    way = (far_m - near_m) * near
    left, right = -far_m / 2 + share * way, far_m / 2 - (1 - share) * way
    return _pair(bodies, stage, rng, left, right), near


def grip(track: Track, side: int, target: Array, weight: Array) -> None:
    """Draw one hand to a world point (T, 3) by `weight` (T,)."""
    stronger = weight > track.reach_weight[:, side]
    track.reach[stronger, side] = target[stronger]
    track.reach_weight[:, side] = np.maximum(weight, track.reach_weight[:, side])


def shake_hands(bodies: Sequence[Body], stage: Stage, rng: Generator) -> list[Track]:
    """Step up to each other, shake right hands, step back."""
    tracks, near = _meeting(bodies, stage, rng, rng.uniform(0.72, 0.92))
    hold = ease(near, 0.75, 0.98)
    middle = (tracks[0].root + tracks[1].root) / 2
    height = 0.58 * (bodies[0].height_m + bodies[1].height_m) / 2
    beat = np.sin(2 * np.pi * stage.time_s * rng.uniform(1.8, 3.0)) * hold**4
    for body, track in zip(bodies, tracks, strict=True):
        forward, _ = heading(track.yaw)
        target = np.column_stack([middle, height + rng.uniform(0.02, 0.06) * beat])
        grip(track, _RIGHT, target - 0.05 * body.height_m * forward, hold)
        track.lean += rng.uniform(0.03, 0.2) * hold
        track.twist += 0.12 * hold
        track.nod += 0.1 * hold
    return tracks


def hug(bodies: Sequence[Body], stage: Stage, rng: Generator) -> list[Track]:
    """Walk up to each other, arms around each other, and let go."""
    tracks, near = _meeting(bodies, stage, rng, rng.uniform(0.24, 0.34))
    opening, hold = ease(near, 0.35, 0.75), ease(near, 0.7, 1.0)
    lean = rng.uniform(0.05, 0.2)
    for track in tracks:
        track.lean += lean * hold
        track.roll += rng.choice([-0.08, 0.08]) * hold
        track.look += 0.4 * hold
    backs = [joints_of(b, t)[:, Joint.CHEST_BACK] for b, t in zip(bodies, tracks, strict=True)]
    pat = 0.03 * np.sin(2 * np.pi * stage.time_s * rng.uniform(1.5, 3.0))
    for me, track in enumerate(tracks):
        forward, _ = heading(track.yaw)
        high = int(rng.integers(2))
        set_arms(track, swing_arm(1.25 * opening, 0.5 * opening, 0.45), opening)
        for side in (0, 1):
            around = np.zeros_like(forward)
            around[:, 1] = -SIDE_SIGN[side] * 0.05 * forward[:, 0]
            around[:, 2] = (0.08 if side == high else -0.12) + pat
            grip(track, side, backs[1 - me] + around + 0.04 * forward, hold)
    return tracks


_REACH_M = {"kick": (0.85, 1.05), "punch": (0.75, 0.95), "push": (0.7, 0.85)}
_THROWN_M = {"kick": (0.1, 0.6), "punch": (0.2, 0.8), "push": (0.6, 1.5)}


def _attack(kind: str, bodies: Sequence[Body], stage: Stage, rng: Generator) -> list[Track]:
    """Step up, one blow, and the other staggers back; now and then without the other."""
    near_m, thrown_m = rng.uniform(*_REACH_M[kind]), rng.uniform(*_THROWN_M[kind])
    time = stage.time_s
    lands = rng.uniform(0.38, 0.55) * stage.duration_s
    far_m = rng.uniform(near_m + 0.3, min(2.5, max(near_m + 0.5, 1.4 * stage.half_width_m)))
    come = ease(time, lands - rng.uniform(0.8, 1.3), lands - 0.15)
    withdraw = ease(time, lands + 0.4, lands + rng.uniform(1.2, 1.8)) * rng.uniform(0.0, 0.5)
    left = -far_m / 2 + (far_m - near_m) * come - withdraw
    right = far_m / 2 + thrown_m * ease(time, lands, lands + rng.uniform(0.5, 0.9))
    tracks = _pair(bodies, stage, rng, left, right)
    blow = Blow(lands, kind, int(rng.integers(2)), rng.uniform(0.7, 1.1))
    strike(tracks[0], tracks[1], bodies, blow, rng)
    return tracks[:1] if rng.random() < 0.1 else tracks


def strike(actor: Track, victim: Track, bodies: Sequence[Body], blow: Blow, rng: Generator) -> None:
    """Add a blow and what it does to the posture of the one who takes it."""
    _recoil(victim, blow, rng)
    # Where the victim's joints (JOINTS, 3) are as it lands; limbs do not follow them from there.
    moment = min(int(victim.time_s.searchsorted(blow.lands_s)), len(victim.time_s) - 1)
    target = joints_of(bodies[1], victim)[moment]
    if blow.kind == "punch":
        _punch(actor, target, blow, rng)
    elif blow.kind == "kick":
        _kick(actor, bodies[0], target, blow, rng)
    else:
        _push(actor, target, blow)


def _recoil(victim: Track, blow: Blow, rng: Generator) -> None:
    """Give way to a blow: double over (kick), throw the head back (punch), or lean back (push)."""
    time, power = victim.time_s, blow.power
    hit = pulse(time, blow.lands_s - 0.03, 0.14, 0.1, rng.uniform(0.5, 0.9))
    arms = hit * rng.uniform(0.5, 1.0)
    if blow.kind == "kick":
        victim.lean += 0.6 * power * hit
        victim.crouch += 0.07 * power * hit
        pose = swing_arm(0.35 * hit, 1.2 * hit, 0.05)
    elif blow.kind == "punch":
        victim.lean -= 0.3 * power * hit
        victim.nod -= 0.5 * power * hit
        victim.look += rng.choice([-1.0, 1.0]) * 0.7 * power * hit
        victim.twist += rng.choice([-1.0, 1.0]) * 0.4 * power * hit
        pose = swing_arm(0.8 * hit, 1.7 * hit, 0.25)
    else:
        victim.lean -= 0.35 * power * hit
        victim.crouch += 0.05 * power * hit
        pose = raise_arm(1.1 * hit, 0.2 * hit, 0.5)
    set_arms(victim, pose, arms)


def _lunge(actor: Track, side: int, step_m: float, when: Array) -> None:
    """Put one foot forward and the other back, and sink, by `when` (T,)."""
    forward, _ = heading(actor.yaw)
    for foot, way in ((side, 0.6), (1 - side, -0.4)):
        actor.feet[:, foot] += (way * step_m * when)[:, None] * forward
        actor.feet[:, foot, 2] += 0.25 * step_m * 4 * when * (1 - when)
    actor.crouch += 0.1 * step_m * when


def _punch(actor: Track, target: Array, blow: Blow, rng: Generator) -> None:
    time, side = actor.time_s, blow.side
    wind = pulse(time, blow.lands_s - 0.5, 0.3, 0.08, 0.12)
    out = pulse(time, blow.lands_s - 0.14, 0.15, 0.05, rng.uniform(0.25, 0.4))
    sign = SIDE_SIGN[side]
    guard = pulse(time, blow.lands_s - 0.6, 0.4, 0.3, 0.5)
    set_arm(actor, 1 - side, swing_arm(0.6 * guard, 1.9 * guard), guard)
    set_arm(actor, side, swing_arm(-0.6 * wind, 2.0 * wind, 0.25), wind)
    mark = target[Joint.FACE if rng.random() < 0.75 else Joint.CHEST_FRONT]
    grip(actor, side, np.broadcast_to(mark, (len(time), 3)), out)
    actor.twist += sign * 0.5 * wind - sign * 0.65 * out
    actor.lean += 0.28 * blow.power * out
    lunge = pulse(time, blow.lands_s - 0.35, 0.33, 0.25, 0.5)
    _lunge(actor, 1 - side, 0.5 * blow.power, lunge)


def _push(actor: Track, target: Array, blow: Blow) -> None:
    time = actor.time_s
    wind = pulse(time, blow.lands_s - 0.6, 0.35, 0.1, 0.1)
    out = pulse(time, blow.lands_s - 0.2, 0.2, 0.25, 0.5)
    forward, left = heading(actor.yaw)
    follow = 0.25 * ease(time, blow.lands_s, blow.lands_s + 0.25)
    set_arms(actor, swing_arm(0.3 * wind, 2.1 * wind, 0.25), wind)
    for side in (0, 1):
        palm = target[Joint.CHEST_FRONT] + follow[:, None] * forward + 0.12 * SIDE_SIGN[side] * left
        grip(actor, side, palm, out)
    actor.lean += 0.42 * blow.power * out - 0.1 * wind
    _lunge(actor, blow.side, 0.6 * blow.power, pulse(time, blow.lands_s - 0.3, 0.35, 0.3, 0.6))


def _kick(actor: Track, body: Body, target: Array, blow: Blow, rng: Generator) -> None:
    time, side = actor.time_s, blow.side
    lift_s = rng.uniform(0.3, 0.45)
    chamber = pulse(time, blow.lands_s - lift_s, lift_s - 0.1, 0.1, 0.4)
    out = pulse(time, blow.lands_s - 0.14, 0.15, 0.06, 0.3)
    height = rng.uniform(0.7, 1.15) * body.leg_m
    forward, _ = heading(actor.yaw)
    root = np.column_stack([actor.root, np.zeros_like(time)])
    knee_up = root + 0.1 * body.height_m * forward
    knee_up[:, 2] = 0.32 * body.height_m
    full = target[Joint.PELVIS] - 0.1 * forward
    full[:, 2] = height
    foot = actor.feet[:, side]
    foot += chamber[:, None] * (knee_up - foot)
    foot += out[:, None] * (full - foot)
    actor.foot_pitch[:, side] -= 0.7 * out - 0.4 * chamber
    actor.planted[:, side] &= chamber < 0.02
    actor.planted[:, 1 - side] = True
    raised = np.maximum(chamber, out)
    actor.lean -= rng.uniform(0.2, 0.5) * blow.power * raised
    actor.twist += SIDE_SIGN[side] * 0.3 * raised
    set_arms(actor, swing_arm(0.5 * raised, 1.2 * raised, 0.6), 0.8 * raised)


PAIR_ACTIONS: dict[str, Callable[[Sequence[Body], Stage, Generator], list[Track]]] = {
    "hug": hug,
    "kick": partial(_attack, "kick"),
    "punch": partial(_attack, "punch"),
    "push": partial(_attack, "push"),
    "shake_hands": shake_hands,
}
"""Name of an action -> function that makes the movements of (at most) two people."""
