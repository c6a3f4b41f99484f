"""Training clips: what is drawn, and what it does to the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import pytest
import torch
from torch.nn import functional as F

from vidlabel.clips.flow_stacks import mirror
from vidlabel.specs import ClipSpec
from vidlabel.train.augment import Augmentation, Draw
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.training_clips import PIXELS_AT_ONCE, Batched, ClipByClip, centre_square
from vidlabel.train.training_frames import Gathered

CPU = torch.device("cpu")
CLIP = ClipSpec(frames=4, size_px=32, resize_px=40)
FLOW = replace(CLIP, input="flow", pairs=2)
BOTH = replace(CLIP, input="rgb+flow", pairs=2)
PLAIN = TrainSpec(crop=1.0, window=1.0, flip=0.0, colour=0.0, noise=0.0)


def _random(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _videos(count: int, clip: ClipSpec = CLIP) -> list[torch.Tensor]:
    shape = (count, clip.frames, clip.channels, clip.resize_px, clip.resize_px + 20)
    return list(torch.randint(0, 256, shape, dtype=torch.uint8, generator=_random()))


class _Frames:
    """Videos whose frames are all taken, whatever the moments."""

    def __init__(self, videos: list[torch.Tensor], device: torch.device = CPU) -> None:
        self._videos = videos
        self._device = device

    def take(self, number: int, moments: torch.Tensor) -> torch.Tensor:
        return self._videos[number]

    def gather(self, numbers: Sequence[int], moments: torch.Tensor) -> Gathered:
        return _gathered([self._videos[number] for number in numbers], self._device)


def _one_by_one(
    videos: list[torch.Tensor], draw: Draw, spec: TrainSpec, clip: ClipSpec = CLIP
) -> torch.Tensor:
    maker = ClipByClip(clip, spec, CPU)
    return maker.augmented(_Frames(videos), range(len(videos)), draw)  # type: ignore[arg-type]


def _batched(
    videos: list[torch.Tensor], draw: Draw, spec: TrainSpec, clip: ClipSpec = CLIP,
    device: torch.device = CPU, at_once: int = PIXELS_AT_ONCE,
) -> torch.Tensor:  # fmt: skip
    maker = Batched(clip, spec, device, at_once)
    frames = _Frames(videos, device)
    return maker.augmented(frames, range(len(videos)), draw)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["rgb", "motion"])
def test_clips_keep_shape_range_and_stillness(kind: str) -> None:
    clip = replace(CLIP, input=kind)
    spec = TrainSpec()
    augment = Augmentation(clip, spec)
    draw = augment.draw(20, 8, _random())
    still = [video[:1, :1].expand(4, 3, -1, -1) for video in _videos(20, clip)]
    clips = _one_by_one(still, draw, spec, clip)
    assert clips.shape == (20, *clip.shape)
    assert clips.min() >= 0
    assert clips.max() <= 255
    # One change for all frames: a still video stays still, but for the noise.
    spread = (clips - clips[:, :1]).abs().mean((1, 2, 3, 4))
    assert spread.max() < 2 * spec.noise
    assert (spread == 0).any()
    assert (spread > 0.5).any()


def test_with_nothing_to_change_a_clip_is_the_resized_square_of_its_frames() -> None:
    augment = Augmentation(CLIP, PLAIN)
    draw = replace(augment.draw(1, 8, _random()), box=torch.tensor([[0.8, 0.8, 0.5, 0.5]]))
    (video,) = _videos(1)
    assert torch.equal(_one_by_one([video], draw, PLAIN)[0], video[..., 4:36, 14:46].float())


def test_a_flip_mirrors_left_and_right_of_all_frames() -> None:
    augment = Augmentation(CLIP, PLAIN)
    draw = augment.draw(1, 8, _random())
    (video,) = _videos(1)
    plain = _one_by_one([video], draw, PLAIN)
    mirrored = _one_by_one([video], replace(draw, flip=torch.tensor([True])), PLAIN)
    assert torch.equal(mirrored, plain.flip(-1))


@pytest.mark.parametrize("clip", [FLOW, BOTH])
def test_a_flip_turns_flow_across_round_and_leaves_flow_down(clip: ClipSpec) -> None:
    augment = Augmentation(clip, PLAIN)
    draw = augment.draw(1, 8, _random())
    (video,) = _videos(1, clip)
    plain = _one_by_one([video], draw, PLAIN, clip)
    mirrored = _one_by_one([video], replace(draw, flip=torch.tensor([True])), PLAIN, clip)
    assert torch.equal(mirrored, mirror(plain, clip))
    flow, turned = plain[:, :, -4:].flip(-1), mirrored[:, :, -4:]
    assert torch.equal(turned[:, :, 1::2], flow[:, :, 1::2])
    assert torch.equal(turned[:, :, ::2], 255 - flow[:, :, ::2])


@pytest.mark.parametrize("clip", [FLOW, BOTH])
def test_light_and_noise_leave_flow_alone(clip: ClipSpec) -> None:
    spec = TrainSpec(colour=2.0, noise=50.0)
    augment = Augmentation(clip, spec)
    draw = augment.draw(6, 8, _random())
    assert draw.noise[:, 0].max() > 5
    videos = _videos(6, clip)
    plain = _one_by_one(videos, draw, replace(spec, colour=0.0, noise=0.0), clip)
    clips = _one_by_one(videos, draw, spec, clip)
    assert torch.equal(clips[:, :, -4:], plain[:, :, -4:])
    if clip.has_rgb:
        changed = (clips[:, :, :3] - plain[:, :, :3]).abs().mean((1, 2, 3, 4))
        assert changed.min() > 1, "every frame's colours are others"
        frames = [video[:, :3] for video in videos]  # and as those of frames alone
        assert torch.equal(clips[:, :, :3], _one_by_one(frames, draw, spec))


def test_steps_at_a_rate_stay_next_to_each_other() -> None:
    augment = Augmentation(replace(CLIP, frames=6, fps=8.0), TrainSpec(window=0.5))
    moments = augment.draw(300, 12, _random()).moments
    assert (moments.diff(dim=1) == 1).all()
    assert set(moments[:, 0].tolist()) == set(range(7)), "anywhere among the twelve"


def test_flow_is_mixed_as_frames_are() -> None:
    augment = Augmentation(BOTH, replace(PLAIN, mixup=0.4))
    draw = replace(augment.draw(2, 8, _random()), own=torch.tensor([0.7, 0.7]))
    videos = _videos(2, BOTH)
    plain = _one_by_one(videos, draw, PLAIN, BOTH)
    mixed = _one_by_one(videos, draw, replace(PLAIN, mixup=0.4), BOTH)
    torch.testing.assert_close(mixed[0], 0.7 * plain[0] + 0.3 * plain[1])


def test_light_keeps_black_white_and_order_apart_from_contrast() -> None:
    """The curve alone moves neither black nor white, and brighter stays brighter."""
    augment = Augmentation(CLIP, replace(PLAIN, colour=1.0))
    draw = augment.draw(1, 8, _random())
    draw = replace(
        draw, light=torch.tensor([[0.35, 0.0, 0.0]]), cast=torch.ones(1, 3),
        grey=torch.tensor([False]),
    )  # fmt: skip
    ramp = torch.linspace(0, 255, 32).to(torch.uint8).expand(4, 3, 32, 32)
    draw = replace(draw, box=torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    row = _one_by_one([ramp], draw, replace(PLAIN, colour=1.0))[0, 0, 0, 0]
    assert row[0] == pytest.approx(0, abs=1e-3)
    assert row[-1] == pytest.approx(255, abs=1e-3)
    assert (row.diff() > 0).all()
    assert row[16] > ramp[0, 0, 0, 16] + 10


def test_moments_are_in_order_within_the_video_and_within_their_window() -> None:
    augment = Augmentation(replace(CLIP, frames=6), TrainSpec(window=0.5))
    moments = augment.draw(500, 12, _random()).moments
    assert (moments.diff(dim=1) >= 0).all()
    assert moments.min() == 0
    assert moments.max() == 11
    assert len(torch.unique(moments[:, 0])) > 3, "windows begin at different places"


def test_what_is_drawn_depends_on_the_seed_and_the_place_in_the_batch_only() -> None:
    spec = TrainSpec(mixup=0.4, cutmix=1.0)
    augment = Augmentation(CLIP, spec)
    videos = _videos(8)
    draw = augment.draw(8, 8, _random(3))
    again = augment.draw(8, 8, _random(3))
    other = augment.draw(8, 8, _random(4))
    for field in fields(Draw):
        assert torch.equal(getattr(draw, field.name), getattr(again, field.name))
    assert not torch.equal(draw.moments, other.moments)
    whole = _one_by_one(videos, draw, spec)
    halves = [_one_by_one(videos[:4], draw[:4], spec), _one_by_one(videos[4:], draw[4:], spec)]
    assert torch.equal(whole, torch.cat(halves))


def test_mixup_shares_the_pixels_of_partners() -> None:
    augment = Augmentation(CLIP, replace(PLAIN, mixup=0.4))
    draw = augment.draw(2, 8, _random())
    draw = replace(draw, own=torch.tensor([0.7, 0.7]))
    videos = _videos(2)
    plain = _one_by_one(videos, draw, PLAIN)
    mixed = _one_by_one(videos, draw, replace(PLAIN, mixup=0.4))
    torch.testing.assert_close(mixed[0], 0.7 * plain[0] + 0.3 * plain[1])
    torch.testing.assert_close(mixed[1], 0.7 * plain[1] + 0.3 * plain[0])


def test_cutmix_takes_a_box_from_the_partner_and_counts_its_pixels() -> None:
    augment = Augmentation(CLIP, replace(PLAIN, cutmix=1.0))
    draw = augment.draw(40, 8, _random())
    videos = _videos(40)
    plain = _one_by_one(videos, draw, PLAIN)
    mixed = _one_by_one(videos, draw, replace(PLAIN, cutmix=1.0))
    partner = plain.reshape(20, 2, *CLIP.shape).flip(1).reshape(plain.shape)
    own = (mixed == plain).all(2).float().mean((1, 2, 3))
    foreign = (mixed == partner).all(2).float().mean((1, 2, 3))
    assert ((own + foreign) >= 1).all(), "every pixel is one or the other's"
    torch.testing.assert_close(own, draw.own, atol=1e-3, rtol=0)
    assert draw.own.min() < 0.3
    assert draw.own.max() > 0.7


def test_with_mixup_and_cutmix_each_pair_gets_one_of_them() -> None:
    draw = Augmentation(CLIP, TrainSpec(mixup=0.4, cutmix=1.0)).draw(400, 8, _random())
    cut = draw.cut.any(1)
    assert 0.3 < cut.float().mean() < 0.7
    assert torch.equal(draw.own[::2], draw.own[1::2])
    assert draw.own[~cut].min() < 0.5


def _uneven(clip: ClipSpec, count: int = 8) -> list[torch.Tensor]:
    """Smooth videos of different sizes, upright and lying."""
    sizes = [(40 + 5 * i, 40) if i % 2 else (40, 40 + 7 * i) for i in range(count)]
    coarse = torch.rand(count, clip.frames, clip.channels, 9, 9, generator=_random()) * 255
    return [
        F.interpolate(video, size, mode="bilinear").round().to(torch.uint8)
        for video, size in zip(coarse, sizes, strict=True)
    ]


def _gathered(videos: list[torch.Tensor], device: torch.device = CPU) -> Gathered:
    starts, end = [], 0
    for video in videos:
        starts.append(end + torch.arange(len(video)) * video[0].numel())
        end += video.numel()
    memory = torch.cat([video.flatten() for video in videos]).to(device)
    sizes = torch.tensor([video.shape[-2:] for video in videos])
    return Gathered(memory, torch.stack(starts), sizes)


@pytest.mark.parametrize("kind", ["rgb", "motion", "flow", "rgb+flow"])
@pytest.mark.parametrize(
    "spec",
    [
        TrainSpec(mixup=0.4, cutmix=1.0),
        replace(PLAIN, flip=0.5),
        replace(PLAIN, crop=0.3, cutmix=1.0),  # boxes smaller than the clip, and larger
        TrainSpec(colour=2.0, noise=50.0, mixup=1.0),
    ],
    ids=["mixed", "plain", "crop", "strong"],
)
def test_clips_made_all_at_once_are_those_made_one_by_one(kind: str, spec: TrainSpec) -> None:
    """The way of a GPU, on the CPU. It does not round what it resizes; contrast and colour cast
    can make up to twice as much of that."""
    clip = replace(CLIP, input=kind, pairs=2)
    videos = _uneven(clip)
    draw = Augmentation(clip, spec).draw(8, 4, _random(3))
    ours = _one_by_one(videos, draw, spec, clip)
    theirs = _batched(videos, draw, spec, clip)
    assert theirs.shape == ours.shape
    assert theirs.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(theirs, ours, atol=2, rtol=0)
    assert (theirs - ours).abs().mean() < 0.4


def test_a_box_of_the_clips_own_size_is_taken_pixel_by_pixel() -> None:
    draw = replace(
        Augmentation(CLIP, PLAIN).draw(1, 8, _random()), box=torch.tensor([[0.8, 0.8, 0.5, 0.5]])
    )
    (video,) = _videos(1)
    made = _batched([video], draw, PLAIN)
    assert torch.equal(made[0], video[..., 4:36, 14:46].float())


def test_little_memory_at_once_makes_the_same_clips() -> None:
    spec = TrainSpec(mixup=0.4, cutmix=1.0)
    videos = _uneven(CLIP)
    draw = Augmentation(CLIP, spec).draw(8, 4, _random())
    whole = _batched(videos, draw, spec)
    for least in (1, 3):  # clips at once
        at_once = least * CLIP.frames * 3 * CLIP.size_px**2
        assert torch.equal(_batched(videos, draw, spec, at_once=at_once), whole)


@pytest.mark.parametrize("maker", [Batched, ClipByClip])
@pytest.mark.parametrize("clip", [CLIP, BOTH])
def test_centred_squares_are_those_that_predict_sees(
    clip: ClipSpec, maker: type[Batched] | type[ClipByClip]
) -> None:
    videos = _uneven(clip)
    frames = _Frames(videos)
    moments = torch.arange(clip.frames)
    squares = maker(clip, PLAIN, CPU).centred(frames, range(len(videos)), moments)  # type: ignore[arg-type]
    assert squares.dtype == torch.uint8
    for square, video in zip(squares, videos, strict=True):
        assert torch.equal(square, centre_square(video, clip.size_px))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["motion", "rgb+flow"])
def test_a_gpu_makes_the_same_clips(kind: str) -> None:
    clip, cuda = replace(CLIP, input=kind, pairs=2), torch.device("cuda")
    spec = TrainSpec(mixup=0.4, cutmix=1.0)
    draw = Augmentation(clip, spec).draw(8, 4, _random())
    videos = _uneven(clip)
    theirs = _batched(videos, draw, spec, clip, cuda).cpu()
    torch.testing.assert_close(theirs, _one_by_one(videos, draw, spec, clip), atol=2, rtol=0)
    torch.testing.assert_close(theirs, _batched(videos, draw, spec, clip), atol=0.01, rtol=0)
