"""What surveillance cameras see: people who fight, and people who just go about.

Both actions take as many bodies as may be needed and use some of them. Tracks are made on the
grid of the `Stage`; all randomness comes from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from vidlabel.synthetic.motion import (
    Stage,
    drift,
    ease,
    place_feet,
    pulse,
    raise_arm,
    set_arm,
    standing,
    stride_for,
    swing_arm,
    walk_along,
)
from vidlabel.synthetic.pair_actions import Blow, grip, strike
from vidlabel.synthetic.skeleton import SIDE_SIGN, Body, Joint, Track, heading, joints_of

CROWD = 6
"""Most people in one performance."""


def _blows(stage: Stage, rng: Generator) -> list[Blow]:
    """Attacks at short irregular intervals, as many as the clip has time for."""
    blows = []
    now = rng.uniform(-0.2, 0.3)
    while now < stage.duration_s:
        kind = str(rng.choice(["punch", "kick", "push"], p=[0.6, 0.22, 0.18]))
        blows.append(Blow(now, kind, int(rng.integers(2)), rng.uniform(0.7, 1.4)))
        now += rng.uniform(0.28, 0.75)
    return blows


def _scuffle(bodies: Sequence[Body], stage: Stage, rng: Generator, x_m: float) -> list[Track]:
    """Two people who hit, kick, push and grab each other while they stagger about."""
    time = stage.time_s
    blows = [(blow, int(rng.random() < 0.45)) for blow in _blows(stage, rng)]
    angle = rng.uniform(-0.7, 0.7) + drift(rng, time, 1.8, 0.5)
    gap = rng.uniform(0.5, 0.75) + drift(rng, time, 0.9, 0.15)
    for blow, _ in blows:
        gap += 0.25 * blow.power * pulse(time, blow.lands_s, 0.15, 0.05, 0.35)
    middle = np.stack([x_m + drift(rng, time, 1.6, 0.35), drift(rng, time, 1.9, 0.35)], axis=1)
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    tracks = []
    for who, body in enumerate(bodies):
        way = who * 2 - 1
        track = standing(body, stage, rng)
        track.root = middle + way * (gap / 2)[:, None] * along
        track.yaw = angle + who * np.pi + drift(rng, time, 0.8, 0.3)
        walk_along(track, body, rng, rng.uniform(0.65, 0.9))
        track.lean += rng.uniform(0.1, 0.3) + drift(rng, time, 0.7, 0.18)
        track.roll += drift(rng, time, 0.8, 0.18)
        track.twist += drift(rng, time, 0.6, 0.25)
        track.crouch += rng.uniform(0.03, 0.09) + drift(rng, time, 0.9, 0.02)
        guard = 0.55 + drift(rng, time, 0.8, 0.35)
        for side in (0, 1):
            flail = drift(rng, time, 0.5, 0.45)
            set_arm(track, side, swing_arm(0.8 + flail, 1.5 + 1.2 * flail, 0.3), guard)
        tracks.append(track)
    for blow, actor in blows:
        pair = [bodies[actor], bodies[1 - actor]]
        strike(tracks[actor], tracks[1 - actor], pair, blow, rng)
    if rng.random() < 0.5:
        _grapple(tracks, bodies, stage, rng)
    return tracks


def _grapple(tracks: list[Track], bodies: Sequence[Body], stage: Stage, rng: Generator) -> None:
    """Hold the other by shoulders or clothes for a while."""
    time = tracks[0].time_s
    start = rng.uniform(-0.2, 0.6) * stage.duration_s
    hold = pulse(time, start, 0.25, rng.uniform(0.5, 1.5), 0.3)
    joints = [joints_of(body, track) for body, track in zip(bodies, tracks, strict=True)]
    for me, track in enumerate(tracks):
        other = joints[1 - me]
        for side in (0, 1):
            place = Joint.SHOULDER + 1 - side if rng.random() < 0.6 else Joint.CHEST_FRONT
            tug = np.stack([drift(rng, time, 0.5, 0.06) for _ in range(3)], axis=1)
            grip(track, side, other[:, place] + tug, hold)
        track.lean += 0.3 * hold


def _fall(track: Track, body: Body, stage: Stage, rng: Generator) -> None:
    """Go down on the ground and stay there, moving a little."""
    time = track.time_s
    start = rng.uniform(0.15, 0.7) * stage.duration_s
    down = ease(time, start, start + rng.uniform(0.5, 0.8))
    forward, left = heading(track.yaw)
    track.crouch += 0.84 * body.leg_m * down
    track.lean += (rng.uniform(-1.5, -0.9) + drift(rng, time, 0.9, 0.12) - track.lean) * down
    track.roll += rng.uniform(-0.6, 0.6) * down
    for side in (0, 1):
        ahead = rng.uniform(0.25, 0.46) * body.height_m
        spot = np.zeros_like(forward)
        spot[:, :2] = track.root
        spot += (ahead + drift(rng, time, 0.8, 0.05))[:, None] * forward
        spot += SIDE_SIGN[side] * 0.14 * left
        track.feet[:, side] += down[:, None] * (spot - track.feet[:, side])
        track.reach_weight[:, side] *= 1 - down
        cover = raise_arm(1.2 + drift(rng, time, 0.7, 0.5), 0.9, 0.5)
        set_arm(track, side, cover, down)
    track.planted[down > 0.02] = False


def fight(bodies: Sequence[Body], stage: Stage, rng: Generator) -> list[Track]:
    """Two to four people scuffle; sometimes one goes down; others stand by, or come to look."""
    shift = rng.normal(0.0, 0.25) * stage.half_width_m
    people = _scuffle(bodies[:2], stage, rng, shift)
    if rng.random() < 0.25:
        _fall(people[int(rng.integers(2))], bodies[0], stage, rng)
    if rng.random() < 0.35:
        side = rng.choice([-1.0, 1.0]) * rng.uniform(0.7, 1.3)
        more = _scuffle(bodies[2:4], stage, rng, shift + side)
        people += more[: int(rng.integers(1, 3))]
    while len(people) < CROWD and rng.random() < 0.35:
        role = _stander if rng.random() < 0.6 else _passer
        people.append(role(bodies[len(people)], stage, rng))
    return people


def _passer(body: Body, stage: Stage, rng: Generator) -> Track:
    """Walk through the view in any direction."""
    time = stage.time_s
    track = standing(body, stage, rng)
    speed = float(np.clip(rng.normal(1.2, 0.3), 0.5, 2.0))
    way = rng.choice([0.0, np.pi]) + rng.normal(0.0, 0.6)
    along = np.array([np.cos(way), np.sin(way)])
    # Somewhere in the middle of the clip the way leads past somewhere in the view.
    spot = np.array([rng.uniform(-0.8, 0.8) * stage.half_width_m, rng.uniform(-0.8, 2.0)])
    travelled = speed * (time - rng.uniform(0.2, 0.8) * stage.duration_s)
    if rng.random() < 0.25:
        halt = rng.uniform(0.0, 0.4)
        travelled = np.minimum(travelled, halt) - 0.1 * np.exp(-np.abs(travelled - halt) / 0.1)
        travelled = np.maximum.accumulate(travelled)
    track.root = spot + travelled[:, None] * along
    track.yaw = np.full_like(time, way) + drift(rng, time, 4.0, 0.05)
    walk_along(track, body, rng, stride_for(speed, body))
    return track


def _stander(body: Body, stage: Stage, rng: Generator) -> Track:
    """Stand somewhere, turning a little, perhaps with a telephone."""
    track = standing(body, stage, rng, rng.uniform(-np.pi, np.pi))
    _move_to(track, rng.uniform(-0.9, 0.9) * stage.half_width_m, rng.uniform(-0.5, 2.2), rng)
    if rng.random() < 0.35:
        side = int(rng.integers(2))
        set_arm(track, side, swing_arm(0.5, 1.7, 0.15))
        track.nod += 0.4
    return track


def _move_to(track: Track, x_m: float, y_m: float, rng: Generator) -> None:
    """Stand a person at a spot, both feet on the ground."""
    track.root[:] = (x_m, y_m)
    place_feet(track, rng.uniform(0.08, 0.17), rng.uniform(0.05, 0.35))
    track.root += np.stack([drift(rng, track.time_s, 3.5, 0.025)] * 2, axis=1)


def _talkers(bodies: Sequence[Body], stage: Stage, rng: Generator) -> list[Track]:
    """Two people who stand and talk, with gestures."""
    time = stage.time_s
    x, y = rng.uniform(-0.6, 0.6) * stage.half_width_m, rng.uniform(-0.4, 1.5)
    line, gap = rng.uniform(-0.8, 0.8), rng.uniform(0.75, 1.2)
    people = []
    for who, body in enumerate(bodies):
        way = who * 2 - 1
        track = standing(body, stage, rng, line + who * np.pi + rng.normal(0.0, 0.2))
        _move_to(track, x + way * gap / 2 * np.cos(line), y + way * gap / 2 * np.sin(line), rng)
        for side in (0, 1):
            talk = np.clip(drift(rng, time, 2.5, 1.0), 0.0, 1.0) * rng.uniform(0.0, 1.0)
            lively = drift(rng, time, 0.9, 0.3)
            set_arm(track, side, swing_arm(0.35 + lively, 1.3 + lively, 0.25), talk)
        track.nod += drift(rng, time, 1.1, 0.1)
        people.append(track)
    return people


def _sitter(body: Body, stage: Stage, rng: Generator) -> Track:
    """Sit on something low, facing anywhere but away."""
    track = standing(body, stage, rng, rng.uniform(-np.pi, 0.0))
    _move_to(track, rng.uniform(-0.8, 0.8) * stage.half_width_m, rng.uniform(0.0, 2.0), rng)
    forward, _ = heading(track.yaw)
    track.feet += (rng.uniform(0.2, 0.28) * body.height_m * forward)[:, None]
    track.crouch += 0.46 * body.leg_m
    track.lean += rng.uniform(-0.1, 0.35)
    for side in (0, 1):
        set_arm(track, side, swing_arm(0.5, 0.8 + drift(rng, stage.time_s, 2.0, 0.1), 0.15))
    return track


def no_fight(bodies: Sequence[Body], stage: Stage, rng: Generator) -> list[Track]:
    """One to six people walk, stand, talk, pass each other, sit."""
    people: list[Track] = []
    wanted = int(rng.choice([1, 2, 3, 4, 5], p=[0.2, 0.3, 0.25, 0.15, 0.1]))
    while len(people) < wanted:
        body = bodies[len(people)]
        role = rng.choice(["pass", "talk", "stand", "sit"], p=[0.5, 0.2, 0.2, 0.1])
        if role == "talk":
            people += _talkers(bodies[len(people) : len(people) + 2], stage, rng)
        else:
            role_of = {"pass": _passer, "stand": _stander, "sit": _sitter}
            people.append(role_of[str(role)](body, stage, rng))
    return people


def bystander(body: Body, stage: Stage, rng: Generator) -> Track:
    """Someone behind the actors who stands there or walks past."""
    role = _stander if rng.random() < 0.6 else _passer
    track = role(body, stage, rng)
    behind = rng.uniform(1.3, 3.0) - min(float(track.root[:, 1].min()), 0.0)
    track.root[:, 1] += behind
    track.feet[:, :, 1] += behind
    return track


CROWD_ACTIONS = {"fight": fight, "no_fight": no_fight}
"""Name of an action -> function that makes the movements of up to `CROWD` people."""
