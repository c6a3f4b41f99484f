"""Synthetic clips of people doing named actions, for training and for tests.

Everything in a clip follows from its action and seed alone, on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vidlabel.synthetic.crowd_actions import CROWD_ACTIONS
from vidlabel.synthetic.pair_actions import PAIR_ACTIONS
from vidlabel.synthetic.scene import Style, build_scene, choose_style, draw_frames
from vidlabel.synthetic.solo_actions import SOLO_ACTIONS

ACTIONS: tuple[str, ...] = tuple(sorted([*SOLO_ACTIONS, *PAIR_ACTIONS, *CROWD_ACTIONS]))
"""Names of all actions, sorted."""

_STYLE_STREAM, _SCENE_STREAM = 0, 1
_SLOW_ACTIONS = ("fight", "hug", "kick", "no_fight", "point", "punch", "push", "shake_hands")

_FORMATS: dict[Style, tuple[tuple[tuple[int, int], ...], tuple[float, ...]]] = {
    Style.WALL: (((180, 144),), (25.0,)),
    Style.YARD: (
        ((240, 168), (224, 160), (208, 160), (200, 176), (256, 168), (176, 176)),
        (20.0, 30.0),
    ),
    Style.SURVEILLANCE: (
        ((240, 180), (320, 240), (256, 144), (284, 160), (208, 160)),
        (15.0, 25.0, 30.0),
    ),
    Style.FREE: (
        ((160, 120), (180, 144), (192, 144), (240, 180), (320, 240), (256, 144), (284, 160),
         (160, 160), (200, 150), (176, 144)),
        (15.0, 20.0, 24.0, 25.0, 30.0),
    ),
}  # fmt: skip
"""Picture sizes (width, height) and frame rates of each style."""
_PORTRAIT = ((128, 200), (140, 200), (160, 180))


@dataclass(frozen=True)
class SyntheticClip:
    """One clip: what is done, the seed that decides all else, picture size, rate and length."""

    action: str
    seed: int
    width_px: int
    height_px: int
    fps: float
    frames: int


def describe_clip(action: str, seed: int) -> SyntheticClip:
    """The clip of an action for a seed (0 or more), without drawing it.

    Sizes are 120..320 x 120..240 pixels, even; 15 to 30 frames a second; 1.5 to 4 seconds.

    Raises:
        ValueError: the action is unknown, or the seed negative.
    """
    rng, style = _style(action, seed)
    sizes, rates = _FORMATS[style]
    if action == "point" and style is Style.YARD:
        sizes = _PORTRAIT  # one person fills an upright picture
    width, height = sizes[rng.integers(len(sizes))]
    fps = float(rng.choice(rates))
    shortest_s = 2.4 if action in _SLOW_ACTIONS else 1.5
    frames = round(rng.uniform(shortest_s, 4.0) * fps)
    return SyntheticClip(action, seed, width, height, fps, frames)


def render_clip(clip: SyntheticClip) -> Iterator[NDArray[np.uint8]]:
    """The frames of a clip, in order: arrays (height_px, width_px, 3) of RGB.

    Raises:
        ValueError: the action is unknown, or the seed negative.
    """
    _, style = _style(clip.action, clip.seed)
    rng = _stream(clip.action, clip.seed, _SCENE_STREAM)
    times_s = np.arange(clip.frames) / clip.fps
    size_px = (clip.width_px, clip.height_px)
    return draw_frames(build_scene(rng, clip.action, style, size_px, times_s))


def _stream(action: str, seed: int, stream: int) -> Generator:
    """Random numbers for one purpose; the same for the same name whatever other actions exist."""
    return np.random.default_rng([seed, stream, *action.encode()])


def _style(action: str, seed: int) -> tuple[Generator, Style]:
    if action not in ACTIONS:
        raise ValueError(f"unknown action {action!r}; known are {', '.join(ACTIONS)}")
    if seed < 0:
        raise ValueError(f"the seed must be 0 or more, got {seed}")
    rng = _stream(action, seed, _STYLE_STREAM)
    return rng, choose_style(rng, action)
