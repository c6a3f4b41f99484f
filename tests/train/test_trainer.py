"""The training loop: order, pieces, averages, frozen layers, and what goes wrong."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from fakes import CLIP
from torch import Tensor, nn

from vidlabel.errors import RunError, UsageError
from vidlabel.models.build import build_model
from vidlabel.models.cnn_birnn import CnnBiRnn
from vidlabel.specs import ModelSpec
from vidlabel.train.distributed import Team
from vidlabel.train.frame_cache import OVERSAMPLE
from vidlabel.train.observer import TrainObserver
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.trainer import DataSplit, Trainer
from vidlabel.train.training_clips import Batched
from vidlabel.train.training_frames import Gathered

CPU = torch.device("cpu")
MODEL = ModelSpec(classes=2, hidden=8, features=16, dropout=0.0)
SPEC = TrainSpec(epochs=4, batch_size=8, lr=1e-3, ema=0.0)
VIDEOS = 12
SPLIT = DataSplit([(i, i % 2) for i in range(10)], [(10, 0), (11, 1)])


class _Frames:
    """Made-up videos: those of one class are bright. It counts what is taken."""

    where, nbytes = "memory", 0

    def __init__(self, device: torch.device = CPU) -> None:
        random = torch.Generator().manual_seed(0)
        shape = (VIDEOS, CLIP.frames * OVERSAMPLE, 3, 36, 48)
        pixels = torch.randint(0, 100, shape, dtype=torch.uint8, generator=random)
        pixels[1::2] += 120
        self.pixels = pixels.to(device)
        self.taken: Counter[int] = Counter()

    def take(self, number: int, moments: Tensor) -> Tensor:
        self.taken[number] += 1
        return self.pixels[number][moments.to(self.pixels.device)]

    def gather(self, numbers: Sequence[int], moments: Tensor) -> Gathered:
        self.taken.update(numbers)
        _, steps, *shape = self.pixels.shape
        starts = (torch.tensor(numbers)[:, None] * steps + moments) * math.prod(shape)
        sizes = torch.tensor(shape[1:]).expand(len(numbers), 2)
        return Gathered(self.pixels.flatten(), starts, sizes)


class _Notes(TrainObserver):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.losses: list[float] = []

    def note(self, line: str) -> None:
        self.notes.append(line)

    def step(self, loss: float, clips: int) -> None:
        self.losses.append(loss)


def _trainer(
    spec: TrainSpec = SPEC,
    frames: _Frames | None = None,
    watch: TrainObserver | None = None,
    split: DataSplit = SPLIT,
    device: torch.device = CPU,
) -> Trainer:
    torch.manual_seed(0)
    network = build_model(MODEL, CLIP).to(device)
    return Trainer(
        network, frames or _Frames(device), split, CLIP, spec, device, Team(),  # type: ignore[arg-type]
        watch or TrainObserver(),
    )  # fmt: skip


def _weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.kept.state_dict().items()}


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_an_epoch_shows_every_clip_and_fills_the_last_batch_with_the_first_ones() -> None:
    frames, watch = _Frames(), _Notes()
    trainer = _trainer(frames=frames, watch=watch)
    loss, accuracy = trainer.epoch(1)
    assert trainer.steps == 2
    assert set(frames.taken) == set(range(10)), "no held-out clip is trained on"
    assert sum(frames.taken.values()) == 16
    assert len(watch.losses) == 2
    assert loss == pytest.approx(sum(watch.losses) / 2)
    assert 0 <= accuracy <= 1


def test_a_batch_is_no_larger_than_the_training_part() -> None:
    frames = _Frames()
    trainer = _trainer(replace(SPEC, batch_size=64), frames)
    trainer.epoch(1)
    assert trainer.steps == 1
    assert set(frames.taken.values()) == {1}


def test_an_epoch_depends_on_its_number_and_the_state_before_it_only() -> None:
    spec = replace(SPEC, ema=0.9, mixup=0.2, cutmix=1.0)
    first = _trainer(spec)
    first.epoch(1)
    first.recompute_batchnorm(1)
    state = copy.deepcopy(first.state())
    torch.rand(3)  # whatever else draws
    loss = first.epoch(2)
    first.recompute_batchnorm(2)
    again = _trainer(spec)
    again.restore(state)
    assert again.epoch(2) == loss
    again.recompute_batchnorm(2)
    assert _equal(_weights(first), _weights(again))
    other = _trainer(spec)
    other.restore(state)
    assert other.epoch(3) != loss


def test_it_learns_what_tells_the_classes_apart_with_everything_switched_on() -> None:
    spec = replace(
        SPEC, epochs=12, lr=3e-3, ema=0.8, mixup=0.2, cutmix=0.5, colour=0.1, precision="bf16"
    )
    trainer = _trainer(spec)
    for number in range(1, 13):
        trainer.epoch(number)
    trainer.recompute_batchnorm(12)
    logits, labels = trainer.logits()
    assert logits.argmax(1).tolist() == labels.tolist() == [0, 1]


def test_frozen_layers_keep_weights_and_statistics() -> None:
    trainer = _trainer(replace(SPEC, freeze_trunk=True))
    before = _weights(trainer)
    trainer.epoch(1)
    trainer.recompute_batchnorm(1)
    changed = {name for name, value in _weights(trainer).items() if not value.equal(before[name])}
    assert changed
    assert not [name for name in changed if name.startswith("trunk.")]


def test_recomputing_measures_what_an_epoch_of_batches_holds() -> None:
    """The statistics are averages over all batches, however wrong the running ones were."""
    trainer = _trainer()
    norm = next(m for m in trainer.kept.trunk.modules() if hasattr(m, "running_mean"))
    norm.running_mean.fill_(1e6)
    trainer.recompute_batchnorm(1)
    assert int(norm.num_batches_tracked) == trainer.steps
    assert norm.running_mean.abs().max() < 100
    assert norm.momentum == 0.1, "as before"


def test_the_average_of_the_weights_is_what_is_kept() -> None:
    plain, averaged = _trainer(), _trainer(replace(SPEC, ema=0.99))
    plain.epoch(1)
    averaged.epoch(1)
    assert averaged.kept is not averaged._network
    assert _equal(averaged._network.state_dict(), plain.kept.state_dict())
    assert not averaged.kept.classify.weight.equal(plain.kept.classify.weight)


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, ema=0.9, mixup=0.2, cutmix=1.0)])
def test_clips_made_as_a_gpu_makes_them_train_the_same(spec: TrainSpec) -> None:
    """On the CPU, all of them in 32 bits: they differ by the rounding of resized bytes alone."""
    one, other = _Notes(), _Notes()
    plain, batched = _trainer(spec, watch=one), _trainer(spec, watch=other)
    batched._maker = Batched(CLIP, spec, CPU)
    assert torch.equal(batched.logits()[0], plain.logits()[0])
    plain.epoch(1)
    batched.epoch(1)
    assert other.losses == pytest.approx(one.losses, rel=0.02)
    assert other.losses != one.losses, "they are not made the same way"


def test_the_average_has_its_own_statistics_and_only_once_they_are_recomputed() -> None:
    spec = replace(SPEC, ema=0.99)
    trainer = _trainer(spec)
    kept = trainer.kept.trunk.state_dict()
    before = {name: value.clone() for name, value in kept.items() if "running" in name}
    trainer.epoch(1)
    assert _equal(before, kept), "statistics are not followed"
    trainer.recompute_batchnorm(1)
    assert not _equal(before, kept)
    assert trainer.state()["average"]["n_averaged"] == trainer.steps


def test_recomputing_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Momenta that change from batch to batch would be compiled into the network, each anew."""
    compiled = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> torch.fx.GraphModule:
        compiled.append(graph)
        return graph

    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile_module(self, backend=backend))
    trainer = _trainer(replace(SPEC, compile=True, freeze_trunk=True))
    trainer.epoch(1)
    assert compiled
    compiled.clear()
    norm = next(m for m in trainer.kept.trunk.modules() if hasattr(m, "running_mean"))
    norm.weight.requires_grad_()
    trainer.recompute_batchnorm(1)
    assert compiled == []
    assert int(norm.num_batches_tracked) == trainer.steps


def _limit(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let the device hold no more than so many clips with their gradients."""
    features, seen = CnnBiRnn.frame_features, []

    def limited(self: CnnBiRnn, clips: Tensor) -> Tensor:
        seen.append(len(clips))
        if len(clips) > most and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return features(self, clips)

    monkeypatch.setattr(CnnBiRnn, "frame_features", limited)
    return seen


def test_out_of_memory_computes_a_batch_in_pieces_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Without BatchNorm, whose statistics are those of a piece, the outcome is the same.
    spec = replace(SPEC, freeze_trunk=True, mixup=0.3)
    whole = _trainer(spec)
    whole.epoch(1)
    watch = _Notes()
    seen = _limit(monkeypatch, 4)
    pieces = _trainer(spec, watch=watch)
    pieces.epoch(1)
    assert seen == [8, 4, 4, 4, 4]
    assert len(watch.notes) == 1
    assert "pieces of 4" in watch.notes[0]
    for name, value in pieces.kept.state_dict().items():
        torch.testing.assert_close(value, whole.kept.state_dict()[name], atol=1e-6, rtol=1e-5)


def test_out_of_memory_with_the_smallest_piece_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _limit(monkeypatch, 1)
    watch = _Notes()
    with pytest.raises(RunError, match="not even two clips fit"):
        _trainer(watch=watch).epoch(1)
    assert len(watch.notes) == 2, "pieces of 4, of 2"


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: CnnBiRnn, clips: Tensor) -> Tensor:
        raise RuntimeError("shapes do not agree")

    monkeypatch.setattr(CnnBiRnn, "frame_features", broken)
    with pytest.raises(RuntimeError, match="shapes do not agree"):
        _trainer().epoch(1)


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    torch.manual_seed(0)
    with pytest.raises(UsageError, match="--batch-size 8: must be a multiple of 3"):
        Trainer(
            build_model(MODEL, CLIP), _Frames(), SPLIT, CLIP, SPEC, CPU, Team(0, 3), TrainObserver()  # type: ignore[arg-type]
        )  # fmt: skip


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("spec", [
    SPEC, replace(SPEC, precision="bf16"), replace(SPEC, compile=True, epochs=2),
    replace(SPEC, ema=0.9, mixup=0.2, cutmix=1.0, optimiser="sgd", lr=0.01),
])  # fmt: skip
def test_a_gpu_trains_as_the_cpu_does(spec: TrainSpec) -> None:
    losses = []
    for name in ("cpu", "cuda"):
        watch = _Notes()
        plain = replace(spec, compile=False, precision="fp32") if name == "cpu" else spec
        trainer = _trainer(plain, watch=watch, device=torch.device(name))
        trainer.epoch(1)
        trainer.recompute_batchnorm(1)
        trainer.logits()
        losses.append(watch.losses)
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_without_memory_computes_in_pieces() -> None:
    cuda = torch.device("cuda")
    split = DataSplit([(i % 10, i % 2) for i in range(256)], SPLIT.val)
    watch = _Notes()
    trainer = _trainer(replace(SPEC, batch_size=256), watch=watch, split=split, device=cuda)
    total = torch.cuda.get_device_properties(cuda).total_memory
    room = torch.cuda.memory_reserved(cuda) + 200 * 2**20
    torch.cuda.set_per_process_memory_fraction(room / total, cuda)
    try:
        trainer.epoch(1)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, cuda)
    assert watch.notes
    assert "in pieces of" in watch.notes[-1]


@pytest.mark.parametrize(("balance", "share"), [("auto", 0.5), ("off", 0.1)])
def test_classes_of_very_different_size_are_drawn_alike(balance: Any, share: float) -> None:
    frames = _Frames()
    split = DataSplit([(i, int(i == 0)) for i in range(10)], [(10, 0), (11, 1)])
    spec = replace(SPEC, balance=balance, epoch_steps=10, batch_size=8)
    _trainer(spec, frames, split=split).epoch(1)
    assert frames.taken[0] / frames.taken.total() == pytest.approx(share, abs=0.15)
