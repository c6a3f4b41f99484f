"""The human skeleton: proportions of a body, and its joints in space from a described posture.

World axes: x to the right of the view, y away from the viewer, z up; metres. A posture is given
per time step by where the body stands and faces, how the trunk bends, where the feet are and how
the arms point; legs (and arms that reach for something) are solved by two-bone inverse kinematics,
so that a planted foot stays where it was planted. Side 0 is the left, side 1 the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIDE_SIGN = np.array([1.0, -1.0])
"""Towards the body's left for side 0, towards its right for side 1."""

_LEG_REACH = 0.985  # a leg is never quite straight; leaves the knee a direction to bend to
_SMOOTH_STEPS = 5  # pelvis height is averaged over this many steps, to hide support changes


class Joint(IntEnum):
    """Index of a joint in the joint axis; of a pair, the left one comes first."""

    PELVIS = 0
    WAIST = 1
    NECK = 2
    HEAD = 3
    FACE = 4
    CHEST_FRONT = 5
    CHEST_BACK = 6
    SHOULDER = 7
    ELBOW = 9
    WRIST = 11
    HAND = 13
    HIP = 15
    KNEE = 17
    ANKLE = 19
    TOE = 21
    HEEL = 23


JOINTS = 25


@dataclass(frozen=True)
class Body:
    """Lengths of one person, in metres; `build` scales every thickness (1 is average)."""

    height_m: float
    build: float
    feminine: bool
    upper_leg_m: float
    lower_leg_m: float
    ankle_m: float
    """Height of the ankle above the sole."""
    foot_m: float
    """Ankle to the ball of the foot, along the ground."""
    upper_arm_m: float
    forearm_m: float
    shoulder_m: float
    """Half the distance between the shoulder joints."""
    hip_m: float
    """Half the distance between the hip joints."""

    @property
    def leg_m(self) -> float:
        """Hip to ankle, stretched."""
        return self.upper_leg_m + self.lower_leg_m


def random_body(rng: np.random.Generator) -> Body:
    """A person 1.5 to 1.95 m tall, slim to stout."""
    feminine = bool(rng.random() < 0.45)
    height = float(np.clip(rng.normal(1.65 if feminine else 1.77, 0.07), 1.5, 1.95))
    build = float(np.clip(rng.normal(1.0, 0.13), 0.78, 1.4))
    return Body(
        height, build, feminine, upper_leg_m=0.247 * height, lower_leg_m=0.243 * height,
        ankle_m=0.042 * height, foot_m=0.095 * height, upper_arm_m=0.170 * height,
        forearm_m=0.150 * height,
        shoulder_m=(0.090 if feminine else 0.102) * height * build**0.4,
        hip_m=(0.055 if feminine else 0.049) * height * build**0.4,
    )  # fmt: skip


@dataclass
class Track:
    """Posture of one person over T time steps; every array's first axis is time.

    Angles in radians, lengths in metres. `root` (T, 2) is the ground point under the pelvis and
    `yaw` (T,) the heading, counted from +x towards +y. `crouch` and `lift` (T,) lower and raise
    the pelvis; `lean` bends the trunk forward, `roll` to the left, `twist` turns it to the left;
    `nod` and `look` do so for the head. `feet` (T, 2, 3) are the ground points under the ankles
    (z is the height of the sole), `foot_yaw` and `foot_pitch` (T, 2) turn them and point the
    toes down; `planted` (T, 2) says which carry weight. `upper` and `fore` (T, 2, 3) are the
    directions of upper arms and forearms as (forward, outward, up) of the trunk; where
    `reach_weight` (T, 2) is above 0 the hand is drawn that far to the world point `reach`.
    """

    time_s: Array
    root: Array
    yaw: Array
    crouch: Array
    lift: Array
    lean: Array
    roll: Array
    twist: Array
    nod: Array
    look: Array
    feet: Array
    foot_yaw: Array
    foot_pitch: Array
    planted: NDArray[np.bool_]
    upper: Array
    fore: Array
    reach: Array
    reach_weight: Array


def heading(yaw_rad: Array) -> tuple[Array, Array]:
    """Unit vectors (..., 3) forward and left of a heading, flat on the ground."""
    zero = np.zeros_like(yaw_rad)
    forward = np.stack([np.cos(yaw_rad), np.sin(yaw_rad), zero], axis=-1)
    left = np.stack([-np.sin(yaw_rad), np.cos(yaw_rad), zero], axis=-1)
    return forward, left


def _unit(vectors: Array) -> Array:
    unit: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
    return unit


def joints_of(body: Body, track: Track) -> Array:
    """Joint positions (T, JOINTS, 3) in metres of a body that follows a track."""
    joints = np.zeros((len(track.time_s), JOINTS, 3))
    forward, left = heading(track.yaw)
    up = np.broadcast_to(np.array([0.0, 0.0, 1.0]), forward.shape)
    pelvis = np.column_stack([track.root, _pelvis_height(body, track)])
    joints[:, Joint.PELVIS] = pelvis
    _place_legs(joints, body, track, left)
    # The lower spine takes the smaller part of a bend.
    low_up, _, _ = _bend(forward, left, up, 0.7 * track.lean, 0.6 * track.roll)
    waist = joints[:, Joint.WAIST] = pelvis + 0.115 * body.height_m * low_up
    forward, left = heading(track.yaw + track.twist)
    trunk_up, trunk_forward, trunk_left = _bend(forward, left, up, track.lean, track.roll)
    neck = joints[:, Joint.NECK] = waist + 0.185 * body.height_m * trunk_up
    chest = neck - 0.08 * body.height_m * trunk_up
    joints[:, Joint.CHEST_FRONT] = chest + 0.03 * body.height_m * trunk_forward
    joints[:, Joint.CHEST_BACK] = chest - 0.03 * body.height_m * trunk_forward
    _place_head(joints, body, track)
    _place_arms(joints, body, track, (trunk_forward, trunk_left, trunk_up))
    return joints


def two_bone(
    start: Array, target: Array, first_m: float, second_m: float, hint: Array
) -> tuple[Array, Array]:
    """Middle and end joint (..., 3) of two bones from `start` that reach for `target`.

    The middle joint bends towards the direction `hint`; a target out of reach is approached as
    far as the bones go.
    """
    offset = target - start
    distance = np.linalg.norm(offset, axis=-1, keepdims=True)
    along = offset / np.maximum(distance, 1e-6)
    reach = np.clip(distance, abs(first_m - second_m) + 1e-3, first_m + second_m - 1e-4)
    foot_of_bend = (reach**2 + first_m**2 - second_m**2) / (2 * reach)
    height = np.sqrt(np.maximum(first_m**2 - foot_of_bend**2, 0.0))
    across = _unit(hint - np.sum(hint * along, axis=-1, keepdims=True) * along)
    return start + foot_of_bend * along + height * across, start + reach * along


def _bend(
    forward: Array, left: Array, up: Array, lean: Array, roll: Array
) -> tuple[Array, Array, Array]:
    """Axes (up, forward, left) of a trunk segment that leans forward and rolls to the left."""
    cos, sin = np.cos(lean)[:, None], np.sin(lean)[:, None]
    bent_up, bent_forward = cos * up + sin * forward, cos * forward - sin * up
    cos, sin = np.cos(roll)[:, None], np.sin(roll)[:, None]
    return cos * bent_up + sin * left, bent_forward, cos * left - sin * bent_up


def _ankles(body: Body, track: Track) -> tuple[Array, Array]:
    """Ankles and toes (T, 2, 3): the foot pivots on its ball or on its heel."""
    forward, _ = heading(track.foot_yaw)
    up = np.array([0.0, 0.0, 1.0])
    flat = track.feet + body.ankle_m * up
    length, pitch = body.foot_m, track.foot_pitch
    down, raised = np.maximum(pitch, 0.0), np.maximum(-pitch, 0.0)
    ball = track.feet + length * forward + 0.3 * body.ankle_m * up
    shift = length * (1 - np.cos(down))[..., None] * forward
    ankle = flat + shift + length * np.sin(down)[..., None] * up
    toe = ball - length * (1 - np.cos(raised))[..., None] * forward
    return ankle, toe + length * np.sin(raised)[..., None] * up


def _pelvis_height(body: Body, track: Track) -> Array:
    """Height (T,) of the hips: as wished, but low enough for every planted foot to stand."""
    leg = body.leg_m * _LEG_REACH
    wished = leg + body.ankle_m - track.crouch + track.lift
    ankle, _ = _ankles(body, track)
    _, left = heading(track.yaw)
    hips = track.root[:, None] + body.hip_m * SIDE_SIGN[:, None] * left[:, None, :2]
    away = np.linalg.norm(ankle[..., :2] - hips, axis=-1)
    limit = ankle[..., 2] + np.sqrt(np.maximum(leg**2 - away**2, (0.25 * leg) ** 2))
    limit = np.where(track.planted, limit, np.inf).min(axis=1)
    padded = np.pad(np.minimum(wished, limit), _SMOOTH_STEPS // 2, mode="edge")
    return np.convolve(padded, np.full(_SMOOTH_STEPS, 1 / _SMOOTH_STEPS), mode="valid")


def _place_legs(joints: Array, body: Body, track: Track, left: Array) -> None:
    hips = joints[:, Joint.PELVIS, None] + body.hip_m * SIDE_SIGN[:, None] * left[:, None]
    wished_ankle, wished_toe = _ankles(body, track)
    toes_forward, toes_left = heading(track.foot_yaw)
    hint = toes_forward + 0.15 * SIDE_SIGN[:, None] * toes_left
    knee, ankle = two_bone(hips, wished_ankle, body.upper_leg_m, body.lower_leg_m, hint)
    foot = wished_toe - wished_ankle
    joints[:, Joint.HIP : Joint.HIP + 2] = hips
    joints[:, Joint.KNEE : Joint.KNEE + 2] = knee
    joints[:, Joint.ANKLE : Joint.ANKLE + 2] = ankle
    joints[:, Joint.TOE : Joint.TOE + 2] = wished_toe + (ankle - wished_ankle)
    # The heel sits behind and under the ankle, in the plane of the foot.
    length = np.linalg.norm(foot, axis=-1, keepdims=True)
    sole_down = np.cross(toes_left, foot / length)
    heel = ankle - 0.3 * foot + 0.45 * body.ankle_m * sole_down
    joints[:, Joint.HEEL : Joint.HEEL + 2] = heel


def _place_head(joints: Array, body: Body, track: Track) -> None:
    forward, left = heading(track.yaw + track.twist + track.look)
    up = np.broadcast_to(np.array([0.0, 0.0, 1.0]), forward.shape)
    # The eyes stay nearer to level than the trunk does.
    head_up, head_forward, _ = _bend(
        forward, left, up, 0.55 * track.lean + track.nod, 0.5 * track.roll
    )
    neck = joints[:, Joint.NECK]
    head = neck + body.height_m * (0.112 * head_up + 0.012 * head_forward)
    joints[:, Joint.HEAD] = head
    joints[:, Joint.FACE] = head + body.height_m * (0.022 * head_forward - 0.018 * head_up)


def _place_arms(joints: Array, body: Body, track: Track, trunk: tuple[Array, Array, Array]) -> None:
    forward, left, up = (axis[:, None] for axis in trunk)
    outward = SIDE_SIGN[:, None] * left
    neck = joints[:, Joint.NECK, None]
    shoulder = neck + body.shoulder_m * outward - 0.018 * body.height_m * up

    def world(arm: Array) -> Array:
        return _unit(arm[..., :1] * forward + arm[..., 1:2] * outward + arm[..., 2:] * up)

    elbow = shoulder + body.upper_arm_m * world(track.upper)
    wrist = elbow + body.forearm_m * world(track.fore)
    weight = track.reach_weight[..., None]
    target = wrist + weight * (track.reach - wrist)
    # Of a reaching arm the elbow points down and outward, as it does in most people.
    bend = (1 - weight) * (elbow - (shoulder + wrist) / 2) + weight * 0.1 * (outward - 1.5 * up)
    elbow, wrist = two_bone(shoulder, target, body.upper_arm_m, body.forearm_m, bend)
    joints[:, Joint.SHOULDER : Joint.SHOULDER + 2] = shoulder
    joints[:, Joint.ELBOW : Joint.ELBOW + 2] = elbow
    joints[:, Joint.WRIST : Joint.WRIST + 2] = wrist
    fingers = 0.055 * body.height_m * _unit(wrist - elbow)
    joints[:, Joint.HAND : Joint.HAND + 2] = wrist + fingers
