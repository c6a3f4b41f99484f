"""Clips made on a GPU: what `augment` does, to all clips of a batch at once.

What a GPU is asked to do takes about as long to ask as to do, and to wait for it takes longer
still. So here the number of operations does not grow with the batch, though videos differ in size,
and nothing is waited for. Every pixel is mixed of four bytes of the frames where they lie; to bring
frames of all sizes into one tensor first, so that F.grid_sample could take them, would be one more
pass through more bytes.

Clips are those of `Augment`, but for its rounding: on the CPU it resizes bytes to bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vidlabel.specs import ClipSpec
from vidlabel.train.augment import Draw, crop_of, noise_supply
from vidlabel.train.recipes import TrainSpec

AT_ONCE = 2**25
"""Most pixels that are resized at a time; each takes about 30 bytes of memory."""


@dataclass(frozen=True)
class Gathered:
    """The frames of B clips, each (C, H, W) uint8 somewhere in one piece of memory."""

    memory: Tensor  # (L,) uint8, on the device
    starts: Tensor  # (B, T) int64, on the CPU: where in the memory each frame begins
    sizes: Tensor  # (B, 2) int64, on the CPU: height and width of the clip's frames, pixels


def sent(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU's on the device. A GPU is not waited for: it copies by itself, but only
    from pinned memory."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


class GpuClips:
    """Makes clips of frames in a GPU's memory; see the module.

    Args:
        clip: what a clip must look like.
        spec: how much is changed.
        device: where the frames are.
    """

    def __init__(self, clip: ClipSpec, spec: TrainSpec, device: torch.device) -> None:
        self._clip = clip
        self._spec = spec
        self._device = device
        # Every stretch of the supply is a row; they overlap, and take no memory of their own.
        self._noise = noise_supply(clip).to(device).unfold(0, clip.frames * 3 * clip.size_px**2, 1)

    def augmented(self, frames: Gathered, draw: Draw) -> Tensor:
        """Clips (B, T, C, S, S) float32, 0..255, channels last in memory.

        Clip 2i and clip 2i + 1 are partners: where clips are mixed, B must be even.
        """
        clips = self._resized(frames, draw)
        if self._clip.has_flow:
            self._turn_flow(clips, draw.flip)
        if self._clip.input != "flow":
            self._light(clips[:, :, :3], draw)
        if self._spec.mixup or self._spec.cutmix:
            self._mix(clips, draw)
        return clips

    def centred(self, frames: Gathered) -> Tensor:
        """Clips (B, T, C, S, S) uint8, channels last in memory: the squares that `predict` sees."""
        size = self._clip.size_px
        corner = ((frames.sizes - size) * 0.5).round().long()
        rows, columns = (corner[:, axis, None] + torch.arange(size) for axis in (0, 1))
        places = _places(*self._sent(*self._addresses(frames, rows, columns)))
        return frames.memory[places].permute(0, 1, 4, 2, 3)

    def _sent(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Tensors (B, n) of one type on the device, in one copy."""
        lengths = [part.shape[1] for part in parts]
        return torch.split(sent(torch.cat(parts, 1), self._device), lengths, 1)

    def _addresses(self, frames: Gathered, rows: Tensor, columns: Tensor) -> tuple[Tensor, ...]:
        """What the places of bytes are sums of, on the CPU: (B, T) of frames, (B, C) of channels in
        a frame, (B, R) of rows in a channel, (B, S) of columns in a row."""
        height, width = frames.sizes[:, :1], frames.sizes[:, 1:]
        channels = height * width * torch.arange(self._clip.channels)
        return frames.starts, channels, rows * width, columns

    def _resized(self, frames: Gathered, draw: Draw) -> Tensor:
        """The clips' boxes of their frames, mirrored where they are to be: (B, T, C, S, S)."""
        steps, channels, size = self._clip.frames, self._clip.channels, self._clip.size_px
        boxes = torch.tensor([
            crop_of(shape, box)
            for shape, box in zip(frames.sizes.tolist(), draw.box.tolist(), strict=True)
        ])  # fmt: skip
        pixels, shares = _between(boxes[:, 2:], size)
        rows, columns = (pixels + boxes[:, :2, None]).unbind(1)
        down, across = shares.unbind(1)
        flip = draw.flip[:, None]
        columns = torch.where(flip, columns.flip(1), columns)
        across = torch.where(flip, across.flip(1), across)
        both = torch.cat([rows, rows + 1], 1)  # above each pixel, and below it
        addresses = self._sent(*self._addresses(frames, both, columns))
        down, across = self._sent(down, across)
        down, across = down[:, None, :, None, None], across[:, None, None, :, None]

        clips = torch.empty(len(boxes), steps, size, size, channels, device=self._device)
        at_once = max(1, AT_ONCE // clips[0].numel())
        for start in range(0, len(clips), at_once):
            part = slice(start, start + at_once)
            places = _places(*(each[part] for each in addresses))
            values = frames.memory[places] * (1 - across[part])
            values.addcmul_(frames.memory[1:][places], across[part])
            above, below = torch.split(values, size, 2)
            torch.lerp(above, below, down[part], out=clips[part])
        return clips.permute(0, 1, 4, 2, 3)

    def _turn_flow(self, clips: Tensor, flip: Tensor) -> None:
        """What moved to the right moves to the left in clips that were mirrored, in place; see
        `flow_stacks.mirror`."""
        turned = torch.zeros(len(clips), self._clip.channels)
        turned[:, 3 * self._clip.has_rgb :: 2] = flip[:, None]
        offset, sign = self._sent(255 * turned, 1 - 2 * turned)
        torch.addcmul(_each(offset), clips, _each(sign), out=clips)

    def _light(self, clips: Tensor, draw: Draw) -> None:
        """Change light, colour and noise of clips (B, T, 3, S, S), 0..255, in place."""
        if self._spec.colour:
            curve, contrast, shift = draw.light[..., None].unbind(1)
            cast = draw.cast if self._clip.has_rgb else torch.ones(1, 3)
            grey = draw.grey[:, None].float()
            grey, rise, bend, gain, offset, pull = map(_each, self._sent(
                grey, 1 + curve, -curve / 255, (1 + contrast) * cast, 255 * shift * cast,
                -contrast * cast,
            ))  # fmt: skip
            if self._clip.has_rgb:
                clips.lerp_(clips.mean(2, keepdim=True), grey)
            clips *= torch.addcmul(rise, clips, bend)
            middle = clips[:, :1].mean((1, 2, 3, 4), keepdim=True)
            torch.addcmul(torch.addcmul(offset, middle, pull), clips, gain, out=clips)
        deviation, place = draw.noise.unbind(1)
        if deviation.any():
            first = (place.double() * (len(self._noise) - 1)).long()
            noise = self._noise[sent(first, self._device)].view(clips.shape)
            clips.addcmul_(noise, _each(sent(deviation, self._device)))
        clips.clamp_(0, 255)

    def _mix(self, clips: Tensor, draw: Draw) -> None:
        """Mix the clips of each pair, in place."""
        size = self._clip.size_px
        boxes = (draw.cut * size).round().long()
        inside = (torch.arange(size) >= boxes[:, :2, None]) & (
            torch.arange(size) < boxes[:, 2:, None]
        )
        cut = boxes.any(1)[:, None]
        rows = torch.where(cut, inside[:, 0].float(), 1 - draw.own[:, None])
        columns = torch.where(cut, inside[:, 1].float(), 1.0)
        rows, columns = self._sent(rows, columns)
        share = rows[:, None, None, :, None] * columns[:, None, None, None, :]
        partners = clips.reshape(-1, 2, *clips.shape[1:]).flip(1).flatten(0, 1)
        clips.lerp_(partners, share)


def _each(values: Tensor) -> Tensor:
    """(B,) or (B, c), as factors of clips (B, T, c, S, S)."""
    return values.reshape(len(values), 1, -1, 1, 1)


def _between(lengths: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where the `size` pixels that sides of some pixels are resized to lie in them.

    Args:
        lengths: (B, 2) int64, of each clip's sides, at least 2 pixels.
        size: pixels, the same of all sides.

    Returns:
        Pixels (B, 2, size) int64, and how far towards the next one, 0..1, as F.interpolate has it.
    """
    lengths = lengths[..., None]
    places = (torch.arange(size) + 0.5) * (lengths / size) - 0.5
    places = torch.minimum(places.clamp_(min=0), lengths - 1)
    pixels = torch.minimum(places.long(), lengths - 2)
    return pixels, places - pixels


def _places(frames: Tensor, channels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Places of bytes (B, T, R, S, C): the sums of those given; see `GpuClips._addresses`."""
    planes = frames[:, :, None, None, None] + channels[:, None, None, None, :]
    return planes + (rows[:, None, :, None, None] + columns[:, None, None, :, None])
