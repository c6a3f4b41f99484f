"""Dense optical flow by TV-L1: the displacement of every pixel between two images.

The flow u between two images minimises |grad u| + lambda |after(x + u) - before(x)|, summed over
all pixels x: neighbours move alike except at edges, and a pixel keeps its brightness unless it is
hidden. Zach, Pock and Bischof 2007, "A Duality Based Approach for Realtime TV-L1 Optical
Flow"; Sanchez, Meinhardt-Llopis and Facciolo 2013, "TV-L1 Optical Flow Estimation", IPOL,
doi 10.5201/ipol.2013.26, whose names the parameters have here.

The computation is that of OpenCV's DualTVL1OpticalFlow (opencv_contrib 4 and 5, on the CPU), with
the same borders, so that models trained on its flow also work with this one; tests/clips compares
the two. OpenCV's gamma, a third unknown for changes of brightness, is left out; it is 0 (off) there
by default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vidlabel.clips.median import SORTED, MedianFilter
from vidlabel.errors import UsageError

SMALLEST_PX = 16
"""Shortest side of all scales of the pyramid but the first; OpenCV's rule."""

FLATTEST = torch.finfo(torch.float32).eps
"""Smallest squared gradient, (grey levels / px)^2, that is divided by."""

TINY = 1e-30
"""(px / px)^2, added to the squared gradient of the flow so that it is more than 0."""

PIXELS_AT_ONCE = 2**23
"""Most pixels per batch on a GPU; each takes about 400 bytes."""

CPU_PIXELS_AT_ONCE = 2**16
"""Most pixels per batch on a CPU. With fewer, calls take longer than the arithmetic (pairs of
91 x 73 px take half as long in groups of 8); with more, they do not fit into the cache."""

CHECK_EVERY = 10
"""Iterations on a GPU between two checks for convergence, which wait for the GPU."""


@dataclass(frozen=True)
class FlowSpec:
    """The parameters of TV-L1; the defaults are OpenCV's."""

    tau: float = 0.25
    """Step of the dual variables; above 1/4 they need not converge."""
    attachment: float = 0.15
    """lambda: how much a change of brightness costs; the smaller, the smoother the flow."""
    theta: float = 0.3
    """How closely the smooth flow is tied to the one that fits the images."""
    scales: int = 5
    """Most scales of the pyramid, each `scale_step` times the size of the one before."""
    scale_step: float = 0.8
    warps: int = 5
    """Linearisations of the second image around the flow, per scale."""
    epsilon: float = 0.01
    """Iterations stop when the flow changes by less, px (root of the mean square)."""
    outer_iterations: int = 10
    """Most rounds per warp; each starts with the median filter."""
    inner_iterations: int = 30
    """Most iterations per round."""
    median: int = 5
    """Side of the median filter's window, px: 3, 5, or 1 for none."""

    def __post_init__(self) -> None:
        for name in ("tau", "attachment", "theta"):
            value = getattr(self, name)
            _check(0 < value < math.inf, f"flow: {name} must be positive, got {value}")
        for name in ("scales", "warps", "outer_iterations", "inner_iterations"):
            value = getattr(self, name)
            _check(value >= 1, f"flow: {name} must be at least 1, got {value}")
        _check(
            0 < self.scale_step < 1,
            f"flow: scale_step must be between 0 and 1, got {self.scale_step}",
        )
        _check(0 <= self.epsilon < math.inf, f"flow: epsilon must be 0 or more, got {self.epsilon}")
        _check(self.median in (1, *SORTED), f"flow: median must be 1, 3 or 5, got {self.median}")


@torch.no_grad()
def optical_flow(before: Tensor, after: Tensor, spec: FlowSpec | None = None) -> Tensor:
    """The optical flow between two images, for a batch of pairs.

    The flow of a pair does not depend on the others in the batch: on the CPU bit by bit, on a GPU
    except for the order of its sums.

    Args:
        before: (N, H, W) luma, 0..255, uint8 or floating point; sides of at least 3 px.
        after: as `before`: same shape, same device.
        spec: the parameters; the defaults of `FlowSpec` if None.

    Returns:
        (N, 2, H, W) float32 on the images' device: pixels to the right, then down, by which each
        pixel of `before` has moved in `after`.

    Raises:
        UsageError: images of other shapes or types.
    """
    spec = spec or FlowSpec()
    _check_images(before, after)
    count, height, width = before.shape
    # On the CPU few pairs fit into the cache, and stop as soon as the last one has converged. On a
    # GPU larger batches are faster, as long as they fit into its memory.
    cpu = before.device.type == "cpu"
    at_once = max(1, (CPU_PIXELS_AT_ONCE if cpu else PIXELS_AT_ONCE) // (height * width))
    check_every = 1 if cpu else CHECK_EVERY
    flow = torch.empty(count, 2, height, width, device=before.device)
    for start in range(0, count, at_once):
        part = slice(start, start + at_once)
        flow[part] = _flow(before[part, None].float(), after[part, None].float(), spec, check_every)
    return flow


def to_bytes(flow: Tensor, bound_px: float = 20.0) -> Tensor:
    """Flow as uint8 of the same shape: -bound_px becomes 0, bound_px 255; larger flow is clipped.

    The convention of two-stream networks, (f + 20) * 255 / 40, but rounded instead of truncated:
    the error within the bounds is at most half a level, bound_px / 255. Zero, half-way between 127
    and 128, becomes 128.
    """
    _check_bound(bound_px)
    levels = (flow.float().clamp(-bound_px, bound_px) + bound_px) * (255 / (2 * bound_px))
    return levels.round_().to(torch.uint8)


def _flow(before: Tensor, after: Tensor, spec: FlowSpec, check_every: int) -> Tensor:
    """Flow (N, 2, H, W) between images (N, 1, H, W) float32, from the coarsest scale to the finest;
    each scale starts from the flow of the one before."""
    pyramid = [torch.cat([before, after], 1)]
    while len(pyramid) < spec.scales:
        smaller = _shrunk(pyramid[-1], spec.scale_step)
        if min(smaller.shape[-2:]) < SMALLEST_PX:
            break
        pyramid.append(smaller)
    flow = torch.zeros_like(pyramid[-1])
    for number, images in enumerate(reversed(pyramid)):
        if number:
            flow = F.interpolate(flow, images.shape[-2:], mode="bilinear", align_corners=False)
            flow /= spec.scale_step
        scale = _Scale(images, flow, spec, check_every)
        for _ in range(spec.warps):
            scale.linearise()
            for _ in range(spec.outer_iterations):
                scale.smooth()
                if not scale.iterate():
                    break
    return flow


def _shrunk(images: Tensor, factor: float) -> Tensor:
    """Images (..., H, W) at `factor` times the size, bilinear, as OpenCV's resize makes them.

    OpenCV rounds the size, but places the pixels by the factor itself, which F.interpolate cannot
    do; if the size stays the same, the image does too.
    """
    if all(round(side * factor) == side for side in images.shape[-2:]):
        return images
    for axis in (-2, -1):
        side = images.shape[axis]
        pixels = torch.arange(round(side * factor), dtype=torch.float64)
        places = ((pixels + 0.5) / factor - 0.5).clamp_(0, side - 1)
        left = places.long()
        right = (left + 1).clamp_(max=side - 1)
        share = (places - left).to(images)
        left, right = left.to(images.device), right.to(images.device)
        images = images.index_select(axis, left).lerp(
            images.index_select(axis, right), share[:, None] if axis == -2 else share
        )
    return images


class _Scale:
    """N pairs at one scale, and the unknowns of their problem.

    There are up to a thousand iterations, and each operation is a pass through memory, so they are
    as few and as simple as possible. Pixels lie row after row in one block, and the difference of
    neighbours is that of two shifted views of it, across the ends of rows. Values that such a view
    takes from the next row or image do no harm: the gradient's last column (horizontally) and last
    row (vertically) are set to zero, so those of the dual variables, which start at zero, stay
    zero, and their divergence needs no correction.

    Args:
        images: (N, 2, H, W) float32, first and second of each pair.
        flow: (N, 2, H, W) float32, contiguous: the initial flow; changed in place.
        spec: the parameters.
        check_every: iterations between two checks whether all pairs have converged.
    """

    # Set by `linearise`: the step towards the images, offset + weights . flow, and its direction.
    _offset: Tensor
    _weights: tuple[Tensor, Tensor]
    _slope: Tensor

    def __init__(self, images: Tensor, flow: Tensor, spec: FlowSpec, check_every: int) -> None:
        self._before, after = images[:, :1], images[:, 1:]
        self._flow, self._spec, self._check_every = flow, spec, check_every
        count, _, height, width = flow.shape
        size = flow.numel()
        # A single pair that is checked after each iteration is never iterated too often.
        self._masked = count > 1 or check_every > 1
        padded = F.pad(after, (1, 1, 1, 1), mode="replicate")
        across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
        down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
        # grid_sample counts from -1 to 1 over the whole side. Only if the side is a power of 2 are
        # whole pixels exact, and an image that does not move equal to itself; pixels outside count
        # as zero anyway.
        sides = [1 << (side - 1).bit_length() for side in (width, height)]
        margins = (0, sides[0] - width, 0, sides[1] - height)
        self._after = F.pad(torch.cat([after, across, down], 1), margins)
        self._unit = 2 / flow.new_tensor(sides)
        x, y = (torch.arange(float(side), device=flow.device) for side in (width, height))
        self._places = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)

        self._active = flow.new_ones(count, 1, 1, 1)  # 1, or 0 for pairs that have converged
        self._limit = flow.new_tensor(spec.epsilon * math.sqrt(height * width))
        self._one, self._tiny = flow.new_tensor(1.0), flow.new_tensor(TINY)
        self._median = MedianFilter(spec.median)
        self._change = torch.empty_like(flow)
        self._fit = flow.new_empty(count, 1, height, width)
        # theta times the dual variables: (2, N, 2, H, W), derivatives across and down of either
        # component. A row of zeros before them is what pixels on the upper edge see above.
        dual = flow.new_zeros(2, width + size)
        self._dual = dual[:, width:].view(2, *flow.shape)
        self._duals = self._dual.unbind()
        self._left = dual[0, width - 1 : -1].view(flow.shape)
        self._above = dual[1, :size].view(flow.shape)
        gradient = flow.new_empty(2, size)
        self._gradient = gradient.view(2, *flow.shape)
        self._square = torch.empty_like(flow)
        # Views are made once: on small images they take as long as the arithmetic.
        self._gradients = self._gradient.unbind()
        self._last = self._gradient[0, ..., -1], self._gradient[1, ..., -1, :]
        self._components = flow[:, :1], flow[:, 1:]
        pixels = flow.view(-1)
        self._differences = [
            (pixels[step:], pixels[:-step], gradient[axis, :-step])
            for axis, step in enumerate((1, width))
        ]

    def linearise(self) -> None:
        """Move the second image by the current flow, and linearise it around there.

        A flow u that leaves the difference r(u) between the images is moved along their slope g by
        clamp(-r(u) / g^2, -lambda theta, lambda theta). In u, r is linear: -r / g^2 is an offset
        and two weights, computed here once.
        """
        # As OpenCV does it: cubic, and zero outside of the image.
        places = (self._places + self._flow.permute(0, 2, 3, 1)) * self._unit
        moved = F.grid_sample(
            self._after,
            places.add_(self._unit / 2 - 1),
            mode="bicubic",
            padding_mode="zeros",
            align_corners=False,
        )
        self._slope = moved[:, 1:].contiguous()
        steepness = self._slope.square().sum(1, keepdim=True).clamp_(min=FLATTEST).neg_()
        reached = (self._slope * self._flow).sum(1, keepdim=True)
        self._offset = (moved[:, :1] - reached - self._before) / steepness
        weights = self._slope / steepness
        self._weights = weights[:, :1], weights[:, 1:]
        self._active.fill_(1)

    def smooth(self) -> None:
        """The median filter, on pairs that have not converged."""
        if self._spec.median > 1:
            smoothed = self._median(self._flow)
            torch.where(self._active > 0, smoothed, self._flow, out=self._flow)

    def iterate(self) -> bool:
        """Up to `inner_iterations` iterations; whether any pair has not converged by then.

        Pairs that have converged do not change any more. Checking whether all have converged waits
        for a GPU, which is then idle, so it is done only every `check_every` iterations.
        """
        for number in range(1, self._spec.inner_iterations + 1):
            self._step()
            if number % self._check_every == 0 and not self._active.any():
                return False
        return bool(self._active.any())

    def _step(self) -> None:
        spec, change, square = self._spec, self._change, self._square
        # The flow goes towards what fits the images ...
        across, down = self._components
        bound = spec.attachment * spec.theta
        torch.addcmul(self._offset, self._weights[0], across, out=self._fit)
        self._fit.addcmul_(self._weights[1], down).clamp_(-bound, bound)
        # ... and towards smoothness, by the divergence of the dual variables.
        torch.sub(self._duals[0], self._left, out=change).add_(self._duals[1]).sub_(self._above)
        change.addcmul_(self._slope, self._fit)
        self._flow.addcmul_(change, self._active)
        distance = torch.linalg.vector_norm(change, dim=(1, 2, 3), keepdim=True)
        # The dual variables follow the flow's gradient, and are kept within the unit circle:
        # divided by 1 + tau / theta |gradient|. Its length is square * square^-1/2, as torch has a
        # fast inverse of the root on the CPU, and a slow root; of 0 both are slow, and one is inf.
        for ahead, here, difference in self._differences:
            torch.sub(ahead, here, out=difference)
        for edge in self._last:
            edge.zero_()
        across, down = self._gradients
        torch.addcmul(self._tiny, across, across, out=square).addcmul_(down, down)
        inverse = torch.rsqrt(square, out=change)
        if self._masked:
            inverse *= self._active
        torch.addcmul(self._one, square, inverse, value=spec.tau / spec.theta, out=square)
        self._dual.addcmul_(self._gradient, self._active, value=spec.tau).div_(square)
        self._active.mul_(distance > self._limit)


def _check_images(before: Tensor, after: Tensor) -> None:
    shape, other = tuple(before.shape), tuple(after.shape)
    for image in (before, after):
        usable = image.dtype == torch.uint8 or image.is_floating_point()
        _check(usable, f"flow: images must be uint8 or floating point, got {image.dtype}")
    usable = len(shape) == 3 and min(shape[1:]) >= 3
    _check(usable, f"flow: images must be (N, H, W) with sides of at least 3 px, got {shape}")
    _check(shape == other, f"flow: images must be of one size, got {shape} and {other}")
    _check(
        before.device == after.device,
        f"flow: images must be on one device, got {before.device} and {after.device}",
    )


def _check_bound(bound_px: float) -> None:
    _check(0 < bound_px < math.inf, f"flow: bound_px must be positive, got {bound_px}")


def _check(ok: bool, message: str) -> None:
    if not ok:
        raise UsageError(message)
