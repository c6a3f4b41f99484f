"""Scenes: who stands where before which background, filmed how; and the drawing of their frames.

A `Style` is the kind of recording that a clip imitates: one person before a wall, two people in a
yard, a surveillance camera, or anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vidlabel.synthetic.backdrop import BACKDROPS, Prop, View, random_prop
from vidlabel.synthetic.camera import Camera, Movement, Optics, expose, film, random_optics
from vidlabel.synthetic.crowd_actions import CROWD, CROWD_ACTIONS, bystander
from vidlabel.synthetic.figure import Outlines, merge, outline, random_look
from vidlabel.synthetic.motion import PAD_S, STEPS_PER_S, Stage
from vidlabel.synthetic.pair_actions import PAIR_ACTIONS
from vidlabel.synthetic.skeleton import Array, Body, Joint, joints_of, random_body
from vidlabel.synthetic.solo_actions import SOLO_ACTIONS

_SUPERSAMPLING = 2
_SHADOW_SCALE = 4  # shadows are drawn this much smaller: cheaper, and soft at the edges
_PERSON_M = 1.72
_ARMS_UP = ("wave", "wave_both_hands", "jumping_jack", "jump_in_place")
_OUTDOORS = ("car_park", "field", "street", "yard")
_SPREAD_OUT = ("walk", "run", "jump", "skip", "side_gallop")


class Style(StrEnum):
    """The kind of recording that a clip looks like."""

    WALL = "wall"
    YARD = "yard"
    SURVEILLANCE = "surveillance"
    FREE = "free"


_FRAMING: dict[Style, tuple[tuple[float, float], ...]] = {
    Style.WALL: ((0.38, 0.54), (-0.02, 0.1), (0.53, 0.64)),
    Style.YARD: ((0.56, 0.76), (0.25, 0.55), (0.47, 0.56)),
    Style.SURVEILLANCE: ((0.25, 0.62), (0.3, 0.75), (0.45, 0.65)),
    Style.FREE: ((0.3, 0.78), (-0.03, 0.3), (0.48, 0.58)),
}
"""Ranges: a person's share of the picture's height, the camera's pitch (rad), the person's row."""
_COMPANY = {Style.WALL: 0.0, Style.YARD: 0.45, Style.SURVEILLANCE: 0.2, Style.FREE: 0.15}
"""Chance of a (further) bystander."""


@dataclass(frozen=True)
class Scene:
    """Everything that is needed to draw the frames of one clip."""

    backdrop: Image.Image
    people: Outlines
    prop: Prop | None
    contacts: Array
    """Ellipses (F, N, 4) of darkened ground under feet: left, top, right, bottom in pixels."""
    sun_shadows: Sequence[Outlines]
    shadow_strength: float
    movement: Movement
    optics: Optics
    size_px: tuple[int, int]
    subframes: int
    """Moments drawn per frame; more than one is motion blur."""


def choose_style(rng: Generator, action: str) -> Style:
    """About half of the clips imitate the recordings that an action is known from."""
    chance = rng.random()
    if action in CROWD_ACTIONS:
        return Style.SURVEILLANCE if chance < 0.75 else Style.FREE
    if action in PAIR_ACTIONS or action == "point":
        return Style.YARD if chance < 0.6 else Style.FREE
    return Style.WALL if chance < 0.5 else Style.FREE


def _choose_camera(
    rng: Generator, action: str, style: Style, size_px: tuple[int, int], margin_px: int
) -> Camera:
    """A camera for canvas pixels: what is shown, of `size_px`, and the margin around it."""
    width, height = size_px
    share, pitch, row = (rng.uniform(least, most) for least, most in _FRAMING[style])
    if action in _ARMS_UP:
        share = min(share, 0.64)
        row = max(row, 0.54)
    if action in PAIR_ACTIONS:
        # Both have to be in the picture.
        share = min(share, 0.75 * width / height * _PERSON_M / 2.0)
    distance = (10.0 if style in (Style.WALL, Style.YARD) else 7.0) * rng.uniform(0.75, 1.4)
    column = 0.5 + (rng.normal(0.0, 0.05) if action not in _SPREAD_OUT else 0.0)
    scale = share * height / (_PERSON_M * np.cos(pitch))
    centre = (column * width + margin_px, row * height + margin_px)
    return Camera(distance, pitch, 0.5 * _PERSON_M, scale, centre)


def _choose_backdrop(rng: Generator, style: Style, pitch_rad: float) -> str:
    if style is Style.WALL:
        return str(rng.choice(["plain_wall", "brick_wall"], p=[0.85, 0.15]))
    if style is Style.YARD:
        return "yard"
    if pitch_rad > 0.2:
        return str(rng.choice(["yard", "car_park", "room", "street"], p=[0.2, 0.35, 0.3, 0.15]))
    chances = {name: 0.4 if name == "texture" else 1.0 for name in sorted(BACKDROPS)}
    odds = np.array(list(chances.values()))
    return str(rng.choice(list(chances), p=odds / odds.sum()))


def _view_turn(rng: Generator, action: str, style: Style) -> float:
    """By how much the whole scene is turned about the vertical, in radians."""
    roams = style is Style.FREE and action in ("walk", "run") and rng.random() < 0.2
    if roams or action in CROWD_ACTIONS:
        return rng.uniform(-np.pi, np.pi)
    return rng.normal(0.0, {Style.WALL: 0.05, Style.YARD: 0.2}.get(style, 0.35))


def _cast(
    rng: Generator, action: str, style: Style, stage: Stage
) -> tuple[list[Body], list[Array]]:
    """The people of a clip and their joints (T, JOINTS, 3) over the fine time grid."""
    bodies = [random_body(rng) for _ in range(CROWD + 3)]
    if action in SOLO_ACTIONS:
        tracks = [SOLO_ACTIONS[action](bodies[0], stage, rng)]
    elif action in PAIR_ACTIONS:
        tracks = PAIR_ACTIONS[action](bodies[:2], stage, rng)
    else:
        tracks = CROWD_ACTIONS[action](bodies[:CROWD], stage, rng)
    joints = [joints_of(b, t) for b, t in zip(bodies, tracks, strict=False)]
    turn = _view_turn(rng, action, style)
    mirror = rng.choice([-1.0, 1.0])
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0],
                         [0, 0, 1]])  # fmt: skip
    joints = [(one @ rotation.T) * np.array([mirror, 1.0, 1.0]) for one in joints]
    while len(joints) < len(bodies) and rng.random() < _COMPANY[style]:
        body = bodies[len(joints)]
        joints.append(joints_of(body, bystander(body, stage, rng)))
    return bodies[: len(joints)], joints


def _sample(joints: Array, times_s: Array) -> Array:
    """Joints (F, JOINTS, 3) at the given times of the clip."""
    position = (times_s + PAD_S) * STEPS_PER_S
    first = np.clip(position.astype(np.int64), 0, len(joints) - 2)
    share = (position - first)[:, None, None]
    return (1 - share) * joints[first] + share * joints[first + 1]


def _contact_shadows(joints: Sequence[Array], camera: Camera) -> Array:
    """Ellipses (F, N, 4) of the ground that people keep the light from."""
    flat = max(np.sin(camera.pitch_rad), 0.12)
    boxes = []
    for one in joints:
        for joint, radius_m in ((Joint.PELVIS, 0.32), (Joint.ANKLE, 0.15), (Joint.ANKLE + 1, 0.15)):
            ground = one[:, joint] * np.array([1.0, 1.0, 0.0])
            spot, depth = camera.project(ground)
            # Feet in the air darken the ground less.
            height = one[:, joint, 2] if joint != Joint.PELVIS else np.zeros(len(one))
            radius = radius_m * camera.scale_at(depth) * np.clip(1.2 - 2 * height, 0.1, 1.0)
            half = np.stack([radius, radius * flat], axis=1)
            boxes.append(np.concatenate([spot - half, spot + half], axis=1))
    return np.stack(boxes, axis=1)


def _aim(
    rng: Generator, action: str, style: Style, size_px: tuple[int, int], times_s: Array
) -> tuple[View, Movement]:
    """The camera with its canvas, and how it moves; `size_px` in canvas pixels."""
    kind = "static"
    if style in (Style.FREE, Style.YARD) and rng.random() < 0.4:
        kind = str(rng.choice(["handheld", "pan", "zoom"], p=[0.6, 0.2, 0.2]))
    movement = film(rng, kind, size_px, times_s)
    margin = movement.margin_px
    camera = _choose_camera(rng, action, style, size_px, margin)
    return View(camera, size_px[0] + 2 * margin, size_px[1] + 2 * margin), movement


def _dress(
    rng: Generator, bodies: Sequence[Body], joints: Sequence[Array], camera: Camera, sunny: bool
) -> tuple[list[Outlines], list[Outlines]]:
    """The people in their clothes, and (if `sunny`) the shadows they throw on the ground."""
    aside = rng.uniform(-0.9, 0.9)
    light = np.array([aside, -np.sqrt(1 - aside**2)])
    slant = rng.uniform(0.3, 0.9)
    # Moves every point down to the ground, away from the sun.
    fall = np.array([-2 * aside * slant, rng.uniform(-0.3, 1.0) * slant, -1.0])
    people, shadows = [], []
    for body, one in zip(bodies, joints, strict=True):
        look = random_look(rng, body)
        people.append(outline(body, look, one, camera, light))
        if sunny:
            shadows.append(outline(body, look, one + one[..., 2:] * fall, camera, light))
    return people, shadows


def build_scene(
    rng: Generator, action: str, style: Style, size_px: tuple[int, int], times_s: Array
) -> Scene:
    """Choose and place everything in a clip of pictures of `size_px` at times (F,) in seconds."""
    shown = (size_px[0] * _SUPERSAMPLING, size_px[1] * _SUPERSAMPLING)
    view, movement = _aim(rng, action, style, shown, times_s)
    camera = view.camera
    place = _choose_backdrop(rng, style, camera.pitch_rad)
    outdoors = place in _OUTDOORS
    stage = Stage(float(times_s[-1]), shown[0] / 2 / camera.scale_px)
    bodies, whole = _cast(rng, action, style, stage)
    subframes = int(rng.choice([1, 2, 3], p=[0.75, 0.15, 0.1]))
    frame_s = float(times_s[1] - times_s[0]) if len(times_s) > 1 else 0.04
    shutter_s = rng.uniform(0.3, 0.9) * frame_s
    moments_s = (times_s[:, None] + shutter_s * np.arange(subframes) / subframes).ravel()
    joints = [_sample(one, moments_s) for one in whole]
    people, shadows = _dress(rng, bodies, joints, camera, outdoors and rng.random() < 0.35)
    return Scene(
        backdrop=BACKDROPS[place](rng, view),
        prop=random_prop(rng, view, moments_s) if outdoors else None,
        people=merge(people),
        contacts=_contact_shadows(joints, camera),
        sun_shadows=shadows,
        shadow_strength=rng.uniform(0.25, 0.6),
        movement=movement,
        optics=random_optics(rng, size_px, len(times_s), style is Style.SURVEILLANCE),
        size_px=size_px,
        subframes=subframes,
    )


def draw_frames(scene: Scene) -> Iterator[NDArray[np.uint8]]:
    """The frames (H, W, 3) of a scene, in order."""
    for frame, box in enumerate(scene.movement.boxes_px):
        moments = range(frame * scene.subframes, (frame + 1) * scene.subframes)
        pictures = [_draw_moment(scene, moment, box) for moment in moments]
        if len(pictures) > 1:
            mean = np.mean([np.asarray(one) for one in pictures], axis=0)
            pictures = [Image.fromarray(mean.astype(np.uint8))]
        yield expose(pictures[0], scene.optics, frame)


def _draw_moment(scene: Scene, moment: int, box: Array) -> Image.Image:
    """One sharp picture."""
    canvas = scene.backdrop.copy()
    draw = ImageDraw.Draw(canvas)
    if scene.prop is not None:
        scene.prop(draw, moment)
    _draw_shadows(canvas, scene, moment)
    people = scene.people
    shapes = people.shape[moment].reshape(people.shape.shape[1], -1).tolist()
    lit = people.lit[moment].reshape(people.lit.shape[1], -1).tolist()
    shades = people.shade[moment].astype(int).tolist()
    lights = people.light[moment].astype(int).tolist()
    for part in np.argsort(-people.depth[moment], kind="stable").tolist():
        draw.polygon(shapes[part], fill=tuple(shades[part]))
        draw.polygon(lit[part], fill=tuple(lights[part]))
    if scene.movement.margin_px == 0:
        return canvas.reduce(_SUPERSAMPLING)  # the camera stands still; three times as fast
    left, top, right, bottom = (float(edge) for edge in box)
    return canvas.resize(scene.size_px, Image.Resampling.BILINEAR, box=(left, top, right, bottom))


def _draw_shadows(canvas: Image.Image, scene: Scene, moment: int) -> None:
    small = (canvas.width // _SHADOW_SCALE, canvas.height // _SHADOW_SCALE)
    mask = Image.new("L", small)
    draw = ImageDraw.Draw(mask)
    dark = int(255 * scene.shadow_strength)
    for shadow in scene.sun_shadows:
        outlines = shadow.shape[moment] / _SHADOW_SCALE
        for polygon in outlines.reshape(len(outlines), -1).tolist():
            draw.polygon(polygon, fill=dark)
    for ellipse in (scene.contacts[moment] / _SHADOW_SCALE).tolist():
        draw.ellipse(ellipse, fill=dark)
    touched = mask.getbbox()
    if touched is None:
        return
    left, top, right, bottom = touched
    # One pixel of margin lets the edge fade out.
    part = mask.crop((left - 1, top - 1, right + 1, bottom + 1))
    soft = part.resize(
        (part.width * _SHADOW_SCALE, part.height * _SHADOW_SCALE), Image.Resampling.BILINEAR
    )
    canvas.paste((12, 12, 16), ((left - 1) * _SHADOW_SCALE, (top - 1) * _SHADOW_SCALE), soft)
