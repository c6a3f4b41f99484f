"""The generator of synthetic clips: what it promises, and that its people move as named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from vidlabel.synthetic.clips import ACTIONS, SyntheticClip, describe_clip, render_clip
from vidlabel.synthetic.crowd_actions import CROWD, CROWD_ACTIONS
from vidlabel.synthetic.motion import STEPS_PER_S, Stage
from vidlabel.synthetic.pair_actions import PAIR_ACTIONS
from vidlabel.synthetic.skeleton import Array, Body, Joint, Track, joints_of, random_body
from vidlabel.synthetic.solo_actions import SOLO_ACTIONS

STAGE = Stage(duration_s=2.5, half_width_m=2.2)
SEEDS = range(6)
PAIR = slice(None, 2)


def act(action: str, seed: int) -> tuple[Body, Track, Array]:
    """A solo action, cut to the clip: the body, its track, its joints (T, JOINTS, 3)."""
    rng = np.random.default_rng(seed)
    body = random_body(rng)
    track = SOLO_ACTIONS[action](body, STAGE, rng)
    return body, track, joints_of(body, track)[within(track)]


def act_together(action: str, seed: int) -> list[Array]:
    """Joints (T, JOINTS, 3) of everyone in a group action, cut to the clip."""
    rng = np.random.default_rng(seed)
    bodies = [random_body(rng) for _ in range(CROWD)]
    if action in PAIR_ACTIONS:
        tracks = PAIR_ACTIONS[action](bodies[PAIR], STAGE, rng)
    else:
        tracks = CROWD_ACTIONS[action](bodies, STAGE, rng)
    return [joints_of(b, t)[within(t)] for b, t in zip(bodies, tracks, strict=False)]


def act_as_pair(action: str) -> list[list[Array]]:
    """The pairs among a few seeds; a blow is sometimes struck at nobody."""
    people = [act_together(action, seed) for seed in range(8)]
    pairs = [both for both in people if len(both) == 2]
    assert len(pairs) >= 4
    return pairs


def within(track: Track) -> slice:
    first = int(track.time_s.searchsorted(0.0))
    return slice(first, int(track.time_s.searchsorted(STAGE.duration_s)))


def speed(points: Array) -> Array:
    """Metres per second (T, ...) of points (T, ..., 2 or 3)."""
    result: Array = np.linalg.norm(np.gradient(points, 1 / STEPS_PER_S, axis=0), axis=-1)
    return result


def pair_of(joints: Array, joint: int) -> Array:
    """Both sides (T, 2, 3) of a joint."""
    return joints[:, joint : joint + 2]


def gap(first: Array, second: Array) -> float:
    """Least distance over time between two points (T, 3)."""
    return float(np.linalg.norm(first - second, axis=-1).min())


def test_actions_are_all_there_and_sorted() -> None:
    assert list(ACTIONS) == sorted(ACTIONS)
    assert set(ACTIONS) == set(SOLO_ACTIONS) | set(PAIR_ACTIONS) | set(CROWD_ACTIONS)
    assert len(ACTIONS) == 18


@pytest.mark.parametrize("action", ACTIONS)
def test_clip_is_as_described(action: str) -> None:
    described = describe_clip(action, 1)
    assert 1.4 <= described.frames / described.fps <= 4.1
    assert 15 <= described.fps <= 30
    assert described.width_px % 2 == 0
    assert described.height_px % 2 == 0
    clip = replace(described, frames=4)
    frames = list(render_clip(clip))
    assert len(frames) == 4
    for frame in frames:
        assert frame.shape == (clip.height_px, clip.width_px, 3)
        assert frame.dtype == np.uint8
        assert frame.std() > 3


def test_whole_clip_has_the_described_length() -> None:
    clip = replace(describe_clip("walk", 3), width_px=64, height_px=48)
    assert sum(1 for _ in render_clip(clip)) == clip.frames


def test_same_seed_same_frames() -> None:
    clip = describe_clip("fight", 5)
    assert clip == describe_clip("fight", 5)
    first, again = (list(islice(render_clip(clip), 3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_other_seed_other_frames() -> None:
    pictures = []
    for seed in range(3):
        clip = SyntheticClip("wave", seed, 96, 64, 20.0, 2)
        pictures.append(next(render_clip(clip)).tobytes())
    assert len(set(pictures)) == 3


def test_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed"):
        describe_clip("walk", -1)


@pytest.mark.parametrize("call", [describe_clip, lambda name, seed: render_clip(
    SyntheticClip(name, seed, 64, 48, 20.0, 2))])  # fmt: skip
def test_unknown_action_is_refused_with_the_names(call: Callable[[str, int], object]) -> None:
    with pytest.raises(ValueError, match=r"'juggle'.*jumping_jack.*wave_both_hands"):
        call("juggle", 0)


@pytest.mark.parametrize("action", sorted(SOLO_ACTIONS))
def test_bones_keep_their_length_and_nothing_is_below_the_ground(action: str) -> None:
    for seed in SEEDS:
        body, _, joints = act(action, seed)
        for first, second, length_m in (
            (Joint.HIP, Joint.KNEE, body.upper_leg_m),
            (Joint.KNEE, Joint.ANKLE, body.lower_leg_m),
            (Joint.SHOULDER, Joint.ELBOW, body.upper_arm_m),
            (Joint.ELBOW, Joint.WRIST, body.forearm_m),
        ):
            bone = np.linalg.norm(pair_of(joints, first) - pair_of(joints, second), axis=-1)
            np.testing.assert_allclose(bone, length_m, rtol=0.01)
        assert joints[..., 2].min() > -0.02


@pytest.mark.parametrize(("action", "slowest", "fastest"), [
    ("walk", 0.7, 1.9), ("run", 1.9, 4.4), ("jump", 0.8, 2.6), ("skip", 0.9, 2.7),
    ("side_gallop", 1.0, 2.8),
])  # fmt: skip
def test_gaits_travel_at_their_speed(action: str, slowest: float, fastest: float) -> None:
    for seed in SEEDS:
        _, _, joints = act(action, seed)
        assert slowest < np.median(speed(joints[:, Joint.PELVIS, :2])) < fastest


@pytest.mark.parametrize("action", ["walk", "run", "jump", "skip", "side_gallop"])
def test_planted_feet_do_not_skate(action: str) -> None:
    for seed in SEEDS:
        _, track, joints = act(action, seed)
        cut = within(track)
        # On tiptoe the toes stand still; on the heel the toes may move.
        stands = track.planted[cut] & (track.foot_pitch[cut] >= 0)
        stands[1:] &= track.planted[cut][:-1]
        stands[:-1] &= track.planted[cut][1:]
        slip = speed(pair_of(joints, Joint.TOE)[..., :2])[stands]
        assert len(slip) > 10
        assert np.percentile(slip, 95) < 0.05


@pytest.mark.parametrize(("action", "flies"), [("walk", False), ("run", True), ("jump", True),
                                               ("jump_in_place", True)])  # fmt: skip
def test_flight_phase(action: str, flies: bool) -> None:
    for seed in SEEDS:
        _, track, _ = act(action, seed)
        airborne = ~track.planted[within(track)].any(axis=1)
        assert airborne.any() == flies


def test_walking_arms_swing_against_the_legs() -> None:
    scores = []
    for seed in range(12):
        _, track, joints = act("walk", seed)
        yaw = track.yaw[within(track)]
        ahead = np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
        arm = np.sum((joints[:, Joint.WRIST] - joints[:, Joint.SHOULDER])[:, :2] * ahead, axis=1)
        leg = np.sum((joints[:, Joint.ANKLE] - joints[:, Joint.HIP])[:, :2] * ahead, axis=1)
        scores.append(np.corrcoef(arm, leg)[0, 1])
    assert np.mean(scores) < -0.6


@pytest.mark.parametrize(("action", "hands"), [("wave", 1), ("wave_both_hands", 2)])
def test_waving_hands_are_raised_and_move(action: str, hands: int) -> None:
    for seed in SEEDS:
        _, _, joints = act(action, seed)
        height = pair_of(joints, Joint.HAND)[..., 2] - joints[:, Joint.HEAD, None, 2]
        assert (height.max(axis=0) > 0.05).sum() == hands
        moves = speed(pair_of(joints, Joint.HAND)).max(axis=0)
        assert (moves > 0.8).sum() == hands


def test_jumping_jack_moves_arms_and_legs_together() -> None:
    for seed in SEEDS:
        _, _, joints = act("jumping_jack", seed)
        ankles = pair_of(joints, Joint.ANKLE)
        apart = np.linalg.norm(ankles[:, 0] - ankles[:, 1], axis=-1)
        hands = pair_of(joints, Joint.HAND)[..., 2].mean(axis=1)
        assert np.corrcoef(apart, hands)[0, 1] > 0.9
        assert hands.max() > joints[:, Joint.HEAD, 2].max()


def test_bend_reaches_the_ground_and_comes_up() -> None:
    for seed in SEEDS:
        body, _, joints = act("bend", seed)
        assert pair_of(joints, Joint.HAND)[..., 2].min() < 0.2 * body.height_m
        head = joints[:, Joint.HEAD, 2]
        assert head.min() < 0.6 * body.height_m
        assert max(head[0], head[-1]) > 0.88 * body.height_m


def test_pointing_arm_is_level_and_held() -> None:
    for seed in SEEDS:
        body, _, joints = act("point", seed)
        arm = pair_of(joints, Joint.WRIST) - pair_of(joints, Joint.SHOULDER)
        level = np.abs(arm[..., 2]) < 0.4 * np.linalg.norm(arm[..., :2], axis=-1)
        straight = np.linalg.norm(arm, axis=-1) > 0.9 * (body.upper_arm_m + body.forearm_m)
        assert (level & straight).sum(axis=0).max() > 0.2 * STAGE.duration_s * STEPS_PER_S


def test_hands_meet_in_a_handshake() -> None:
    for left, right in act_as_pair("shake_hands"):
        assert gap(left[:, Joint.HAND + 1], right[:, Joint.HAND + 1]) < 0.2


def test_people_who_hug_are_close_only_for_a_while() -> None:
    for left, right in act_as_pair("hug"):
        apart = np.linalg.norm(left[:, Joint.PELVIS] - right[:, Joint.PELVIS], axis=-1)
        assert apart.min() < 0.4
        assert apart.max() > 0.8


@pytest.mark.parametrize(("action", "limb", "aims"), [
    ("punch", Joint.HAND, (Joint.FACE, Joint.CHEST_FRONT)),
    ("push", Joint.HAND, (Joint.CHEST_FRONT,)),
    ("kick", Joint.TOE, (Joint.PELVIS, Joint.WAIST, Joint.KNEE, Joint.KNEE + 1)),
])  # fmt: skip
def test_blows_land_and_drive_the_other_back(
    action: str, limb: Joint, aims: tuple[int, ...]
) -> None:
    for actor, victim in act_as_pair(action):
        nearest = min(gap(actor[:, limb + s], victim[:, aim]) for s in (0, 1) for aim in aims)
        assert nearest < 0.35
        x = victim[:, Joint.PELVIS, 0]
        assert x[-1] - x[0] > 0.05


def test_a_fight_is_livelier_than_no_fight() -> None:
    def liveliness(action: str) -> float:
        fastest = [
            np.percentile(speed(pair_of(one, Joint.HAND)), 90)
            for seed in SEEDS
            for one in act_together(action, seed)[:2]
        ]
        return float(np.median(fastest))

    assert liveliness("fight") > 2 * liveliness("no_fight")


@pytest.mark.parametrize("action", ["walk", "fight", "jumping_jack"])
def test_pictures_move(action: str) -> None:
    clip = SyntheticClip(action, 2, 120, 96, 10.0, 8)
    frames = np.stack(list(render_clip(clip))).astype(np.int16)
    # More pixels change by much than noise alone would make them.
    assert (np.abs(frames[4:] - frames[:-4]) > 30).mean() > 0.005
