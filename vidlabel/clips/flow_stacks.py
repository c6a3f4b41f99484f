"""Stacks of optical flow, computed from decoded frames before a network sees them.

Decoder processes never import torch; they give the luma of consecutive frames. Here it becomes
optical flow, 2 channels per pair of frames, as bytes (`tvl1.to_bytes`).

Flow over 1 / 12 of the frame's shorter side is clipped: 20 px for the 240 px of HMDB51's frames, as
in two-stream systems, and in proportion for others, so that bytes mean the same at any size.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from math import ceil

import torch
from torch import Tensor

from vidlabel.clips.tvl1 import CPU_PIXELS_AT_ONCE, optical_flow, to_bytes
from vidlabel.machine import usable_cores
from vidlabel.specs import ClipSpec

BOUND = 1 / 12
"""Largest flow, as a share of the frame's shorter side."""


def with_flow(steps: Tensor, clip: ClipSpec, device: torch.device) -> Tensor:
    """Time steps (N, c, H, W) uint8 as decoded to time steps (N, C, H, W) as networks see them.

    Args:
        steps: with c = `clip.decoded_channels`, on the CPU; returned unchanged without flow.
        clip: what a time step consists of.
        device: where to compute; the result is on the CPU.
    """
    if not clip.has_flow:
        return steps
    count = clip.pairs + 1
    luma = steps[:, -count:]
    numbers: dict[bytes, int] = {}
    places = [
        [numbers.setdefault(frame.numpy().tobytes(), len(numbers)) for frame in step]
        for step in luma
    ]
    first = {number: (i, j) for i, step in enumerate(places) for j, number in enumerate(step)}
    frames = torch.stack([luma[first[number]] for number in range(len(numbers))])
    # Time steps of a short video overlap: most of their pairs are the same ones.
    wanted = [list(pairwise(step)) for step in places]
    pairs = {pair: i for i, pair in enumerate(sorted({p for step in wanted for p in step}))}
    chosen = torch.tensor(list(pairs))
    flow = _flow(frames[chosen[:, 0]], frames[chosen[:, 1]], clip, device)
    stacks = torch.stack([
        flow[[pairs[pair] for pair in step]].flatten(0, 1) for step in wanted
    ])  # fmt: skip
    return torch.cat([steps[:, :3], stacks], 1) if clip.has_rgb else stacks


def run_time_steps(run: Tensor, clip: ClipSpec, device: torch.device) -> Tensor:
    """Consecutive frames (L, c, H, W) uint8 of `read.read_run` to time steps (M, C, H, W): one per
    frame, or, with flow, per `clip.pairs` + 1 consecutive frames."""
    if not clip.has_flow:
        return run
    count = clip.pairs + 1
    luma = run[:, -1]
    flow = _flow(luma[:-1], luma[1:], clip, device)
    stacks = flow.unfold(0, clip.pairs, 1).permute(0, 4, 1, 2, 3).flatten(1, 2)
    if not clip.has_rgb:
        return stacks
    middles = run[count // 2 :][: len(stacks), :3]
    return torch.cat([middles, stacks], 1)


def mirror(steps: Tensor, clip: ClipSpec) -> Tensor:
    """Time steps (..., C, H, W) of numbers 0..255, mirrored left to right; horizontal flow changes
    its sign."""
    mirrored = steps.flip(-1)
    if clip.has_flow:
        across = (..., slice(3 * clip.has_rgb, None, 2), slice(None), slice(None))
        mirrored[across] = 255 - mirrored[across]
    return mirrored


def _flow(before: Tensor, after: Tensor, clip: ClipSpec, device: torch.device) -> Tensor:
    """Flow (N, 2, H, W) as bytes, on the CPU, between images (N, H, W) uint8 on the CPU."""
    bound_px = clip.resize_px * BOUND
    if device.type != "cpu":
        return to_bytes(optical_flow(before.to(device), after.to(device)), bound_px).cpu()
    threads = torch.get_num_threads()
    most = max(1, CPU_PIXELS_AT_ONCE // before[0].numel())
    size = ceil(len(before) / ceil(len(before) / most))  # in groups of about the same size
    flow = torch.empty(len(before), 2, *before.shape[1:], dtype=torch.uint8)

    def compute(start: int) -> None:
        part = slice(start, start + size)
        flow[part] = to_bytes(optical_flow(before[part], after[part]), bound_px)

    # Groups in parallel, each with one thread: images are too small to divide among threads.
    try:
        with ThreadPoolExecutor(
            usable_cores(), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            list(pool.map(compute, range(0, len(before), size)))
    finally:
        torch.set_num_threads(threads)
    return flow
