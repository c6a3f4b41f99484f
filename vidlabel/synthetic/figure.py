"""People as seen: clothes, hair and skin on a skeleton, turned into shaded polygons.

Every body part is the convex hull of a few discs around points of the skeleton (a tapered limb is
two discs). All polygons of a clip are computed at once; `scene` only draws them, far ones first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from vidlabel.synthetic.camera import Camera
from vidlabel.synthetic.skeleton import JOINTS, Array, Body, Joint

_CORNERS = 14
_MOST_DISCS = 6

Colour = tuple[float, float, float]
Mix = dict[int, float]
Disc = tuple[Mix, float]

_SKINS: tuple[Colour, ...] = (
    (222, 180, 154), (208, 160, 130), (188, 138, 106), (168, 116, 84), (122, 80, 58), (86, 58, 44),
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = (
    (28, 24, 22), (45, 32, 25), (74, 50, 34), (120, 84, 50), (150, 116, 70), (125, 123, 120),
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What one person wears; colours are RGB in 0..255."""

    skin: Colour
    hair: Colour
    top: Colour
    bottom: Colour
    shoes: Colour
    accent: Colour
    hair_style: str
    sleeve: str
    legwear: str
    pattern: str
    backpack: bool


@dataclass
class _Piece:
    discs: list[Disc]
    colour: Colour
    bias_m: float = 0.0


class Outlines(NamedTuple):
    """Polygons of one or more people: P parts in F frames.

    `shape` (F, P, K, 2) and `lit` (F, P, K, 2) are the corners of each part and of its lit side
    in canvas pixels, `shade` (F, P, 3) and `light` (F, P, 3) their colours, `depth` (F, P) the
    distance from the viewer in metres that orders them.
    """

    shape: Array
    lit: Array
    shade: Array
    light: Array
    depth: Array


def _cloth(rng: Generator) -> Colour:
    """A colour of clothes: often dull or dark, sometimes strong, sometimes white."""
    kind = rng.random()
    if kind < 0.5:
        grey = rng.uniform(15, 115)
        return _tint(rng, (grey, grey, grey), 11)
    if kind < 0.64:
        return _tint(rng, (218, 218, 214), 20)
    if kind < 0.9:
        return _tint(rng, (rng.uniform(25, 125), rng.uniform(25, 105), rng.uniform(25, 125)), 8)
    vivid = rng.uniform(25, 205, 3)
    red, green, blue = (float(part) for part in 0.7 * vivid + 0.3 * vivid.mean())
    return (red, green, blue)


def _tint(rng: Generator, colour: Colour, spread: float) -> Colour:
    red, green, blue = np.clip(np.array(colour) + rng.normal(0.0, spread, 3), 4, 250)
    return (float(red), float(green), float(blue))


def random_look(rng: Generator, body: Body) -> Look:
    """Clothes for a body, any season."""
    denim = _tint(rng, (58, 76, 108), 16)
    bottom = denim if rng.random() < 0.45 else _cloth(rng)
    legwear_odds = (0.62, 0.12, 0.18, 0.08) if body.feminine else (0.78, 0.15, 0.0, 0.07)
    hair_odds = (0.3, 0.62, 0.0, 0.08) if body.feminine else (0.74, 0.06, 0.1, 0.1)
    legwear = rng.choice(["trousers", "shorts", "skirt", "coat"], p=legwear_odds)
    hair = rng.choice(["short", "long", "bald", "hood"], p=hair_odds)
    return Look(
        skin=_tint(rng, _SKINS[rng.integers(len(_SKINS))], 6),
        hair=_tint(rng, _HAIRS[rng.integers(len(_HAIRS))], 8),
        top=_cloth(rng),
        bottom=bottom,
        shoes=_tint(rng, (215, 215, 215) if rng.random() < 0.3 else (42, 36, 34), 14),
        accent=_cloth(rng),
        hair_style=str(hair),
        sleeve=str(rng.choice(["long", "short", "none"], p=[0.6, 0.33, 0.07])),
        legwear=str(legwear),
        pattern=str(rng.choice(["plain", "stripes", "front", "block"], p=[0.6, 0.15, 0.13, 0.12])),
        backpack=bool(rng.random() < 0.07),
    )


def _at(first: int, second: int | None = None, share: float = 0.0) -> Mix:
    """The point `share` of the way from one joint to another."""
    return {first: 1.0} if second is None else {first: 1.0 - share, second: share}


def _forward(mix: Mix, chest_depths: float) -> Mix:
    """A point moved forward by so many times the depth between chest front and back."""
    moved = dict(mix)
    for joint, sign in ((Joint.CHEST_FRONT, 1.0), (Joint.CHEST_BACK, -1.0)):
        moved[joint] = moved.get(joint, 0.0) + sign * chest_depths
    return moved


def _leg(look: Look, body: Body, side: int) -> list[_Piece]:
    hip, knee = Joint.HIP + side, Joint.KNEE + side
    ankle, toe, heel = Joint.ANKLE + side, Joint.TOE + side, Joint.HEEL + side
    bare = look.legwear in ("shorts", "skirt")
    cloth = look.skin if bare else look.bottom
    loose = 0.0 if bare else 0.004
    parts = [
        _Piece([(_at(hip), 0.049 + loose / 2), (_at(knee), 0.032 + loose)], cloth),
        _Piece([(_at(knee), 0.031 + loose), (_at(knee, ankle, 0.35), 0.031 + loose / 2),
               (_at(ankle), 0.02 + 1.5 * loose)], cloth),
        _Piece([(_at(heel), 0.017), (_at(toe), 0.014), (_at(ankle), 0.02)], look.shoes, 0.01),
    ]  # fmt: skip
    if look.legwear == "shorts":
        cuff = _at(hip, knee, 0.8)
        parts.append(_Piece([(_at(hip), 0.053), (cuff, 0.043)], look.bottom, -0.005))
    return parts


def _arm(look: Look, side: int) -> list[_Piece]:
    shoulder, elbow = Joint.SHOULDER + side, Joint.ELBOW + side
    wrist, hand = Joint.WRIST + side, Joint.HAND + side
    loose = 0.003 if look.sleeve == "long" else 0.0
    upper = look.skin if look.sleeve == "none" else look.top
    fore = look.top if look.sleeve == "long" else look.skin
    parts = [
        _Piece([(_at(shoulder), 0.031 + loose), (_at(elbow), 0.023 + loose)],
              fore if look.sleeve == "short" else upper),
        _Piece([(_at(elbow), 0.023 + loose), (_at(wrist), 0.016 + loose)], fore, -0.01),
        _Piece([(_at(wrist), 0.016), (_at(wrist, hand, 0.6), 0.02), (_at(hand), 0.011)],
              look.skin, -0.012),
    ]  # fmt: skip
    if look.sleeve == "short":
        cuff = _at(shoulder, elbow, 0.65)
        parts.append(_Piece([(_at(shoulder), 0.034), (cuff, 0.031)], look.top, -0.004))
    return parts


def _trunk(look: Look, body: Body) -> list[_Piece]:
    flank = 0.033 if body.feminine else 0.037
    belly = 0.05 + 0.05 * max(body.build - 1.0, 0.0)
    sides = (0, 1)
    shirt: list[Disc] = [(_at(Joint.SHOULDER + s), 0.034) for s in sides]
    shirt += [(_at(Joint.CHEST_FRONT), 0.045), (_at(Joint.CHEST_BACK), 0.045)]
    shirt += [(_at(Joint.HIP + s, Joint.SHOULDER + s, 0.35), flank) for s in sides]
    hem: list[Disc] = [(_at(Joint.HIP + s, Joint.SHOULDER + s, 0.4), flank) for s in sides]
    hem += [(_at(Joint.HIP + s, Joint.SHOULDER + s, 0.08), 0.047) for s in sides]
    hem += [(_at(Joint.WAIST), belly), (_at(Joint.PELVIS), 0.055)]
    seat = [*((_at(Joint.HIP + s), 0.051) for s in sides), (_at(Joint.WAIST), 0.05)]
    lower = look.accent if look.pattern == "block" else look.top
    parts = [_Piece(seat, look.bottom), _Piece(hem, lower, -0.006), _Piece(shirt, look.top, -0.012)]
    if look.legwear in ("skirt", "coat"):
        reach, wide = (0.72, 0.052) if look.legwear == "skirt" else (0.4, 0.055)
        skirt = seat[:2] + [(_at(Joint.HIP + s, Joint.KNEE + s, reach), wide) for s in sides]
        colour = look.bottom if look.legwear == "skirt" else look.top
        parts.append(_Piece(skirt, colour, -0.08))
    if look.pattern == "stripes":
        for share in (0.3, 0.52, 0.74):
            flanks = [_at(Joint.HIP + s, Joint.SHOULDER + s, share) for s in sides]
            band = [(_forward(f, way), 0.016) for f in flanks for way in (0.55, -0.55)]
            parts.append(_Piece(band, look.accent, -0.03))
    if look.pattern == "front":
        front = [_forward(_at(Joint.CHEST_FRONT), 0.35),
                 _forward(_at(Joint.WAIST, Joint.NECK, 0.1), 0.9)]  # fmt: skip
        parts.append(_Piece([(point, 0.026) for point in front], look.accent))
    if look.backpack:
        pack = [_forward(_at(Joint.CHEST_BACK), -0.7), _forward(_at(Joint.WAIST), -1.3)]
        parts.append(_Piece([(point, 0.055) for point in pack], look.accent))
    return parts


def _head(look: Look, body: Body) -> list[_Piece]:
    crown = _at(Joint.FACE, Joint.HEAD, 1.4)
    covering = {"bald": look.skin, "hood": look.top}.get(look.hair_style, look.hair)
    hair = [(crown, 0.058), (_at(Joint.HEAD), 0.056)]
    if look.hair_style == "long":
        hair.append((_forward(_at(Joint.HEAD, Joint.NECK, 0.85), -0.45), 0.042))
    if look.hair_style == "hood":
        hair.append((_forward(_at(Joint.NECK), -0.3), 0.045))
    face = [(_at(Joint.FACE), 0.043), (_at(Joint.FACE, Joint.HEAD, 0.7), 0.046)]
    return [
        _Piece([(_at(Joint.NECK), 0.032), (_at(Joint.NECK, Joint.HEAD, 0.7), 0.029)], look.skin),
        _Piece(hair, covering),
        _Piece(face, look.skin, -0.02),
    ]


def outline(body: Body, look: Look, joints: Array, camera: Camera, light: Array) -> Outlines:
    """Polygons of one person whose joints (F, JOINTS, 3) are seen by a camera.

    `light` (2,) is the direction towards the light in the picture, x to the right and y down.
    """
    parts = _trunk(look, body) + _head(look, body)
    for side in (0, 1):
        parts += _leg(look, body, side) + _arm(look, side)
    weights = np.zeros((len(parts), _MOST_DISCS, JOINTS))
    radii = np.zeros((len(parts), _MOST_DISCS))
    for row, part in enumerate(parts):
        # A part with fewer discs repeats its last one, which leaves the hull as it is.
        for column in range(_MOST_DISCS):
            mix, radius = part.discs[min(column, len(part.discs) - 1)]
            radii[row, column] = radius * body.height_m * body.build**0.7
            for joint, share in mix.items():
                weights[row, column, joint] = share
    points = np.einsum("pdj,fjx->fpdx", weights, joints, optimize=True)
    seen, depth = camera.project(points)
    radius_px = radii * camera.scale_at(depth)
    shape = _hulls(seen, radius_px)
    # The offset keeps the lit side inside the part.
    lit = _hulls(seen + 0.36 * radius_px[..., None] * light, 0.6 * radius_px)
    nearness = depth.mean(axis=-1) + np.array([part.bias_m for part in parts])
    # Parts on the far side of the body get less light.
    trunk_depth = camera.project(joints[:, Joint.WAIST])[1][:, None]
    dim = np.clip(1.0 - 0.55 * (nearness - trunk_depth), 0.72, 1.06)[..., None]
    colours = np.array([part.colour for part in parts])
    shade, lit_colour = colours * 0.8 * dim, (colours * 1.04 + 5) * dim
    return Outlines(shape, lit, shade, np.minimum(lit_colour, 255.0), nearness)


def _hulls(centres: Array, radii: Array) -> Array:
    """Corners (..., K, 2) of the convex hulls of discs with centres (..., D, 2), radii (..., D)."""
    angle = 2 * np.pi * np.arange(_CORNERS) / _CORNERS
    ways = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    extent = centres @ ways.T + radii[..., None]
    disc = extent.argmax(axis=-2)
    centre = np.take_along_axis(centres, disc[..., None], axis=-2)
    radius = np.take_along_axis(radii, disc, axis=-1)
    corners: Array = centre + radius[..., None] * ways
    return corners


def merge(people: Sequence[Outlines]) -> Outlines:
    """All people of a scene as one set of parts."""
    return Outlines(*(np.concatenate(parts, axis=1) for parts in zip(*people, strict=True)))
