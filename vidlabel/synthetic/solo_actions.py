"""Actions of one person: crossing the view in several gaits, and acting on the spot.

Every action makes a `Track` on the grid of its `Stage`. All randomness (tempo, size, style,
direction) comes from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from vidlabel.synthetic.motion import (
    FACING_VIEWER,
    Gait,
    Stage,
    cycle_contacts,
    drift,
    ease,
    pulse,
    raise_arm,
    set_arm,
    set_arms,
    standing,
    stride_for,
    swing_arm,
    swing_arms,
    tread,
    walk_along,
)
from vidlabel.synthetic.skeleton import SIDE_SIGN, Array, Body, Track, heading


def _cross(stage: Stage, rng: Generator, speed_m_s: float, track: Track, distance: Array) -> Array:
    """Send the root across the view, mostly seen; gives 1 where it goes right, -1 where left.

    Who is fast enough to leave the view comes back a moment later.
    """
    way_m = speed_m_s * stage.duration_s
    half = stage.half_width_m
    beyond = rng.uniform(0.5, 0.9)
    if way_m > 2 * half:
        start = -half - rng.uniform(-0.3, 0.3)
    else:
        start = rng.uniform(-half - 0.1, half - way_m + 0.1)
    lap = 2 * (half + beyond)
    along = start + distance + half + beyond
    folded = np.abs((along + lap) % (2 * lap) - lap)
    track.root[:, 0] = folded - half - beyond
    return np.where((along // lap) % 2 == 0, 1.0, -1.0)


def _go(
    track: Track, stage: Stage, rng: Generator, speed_m_s: float, distance: Array, turn: float
) -> None:
    """Cross the view, facing the way; with chance `turn` the person turns back within it."""
    way = _cross(stage, rng, speed_m_s, track, distance)
    if rng.random() < turn:
        corner = rng.uniform(-0.2, 0.8) * stage.half_width_m
        when_s = rng.uniform(0.4, 0.8) * stage.duration_s
        past = distance - distance[track.time_s.searchsorted(when_s)]
        track.root[:, 0] = corner - np.hypot(past, 0.25)
        track.yaw += rng.choice([-1.0, 1.0]) * np.pi * ease(past, -0.35, 0.35)
    else:
        track.yaw += np.where(way > 0, 0.0, np.pi)


def walk(body: Body, stage: Stage, rng: Generator) -> Track:
    """Walk across the view."""
    track = standing(body, stage, rng)
    speed = rng.uniform(0.95, 1.6) * body.height_m / 1.75
    _go(track, stage, rng, speed, speed * track.time_s, turn=0.12)
    walk_along(track, body, rng, stride_for(speed, body) * rng.uniform(0.93, 1.07))
    return track


def run(body: Body, stage: Stage, rng: Generator) -> Track:
    """Run across the view, with a flight phase and bent elbows."""
    track = standing(body, stage, rng)
    size = body.height_m / 1.75
    speed = rng.uniform(2.2, 3.9) * size
    stride = (0.85 + 0.45 * speed) * size * rng.uniform(0.93, 1.07)
    distance = speed * track.time_s
    phase = rng.random() + distance / stride
    _go(track, stage, rng, speed, distance, turn=0.06)
    duty = rng.uniform(0.3, 0.36)
    gait = Gait(0.5 * body.hip_m, rng.uniform(0.28, 0.48) * size, 0.4, 1.0, 0.1, lag=0.04)
    for side in (0, 1):
        tread(track, side, cycle_contacts(phase, 0.5 * side, duty), phase, gait)
    # Lowest in the middle of each contact, highest in flight.
    track.lift -= 0.035 * size * np.cos(4 * np.pi * (phase - duty / 2))
    track.crouch += rng.uniform(0.03, 0.06) * size
    track.lean += rng.uniform(0.1, 0.28)
    track.nod -= 0.08
    track.twist += 0.16 * np.cos(2 * np.pi * phase)
    swing_arms(track, phase, np.full_like(phase, rng.uniform(0.5, 0.9)), rng.uniform(1.3, 1.8))
    return track


def _hopping(track: Track, phase: Array, duty: float, hop_m: float, dip_m: float) -> None:
    """Raise the pelvis in flight (phase beyond `duty` of each cycle) and dip it on the ground."""
    u = phase - np.floor(phase)
    flight = np.clip((u - duty) / (1 - duty), 0.0, 1.0)
    track.lift += hop_m * 4 * flight * (1 - flight)
    track.crouch += dip_m * np.sin(np.pi * np.clip(u / duty, 0.0, 1.0))


def _bounding(stage: Stage, rng: Generator, track: Track, hop_length_m: float, hop_s: float,
              duty: float) -> Array:  # fmt: skip
    """Send the root across in hops, slower on the ground than in the air; gives the phase."""
    phase = rng.random() + track.time_s / hop_s
    surge = -0.4 * np.sin(2 * np.pi * (phase - duty / 2)) / (2 * np.pi)
    distance = hop_length_m * (phase - phase[track.time_s.searchsorted(0.0)] + surge)
    _go(track, stage, rng, hop_length_m / hop_s, distance, turn=0.0)
    return phase


def jump(body: Body, stage: Stage, rng: Generator) -> Track:
    """Leap forward across the view with both feet together."""
    track = standing(body, stage, rng)
    size, duty = body.height_m / 1.75, rng.uniform(0.38, 0.48)
    hop = rng.uniform(0.12, 0.26) * size
    phase = _bounding(
        stage, rng, track, rng.uniform(0.6, 1.0) * size, rng.uniform(0.44, 0.62), duty
    )
    gait = Gait(0.8 * body.hip_m, hop + rng.uniform(0.02, 0.1), 0.45, 0.8, 0.1)
    for side in (0, 1):
        contacts = cycle_contacts(phase, side * rng.uniform(0.0, 0.04), duty)
        tread(track, side, contacts, phase, gait)
    _hopping(track, phase, duty, hop, rng.uniform(0.06, 0.14) * size)
    track.lean += rng.uniform(0.05, 0.2) + 0.1 * np.cos(2 * np.pi * (phase - duty / 2))
    arms, elbow = rng.uniform(0.05, 0.6), rng.uniform(0.3, 1.2)
    beat = -np.cos(2 * np.pi * (phase - duty / 2) + 0.5)
    set_arms(track, swing_arm(arms * beat, elbow))
    return track


def skip(body: Body, stage: Stage, rng: Generator) -> Track:
    """Go across the view hopping on one leg, or in hop-steps that change the leg."""
    track = standing(body, stage, rng)
    size, duty = body.height_m / 1.75, rng.uniform(0.42, 0.52)
    hop = rng.uniform(0.1, 0.18) * size
    phase = _bounding(stage, rng, track, rng.uniform(0.6, 0.95) * size, rng.uniform(0.4, 0.55),
                      duty)  # fmt: skip
    gait = Gait(0.35 * body.hip_m, hop + 0.03, 0.45, 0.7, 0.1)
    contacts = cycle_contacts(phase, 0.0, duty)
    if rng.random() < 0.65:
        support = int(rng.integers(2))
        tread(track, support, contacts, phase, gait)
        _tuck_foot(track, body, 1 - support, phase, rng)
    else:
        high = Gait(gait.width_m, rng.uniform(0.3, 0.4) * size, 0.5, 0.7, 0.1)
        for side in (0, 1):
            tread(track, side, contacts[contacts[:, 0] % 4 // 2 == side], phase, high)
            # Between the two contacts on the same leg the foot only just leaves the ground.
            close = ((phase - duty) % 4 < 2 * side + 1) & ((phase - duty) % 4 > 2 * side - duty)
            track.feet[close, side, 2] *= (hop + 0.03) / high.swing_m
    _hopping(track, phase, duty, hop, rng.uniform(0.04, 0.09) * size)
    track.lean += rng.uniform(0.05, 0.18)
    arms = np.full_like(phase, rng.uniform(0.15, 0.5))
    swing_arms(track, phase / 2, arms, rng.uniform(0.5, 1.6))
    return track


def _tuck_foot(track: Track, body: Body, side: int, phase: Array, rng: Generator) -> None:
    """Carry one foot off the ground, the knee bent back, pumping a little with every hop."""
    forward, left = heading(track.yaw)
    beat = np.cos(2 * np.pi * phase)
    back = rng.uniform(0.12, 0.24) + 0.12 * beat
    track.feet[:, side] = -(back * body.height_m)[:, None] * forward
    track.feet[:, side] += SIDE_SIGN[side] * 0.6 * body.hip_m * left
    track.feet[:, side, :2] += track.root
    track.feet[:, side, 2] = body.height_m * (rng.uniform(0.16, 0.26) - 0.03 * beat) + track.lift
    track.foot_yaw[:, side] = track.yaw
    track.foot_pitch[:, side] = rng.uniform(0.7, 1.2)
    track.planted[:, side] = False


def side_gallop(body: Body, stage: Stage, rng: Generator) -> Track:
    """Face the viewer and go sideways: feet apart, together, apart."""
    track, time = standing(body, stage, rng), stage.time_s
    size = body.height_m / 1.75
    stride, cycle_s = rng.uniform(0.7, 1.05) * size, rng.uniform(0.42, 0.62)
    phase = rng.random() + time / cycle_s
    way = _cross(stage, rng, stride / cycle_s, track, stride * time / cycle_s)
    track.yaw[:] = FACING_VIEWER
    apart = 0.25 * stride - rng.uniform(0.03, 0.06)
    gait = Gait(apart, 0.07 * size, 0.5, 0.4, 0.0)
    # Facing the viewer the left foot is on the right, so it leads when the way is to the right.
    lead_left = np.median(way[(time > 0) & (time < stage.duration_s)]) > 0
    for side in (0, 1):
        second = side if lead_left else 1 - side
        tread(track, side, cycle_contacts(phase, 0.5 * second, 0.44), phase, gait)
    track.foot_pitch *= 0.5
    track.lift += rng.uniform(0.03, 0.07) * size * np.cos(2 * np.pi * (phase - 0.47))
    track.crouch += 0.05 * size
    track.roll += rng.uniform(0.0, 0.1)
    track.look += rng.uniform(-0.2, 0.9)
    rest, flap = rng.uniform(0.1, 0.9), rng.uniform(0.0, 0.25)
    lifted = rest + flap * np.cos(2 * np.pi * phase)
    for side in (0, 1):
        set_arm(track, side, raise_arm(lifted, rng.uniform(-0.3, 0.2)))
    return track


def jumping_jack(body: Body, stage: Stage, rng: Generator) -> Track:
    """Jump legs apart with the arms overhead, and back."""
    track = standing(body, stage, rng, FACING_VIEWER)
    phase = rng.random() + track.time_s / rng.uniform(0.75, 1.3)
    opened = 0.5 - 0.5 * np.cos(2 * np.pi * phase)
    hop = rng.uniform(0.03, 0.09) * np.abs(np.sin(2 * np.pi * phase))
    _, left = heading(track.yaw)
    half_m = body.hip_m + rng.uniform(0.13, 0.24) * body.height_m * opened
    for side in (0, 1):
        track.feet[:, side] = SIDE_SIGN[side] * half_m[:, None] * left
        track.feet[:, side, 2] = hop
    track.planted[:] = (hop < 0.02)[:, None]
    track.lift += 1.2 * hop
    track.crouch += 0.03
    low, high = rng.uniform(0.05, 0.3), rng.uniform(2.6, 3.05)
    bend = rng.uniform(0.0, 0.5)
    set_arms(track, raise_arm(low + (high - low) * opened**0.9, bend * opened))
    return track


def jump_in_place(body: Body, stage: Stage, rng: Generator) -> Track:
    """Jump up and down on the spot."""
    track = standing(body, stage, rng, FACING_VIEWER)
    phase = rng.random() + track.time_s / rng.uniform(0.5, 0.85)
    duty = rng.uniform(0.4, 0.52)
    hop = rng.uniform(0.12, 0.34) * body.height_m / 1.75
    _hopping(track, phase, duty, hop, rng.uniform(0.06, 0.15))
    flight = np.clip(((phase % 1) - duty) / (1 - duty), 0.0, 1.0)
    air = 4 * flight * (1 - flight)
    track.feet[..., 2] += (hop * air)[:, None]
    track.foot_pitch += (0.7 * air**0.5)[:, None]
    track.planted[:] = (air <= 0)[:, None]
    arms, elbow = rng.uniform(0.0, 0.35), rng.uniform(0.1, 1.0)
    set_arms(track, raise_arm(0.15 + arms * air, 0.3 * elbow))
    return track


def bend(body: Body, stage: Stage, rng: Generator) -> Track:
    """Bend down to the ground, touch it, and stand up again."""
    track = standing(body, stage, rng, rng.choice([0.0, np.pi]) + rng.normal(0.0, 0.2))
    whole_s = min(rng.uniform(1.5, 2.8), 0.95 * stage.duration_s)
    start_s = rng.uniform(0.0, stage.duration_s - whole_s)
    down = pulse(track.time_s, start_s, 0.42 * whole_s, 0.12 * whole_s, 0.42 * whole_s)
    forward, left = heading(track.yaw)
    size = body.height_m
    knees = rng.uniform(0.02, 0.16)
    track.crouch += knees * size * down
    # The hips go back, or the person would fall over.
    track.root += (-0.09 * size * down)[:, None] * forward[:, :2]
    track.lean += rng.uniform(1.65, 1.9) * down
    track.nod += rng.uniform(-0.2, 0.3) * down
    sides = (0, 1) if rng.random() < 0.7 else (int(rng.integers(2)),)
    for side in sides:
        target = rng.uniform(0.12, 0.2) * size * forward + 0.06 * size * SIDE_SIGN[side] * left
        target[:, 2] = 0.09
        track.reach[:, side] = target
        track.reach_weight[:, side] = ease(down, 0.15, 0.9)
    for side in {0, 1} - set(sides):
        set_arm(track, side, swing_arm(0.5 + 0.8 * down, 0.6 * down), down)
    return track


def _wave_angles(time: Array, rng: Generator) -> tuple[Array, Array, float]:
    """Arm angle (T,), elbow bend (T,) and forward part of a waving arm."""
    if rng.random() < 0.6:  # the whole arm, from about level to overhead
        sweep = 0.5 - 0.5 * np.cos(2 * np.pi * (time / rng.uniform(0.8, 1.4) + rng.random()))
        low, high = rng.uniform(1.3, 1.9), rng.uniform(2.65, 3.1)
        return low + (high - low) * sweep, rng.uniform(0.0, 0.35) * sweep, 0.1
    beat = np.sin(2 * np.pi * (time / rng.uniform(0.4, 0.75) + rng.random()))
    shoulder = rng.uniform(1.5, 2.5) + 0.12 * beat
    raised = np.pi - shoulder + rng.uniform(-0.1, 0.1)
    return shoulder, raised + rng.uniform(0.35, 0.6) * beat, rng.uniform(0.0, 0.3)


def _greeting(stage: Stage, rng: Generator) -> Array:
    """Weight (T,) of a wave: mostly on all the time, sometimes begun or ended in the clip."""
    time = stage.time_s
    weight = np.ones_like(time)
    if rng.random() < 0.25:
        start = rng.uniform(0.0, 0.25) * stage.duration_s
        weight = weight * ease(time, start, start + 0.4)
    if rng.random() < 0.2:
        end = rng.uniform(0.8, 1.0) * stage.duration_s
        weight = weight * (1 - ease(time, end - 0.4, end))
    return weight


def wave(body: Body, stage: Stage, rng: Generator) -> Track:
    """Wave one hand."""
    track = standing(body, stage, rng, FACING_VIEWER + rng.normal(0.0, 0.3))
    angle, elbow, front = _wave_angles(stage.time_s, rng)
    weight = _greeting(stage, rng)
    side = int(rng.integers(2))
    set_arm(track, side, raise_arm(angle * weight, elbow * weight, front), weight)
    track.roll -= SIDE_SIGN[side] * 0.06 * weight
    return track


def wave_both_hands(body: Body, stage: Stage, rng: Generator) -> Track:
    """Wave both hands, in step or crossing over."""
    time = stage.time_s
    track = standing(body, stage, rng, FACING_VIEWER + rng.normal(0.0, 0.2))
    angle, elbow, front = _wave_angles(time, rng)
    weight = _greeting(stage, rng)
    lag = rng.uniform(-0.04, 0.04)
    for side in (0, 1):
        late = np.interp(time - side * lag, time, angle) * weight
        set_arm(track, side, raise_arm(late, elbow * weight, front), weight)
    return track


def point(body: Body, stage: Stage, rng: Generator) -> Track:
    """Raise a straight arm at something, hold it, and let it sink."""
    time = stage.time_s
    side_on = rng.random() < 0.8
    yaw = rng.normal(0.0, 0.3) if side_on else FACING_VIEWER + rng.normal(0.0, 0.6)
    track = standing(body, stage, rng, float(yaw))
    total = stage.duration_s
    start = rng.uniform(0.05, 0.35) * total
    aim = pulse(time, start, rng.uniform(0.25, 0.5), rng.uniform(0.25, 0.45) * total, 0.45)
    side = int(rng.integers(2))
    level = np.pi / 2 + rng.normal(0.05, 0.13)
    # The elbow opens last and closes first.
    arm = swing_arm(level * aim, 1.3 * np.sin(np.pi * aim) + 0.05, rng.uniform(-0.1, 0.3))
    set_arm(track, side, arm, ease(aim, 0.0, 0.3))
    track.twist -= SIDE_SIGN[side] * rng.uniform(0.05, 0.35) * aim
    track.lean += rng.uniform(-0.02, 0.1) * aim
    track.crouch += 0.01 * drift(rng, time, 1.5, 1.0) * aim
    return track


SOLO_ACTIONS: dict[str, Callable[[Body, Stage, Generator], Track]] = {
    action.__name__: action
    for action in (
        bend, jump, jump_in_place, jumping_jack, point, run, side_gallop, skip, walk, wave,
        wave_both_hands,
    )
}  # fmt: skip
"""Name of an action -> function that makes its movement, facing +x or the viewer."""
