"""A video's frames with their optical flow beside them, as colours: one hue for each direction, or
a map for each axis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vidlabel.clips.tvl1 import optical_flow
from vidlabel.device import device_errors
from vidlabel.errors import UsageError
from vidlabel.render.layout import side_by_side
from vidlabel.render.spec import FlowKind, RenderSpec
from vidlabel.video.scale import Pixels

Flow = NDArray[np.float32]
"""(2, H, W) px to the right and down, as `tvl1.optical_flow` returns it for each pair."""

SMALLEST_BOUND_PX = 1.0
"""Finest scale; with a finer one, the noise of a still video would have bright colours."""

FULL_SHARE = 0.005
"""Share of a video's pixels with full colour, the fastest ones: about those of a waving arm."""

WHEEL = (15, 6, 4, 11, 13, 6)
"""Steps between red, yellow, green, cyan, blue, magenta and red again; more of them where the eye
distinguishes more hues. Baker et al. 2011, "A Database and Evaluation Methodology for Optical
Flow", IJCV 92, doi 10.1007/s11263-010-0390-2, and its code."""

BLUE_TO_RED = (
    (5, 48, 97), (33, 102, 172), (67, 147, 195), (146, 197, 222), (209, 229, 240), (247, 247, 247),
    (253, 219, 199), (244, 165, 130), (214, 96, 77), (178, 24, 43), (103, 0, 31),
)  # fmt: skip
"""From the lowest value through zero (near white) to the highest: RdBu of ColorBrewer (Brewer
2003), reversed, whose two sides differ for colour-blind people too."""

PAIRS_AT_ONCE = 16
"""Pairs of frames whose flow is computed together: enough to use a GPU, in little memory."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue (ITU-R BT.601), with which OpenCV makes grey images for flow."""


class FlowPanel:
    """Draws each frame beside the flow from it to the next.

    Args:
        pairs: pairs of frames that represent the video; they set the scale unless `spec` does.

    Attributes:
        sample: the pictures of the pairs.
    """

    def __init__(
        self, pairs: Sequence[tuple[Pixels, Pixels]], spec: RenderSpec, device: torch.device
    ) -> None:
        assert spec.flow is not None  # the caller checks
        self._device = device
        flows = [self._flows(pair)[0] for pair in pairs]
        height, width = flows[0].shape[1:]
        self._view = FlowView(spec.flow, spec.max_flow_px or bound_of(flows), height, width)
        self.sample = [
            self._picture(before, flow) for (before, _), flow in zip(pairs, flows, strict=True)
        ]

    def pictures(self, frames: Iterable[Pixels]) -> Iterator[Pixels]:
        """A picture for each frame; the last one shows the flow of the one before."""
        source = iter(frames)
        waiting = list(islice(source, 1))
        flow: Flow | None = None
        while following := list(islice(source, PAIRS_AT_ONCE)):
            waiting += following
            for frame, flow in zip(waiting, self._flows(waiting), strict=False):
                yield self._picture(frame, flow)
            waiting = waiting[-1:]
        for frame in waiting:
            still = np.zeros((2, *frame.shape[:2]), dtype=np.float32)
            yield self._picture(frame, still if flow is None else flow)

    def _flows(self, frames: Sequence[Pixels]) -> NDArray[np.float32]:
        """Flow (N - 1, 2, H, W) between N consecutive frames."""
        luma = torch.from_numpy(np.stack([frame @ LUMA for frame in frames]))
        with device_errors(self._device):
            luma = luma.to(self._device)
            return optical_flow(luma[:-1], luma[1:]).cpu().numpy()

    def _picture(self, frame: Pixels, flow: Flow) -> Pixels:
        return side_by_side([frame, *self._view.panels(flow)])


class FlowView:
    """Draws the flow of a video at one scale, with a legend at the top right.

    Args:
        kind: `wheel` for one panel (`wheel_colours`), `uv` for two: across and down.
        bound_px: the length with full colour.
        height, width: size of the flow, px. There is no legend if it would cover most of a panel.

    Raises:
        UsageError: the kind is unknown.
    """

    def __init__(self, kind: FlowKind, bound_px: float, height: int, width: int) -> None:
        if kind not in get_args(FlowKind):
            raise UsageError(f"flow is drawn as {' or '.join(get_args(FlowKind))}, not as {kind}")
        self._kind, self._bound_px = kind, bound_px
        size = int(np.clip(height // 18, 9, 20)), height, width
        if kind == "wheel":
            self._legends = [_wheel_legend(bound_px, *size)]
        else:
            self._legends = [_bar_legend(title, bound_px, *size) for title in ("across", "down")]

    def panels(self, flow: Flow) -> list[Pixels]:
        """The pictures of one flow: across and down, or both in one."""
        if self._kind == "wheel":
            panels = [wheel_colours(flow, self._bound_px)]
        else:
            panels = [diverging_colours(part, self._bound_px) for part in flow]
        for panel, legend in zip(panels, self._legends, strict=True):
            if legend is not None:
                panel[: legend.shape[0], -legend.shape[1] :] = legend
        return panels


def wheel_colours(flow: Flow, bound_px: float) -> Pixels:
    """Flow as colours: hue is direction, saturation is length, white does not move.

    Right is red, down yellow, left cyan, up violet. Motion of `bound_px` or more has full colour;
    the original method darkens longer motion, which flickers in a video.
    """
    across, down = flow
    length = np.minimum(np.hypot(across, down) / bound_px, 1.0)
    wheel = _wheel()
    # Convention of the original code: the angle is that of the opposite direction, and one turn
    # covers all steps of the wheel but the last, so that the first hue points right.
    place = (np.arctan2(-down, -across) / np.pi + 1) / 2 * (len(wheel) - 1)
    low = np.floor(place).astype(np.intp)
    share = (place - low)[..., None]
    hue = wheel[low] * (1 - share) + wheel[(low + 1) % len(wheel)] * share
    return _bytes(1 - length[..., None] * (1 - hue))


def diverging_colours(values: NDArray[np.float32], bound: float) -> Pixels:
    """Values (H, W) as colours: blue below zero, white at zero, red above; darkest from -bound and
    bound on."""
    anchors = np.array(BLUE_TO_RED) / 255
    places = np.linspace(-bound, bound, len(anchors))
    return _bytes(np.stack([np.interp(values, places, channel) for channel in anchors.T], axis=-1))


def bound_of(flows: Sequence[Flow]) -> float:
    """The length in px with full colour for a video with flow like this: the length that FULL_SHARE
    of the pixels exceed, rounded to two digits."""
    lengths = np.concatenate([np.hypot(*flow).ravel() for flow in flows])
    return max(SMALLEST_BOUND_PX, float(f"{np.quantile(lengths, 1 - FULL_SHARE):.2g}"))


@cache
def _wheel() -> NDArray[np.float64]:
    """(55, 3) RGB, 0..1: the hues of the wheel; between two corners one channel rises or falls."""
    corners = np.array([(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1)], float)
    return np.concatenate(
        [
            start + np.linspace(0, 1, steps, endpoint=False)[:, None] * (end - start)
            for steps, start, end in zip(WHEEL, corners, np.roll(corners, -1, axis=0), strict=True)
        ]
    )


def _wheel_legend(bound_px: float, text_px: int, height: int, width: int) -> Pixels | None:
    """The wheel, and below it the length at its rim."""
    radius = 2 * text_px
    steps = np.arange(-radius, radius + 1, dtype=np.float32) * (bound_px / radius)
    flow = np.stack(np.meshgrid(steps, steps, indexing="xy"))
    disc = wheel_colours(flow, bound_px)
    disc[np.hypot(*flow) > bound_px] = 255
    return _legend(disc, [f"{bound_px:g} px/frame"], text_px, height, width)


def _bar_legend(
    title: str, bound_px: float, text_px: int, height: int, width: int
) -> Pixels | None:
    """The colours from -bound_px to bound_px, and below them these values."""
    ramp = np.linspace(-bound_px, bound_px, 8 * text_px, dtype=np.float32)
    bar = diverging_colours(np.tile(ramp, (text_px // 2, 1)), bound_px)
    lines = [title, f"\N{PLUS-MINUS SIGN}{bound_px:g} px/frame"]
    return _legend(bar, lines, text_px, height, width)


def _legend(
    key: Pixels, lines: Sequence[str], text_px: int, height: int, width: int
) -> Pixels | None:
    """A key to colours over lines of text, on white; None if it would cover most of a picture."""
    font = ImageFont.load_default(text_px)
    boxes = [tuple(map(round, font.getbbox(line))) for line in lines]
    margin = text_px // 3
    wide = max(key.shape[1], *(right - left for left, _, right, _ in boxes)) + 2 * margin
    high = key.shape[0] + sum(bottom - top + margin for _, top, _, bottom in boxes) + 2 * margin
    if 2 * high > height or 4 * wide > 3 * width:
        return None
    sheet = Image.new("RGB", (wide, high), "white")
    sheet.paste(Image.fromarray(key), ((wide - key.shape[1]) // 2, margin))
    pen, y = ImageDraw.Draw(sheet), key.shape[0] + 2 * margin
    for line, (left, top, right, bottom) in zip(lines, boxes, strict=True):
        pen.text(((wide - right - left) // 2, y - top), line, fill="black", font=font)
        y += bottom - top + margin
    return np.array(sheet)


def _bytes(colours: NDArray[np.float64]) -> Pixels:
    return np.asarray((colours * 255).round(), dtype=np.uint8)
