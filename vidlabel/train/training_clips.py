"""Training clips: frames of videos, cropped, mirrored, lit and mixed as `augment` has drawn it.

There are two ways, with the same result except for rounding:

* `ClipByClip` resizes bytes, one video after another, and changes one clip while it is in the
  cache. On a CPU this is faster: `Batched` takes 5 to 9 times as long there on one thread
  (tests/benchmarks/augmentation.py), and its rounding would change the weights a CPU trains.
* `Batched` is for GPUs, where launching an operation takes about as long as running it, and waiting
  for one takes longer still. The number of operations does not grow with the batch, although
  videos differ in size, and nothing waits for the device. Each pixel is interpolated from four
  bytes of the frames where they lie; copying frames of all sizes into one tensor first, for
  F.grid_sample, would be one more pass over more bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vidlabel.clips.flow_stacks import mirror
from vidlabel.device import to_device
from vidlabel.specs import ClipSpec
from vidlabel.train.augment import Draw
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.training_frames import Gathered, TrainingFrames

PIXELS_AT_ONCE = 2**25
"""Most pixels that `Batched` resizes at a time; each takes about 30 bytes of memory."""


class ClipByClip:
    """Makes clips on the CPU, one after another; see the module.

    Args:
        clip: what a clip looks like.
        spec: how much is changed.
        device: where clips are wanted.
    """

    def __init__(self, clip: ClipSpec, spec: TrainSpec, device: torch.device) -> None:
        self._clip = clip
        self._spec = spec
        self._device = device
        self._supply = _noise_supply(clip)

    def augmented(self, frames: TrainingFrames, videos: Sequence[int], draw: Draw) -> Tensor:
        """Clips (B, T, C, S, S) float32, 0..255, of B videos.

        Clip 2i and clip 2i + 1 are partners: where clips are mixed, B must be even.
        """
        taken = [frames.take(*each) for each in zip(videos, draw.moments, strict=True)]
        clips = torch.empty((len(taken), *self._clip.shape))
        for clip, shown, box, flip in zip(
            clips, taken, draw.box.tolist(), draw.flip.tolist(), strict=True
        ):
            square = self._resized(shown, box)
            clip.copy_(mirror(square, self._clip) if flip else square)
        for number in range(len(clips)) if self._clip.input != "flow" else ():
            part = slice(number, number + 1)
            self._light(clips[part, :, :3], draw[part])
        if self._spec.mixup or self._spec.cutmix:
            self._mix(clips, draw)
        return clips.to(self._device)

    def centred(self, frames: TrainingFrames, videos: Sequence[int], moments: Tensor) -> Tensor:
        """Clips (B, T, C, S, S) uint8 as `predict` sees them: centre squares at T moments."""
        taken = [frames.take(video, moments) for video in videos]
        squares = [centre_square(each, self._clip.size_px) for each in taken]
        return torch.stack(squares).to(self._device)

    def _resized(self, frames: Tensor, box: Sequence[float]) -> Tensor:
        """Box (height, width, down, across) of (T, C, H, W) uint8, as (T, C, S, S)."""
        top, left, height, width = _crop_of(frames.shape[-2:], box)
        part = frames[..., top : top + height, left : left + width]
        size = (self._clip.size_px, self._clip.size_px)
        return F.interpolate(part, size, mode="bilinear", align_corners=False)

    def _light(self, clips: Tensor, draw: Draw) -> None:
        """Change light, colour and noise of clips (B, T, 3, S, S), 0..255, in place."""
        if self._spec.colour:
            curve, contrast, shift = map(_each, draw.light.T)
            gain = 1 + contrast
            if self._clip.has_rgb:
                for number in draw.grey.nonzero().flatten().tolist():
                    clips[number] = clips[number].mean(1, keepdim=True)
                gain = gain * _each(draw.cast)
            clips *= 1 / 255
            clips *= (1 + curve) - curve * clips  # x + c x (1 - x), much like a gamma curve
            middle = clips[:, :1].mean((1, 2, 3, 4), keepdim=True)
            offset = shift - middle * contrast
            if self._clip.has_rgb:
                offset = offset * _each(draw.cast)
            clips *= 255 * gain
            clips += 255 * offset
        for clip, (deviation, place) in zip(clips, draw.noise.tolist(), strict=True):
            if deviation:
                start = int(place * (len(self._supply) - clip.numel()))
                noise = self._supply[start : start + clip.numel()].reshape(clip.shape)
                clip.add_(noise, alpha=deviation)
        clips.clamp_(0, 255)

    def _mix(self, clips: Tensor, draw: Draw) -> None:
        """Mix the clips of each pair, in place."""
        size = self._clip.size_px
        boxes = (draw.cut[::2] * size).round().long().tolist()
        shares = draw.own[::2].tolist()
        for first, second, box, own in zip(clips[::2], clips[1::2], boxes, shares, strict=True):
            if any(box):
                top, left, bottom, right = box
                inside = (..., slice(top, bottom), slice(left, right))
                kept = first[inside].clone()
                first[inside] = second[inside]
                second[inside] = kept
            elif own < 1:
                middle = (1 - own) * (second - first)
                first += middle
                second -= middle


class Batched:
    """Makes all clips of a batch at once; see the module.

    Args:
        clip: what a clip looks like.
        spec: how much is changed.
        device: where the frames are.
        at_once: most pixels that are resized at a time.
    """

    def __init__(
        self, clip: ClipSpec, spec: TrainSpec, device: torch.device, at_once: int = PIXELS_AT_ONCE
    ) -> None:
        self._clip = clip
        self._spec = spec
        self._device = device
        self._at_once = at_once
        # Every stretch of the supply is a row; they overlap, and take no memory of their own.
        self._noise = _noise_supply(clip).to(device).unfold(0, clip.frames * 3 * clip.size_px**2, 1)

    def augmented(self, frames: TrainingFrames, videos: Sequence[int], draw: Draw) -> Tensor:
        """As `ClipByClip.augmented`; channels last in memory."""
        clips = self._resized(frames.gather(videos, draw.moments), draw)
        if self._clip.has_flow:
            self._turn_flow(clips, draw.flip)
        if self._clip.input != "flow":
            self._light(clips[:, :, :3], draw)
        if self._spec.mixup or self._spec.cutmix:
            self._mix(clips, draw)
        return clips

    def centred(self, frames: TrainingFrames, videos: Sequence[int], moments: Tensor) -> Tensor:
        """As `ClipByClip.centred`; channels last in memory."""
        found = frames.gather(videos, moments.expand(len(videos), -1))
        size = self._clip.size_px
        corner = ((found.sizes - size) * 0.5).round().long()
        rows, columns = (corner[:, axis, None] + torch.arange(size) for axis in (0, 1))
        places = _places(*self._sent(*self._addresses(found, rows, columns)))
        return found.memory[places].permute(0, 1, 4, 2, 3)

    def _sent(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Tensors (B, n) of one type on the device, in one copy."""
        lengths = [part.shape[1] for part in parts]
        return torch.split(to_device(torch.cat(parts, 1), self._device), lengths, 1)

    def _addresses(self, frames: Gathered, rows: Tensor, columns: Tensor) -> tuple[Tensor, ...]:
        """The terms whose sums are the offsets of bytes, on the CPU: (B, T) of frames, (B, C) of
        channels in a frame, (B, R) of rows in a channel, (B, S) of columns in a row."""
        height, width = frames.sizes[:, :1], frames.sizes[:, 1:]
        channels = height * width * torch.arange(self._clip.channels)
        return frames.starts, channels, rows * width, columns

    def _resized(self, frames: Gathered, draw: Draw) -> Tensor:
        """The clips' boxes of their frames, some mirrored: (B, T, C, S, S)."""
        steps, channels, size = self._clip.frames, self._clip.channels, self._clip.size_px
        boxes = torch.tensor([
            _crop_of(shape, box)
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
        at_once = max(1, self._at_once // clips[0].numel())
        for start in range(0, len(clips), at_once):
            part = slice(start, start + at_once)
            places = _places(*(each[part] for each in addresses))
            values = frames.memory[places] * (1 - across[part])
            values.addcmul_(frames.memory[1:][places], across[part])
            above, below = torch.split(values, size, 2)
            torch.lerp(above, below, down[part], out=clips[part])
        return clips.permute(0, 1, 4, 2, 3)

    def _turn_flow(self, clips: Tensor, flip: Tensor) -> None:
        """Reverse the horizontal flow of mirrored clips, in place; see `flow_stacks.mirror`."""
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
            noise = self._noise[to_device(first, self._device)].view(clips.shape)
            clips.addcmul_(noise, _each(to_device(deviation, self._device)))
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


def centre_square(frames: Tensor, size_px: int) -> Tensor:
    """The squares that `predict` sees in frames (..., H, W)."""
    top, left = (round((length - size_px) * 0.5) for length in frames.shape[-2:])
    return frames[..., top : top + size_px, left : left + size_px]


def _crop_of(size: Sequence[int], box: Sequence[float]) -> tuple[int, int, int, int]:
    """Top, left, height and width, pixels, of a `Draw.box` in frames of some height and width."""
    height, width = size
    short = min(height, width)
    box_h, box_w = min(height, round(box[0] * short)), min(width, round(box[1] * short))
    return round(box[2] * (height - box_h)), round(box[3] * (width - box_w)), box_h, box_w


def _noise_supply(clip: ClipSpec) -> Tensor:
    """Normal noise for four clips, used from random places: drawing it anew for each clip would
    take longer than everything else."""
    random = torch.Generator().manual_seed(0)
    return torch.randn(4 * clip.frames * 3 * clip.size_px**2, generator=random)


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
    """Offsets of bytes (B, T, R, S, C): the sums of `Batched._addresses`."""
    planes = frames[:, :, None, None, None] + channels[:, None, None, None, :]
    return planes + (rows[:, None, :, None, None] + columns[:, None, None, :, None])
