"""TV-L1 flow: held against OpenCV's on real clips, and against the truth on generated motion."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from places import SHARED
from torch import Tensor

from vidlabel.clips.median import MedianFilter
from vidlabel.clips.tvl1 import CHECK_EVERY, FlowSpec, _flow, optical_flow, to_bytes
from vidlabel.errors import UsageError
from vidlabel.video.reader import open_video

DATA = SHARED / "data"
SETS = {"weizmann": 2, "ut_interaction": 2, "surveillance_fight": 2, "hmdb51_sample": 2}
"""Folders of real clips, and how many of each are looked at."""

Plane = NDArray[np.float64]
Motion = Callable[[Plane, Plane], tuple[Plane, Plane]]

MOTIONS: dict[str, Motion] = {
    "translation": lambda x, y: (3.3 + 0 * x, -1.7 + 0 * y),
    "rotation": lambda x, y: (
        x * (math.cos(0.06) - 1) - y * math.sin(0.06),
        x * math.sin(0.06) + y * (math.cos(0.06) - 1),
    ),
    "zoom": lambda x, y: (0.05 * x, 0.05 * y),
}
"""Flow at places relative to the centre, px."""


def texture(x: Plane, y: Plane) -> Plane:
    """A picture, 0..255, that can be looked at anywhere: 40 waves of 6 to 60 px."""
    random = np.random.default_rng(1)
    total = np.zeros_like(x)
    for _ in range(40):
        length, angle, phase = random.uniform((6, 0, 0), (60, math.pi, 2 * math.pi))
        along = x * math.cos(angle) + y * math.sin(angle)
        total += np.sin(2 * math.pi * along / length + phase)
    return np.clip(128 + 16 * total, 0, 255)


def moved(motion: Motion, height: int = 96, width: int = 128) -> tuple[Tensor, Tensor, Tensor]:
    """Images (1, H, W) uint8 before and after a motion, and the true flow (1, 2, H, W)."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    right, down = motion(x - width / 2, y - height / 2)
    # `after` is the picture itself; `before` shows at x what `after` shows at x + flow.
    before, after = texture(x + right, y + down), texture(x, y)
    images = [torch.from_numpy(image.round().astype(np.uint8))[None] for image in (before, after)]
    return images[0], images[1], torch.from_numpy(np.stack([right, down]))[None].float()


def opencv_flow(before: Tensor, after: Tensor, **options: Any) -> Tensor:
    """OpenCV's flow (1, 2, H, W) of images (1, H, W) uint8.

    A new object each time: one that has seen a small image never uses more scales again.
    """
    cv2 = pytest.importorskip("cv2", reason="needs opencv-contrib-python-headless")
    solver = cv2.optflow.DualTVL1OpticalFlow_create(**options)
    flow = solver.calc(before[0].numpy(), after[0].numpy(), None)
    return torch.from_numpy(flow).permute(2, 0, 1)[None]


def digits_px(exact: float) -> float:
    """What a flow may differ from OpenCV's: `exact` where its warps are; until 5.0 they go in steps
    of 1/32 px, which on small images makes a tenth of a pixel."""
    cv2 = pytest.importorskip("cv2", reason="needs opencv-contrib-python-headless")
    return exact if int(cv2.__version__.split(".")[0]) >= 5 else 0.1


def error(flow: Tensor, truth: Tensor) -> Tensor:
    """Endpoint distances (N, H, W), px."""
    right, down = (flow - truth).unbind(1)
    return torch.hypot(right, down)


def real_pair(path: Path, side_px: int = 144) -> tuple[Tensor, Tensor]:
    """The two frames in the middle of a clip, (1, H, W) uint8 luma."""
    with open_video(str(path)) as video:
        times = video.frame_times_s
        assert times is not None
        middle = len(times) // 2
        frames = video.frames_at(times[middle : middle + 2].tolist(), side_px, "luma")
    before, after = torch.from_numpy(frames.pixels[..., 0].copy())
    return before[None], after[None]


def return_distance(there: Tensor, back: Tensor) -> Tensor:
    """How far from its start a pixel is that goes along one flow and back along the other, px."""
    height, width = there.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x_there, y_there = x + there[:, 0], y + there[:, 1]
    grid = torch.stack([x_there * (2 / (width - 1)) - 1, y_there * (2 / (height - 1)) - 1], -1)
    returned = torch.nn.functional.grid_sample(back, grid, align_corners=True)
    distance = error(there, -returned)
    distance[(grid.abs() > 1).any(-1)] = math.inf
    return distance


def random_images(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.shared
@pytest.mark.skipif(not DATA.is_dir(), reason="needs the real clips in ../shared/data")
@pytest.mark.parametrize("name", SETS)
def test_it_agrees_with_opencv_on_real_clips(name: str) -> None:
    """Measured: 0.006 to 0.012 px with OpenCV 5.0, to 0.02 with 4.12, which warps in steps of
    1/32 px. Noise of 1/10,000 of a grey level changes OpenCV's own flow by as much."""
    clips = sorted((DATA / name).rglob("*.*"))
    for path in clips[:: math.ceil(len(clips) / SETS[name])]:
        before, after = real_pair(path)
        theirs = opencv_flow(before, after)
        reliable = return_distance(theirs, opencv_flow(after, before)) < 1
        assert reliable.float().mean() > 0.5
        difference = error(optical_flow(before, after), theirs)[reliable].mean()
        assert difference < 0.15, path
        # What is held here is the algorithm, too, not only the promise.
        assert difference < 0.05, path


@pytest.mark.parametrize("motion", MOTIONS)
def test_generated_motion_is_found_as_well_as_by_opencv(motion: str) -> None:
    before, after, truth = moved(MOTIONS[motion])
    ours = error(optical_flow(before, after), truth).mean()
    theirs = error(opencv_flow(before, after), truth).mean()
    assert ours <= 1.05 * theirs + 0.01
    assert ours < 0.2


@pytest.mark.parametrize(
    "options",
    [
        {"innnerIterations": 1, "medianFiltering": 1},
        {"innnerIterations": 30, "medianFiltering": 1},
        {"innnerIterations": 5, "outerIterations": 3, "medianFiltering": 3},
        {"tau": 0.2, "lambda_": 0.05, "theta": 0.5, "innnerIterations": 20},
        {"epsilon": 0.02, "outerIterations": 10},
    ],
)
def test_one_warp_is_opencvs_to_the_last_digits(options: dict[str, Any]) -> None:
    """Warps and scales after the first magnify the last digits of the sums; here, there are none.

    (OpenCV spells its option so.)
    """
    names = {"lambda_": "attachment", "innnerIterations": "inner_iterations",
             "outerIterations": "outer_iterations", "medianFiltering": "median"}  # fmt: skip
    options = {"epsilon": 0.0, "outerIterations": 1, **options}
    before, after, _ = moved(MOTIONS["rotation"], 60, 83)
    spec = FlowSpec(scales=1, warps=1, **{names.get(key, key): options[key] for key in options})
    theirs = opencv_flow(before, after, nscales=1, warps=1, **options)
    assert theirs.abs().max() > 0.1
    torch.testing.assert_close(optical_flow(before, after, spec), theirs, atol=5e-3, rtol=0)
    assert error(optical_flow(before, after, spec), theirs).mean() < 1e-4


@pytest.mark.parametrize(
    "shape", [(3, 3), (4, 40), (16, 16), (17, 33), (20, 20), (24, 36), (33, 41), (41, 77)]
)
def test_small_and_odd_sizes_are_as_opencvs(shape: tuple[int, int]) -> None:
    """The smaller ones have fewer scales; one more or less would be 0.05 px and more apart."""
    before, after, _ = moved(lambda x, y: (2.6 + 0 * x, -1.4 + 0 * y), *shape)
    flow = optical_flow(before, after)
    assert flow.shape == (1, 2, *shape)
    apart = error(flow, opencv_flow(before, after)).mean()
    assert apart < digits_px(0.005 if shape < (25,) else 0.05)


def test_scales_of_almost_one_size_are_as_opencvs() -> None:
    """They have the same number of pixels; the flow between them is rescaled all the same."""
    before, after, _ = moved(MOTIONS["translation"], 30, 33)
    ours = optical_flow(before, after, FlowSpec(scales=3, scale_step=0.985))
    theirs = opencv_flow(before, after, nscales=3, scaleStep=0.985)
    assert error(ours, theirs).mean() < digits_px(0.005)


def test_flow_says_where_things_go() -> None:
    """To the right and down is positive, in this order."""
    before = torch.zeros(1, 48, 48)
    after = before.clone()
    before[:, 18:30, 16:28] = 200
    after[:, 19:31, 18:30] = 200
    assert optical_flow(before, after)[0, :, 20:28, 18:26].mean((1, 2)).tolist() == pytest.approx(
        [2, 1], abs=0.2
    )


def test_stillness_is_zero() -> None:
    image = random_images(2, 40, 50)
    assert torch.equal(optical_flow(image, image), torch.zeros(2, 2, 40, 50))


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 255), (255, 0)])
def test_images_without_texture_are_no_trouble(first: int, second: int) -> None:
    before = torch.full((1, 40, 50), first, dtype=torch.uint8)
    flow = optical_flow(before, torch.full_like(before, second))
    assert torch.equal(flow, torch.zeros_like(flow))


def mixed_batch() -> tuple[Tensor, Tensor]:
    """Eight pairs (48, 64), of which some converge long before others; one is still."""
    pairs = [moved(motion, 48, 64)[:2] for motion in MOTIONS.values()]
    pairs += [(random_images(1, 48, 64, seed=i), random_images(1, 48, 64, seed=9)) for i in (1, 2)]
    pairs += [(pairs[3][0], pairs[3][0]), (pairs[0][1], pairs[0][0]), (pairs[0][0], pairs[1][1])]
    before, after = zip(*pairs, strict=True)
    return torch.cat(before), torch.cat(after)


def test_a_flow_does_not_depend_on_the_batch() -> None:
    before, after = mixed_batch()
    together = optical_flow(before, after)
    for number in range(len(before)):
        pair = slice(number, number + 1)
        assert torch.equal(optical_flow(before[pair], after[pair]), together[pair])


@pytest.mark.parametrize("pairs", [1, 8])
@pytest.mark.parametrize("check_every", [7, CHECK_EVERY])
def test_working_on_many_pairs_at_once_changes_nothing(pairs: int, check_every: int) -> None:
    """The way of GPUs, on the CPU: those that have converged wait for the others unchanged."""
    before, after = (images[:pairs] for images in mixed_batch())
    one_by_one = optical_flow(before, after)
    at_once = _flow(before[:, None].float(), after[:, None].float(), FlowSpec(), check_every)
    torch.testing.assert_close(at_once, one_by_one, atol=1e-5, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_the_same_flow() -> None:
    before, after = mixed_batch()
    on_gpu = optical_flow(before.cuda(), after.cuda()).cpu()
    # Unrelated images (3, 4) have no flow to agree on: the last digits decide.
    sensible = [0, 1, 2, 5, 6]
    difference = error(on_gpu, optical_flow(before, after))[sensible]
    assert difference.mean() < 0.02
    assert on_gpu.isfinite().all()
    alone = optical_flow(before[1:2].cuda(), after[1:2].cuda()).cpu()
    assert error(alone, on_gpu[1:2]).mean() < 0.02


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_all_types_of_images_give_the_same(dtype: torch.dtype) -> None:
    before, after, _ = moved(MOTIONS["zoom"], 32, 40)
    expected = optical_flow(before, after)
    flow = optical_flow(before.to(dtype), after.to(dtype))
    assert flow.dtype == torch.float32
    assert torch.equal(flow, expected)


def test_images_are_left_as_they_are_and_may_be_views() -> None:
    before, after, _ = moved(MOTIONS["zoom"], 32, 40)
    images = torch.stack([before, after], -1).float().requires_grad_()
    kept = images.detach().clone()
    flow = optical_flow(images[..., 0], images[..., 1])
    assert torch.equal(images, kept)
    assert not flow.requires_grad
    assert torch.equal(flow, optical_flow(before, after))


def test_no_pairs_have_no_flow() -> None:
    assert optical_flow(torch.zeros(0, 20, 30), torch.zeros(0, 20, 30)).shape == (0, 2, 20, 30)


@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("levels", [2, 4, 1000])
def test_the_median_filter_is_one(side: int, levels: int) -> None:
    """Images of 0 and 1 are the hard ones: a network right on all of them is right on all."""
    generator = torch.Generator().manual_seed(side)
    images = torch.randint(levels, (3, 2, 60, 81), generator=generator).float()
    median = MedianFilter(side)
    padded = torch.nn.functional.pad(images, (side // 2,) * 4, mode="replicate")
    windows = padded.unfold(2, side, 1).unfold(3, side, 1).flatten(-2)
    for _ in range(2):  # the second time in used memory
        assert torch.equal(median(images), windows.median(-1).values)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (torch.zeros(1, 20, 20), torch.zeros(1, 20, 21), "of one size"),
        (torch.zeros(1, 20, 20), torch.zeros(2, 20, 20), "of one size"),
        (torch.zeros(20, 20), torch.zeros(20, 20), r"must be \(N, H, W\)"),
        (torch.zeros(1, 1, 20, 20), torch.zeros(1, 1, 20, 20), r"must be \(N, H, W\)"),
        (torch.zeros(1, 2, 20), torch.zeros(1, 2, 20), "at least 3 px"),
        (torch.zeros(1, 20, 20).int(), torch.zeros(1, 20, 20), "uint8 or floating point"),
        (torch.zeros(1, 20, 20), torch.zeros(1, 20, 20).bool(), "uint8 or floating point"),
        (torch.zeros(1, 20, 20), torch.zeros(1, 20, 20, device="meta"), "on one device"),
    ],
)
def test_wrong_images_are_refused(before: Tensor, after: Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        optical_flow(before, after)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tau", 0.0), ("tau", math.nan), ("attachment", -1.0), ("theta", math.inf),
        ("scales", 0), ("scale_step", 1.0), ("scale_step", 0.0), ("warps", 0), ("epsilon", -0.1),
        ("epsilon", math.nan), ("outer_iterations", 0), ("inner_iterations", 0), ("median", 4),
        ("median", 7),
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name):
        FlowSpec(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("bound_px", [20.0, 15.0])
def test_bytes_hold_a_flow_to_half_a_step(bound_px: float) -> None:
    flow = torch.linspace(-bound_px, bound_px, 3000).reshape(1, 2, 30, 50)
    levels = to_bytes(flow, bound_px)
    assert levels.dtype == torch.uint8
    assert (int(levels.min()), int(levels.max())) == (0, 255)
    back = levels * (2 * bound_px / 255) - bound_px
    assert (back - flow).abs().max() < bound_px / 255 * 1.001
    assert torch.equal(to_bytes(back, bound_px), levels)
    assert back.flatten()[0] == -bound_px
    assert back.flatten()[-1] == pytest.approx(bound_px)


def test_bytes_of_stillness_and_of_what_is_beyond() -> None:
    flow = torch.tensor([0.0, -0.0, 30.0, -30.0, math.inf])
    assert to_bytes(flow).tolist() == [128, 128, 255, 0, 255]


def test_wrong_bytes_are_refused() -> None:
    with pytest.raises(UsageError, match="bound_px"):
        to_bytes(torch.zeros(3), 0.0)
    with pytest.raises(UsageError, match="bound_px"):
        to_bytes(torch.zeros(3), math.nan)
