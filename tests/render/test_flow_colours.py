"""Flow as pictures, held against torchvision's wheel and matplotlib's map."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from torchvision.utils import flow_to_image

from vidlabel.errors import UsageError
from vidlabel.render.flow_panel import FlowView, bound_of, diverging_colours, wheel_colours


def uniform(across: float, down: float, height: int = 1, width: int = 1) -> np.ndarray:
    """Flow (2, height, width) that is the same everywhere."""
    flow = np.empty((2, height, width), dtype=np.float32)
    flow[0], flow[1] = across, down
    return flow


def test_the_wheel_is_that_of_baker_et_al() -> None:
    """torchvision scales by the longest flow of an image, so that is the bound here."""
    flow = np.random.default_rng(0).normal(size=(2, 40, 50)).astype(np.float32)
    ours = wheel_colours(flow, float(np.hypot(*flow).max()))
    theirs = flow_to_image(torch.from_numpy(flow)).permute(1, 2, 0).numpy()
    assert np.abs(ours.astype(int) - theirs).max() <= 1  # it cuts off, we round


@pytest.mark.parametrize(
    ("direction", "colour"),
    [
        ((1, 0), (255, 0, 0)),
        ((0, 1), (255, 230, 0)),
        ((-1, 0), (0, 209, 255)),
        ((0, -1), (88, 0, 255)),
    ],
)
def test_directions_have_their_hue(direction: tuple[int, int], colour: tuple[int, ...]) -> None:
    full = wheel_colours(uniform(*direction), 1.0)[0, 0]
    np.testing.assert_allclose(full, colour, atol=1)
    half = wheel_colours(uniform(*direction), 2.0)[0, 0]  # half the way to white
    np.testing.assert_allclose(half, (np.array(colour) + 255) / 2, atol=1)


def test_still_is_white_and_what_is_too_long_has_full_colour() -> None:
    assert (wheel_colours(uniform(0, 0), 1.0) == 255).all()
    np.testing.assert_array_equal(
        wheel_colours(uniform(9, 4), 1.0), wheel_colours(uniform(90, 40), 1.0)
    )


def test_the_map_is_rdbu_reversed() -> None:
    values = np.linspace(-3, 3, 101, dtype=np.float32)[None]
    theirs = mpl.colormaps["RdBu_r"](values / 6 + 0.5)[..., :3] * 255
    assert np.abs(diverging_colours(values, 3.0) - theirs).max() <= 3  # it has 256 steps
    np.testing.assert_array_equal(diverging_colours(values * 0, 3.0), np.full((1, 101, 3), 247))


def test_the_scale_is_what_few_pixels_exceed() -> None:
    flow = uniform(0, 0, 100, 100)
    flow[:, :2, :50] = [[[3.0]], [[4.0]]]  # 1 %, 5 px long
    assert bound_of([flow]) == 5.0
    assert bound_of([flow] + [uniform(0, 0, 100, 100)] * 3) == 1.0  # 0.25 %; noise stays pale
    assert bound_of([uniform(0, 7.7777, 10, 10)]) == 7.8


def test_a_wheel_is_one_panel_and_uv_are_two() -> None:
    flow = uniform(1.0, -2.0, 120, 160)
    (panel,) = FlowView("wheel", 2.0, 120, 160).panels(flow)
    np.testing.assert_array_equal(panel[-1, 0], wheel_colours(uniform(1, -2), 2.0)[0, 0])
    across, down = FlowView("uv", 2.0, 120, 160).panels(flow)
    np.testing.assert_array_equal(across[-1, 0], diverging_colours(uniform(1, 1)[0], 2.0)[0, 0])
    np.testing.assert_array_equal(down[-1, 0], diverging_colours(uniform(-2, 1)[0], 2.0)[0, 0])


@pytest.mark.parametrize("kind", ["wheel", "uv"])
def test_the_legend_says_the_scale_and_leaves_room(kind: str) -> None:
    still = uniform(0, 0, 120, 160)
    panels = FlowView(kind, 2.0, 120, 160).panels(still)
    for panel, other in zip(panels, FlowView(kind, 3.5, 120, 160).panels(still), strict=True):
        ground = panel[-1, 0]
        assert (panel[:60, 40:] != ground).any()
        assert (panel[60:] == ground).all()
        assert (panel[:, :40] == ground).all()
        assert (panel != other).any(), "another scale must look different"
    for panel in FlowView(kind, 2.0, 24, 32).panels(uniform(0, 0, 24, 32)):
        assert (panel == panel[-1, 0]).all(), "too small for a legend"


@pytest.mark.field
@pytest.mark.parametrize(
    ("kind", "bound_px", "words"),
    [("wheel", 2.0, "2 px/frame"), ("wheel", 0.35, "0.35 px/frame"),
     ("uv", 12.0, "\N{PLUS-MINUS SIGN}12 px/frame")],
)  # fmt: skip
def test_the_legend_names_the_unit(kind: str, bound_px: float, words: str) -> None:
    """Field 22: `px` alone may be per second."""
    font = ImageFont.load_default(9)
    left, top, right, bottom = map(round, font.getbbox(words))
    sheet = Image.new("RGB", (right - left, bottom - top), "white")
    ImageDraw.Draw(sheet).text((-left, -top), words, fill="black", font=font)
    written = np.asarray(sheet)
    for panel in FlowView(kind, bound_px, 160, 200).panels(uniform(0, 0, 160, 200)):
        found = np.lib.stride_tricks.sliding_window_view(panel, written.shape)
        assert (found == written).all((-1, -2, -3)).any()


def test_the_legend_of_the_wheel_shows_the_directions() -> None:
    (panel,) = FlowView("wheel", 2.0, 120, 160).panels(uniform(0, 0, 120, 160))
    colours = panel[:60].reshape(-1, 3).astype(int)
    for direction in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        full = wheel_colours(uniform(*direction), 1.0)[0, 0]
        assert np.abs(colours - full).sum(-1).min() < 10


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="wheel or uv, not as arrows"):
        FlowView("arrows", 1.0, 48, 64)
