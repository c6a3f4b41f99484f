"""Stacks of optical flow: the flow of each pair, in order, as bytes, computed once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import CLIP
from torch import Tensor

from vidlabel.clips import flow_stacks as stacks
from vidlabel.clips.flow_stacks import BOUND, mirror, run_time_steps, with_flow
from vidlabel.clips.read import read_run, read_time_steps
from vidlabel.clips.tvl1 import optical_flow, to_bytes
from vidlabel.specs import ClipSpec, Limits

MakeVideo = Callable[..., Path]

CPU = torch.device("cpu")
FLOW = replace(CLIP, input="flow", step_s=0.0, pairs=3)
BOTH = replace(FLOW, input="rgb+flow")
BOUND_PX = FLOW.resize_px * BOUND


def sliding(number: int, width: int, height: int) -> np.ndarray:
    """A smooth texture (H, W, 3) that moves 1 px to the right and 0.5 px up from frame to frame."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x - number, y + 0.5 * number
    waves = np.sin(x / 3) + np.sin(y / 4 + 1) + np.sin((x + y) / 5) + np.sin((x - y) / 7)
    channels = [128 + 30 * waves, 128 - 20 * waves, 100 + 25 * np.sin(x / 6) + 20 * np.sin(y / 5)]
    return np.stack(channels, -1).clip(0, 255).astype(np.uint8)


@pytest.fixture
def path(make_video: MakeVideo) -> str:
    return str(make_video(frames=9, draw=sliding, size=(48, 36), options=(("qp", "0"),)))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs each call of `optical_flow` has computed."""
    calls: list[int] = []

    def counting(before: Tensor, after: Tensor) -> Tensor:
        calls.append(len(before))
        return optical_flow(before, after)

    monkeypatch.setattr(stacks, "optical_flow", counting)
    return calls


def decoded(path: str, clip: ClipSpec) -> Tensor:
    """(T, c, H, W) of a clip, before its flow is computed."""
    return torch.from_numpy(read_time_steps(path, clip, 1, Limits()).clips[0])


def flow_of(before: Tensor, after: Tensor) -> Tensor:
    """Flow (2, H, W) as bytes of one pair (H, W)."""
    return to_bytes(optical_flow(before[None], after[None]), BOUND_PX)[0]


def test_stacks_are_the_flow_of_pair_after_pair(path: str) -> None:
    steps = decoded(path, BOTH)
    assert steps.shape == (4, 3 + 4, 36, 48)
    seen = with_flow(steps, BOTH, CPU)
    assert seen.shape == (4, 3 + 6, 36, 48)
    assert seen.dtype == torch.uint8
    for step, stack in zip(steps, seen, strict=True):
        expected = [flow_of(step[3 + i], step[4 + i]) for i in range(3)]
        assert torch.equal(stack[3:], torch.cat(expected))
    assert torch.equal(seen[:, :3], steps[:, :3])
    assert torch.equal(with_flow(steps[:, 3:], FLOW, CPU), seen[:, 3:]), "without the colours"


def test_colours_are_those_of_the_frame_in_the_middle(path: str) -> None:
    clip = replace(BOTH, frames=1)
    found = with_flow(decoded(path, clip), clip, CPU)
    # The frame shown at the middle of nine is the fifth, and of four frames in a row the third.
    middle = torch.from_numpy(read_run(path, CLIP, 0, Limits()).clips[0, 4])
    assert torch.equal(found[0, :3], middle)


def test_what_moves_to_the_right_and_up_is_told_so_in_this_order(path: str) -> None:
    flow = with_flow(decoded(path, FLOW), FLOW, CPU) * (2 * BOUND_PX / 255) - BOUND_PX
    across, down = flow[:, ::2, 8:-8, 8:-8], flow[:, 1::2, 8:-8, 8:-8]
    assert across.mean() == pytest.approx(1, abs=0.1)
    assert down.mean() == pytest.approx(-0.5, abs=0.1)


def test_pairs_that_steps_share_are_computed_once(path: str, counted: list[int]) -> None:
    clip = replace(FLOW, frames=16)  # of 9 frames: their steps overlap, and some are repeated
    steps = decoded(path, clip)
    found = with_flow(steps, clip, CPU)
    assert sum(counted) == 8, "not 48"
    for step, stack in zip(steps, found, strict=True):
        expected = [flow_of(step[i], step[i + 1]) for i in range(3)]
        assert torch.equal(stack, torch.cat(expected))


def test_equal_frames_are_still_flow() -> None:
    steps = torch.randint(256, (2, 1, 36, 40), dtype=torch.uint8).expand(2, 4, 36, 40)
    assert torch.equal(with_flow(steps, FLOW, CPU), torch.full((2, 6, 36, 40), 128).byte())


def test_steps_without_flow_are_left_alone() -> None:
    steps = torch.randint(256, (2, 3, 36, 40), dtype=torch.uint8)
    for kind in ("rgb", "motion"):
        assert with_flow(steps, replace(CLIP, input=kind), CPU) is steps
        assert run_time_steps(steps, replace(CLIP, input=kind), CPU) is steps


@pytest.mark.parametrize("clip", [FLOW, BOTH, replace(FLOW, pairs=2), replace(BOTH, pairs=8)])
def test_the_steps_of_a_run_are_those_of_the_same_moments(
    clip: ClipSpec, path: str, counted: list[int]
) -> None:
    run = torch.from_numpy(read_run(path, clip, 0, Limits()).clips[0])
    found = run_time_steps(run, clip, CPU)
    assert found.shape == (9 - clip.pairs, clip.channels, 36, 48)
    assert sum(counted) == 8, "each pair once"
    count = clip.pairs + 1
    moments = []
    for first in range(9 - clip.pairs):
        luma = run[first : first + count, -1]
        colours = run[first + count // 2, :3] if clip.has_rgb else luma[:0]
        moments.append(torch.cat([colours, luma]))
    assert torch.equal(found, with_flow(torch.stack(moments), clip, CPU))
    one = replace(clip, frames=1)  # which sees the frames around the middle one, number 4
    middle = with_flow(decoded(path, one), one, CPU)[0]
    assert torch.equal(found[4 - count // 2], middle)


@pytest.mark.parametrize("clip", [FLOW, BOTH])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_mirror_image_of_a_mirror_image_is_the_step(clip: ClipSpec, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    steps = torch.randint(256, (2, 4, clip.channels, 8, 10), generator=generator).to(dtype)
    kept = steps.clone()
    once = mirror(steps, clip)
    assert once.dtype == dtype
    assert torch.equal(mirror(once, clip), steps)
    assert torch.equal(steps, kept), "not in place"
    colours = 3 * clip.has_rgb
    flipped = steps.flip(-1)
    assert torch.equal(once[:, :, :colours], flipped[:, :, :colours])
    assert torch.equal(once[:, :, colours + 1 :: 2], flipped[:, :, colours + 1 :: 2]), "down"
    assert torch.equal(once[:, :, colours::2], 255 - flipped[:, :, colours::2]), "across"


@pytest.mark.parametrize("kind", ["rgb", "motion"])
def test_pictures_are_mirrored_only(kind: Any) -> None:
    steps = torch.randint(256, (2, 3, 8, 10), dtype=torch.uint8)
    assert torch.equal(mirror(steps, replace(CLIP, input=kind)), steps.flip(-1))


@pytest.mark.parametrize("clip", [FLOW, BOTH])
def test_a_mirrored_video_has_mirrored_flow(clip: ClipSpec, path: str) -> None:
    steps = decoded(path, clip)
    of_mirrored = with_flow(steps.flip(-1), clip, CPU)
    mirrored = mirror(with_flow(steps, clip, CPU), clip)
    difference = (of_mirrored.float() - mirrored.float())[..., 8:-8, 8:-8].abs()
    # The solver takes differences of pixels to the right only; a level is 0.02 px.
    assert difference.mean() < 1
    wrong = (of_mirrored.float() - with_flow(steps, clip, CPU).flip(-1).float()).abs()
    assert wrong[:, -clip.pairs * 2 :: 2].mean() > 20


def test_flow_is_the_same_in_groups_of_any_size(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = decoded(path, FLOW)
    whole = with_flow(steps, FLOW, CPU)
    for size, cores in ((1, 1), (2 * 36 * 48, 3), (10**9, 2)):
        monkeypatch.setattr(stacks, "CPU_PIXELS_AT_ONCE", size)
        monkeypatch.setattr(stacks, "usable_cores", lambda cores=cores: cores)
        assert torch.equal(with_flow(steps, FLOW, CPU), whole)


def test_threads_are_given_back_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(before: Tensor, after: Tensor) -> Tensor:
        raise RuntimeError("out of memory")

    steps = torch.zeros(1, 4, 36, 40, dtype=torch.uint8)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with_flow(steps, FLOW, CPU)
        assert torch.get_num_threads() == 3
        monkeypatch.setattr(stacks, "optical_flow", full)
        with pytest.raises(RuntimeError, match="out of memory"):
            with_flow(steps, FLOW, CPU)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_bytes_mean_the_same_share_of_a_frame_at_any_size() -> None:
    """Half of the bound is three quarters of the bytes, for frames of 36 px and of 72."""
    for side in (36, 72):
        clip = replace(FLOW, resize_px=side, pairs=1)
        shift = side / 24
        y, x = np.mgrid[:side, :side].astype(np.float64)
        pictures = [128 + 60 * np.sin(2 * math.pi * (x - s) * 2 / side) * np.sin(y * 20 / side)
                    for s in (0, shift)]  # fmt: skip
        steps = torch.from_numpy(np.stack(pictures).round().astype(np.uint8))[None]
        across = with_flow(steps, clip, CPU)[0, 0, side // 4 : -side // 4, side // 4 : -side // 4]
        assert across.float().mean() == pytest.approx(191, abs=6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("clip", [FLOW, BOTH])
def test_a_gpu_gives_the_same_stacks(clip: ClipSpec, path: str) -> None:
    steps = decoded(path, clip)
    ours, theirs = (with_flow(steps, clip, torch.device(name)) for name in ("cpu", "cuda"))
    assert theirs.device.type == "cpu"
    assert (ours.float() - theirs.float()).abs().mean() < 1
