"""Nothing waits for a GPU in a training step, and a larger batch needs no more operations.

Without a GPU this runs on torch's `meta` device: reading a value or copying it to the CPU, which
would wait for a GPU, is an error there. On a GPU, torch itself reports what waits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import CLIP
from torch import Tensor

from vidlabel.clips.flow_stacks import run_time_steps, with_flow
from vidlabel.clips.tvl1 import FlowSpec, optical_flow
from vidlabel.models.build import build_model
from vidlabel.predict.runner import Runner
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.train.augment import Augmentation
from vidlabel.train.batchnorm import recompute_batchnorm
from vidlabel.train.distributed import Team
from vidlabel.train.feature_cache import FeatureCache
from vidlabel.train.frame_cache import kept_time_steps
from vidlabel.train.observer import TrainObserver
from vidlabel.train.optimiser import MovingAverage
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.trainer import DataSplit, Trainer
from vidlabel.train.training_clips import Batched
from vidlabel.train.training_frames import Gathered, TrainingFrames, Where

META, CUDA = torch.device("meta"), torch.device("cuda")
SPEC = TrainSpec(epochs=2, batch_size=4, mixup=0.2, cutmix=1.0, ema=0.9)
FLOW = replace(CLIP, input="flow", pairs=2)
BOTH = replace(CLIP, input="rgb+flow", pairs=2)
LARGE_FLOW = replace(FLOW, size_px=64, resize_px=72)
SMALL = ModelSpec(classes=3, embed=8, hidden=8, features=8)
PATHS = [str(number) for number in range(16)]
SPLIT = DataSplit([(i, i % 3) for i in range(12)], [(i, i % 3) for i in range(12, 16)])

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class _Cache:
    """Decoded videos of different sizes."""

    def __init__(self, clip: ClipSpec) -> None:
        self._clip = clip

    def frames(self, path: str) -> Tensor:
        clip = self._clip
        shape = (kept_time_steps(clip), clip.channels, clip.resize_px, 40 + int(path))
        return torch.full(shape, int(path), dtype=torch.uint8)


def _with(arch: str, trunk: str = "resnet18") -> ModelSpec:
    return replace(SMALL, arch=arch, trunk=trunk)


def _frames(clip: ClipSpec, device: torch.device, where: Where = "GPU memory") -> TrainingFrames:
    frames = TrainingFrames(_Cache(clip), PATHS, device, [where][: where != "disk"])  # type: ignore[arg-type]
    assert frames.where == where
    return frames


NETWORKS = pytest.mark.parametrize(
    ("clip", "model", "spec"),
    [
        (replace(CLIP, input="motion"), SMALL, SPEC),
        (CLIP, _with("spatial"), replace(SPEC, precision="fp32", optimiser="sgd", crop=1.0)),
        (LARGE_FLOW, _with("temporal", "cnn_m_2048"), replace(SPEC, clip_norm=0.0, mixup=0.0)),
        (BOTH, _with("two-stream"), replace(SPEC, ema=0.0, optimiser="adam")),
        (CLIP, _with("conv-lstm"), replace(SPEC, freeze_trunk=True, cutmix=0.0, noise=0.0)),
        (CLIP, replace(_with("conv-lstm"), summary="committee"), replace(SPEC, colour=0.0)),
    ],
    ids=["motion", "rgb", "flow", "rgb+flow", "frozen", "committee"],
)


@NETWORKS
def test_networks_wait_for_nothing(clip: ClipSpec, model: ModelSpec, spec: TrainSpec) -> None:
    network = build_model(model, clip).to(META)
    average = MovingAverage(network, 0.9)
    clips = torch.empty((4, *clip.shape), device=META)
    network.step_logits(network.frame_features(clips)).sum().backward()
    for _ in range(2):
        average.update_parameters(network)
    recompute_batchnorm(network, network, [clips])
    assert network.read(network.frame_features(clips))[1].shape == (4, 3)


class _Gathered:
    """Frames of a batch that are gathered already."""

    def __init__(self, gathered: Gathered) -> None:
        self._gathered = gathered

    def gather(self, numbers: object, moments: Tensor) -> Gathered:
        return self._gathered


def _operations(call: Callable[[], object]) -> int:
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True
    ) as profile:
        call()
    return sum(event.count for event in profile.key_averages() if event.key.startswith("aten::"))


@pytest.mark.parametrize("kind", ["rgb", "motion", "flow", "rgb+flow"])
def test_clips_wait_for_nothing_and_a_larger_batch_needs_no_more_operations(kind: str) -> None:
    clip = replace(CLIP, input=kind, pairs=2)
    spec = replace(SPEC, noise=50.0)
    frames, maker = _frames(clip, META), Batched(clip, spec, META)
    moments = torch.arange(clip.frames)

    def operations(size: int) -> tuple[int, int]:
        draw = Augmentation(clip, spec).draw(size, kept_time_steps(clip), torch.Generator())
        source = _Gathered(frames.gather(range(size), draw.moments))
        assert maker.augmented(source, range(size), draw).shape == (size, *clip.shape)
        return (
            _operations(lambda: maker.augmented(source, range(size), draw)),
            _operations(lambda: maker.centred(source, range(size), moments)),
        )

    assert operations(4) == operations(16)


def _waits(call: Callable[[], object]) -> int:
    """How often a call waits for the GPU."""
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(each.message) for each in caught)


def _check_trainer(
    clip: ClipSpec, model: ModelSpec, spec: TrainSpec, frames: TrainingFrames,
    features: FeatureCache | None = None,
) -> None:  # fmt: skip
    network = build_model(model, clip).to(CUDA)
    trainer = Trainer(network, frames, SPLIT, clip, spec, CUDA, Team(), TrainObserver(), features)
    trainer.epoch(1)  # libraries wait when they are first used
    trainer.recompute_batchnorm(1)
    trainer.logits()
    assert trainer.steps == 3
    assert _waits(lambda: trainer.epoch(2)) == 1, "for the losses, at the end"
    assert _waits(lambda: trainer.recompute_batchnorm(2)) == 0
    assert _waits(trainer.logits) == 1


@pytest.mark.gpu
@on_gpu
@NETWORKS
def test_training_waits_for_the_losses_only(
    clip: ClipSpec, model: ModelSpec, spec: TrainSpec
) -> None:
    _check_trainer(clip, model, spec, _frames(clip, CUDA))


@pytest.mark.gpu
@on_gpu
def test_features_of_a_frozen_trunk_come_without_waiting(tmp_path: Path) -> None:
    model, frames = _with("conv-lstm"), _frames(CLIP, CUDA)
    spec = TrainSpec(batch_size=4, freeze_trunk=True, crop=1.0, colour=0.0, noise=0.0)
    features = FeatureCache(tmp_path, PATHS, frames, build_model(model, CLIP).to(CUDA), CLIP, CUDA)
    features.fill(range(len(PATHS)), TrainObserver().describing)
    _check_trainer(CLIP, model, spec, frames, features)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("where", ["GPU memory", "pinned memory", "disk"])
def test_frames_come_from_everywhere_without_waiting(where: Where) -> None:
    frames = _frames(CLIP, CUDA, where)
    moments = torch.tensor([[0, 2, 2, 7], [1, 1, 1, 1], [0, 1, 2, 3]])
    assert _waits(lambda: frames.gather([3, 0, 7], moments)) == 0


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_predicting_waits_for_no_batch_but_the_one_it_collects(precision: Any) -> None:
    runner = Runner(build_model(SMALL, CLIP).eval(), 1.0, CUDA, precision)
    clips = np.zeros((3, *CLIP.shape), np.uint8)
    runner.submit(clips)
    runner.collect()

    def submit_twice() -> None:
        for _ in range(2):
            runner.submit(clips)

    assert _waits(submit_twice) == 0
    assert runner.collect().probabilities.shape == (3, 3)


@pytest.mark.gpu
@on_gpu
def test_flow_is_found_on_the_device() -> None:
    images = torch.zeros(5, 20, 24, dtype=torch.uint8, device=CUDA)
    found = optical_flow(images[:-1], images[1:], FlowSpec(warps=1))
    assert found.shape == (4, 2, 20, 24)
    assert found.device.type == "cuda"
    steps = torch.zeros(2, BOTH.decoded_channels, 16, 18, dtype=torch.uint8)
    seen = with_flow(steps, BOTH, CUDA)
    assert seen.shape == (2, BOTH.channels, 16, 18)
    assert seen.device.type == "cpu"
    assert run_time_steps(steps.repeat(3, 1, 1, 1), BOTH, CUDA).shape[1:] == seen.shape[1:]
