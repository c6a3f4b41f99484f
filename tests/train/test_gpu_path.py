"""What runs on a GPU, followed without one: tensors meet on one device, and nothing waits.

`StandIn` gives tensors on `cuda` that have a shape and no values, and notes what is asked of them.
What real GPUs say is in the tests marked `gpu`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fakes import CLIP
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from vidlabel.clips.flow_stacks import run_steps, with_flow
from vidlabel.clips.tvl1 import FlowSpec, optical_flow
from vidlabel.models.build import build_model
from vidlabel.predict.runner import Runner
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.train import trainer as training
from vidlabel.train.distributed import Team
from vidlabel.train.feature_cache import FeatureCache
from vidlabel.train.frame_cache import Frames, Where, kept_steps
from vidlabel.train.gpu_clips import GpuClips, sent
from vidlabel.train.observer import TrainObserver
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.trainer import Parts, Trainer

pytestmark = [
    # No GPU and no driver, but the names of CUDA: a torch without them cannot index such tensors.
    pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="needs a torch built for CUDA"),
    pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor"),
]

CUDA = torch.device("cuda", 0)
SPEC = TrainSpec(epochs=2, batch_size=4, mixup=0.2, cutmix=1.0, ema=0.9)
FLOW = replace(CLIP, input="flow", pairs=2)
BOTH = replace(CLIP, input="rgb+flow", pairs=2)
SMALL = ModelSpec(classes=3, embed=8, hidden=8, features=8)

LARGE_FLOW = replace(FLOW, size_px=64, resize_px=72)
_ASKS_NOTHING = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach"}


class StandIn(TorchDispatchMode):
    """A GPU that is not there. Tensors of the CPU stay real; what comes back to it is zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        """Operations on the device and copies to or from it, by name; views are none."""
        self.waits: list[str] = []
        """Those of them that the CPU waits for."""
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._pinned: dict[int, Tensor] = {}

    def __enter__(self) -> StandIn:
        self._fake.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._fake.__exit__(*error)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        leaves = tree_leaves((args, kwargs))
        if func.namespace != "aten":  # looks at what a tensor is
            return func(*args, **kwargs)
        there = any(isinstance(leaf, FakeTensor) for leaf in leaves)
        if not there and kwargs.get("device", torch.device("cpu")).type != "cuda":
            with _disable_current_modes():
                return self._on_cpu(func, name, args, kwargs)
        if name in ("item", "_local_scalar_dense"):
            self._note(name, waits=True)
            with _disable_current_modes():
                return torch.zeros((), dtype=args[0].dtype).item()
        if name == "_to_copy" and kwargs.get("device", CUDA).type == "cpu":
            self._note(name, waits=True)
            with _disable_current_modes():
                return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if name in ("_to_copy", "copy_"):
            asynchronous = kwargs.get("non_blocking") or args[2:3] == (True,)
            host = [leaf for leaf in leaves if _on_host(leaf)]
            waits = bool(host) and not (asynchronous and self._is_pinned(host[0]))
            self._note(name, waits=waits)
            if name == "copy_" and _on_host(args[0]):
                return args[0]
        elif name == "_fused_sgd_":  # which works on shapes for Adam alone
            self._note(name)
            assert not any(map(_on_host, leaves))
            return None
        elif not _is_view(func) and name not in _ASKS_NOTHING:
            self._note(name)
        return func(*args, **kwargs)

    def _on_cpu(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        if name == "is_pinned":
            return self._is_pinned(args[0])
        if name == "_pin_memory" or kwargs.pop("pin_memory", None):
            made: Tensor = args[0].clone() if name == "_pin_memory" else func(*args, **kwargs)
            self._pinned[made.untyped_storage().data_ptr()] = made
            return made
        return func(*args, **kwargs)

    def _is_pinned(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._pinned

    def _note(self, name: str, waits: bool = False) -> None:
        self.asked.append(name)
        if waits:
            self.waits.append(name)


def _on_host(value: object) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cpu"


def _is_view(func: Any) -> bool:
    aliases = [result.alias_info for result in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The stand-in; what asks the driver is told of an H200."""
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 10**9))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    event = SimpleNamespace(record=lambda: None, synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    # Modules swap such tensors, which allow no swapping, for those of another layout.
    monkeypatch.setattr(torch.utils, "swap_tensors", lambda old, new: setattr(old, "data", new))
    # cuDNN's RNNs ask for the device; torch's own have the same shapes.
    with torch.backends.cudnn.flags(enabled=False), StandIn() as stand_in:
        yield stand_in


def test_the_stand_in_notes_what_waits_and_refuses_what_does_not_meet(gpu: StandIn) -> None:
    host = torch.arange(4.0)
    assert host.tolist() == [0, 1, 2, 3], "the CPU's tensors are real"
    there = host.to(CUDA)
    assert gpu.waits == ["_to_copy"]
    host.to(CUDA, non_blocking=True)
    assert len(gpu.waits) == 2, "it is not pinned"
    assert sent(host, CUDA).device.type == "cuda"
    assert len(gpu.waits) == 2
    float(there.sum())
    assert gpu.waits[2:] == ["_local_scalar_dense"]
    there.cpu()
    assert gpu.waits[3:] == ["_to_copy"]
    asked = len(gpu.asked)
    assert there.reshape(2, 2).mT.shape == (2, 2)
    assert len(gpu.asked) == asked, "views"
    with pytest.raises(RuntimeError, match=r"cuda:0 and cpu"):
        there + host


class _Cache:
    """Decoded videos of different sizes."""

    def __init__(self, clip: ClipSpec) -> None:
        self.per_video = kept_steps(clip)
        self._clip = clip

    def frames(self, path: str) -> Tensor:
        shape = (self.per_video, self._clip.channels, self._clip.resize_px, 40 + int(path))
        return torch.full(shape, int(path), dtype=torch.uint8)

    def size(self, path: str) -> int:
        return self.frames(path).nbytes


PATHS = [str(number) for number in range(16)]
PARTS = Parts([(i, i % 3) for i in range(12)], [(i, i % 3) for i in range(12, 16)])


def _with(arch: str, trunk: str = "resnet18") -> ModelSpec:
    return replace(SMALL, arch=arch, trunk=trunk)


def _frames(clip: ClipSpec, where: Where, monkeypatch: pytest.MonkeyPatch) -> Frames:
    monkeypatch.setattr(
        "vidlabel.train.frame_cache.places", lambda *sizes: [where][: where != "disk"]
    )
    frames = Frames(_Cache(clip), PATHS, CUDA)  # type: ignore[arg-type]
    assert frames.where == where
    return frames


def _trainer(
    gpu: StandIn, monkeypatch: pytest.MonkeyPatch, clip: ClipSpec, model: ModelSpec,
    spec: TrainSpec, frames: Frames, features: FeatureCache | None = None,
) -> Trainer:  # fmt: skip
    """A trainer whose gradients are zeros: autograd asks the driver for its threads."""
    network = build_model(model, clip).to(CUDA)
    trainer = Trainer(network, frames, PARTS, clip, spec, CUDA, Team(), TrainObserver(), features)

    def backward(loss: Tensor) -> None:
        assert loss.device.type == "cuda"
        assert loss.shape == ()
        assert loss.requires_grad
        for parameter in trainer._trained:
            parameter.grad = torch.zeros_like(parameter)

    monkeypatch.setattr(Tensor, "backward", backward)
    monkeypatch.setattr(training, "LOOK", 2)
    monkeypatch.setattr(training, "SETTLE_BATCHES", 1)
    gpu.asked.clear()
    gpu.waits.clear()
    return trainer


def _waits(trainer: Trainer, gpu: StandIn) -> dict[str, list[str]]:
    """What the CPU waits for in an epoch of three steps, and in what follows it."""
    assert trainer.steps == 3
    assert trainer.epoch(1) == (0.0, 0.0)
    found = {"epoch": [*gpu.waits]}
    gpu.waits.clear()
    trainer.settle(1)
    found["settle"] = [*gpu.waits]
    gpu.waits.clear()
    logits, labels = trainer.logits()
    found["logits"] = [*gpu.waits]
    assert logits.device == labels.device == torch.device("cpu")
    assert len(logits) == len(labels)
    return found


LOOKS = {"epoch": ["_to_copy"] * 2, "settle": [], "logits": ["_to_copy"]}
"""At the loss after two steps and after the last, and at the logits once."""


@pytest.mark.parametrize(
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
def test_training_waits_for_nothing_but_its_looks(
    clip: ClipSpec, model: ModelSpec, spec: TrainSpec, gpu: StandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    frames = _frames(clip, "GPU memory", monkeypatch)
    assert _waits(_trainer(gpu, monkeypatch, clip, model, spec, frames), gpu) == LOOKS


@pytest.mark.parametrize("where", ["GPU memory", "pinned memory", "disk"])
def test_frames_come_from_everywhere_without_waiting(
    where: Where, gpu: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = _frames(CLIP, where, monkeypatch)
    gpu.waits.clear()
    gathered = frames.gather([3, 0, 7], torch.tensor([[0, 2, 2, 7], [1, 1, 1, 1], [0, 1, 2, 3]]))
    assert gathered.memory.device.type == "cuda"
    assert gpu.waits == []
    assert frames.take(3, torch.tensor([0, 2, 7])).device.type == "cuda"
    assert len(gpu.waits) == (where == "disk"), "a mapped file is not pinned"
    assert GpuClips(CLIP, SPEC, CUDA).centred(gathered).shape == (3, *CLIP.shape)


def test_a_step_asks_for_nothing_that_the_cpu_can_count(
    gpu: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """52 layers that count their batches, or 156 buffers that are copied, would be as many
    operations as the network's own."""
    frames = _frames(CLIP, "GPU memory", monkeypatch)
    trainer = _trainer(gpu, monkeypatch, CLIP, SMALL, SPEC, frames)
    trainer._train_mode()
    trainer._step(next(trainer._batches(1)))
    assert gpu.asked.count("native_batch_norm") == 52
    assert gpu.asked.count("add_") == 1, "the sum of the losses"
    assert gpu.asked.count("copy_") == 0
    assert trainer._average is not None
    assert int(trainer._average.n_averaged) == 1


def test_features_of_a_frozen_trunk_come_without_waiting(
    gpu: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    frames = _frames(CLIP, "GPU memory", monkeypatch)
    model = _with("conv-lstm")
    spec = TrainSpec(batch_size=4, freeze_trunk=True, crop=1.0, colour=0.0, noise=0.0)
    network = build_model(model, CLIP).to(CUDA)
    features = FeatureCache(tmp_path, PATHS, frames, network, CLIP, CUDA)
    features.fill(range(len(PATHS)), TrainObserver().describing)
    trainer = _trainer(gpu, monkeypatch, CLIP, model, spec, frames, features=features)
    assert _waits(trainer, gpu) == LOOKS


@pytest.mark.parametrize("kind", ["rgb", "motion", "flow", "rgb+flow"])
def test_a_larger_batch_asks_for_no_more(
    kind: str, gpu: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = replace(CLIP, input=kind, pairs=2)
    frames = _frames(clip, "GPU memory", monkeypatch)
    spec = replace(SPEC, noise=50.0)
    clips = GpuClips(clip, spec, CUDA)
    draws = training.Augment(clip, spec, torch.device("cpu"))
    asked = []
    for size in (4, 16):
        draw = draws.draw(size, kept_steps(clip), torch.Generator().manual_seed(0))
        gpu.asked.clear()
        made = clips.augmented(frames.gather(range(size), draw.moments), draw)
        assert made.shape == (size, *clip.shape)
        assert made.device.type == "cuda"
        assert made.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
        asked.append(len(gpu.asked))
    assert asked[0] == asked[1] <= 30


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_predicting_waits_for_no_batch_but_the_one_it_collects(
    precision: Any, gpu: StandIn
) -> None:
    runner = Runner(build_model(SMALL, CLIP).eval(), 1.0, CUDA, precision)
    gpu.waits.clear()
    for _ in range(2):
        runner.submit(np.zeros((3, *CLIP.shape), np.uint8))
    assert gpu.waits == []
    output = runner.collect()
    assert output.probabilities.shape == (3, 3)
    assert output.embeddings.shape == (3, SMALL.features)


def test_flow_is_found_on_the_device(gpu: StandIn) -> None:
    images = torch.zeros(5, 20, 24, dtype=torch.uint8).to(CUDA)
    found = optical_flow(images[:-1], images[1:], FlowSpec(warps=1))
    assert found.shape == (4, 2, 20, 24)
    assert found.device.type == "cuda"
    steps = torch.zeros(2, BOTH.decoded_channels, 16, 18, dtype=torch.uint8)
    seen = with_flow(steps, BOTH, CUDA)
    assert seen.shape == (2, BOTH.channels, 16, 18)
    assert seen.device.type == "cpu"
    assert run_steps(steps.repeat(3, 1, 1, 1), BOTH, CUDA).shape[1:] == seen.shape[1:]
