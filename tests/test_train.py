"""Training on videos: it learns, keeps the best, and divides by group."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import CLIP, colour_video

from vidlabel import load_labeller
from vidlabel.checkpoint import load_checkpoint, read_header
from vidlabel.datasets.samples import Sample
from vidlabel.errors import CheckpointError, OutputError, RunError, UsageError
from vidlabel.models.cnn_birnn import CnnBiRnn
from vidlabel.recipes import TrainSpec
from vidlabel.specs import ModelSpec
from vidlabel.train import TrainResult, train
from vidlabel.watch import Epoch, Watch

MODEL = ModelSpec(hidden=16, features=32, dropout=0.0)
SPEC = TrainSpec(epochs=8, batch_size=4, lr=2e-3, val_fraction=0.3)


class _Each(Watch):
    """Calls a function after each epoch."""

    def __init__(self, call: Callable[[Epoch], object]) -> None:
        self._call = call

    def epoch(self, line: Epoch, best: bool) -> None:
        self._call(line)


def _samples(folder: Path) -> list[Sample]:
    return [
        Sample(
            str(colour_video(folder / colour / f"{i}.mp4", colour, 8, seed=i)), colour, f"place{i}"
        )
        for colour in ("red", "blue")
        for i in range(8)
    ]


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return _samples(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def trained(
    samples: list[Sample], tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainResult, list[Epoch], Path]:
    out = tmp_path_factory.mktemp("runs") / "first"
    log: list[Epoch] = []
    return train(samples, out, SPEC, CLIP, MODEL, device="cpu", watch=_Each(log.append)), log, out


def test_it_learns_what_tells_the_classes_apart(
    trained: tuple[TrainResult, list[Epoch], Path], samples: list[Sample]
) -> None:
    result, log, _ = trained
    assert len(log) == SPEC.epochs
    assert result.best.val_top1 == 1.0
    assert result.best == max(log, key=lambda e: (e.val_top1, -e.val_loss))
    labeller = load_labeller(str(result.checkpoint), "cpu")
    rows = list(labeller.predict([s.path for s in samples]))
    assert [row.label for row in rows] == [s.label for s in samples]


def test_the_run_folder_tells_what_was_done(
    trained: tuple[TrainResult, list[Epoch], Path], samples: list[Sample]
) -> None:
    result, _, out = trained
    names = {p.name for p in out.iterdir()}
    assert names == {
        "best.safetensors", "last.safetensors", "log.csv", "split.csv", "spec.json", "result.json",
        "curves.png",
    }  # fmt: skip
    log = _table(out / "log.csv")
    assert [int(line["epoch"]) for line in log] == list(range(1, SPEC.epochs + 1))
    split = _table(out / "split.csv")
    groups = {part: {r["group"] for r in split if r["split"] == part} for part in ("train", "val")}
    assert groups["train"].isdisjoint(groups["val"])
    header = read_header(result.checkpoint)
    assert header.classes == ("blue", "red")
    seen = {f"{r['label']}/{Path(r['path']).name}" for r in split if r["split"] == "train"}
    assert set(header.trained_on) == seen
    assert header.metrics["held_out_videos"] == sum(r["split"] == "val" for r in split)


def test_the_held_out_score_is_what_predict_gives(
    trained: tuple[TrainResult, list[Epoch], Path], samples: list[Sample]
) -> None:
    """Law 9: training's own evaluation and `predict` see the same clips."""
    _, log, out = trained
    split = _table(out / "split.csv")
    held = [r for r in split if r["split"] == "val"]
    checkpoint = load_checkpoint(str(out / "last.safetensors"))
    rows = list(load_labeller(str(out / "last.safetensors"), "cpu", "fp32").predict(
        [r["path"] for r in held]))  # fmt: skip
    chosen = torch.tensor([dict(row.top)[r["label"]] for row, r in zip(rows, held, strict=True)])
    # predict's probabilities are sharpened by the temperature; undo it for two classes
    logit = torch.log(chosen / (1 - chosen)) * checkpoint.header.temperature
    loss = float(torch.log1p(torch.exp(-logit)).mean())
    assert loss == pytest.approx(log[-1].val_loss, abs=0.05)


def test_same_seed_same_model(samples: list[Sample], tmp_path: Path) -> None:
    spec = TrainSpec(epochs=1, batch_size=8, val_fraction=0.3, seed=5)
    results = [
        train(samples, tmp_path / name, spec, CLIP, MODEL, device="cpu", workers=n)
        for name, n in (("a", 1), ("b", 2))
    ]
    states = [load_checkpoint(str(r.checkpoint)).network.state_dict() for r in results]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_init_starts_from_a_checkpoint(
    trained: tuple[TrainResult, list[Epoch], Path], samples: list[Sample], tmp_path: Path
) -> None:
    result, _, _ = trained
    spec = TrainSpec(epochs=1, batch_size=8, lr=1e-6, val_fraction=0.3, init=str(result.checkpoint))
    again = train(samples, tmp_path / "again", spec, CLIP, MODEL, device="cpu")
    assert again.best.val_top1 == 1.0
    other = ModelSpec(hidden=8, features=32)
    with pytest.raises(UsageError, match="does not fit"):
        train(samples, tmp_path / "other", spec, CLIP, other, device="cpu")


def test_b2_51_unreadable_videos_are_listed_or_stop_it(
    samples: list[Sample], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    both = [*samples, Sample(str(broken), "red", "place0")]
    with pytest.raises(RunError, match="--max-bad"):
        train(both, tmp_path / "strict", SPEC, CLIP, MODEL, device="cpu")
    spec = TrainSpec(epochs=1, batch_size=8, val_fraction=0.3, max_bad=0.2)
    result = train(both, tmp_path / "lenient", spec, CLIP, MODEL, device="cpu")
    assert result.unreadable == (str(broken),)


def test_trunk_weights_that_are_missing_are_one_clear_line(
    samples: list[Sample], tmp_path: Path
) -> None:
    spec = TrainSpec(epochs=1, trunk_weights=str(tmp_path / "none.pth"))
    with pytest.raises(CheckpointError, match="--trunk-weights"):
        train(samples, tmp_path / "run", spec, CLIP, MODEL, device="cpu")


@pytest.mark.parametrize("kind", ["empty", "text", "tensor", "list", "numbers", "folder", "pipe"])
def test_trunk_weights_that_are_something_else_are_one_clear_line(
    kind: str, tmp_path: Path
) -> None:
    from vidlabel.models import build_model
    from vidlabel.models.trunks import load_trunk

    path = tmp_path / "weights.safetensors"  # torch.load takes the suffix of a path at its word
    contents = {"tensor": torch.zeros(2), "list": [1], "numbers": {1: torch.zeros(2)}}
    if kind in contents:
        torch.save(contents[kind], path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_text("" if kind == "empty" else "no weights")
    with pytest.raises(CheckpointError, match="--trunk-weights"):
        load_trunk(build_model(ModelSpec(classes=2), CLIP).trunk, "mnasnet0_5", str(path))


def test_class_names_that_no_checkpoint_may_hold_are_refused_before_any_work(
    tmp_path: Path,
) -> None:
    samples = [
        Sample(str(tmp_path / "x.mp4"), name, f"g{i}") for i in range(4) for name in ("a", "b\x1b")
    ]
    with pytest.raises(UsageError, match="class"):
        train(samples, tmp_path / "run", TrainSpec(), CLIP, ModelSpec())


def test_trunk_weights_are_put_into_the_trunk(tmp_path: Path) -> None:
    from torchvision.models import mnasnet0_5

    from vidlabel.models import build_model
    from vidlabel.models.trunks import load_trunk

    source = mnasnet0_5(weights=None)
    torch.save(source.state_dict(), tmp_path / "mnasnet.pth")
    network = build_model(MODEL, CLIP)
    load_trunk(network.trunk, "mnasnet0_5", str(tmp_path / "mnasnet.pth"))
    for key, value in source.layers.state_dict().items():
        assert torch.equal(network.trunk.state_dict()[key], value)
    torch.save({"layers.0.weight": torch.zeros(1)}, tmp_path / "wrong.pth")
    with pytest.raises(CheckpointError, match="not those of mnasnet0_5"):
        load_trunk(network.trunk, "mnasnet0_5", str(tmp_path / "wrong.pth"))


def test_wrong_settings_name_their_flag() -> None:
    with pytest.raises(UsageError, match="--batch-size"):
        TrainSpec(batch_size=1)
    with pytest.raises(UsageError, match="--lr"):
        TrainSpec(lr=0)


def test_b2_53_a_training_that_was_ended_goes_on_as_if_nothing_had_happened(
    tmp_path: Path,
) -> None:
    """Ended after an epoch, in the middle of one, and while its state was being written."""
    samples = _samples(tmp_path)
    spec = replace(SPEC, epochs=5)
    whole = train(samples, tmp_path / "whole", spec, CLIP, MODEL, device="cpu")

    def ended_after(epoch: int) -> Callable[[Epoch], None]:
        def end(line: Epoch) -> None:
            if line.epoch == epoch:
                raise KeyboardInterrupt

        return end

    out = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        train(samples, out, spec, CLIP, MODEL, device="cpu", watch=_Each(ended_after(1)))
    calls = []
    pool = CnnBiRnn.pool

    def ends_within(self: CnnBiRnn, frames: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return pool(self, frames)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CnnBiRnn, "pool", ends_within)
        with pytest.raises(KeyboardInterrupt):
            train(samples, out, spec, CLIP, MODEL, device="cpu")

    def torn(*arguments: object) -> None:
        raise OutputError("no space left")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vidlabel.trainstate.write_bytes", torn)
        with pytest.raises(OutputError):
            train(samples, out, spec, CLIP, MODEL, device="cpu")
    assert len(_table(out / "log.csv")) == 2, "the epoch was done, but not its state"
    result = train(samples, out, spec, CLIP, MODEL, device="cpu")

    def losses(folder: Path) -> np.ndarray:
        keys = ("lr", "train_loss", "train_top1", "val_loss", "val_top1")
        return np.array([[float(row[key]) for key in keys] for row in _table(folder / "log.csv")])

    np.testing.assert_allclose(losses(out), losses(tmp_path / "whole"), atol=1e-6)
    assert replace(result.best, seconds=0.0) == replace(whole.best, seconds=0.0)
    ours, theirs = (load_checkpoint(str(folder / "last.safetensors")).network.state_dict()
                    for folder in (out, tmp_path / "whole"))  # fmt: skip
    for name, values in ours.items():
        assert torch.equal(values, theirs[name]), name
    assert not (out / "state.pt").exists()
    # Complete: nothing is done again.
    again = train(samples, out, spec, CLIP, MODEL, device="cpu", watch=_Each(ended_after(1)))
    assert again.best == result.best
    assert again.header == result.header


def test_b2_53_a_state_left_beside_a_complete_training_is_removed(tmp_path: Path) -> None:
    """As after a kill between the last two things that a training does."""
    out = tmp_path / "run"
    samples, spec = _samples(tmp_path), replace(SPEC, epochs=1)
    result = train(samples, out, spec, CLIP, MODEL, device="cpu")

    def files() -> dict[str, tuple[bytes, int]]:
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()}

    before = files()
    (out / "state.pt").write_bytes(b"of the last epoch")
    log: list[Epoch] = []
    again = train(samples, out, spec, CLIP, MODEL, device="cpu", watch=_Each(log.append))
    assert again == result
    assert log == [], "nothing is done again"
    assert files() == before


def test_a_folder_with_another_training_is_left_alone(tmp_path: Path) -> None:
    samples = _samples(tmp_path)
    spec = replace(SPEC, epochs=1)
    first = train(samples, tmp_path / "run", spec, CLIP, MODEL, device="cpu")
    data = first.checkpoint.read_bytes()
    with pytest.raises(UsageError, match=r"train\.lr was 0\.002, is 0\.001.*--restart"):
        train(samples, tmp_path / "run", replace(spec, lr=1e-3), CLIP, MODEL, device="cpu")
    with pytest.raises(UsageError, match=r"samples\.count was 16, is 15"):
        train(samples[1:], tmp_path / "run", spec, CLIP, MODEL, device="cpu")
    assert first.checkpoint.read_bytes() == data
    other = train(
        samples, tmp_path / "run", replace(spec, lr=1e-3), CLIP, MODEL, device="cpu", restart=True
    )
    assert other.checkpoint.read_bytes() != data


@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_a_broken_state_is_one_clear_line(content: bytes, tmp_path: Path) -> None:
    samples = _samples(tmp_path)

    def end(line: Epoch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(samples, tmp_path / "run", SPEC, CLIP, MODEL, device="cpu", watch=_Each(end))
    (tmp_path / "run" / "state.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"state\.pt: corrupt; --restart"):
        train(samples, tmp_path / "run", SPEC, CLIP, MODEL, device="cpu")


@pytest.mark.parametrize("in_training", [True, False])
def test_b2_54_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_model(
    in_training: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = _samples(tmp_path)
    pool = CnnBiRnn.pool
    broken = []

    def fails_later(self: CnnBiRnn, frames: torch.Tensor) -> torch.Tensor:
        return pool(self, frames) * (
            float("nan") if broken and self.training == in_training else 1.0
        )

    monkeypatch.setattr(CnnBiRnn, "pool", fails_later)
    with pytest.raises(RunError, match="no longer a finite number"):
        train(
            samples, tmp_path / "run", SPEC, CLIP, MODEL, device="cpu", watch=_Each(broken.append)
        )
    assert broken[0].epoch == 1
    for name in ("best", "last"):
        assert load_checkpoint(str(tmp_path / "run" / f"{name}.safetensors"))
    assert not (tmp_path / "run" / "result.json").exists()
