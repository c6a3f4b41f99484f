"""Training on videos: it learns, keeps the best, and divides by group."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
import torchvision
from fakes import CLIP, colour_video
from torch import Tensor

from vidlabel import load_labeller
from vidlabel.datasets.samples import Sample
from vidlabel.datasets.table import read_table
from vidlabel.errors import CheckpointError, OutputError, RunError, UsageError, WeightsMissing
from vidlabel.models import trunks
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import load_checkpoint, read_header
from vidlabel.models.cnn_birnn import CnnBiRnn
from vidlabel.specs import ModelSpec
from vidlabel.train.distillation import Teacher
from vidlabel.train.distributed import Team
from vidlabel.train.loop import TrainResult, train
from vidlabel.train.observer import Epoch, TrainObserver
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.training_folder import TrainingFolder

_T = TypeVar("_T")
MODEL = ModelSpec(hidden=16, features=32, dropout=0.0)
SPEC = TrainSpec(epochs=8, batch_size=4, lr=2e-3, val_fraction=0.3)


class _Each(TrainObserver):
    """Calls a function after each epoch, and keeps the notes."""

    def __init__(self, call: Callable[[Epoch], object] = lambda line: None) -> None:
        self._call = call
        self.notes: list[str] = []

    def epoch(self, line: Epoch, best: bool) -> None:
        self._call(line)

    def note(self, line: str) -> None:
        self.notes.append(line)


def _stop(line: Epoch) -> None:
    """What Ctrl-C does after an epoch."""
    raise KeyboardInterrupt


def _samples(folder: Path) -> list[Sample]:
    return [
        Sample(
            str(colour_video(folder / colour / f"{i}.mp4", colour, 8, seed=i)), colour, f"place{i}"
        )
        for colour in ("red", "blue")
        for i in range(8)
    ]


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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
    return (
        train(samples, out, SPEC, CLIP, MODEL, device="cpu", observer=_Each(log.append)),
        log,
        out,
    )


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


def test_auto_begins_with_imagenets_weights_where_they_can_be_had(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = torchvision.models.mnasnet0_5().state_dict()
    first = next(key for key in whole if key.endswith("0.weight"))
    monkeypatch.setattr(trunks, "_fetched", lambda name: whole)
    spec = TrainSpec(epochs=1, batch_size=8, lr=1e-9, val_fraction=0.3, trunk_weights="auto")
    observer = _Each()
    notes = observer.notes
    result = train(samples, tmp_path / "had", spec, CLIP, MODEL, device="cpu", observer=observer)
    assert notes[:-2] == ["the CNN starts from ImageNet weights"]
    assert result.header.training["start"] == "imagenet"
    learned = load_checkpoint(str(result.checkpoint)).network.trunk.state_dict()
    torch.testing.assert_close(learned[first.removeprefix("layers.")], whole[first])

    def missing(name: str) -> dict[str, Tensor]:
        raise WeightsMissing("no network")

    monkeypatch.setattr(trunks, "_fetched", missing)
    notes.clear()
    result = train(samples, tmp_path / "none", spec, CLIP, MODEL, device="cpu", observer=observer)
    assert len(notes) == 3
    assert notes[0].endswith("more clips to learn from: no network")
    assert result.header.training["start"] == "none"
    for strict in (replace(spec, trunk_weights="imagenet"), replace(spec, freeze_trunk=True)):
        with pytest.raises(WeightsMissing, match="no network"):
            train(samples, tmp_path / "refused", strict, CLIP, MODEL, device="cpu", restart=True)


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


def test_classes_without_clips_are_kept_and_not_forgotten(
    trained: tuple[TrainResult, list[Epoch], Path], samples: list[Sample], tmp_path: Path
) -> None:
    before = trained[0].checkpoint
    new = [
        Sample(str(colour_video(tmp_path / c / f"{i}.mp4", c, 8, seed=i + 9)), c, f"place{i}")
        for c in ("red", "green")
        for i in range(4)
    ]
    spec = TrainSpec(
        epochs=2, batch_size=4, epoch_steps=20, lr=5e-3, val_fraction=0.3, init=str(before),
        keep_classes=True,
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        train(new, tmp_path / "run", spec, CLIP, MODEL, device="cpu", observer=_Each(_stop))
    watch = _Each()
    result = train(new, tmp_path / "run", spec, CLIP, MODEL, device="cpu", observer=watch)
    assert result.header.classes == ("blue", "green", "red")
    told = ("2 of its 2 classes go on; new: green", "8 videos of 2 of 3 classes: ")
    assert all(any(part in note for note in watch.notes) for part in told)
    labeller = load_labeller(str(result.checkpoint), "cpu")
    rows = list(labeller.predict([s.path for s in (*samples, *new)]))
    assert [row.label for row in rows] == [s.label for s in (*samples, *new)]
    old, now = (load_checkpoint(str(x)).network.state_dict() for x in (before, result.checkpoint))
    for key, values in now.items():
        is_row = key.startswith("classify.")
        assert torch.equal(values[0], old[key][0]) if is_row else torch.equal(values, old[key]), key


def test_what_was_wrong_does_not_hold_back_the_correction() -> None:
    network = build_model(replace(MODEL, classes=4), CLIP)
    teacher = Teacher(network, [0, 1, 3])  # the class of column 2 is new
    answers = torch.tensor([[[5.0, 1.0, 0.0]]])
    as_taught = torch.tensor([[[5.0, 1.0, -9.0, 0.0]]])
    corrected = torch.tensor([[[0.0, 1.0, -9.0, 5.0]]])  # best class and label exchanged
    for label, fits in ((0, as_taught), (3, corrected), (2, as_taught)):
        for ours in (as_taught, corrected):
            (loss,) = teacher.losses(answers, ours, torch.tensor([label])).tolist()
            assert (abs(loss) < 1e-5) == (ours is fits)


def test_keeping_classes_needs_a_checkpoint() -> None:
    with pytest.raises(UsageError, match="--keep-classes keeps those of a checkpoint; name it"):
        TrainSpec(keep_classes=True)


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
    from vidlabel.models.build import build_model
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

    from vidlabel.models.build import build_model
    from vidlabel.models.trunks import load_trunk

    source = mnasnet0_5(weights=None)
    torch.save(source.state_dict(), tmp_path / "mnasnet.pth")
    network = build_model(MODEL, CLIP)
    load_trunk(network.trunk, "mnasnet0_5", str(tmp_path / "mnasnet.pth"))
    for key, value in source.layers.state_dict().items():
        assert torch.equal(network.trunk.state_dict()[key], value)
    torch.save({"layers.0.weight": torch.zeros(1)}, tmp_path / "wrong.pth")
    with pytest.raises(CheckpointError, match="do not fit mnasnet0_5"):
        load_trunk(network.trunk, "mnasnet0_5", str(tmp_path / "wrong.pth"))


def test_wrong_settings_name_their_flag() -> None:
    with pytest.raises(UsageError, match="--batch-size"):
        TrainSpec(batch_size=1)
    with pytest.raises(UsageError, match="--lr"):
        TrainSpec(lr=0)


def test_b2_53_a_training_that_was_ended_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
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
        train(samples, out, spec, CLIP, MODEL, device="cpu", observer=_Each(ended_after(1)))
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
        patch.setattr(TrainingFolder, "save_state", torn)
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
    again = train(samples, out, spec, CLIP, MODEL, device="cpu", observer=_Each(ended_after(1)))
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
    again = train(samples, out, spec, CLIP, MODEL, device="cpu", observer=_Each(log.append))
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
    with pytest.raises(KeyboardInterrupt):
        train(samples, tmp_path / "run", SPEC, CLIP, MODEL, device="cpu", observer=_Each(_stop))
    (tmp_path / "run" / "state.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"state\.pt: corrupt; --restart"):
        train(samples, tmp_path / "run", SPEC, CLIP, MODEL, device="cpu")


def test_a_state_of_another_shape_is_one_clear_line(samples: list[Sample], tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(samples, out, SPEC, CLIP, MODEL, device="cpu", observer=_Each(_stop))
    state = torch.load(out / "state.pt", weights_only=True)
    others: list[object] = [
        [], {}, state | {"trainer": {}}, state | {"trainer": 1}, state | {"log": []},
        state | {"log": [{"epoch": 1}]}, state | {"best": 7},
        state | {"trainer": state["trainer"] | {"network": {}}},
        state | {"trainer": state["trainer"] | {"optimiser": {}}},
    ]  # fmt: skip
    for other in others:
        torch.save(other, out / "state.pt")
        with pytest.raises(CheckpointError, match=r"state\.pt: is not .*; --restart starts over$"):
            train(samples, out, SPEC, CLIP, MODEL, device="cpu")
    torch.save(state, out / "state.pt")
    result = train(samples, out, replace(SPEC), CLIP, MODEL, device="cpu")
    assert len(_table(out / "log.csv")) == SPEC.epochs
    result.checkpoint.unlink()
    with pytest.raises(UsageError, match=r"has no best\.safetensors; --restart starts over"):
        train(samples, out, SPEC, CLIP, MODEL, device="cpu")


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
    out = tmp_path / "run"
    with pytest.raises(RunError) as caught:
        train(samples, out, SPEC, CLIP, MODEL, device="cpu", observer=_Each(broken.append))
    assert broken[0].epoch == 1
    what = "loss" if in_training else "validation loss"
    assert str(caught.value) == (
        f"epoch 2: the {what} is no longer a finite number; {out} keeps best.safetensors of "
        "epoch 1 and last.safetensors of epoch 1; try a smaller --lr, with another --out"
    )
    for name in ("best", "last"):
        assert load_checkpoint(str(out / f"{name}.safetensors")).header.training["epoch"] == 1
    assert not (out / "result.json").exists()
    assert (out / "curves.png").stat().st_size > 1000
    with pytest.raises(RunError, match=r"^epoch 1: .*; nothing was saved; try a smaller --lr"):
        train(samples, tmp_path / "other", SPEC, CLIP, MODEL, device="cpu")
    monkeypatch.undo()
    for folder in ("other", "third"):  # what it says works, even where nothing is kept
        spec = replace(SPEC, lr=SPEC.lr / 2, epochs=1)
        train(samples, tmp_path / folder, spec, CLIP, MODEL, device="cpu")


class _Three(Team):
    """The first of three processes, which waits for no other."""

    def __init__(self) -> None:
        super().__init__(rank=0, size=3)

    def share(self, value: _T) -> _T:
        return value

    def wait(self) -> None: ...


def test_an_old_run_stays_until_a_new_one_can_begin(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    spec = replace(SPEC, epochs=1)
    train(samples, out, spec, CLIP, MODEL, device="cpu")
    before = _files(out)
    assert len(before) == 7
    observer = _Each()
    monkeypatch.setattr(observer, "decoding", None)  # nothing is decoded

    def refused(error: type[Exception], why: str, cache: Path | None = None, **new: Any) -> None:
        with pytest.raises(error, match=why):
            train(
                samples, out, replace(spec, **new), CLIP, MODEL, device="cpu", observer=observer,
                restart=True, cache=cache,
            )  # fmt: skip
        assert _files(out) == before

    (tmp_path / "file").write_text("")
    refused(CheckpointError, "there is no such file", trunk_weights=str(tmp_path / "none"))
    refused(CheckpointError, "no such checkpoint", init=str(tmp_path / "none.safetensors"))
    refused(OutputError, "--cache FOLDER", cache=tmp_path / "file" / "cache")
    with monkeypatch.context() as patch:
        patch.setattr("vidlabel.train.loop.join_team", lambda device: _Three())
        refused(UsageError, "--batch-size 4: must be a multiple of 3")
    with monkeypatch.context() as patch:
        patch.setattr("vidlabel.train.loop.pick_device", lambda device: torch.device("mps"))
        refused(UsageError, "--precision bf16", precision="bf16")
    train(samples, out, spec, CLIP, MODEL, device="cpu", observer=observer)
    assert _files(out) == before
    assert observer.notes == [], "nothing was about to be trained"


def test_a_folder_in_which_nothing_was_trained_takes_other_settings(
    samples: list[Sample], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    spec = replace(SPEC, epochs=1)
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    with pytest.raises(CheckpointError):
        train(samples, out, replace(spec, trunk_weights="none.pth"), CLIP, MODEL, device="cpu")
    both = [*samples, Sample(str(broken), "red", "place0")]
    with pytest.raises(RunError, match="--max-bad"):
        train(both, out, spec, CLIP, MODEL, device="cpu")
    assert (out / "spec.json").exists()
    train(samples, out, replace(spec, lr=1e-3), CLIP, MODEL, device="cpu")
    with pytest.raises(UsageError, match="other settings"):
        train(samples, out, spec, CLIP, MODEL, device="cpu")


def test_what_is_left_of_a_run_that_was_half_forgotten_is_not_gone_on_with(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill within the first moment of --restart."""
    out, other = tmp_path / "run", replace(SPEC, lr=1e-3)
    with pytest.raises(KeyboardInterrupt):
        train(samples, out, SPEC, CLIP, MODEL, device="cpu", observer=_Each(_stop))
    forgotten: list[Path] = []
    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if len(forgotten) == 1 and path.suffix != ".lock":
            raise KeyboardInterrupt
        forgotten.append(path)
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            train(samples, out, other, CLIP, MODEL, device="cpu", restart=True)
    assert forgotten[0].parent == out
    with pytest.raises(UsageError, match="other settings"):
        train(samples, out, other, CLIP, MODEL, device="cpu")


def test_the_curves_are_drawn_once_however_it_ends(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def draw(path: Path, log: list[Epoch], best: int) -> None:
        assert path.name == "curves.png"
        drawn.append(len(log))

    monkeypatch.setattr("vidlabel.train.loop.write_curves", draw)
    spec = replace(SPEC, epochs=3)
    with pytest.raises(KeyboardInterrupt):
        train(samples, tmp_path / "run", spec, CLIP, MODEL, device="cpu", observer=_Each(_stop))
    assert drawn == [1]
    train(samples, tmp_path / "run", spec, CLIP, MODEL, device="cpu")
    assert drawn == [1, 3]


def test_what_is_trained_is_said_before_it_is(samples: list[Sample], tmp_path: Path) -> None:
    def said(samples: list[Sample], out: str, model: ModelSpec = MODEL) -> str:
        observer = _Each(_stop)
        with pytest.raises(KeyboardInterrupt):
            train(samples, tmp_path / out, SPEC, CLIP, model, device="cpu", observer=observer)
        summary, classes = observer.notes
        assert classes == "videos of each class: blue 8, red 8"  # field 4
        return summary

    assert said(samples, "plain") == (
        "16 videos of 2 classes: 12 for training, 4 for validation (2 of 8 groups); cnn-birnn on "
        "cpu in fp32"
    )
    table = [
        replace(s, split="val" if s.label == "red" and s.group in ("place0", "place1") else "train",
                group=f"{s.label} {s.group}")
        for s in samples
    ]  # fmt: skip
    assert "14 for training, 2 for validation (2 of 16 groups; none of blue); " in said(
        table, "table"
    )


def test_a_part_or_class_that_cannot_be_read_at_all_stops_it(
    samples: list[Sample], tmp_path: Path
) -> None:
    spec = replace(SPEC, epochs=1, max_bad=1)
    parts = [replace(s, split="val" if s.group in ("place0", "place1") else "train")
             for s in samples]  # fmt: skip

    def spoiled(part: str, labels: tuple[str, ...]) -> list[Sample]:
        gone = str(tmp_path / "gone")
        return [
            replace(s, path=gone + s.path) if s.split == part and s.label in labels else s
            for s in parts
        ]

    for bad, what in (
        (spoiled("val", ("red", "blue")), "none of the validation videos can be read: .*red/0.mp4"),
        (spoiled("train", ("red", "blue")), "class blue: none of its training videos can be"),
        (spoiled("train", ("red",)), "class red: none of its .*red/2.mp4.* more$"),
    ):
        with pytest.raises(RunError, match=f"^{what}"):
            train(bad, tmp_path / "run", spec, CLIP, MODEL, device="cpu")
    result = train(spoiled("val", ("red",)), tmp_path / "run", spec, CLIP, MODEL, device="cpu")
    assert len(result.unreadable) == 2


def test_too_many_unreadable_videos_are_named_with_what_to_do(
    samples: list[Sample], tmp_path: Path
) -> None:
    broken = []
    for number in range(7):
        path = tmp_path / f"broken{number}.mp4"
        path.write_text("no video")
        broken.append(Sample(str(path), "red", f"place{number}"))
    spec = replace(SPEC, epochs=1)
    with pytest.raises(RunError) as caught:
        train([*samples, *broken], tmp_path / "run", spec, CLIP, MODEL, device="cpu")
    line = str(caught.value)
    assert line.startswith("7 of 23 videos cannot be read, more than --max-bad 0.01: ")
    assert [number for number in range(7) if f"broken{number}.mp4: " in line] == list(range(5))
    assert " and 2 more; replace or remove them, or train without them with --max-bad " in line
    spec = replace(spec, max_bad=float(line.split()[-1]))
    result = train([*samples, *broken], tmp_path / "run", spec, CLIP, MODEL, device="cpu")
    assert len(result.unreadable) == 7


def test_a_data_set_is_the_same_by_another_path(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, spec = tmp_path / "run", replace(SPEC, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        train(samples, out, spec, CLIP, MODEL, device="cpu", observer=_Each(_stop))
    root = Path(samples[0].path).parent.parent
    monkeypatch.chdir(root)
    near = [replace(s, path=os.path.relpath(s.path, root)) for s in samples]
    log: list[Epoch] = []
    train(near, out, spec, CLIP, MODEL, device="cpu", observer=_Each(log.append))
    assert [line.epoch for line in log] == [2]
    swapped = [replace(s, label={"red": "blue", "blue": "red"}[s.label]) for s in samples]
    with pytest.raises(UsageError, match=r"settings \(videos that have changed since: blue/0"):
        train(swapped, out, spec, CLIP, MODEL, device="cpu")


def test_the_division_is_a_table_that_can_be_used(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(samples[0].path).parent.parent
    monkeypatch.chdir(root)
    near = [replace(s, path=os.path.relpath(s.path, root)) for s in samples]
    spec = replace(SPEC, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        train(near, tmp_path / "run", spec, CLIP, MODEL, device="cpu", observer=_Each(_stop))
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "run" / "split.csv"
    read = read_table(table)
    assert {s.path for s in read} == {s.path for s in samples}
    before = table.read_bytes()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"split\.csv: .*No space left"):
        train(samples, tmp_path / "run", spec, CLIP, MODEL, device="cpu")
    assert table.read_bytes() == before


def test_the_folder_of_a_protocol_takes_no_other_training(
    samples: list[Sample], tmp_path: Path
) -> None:
    (tmp_path / "plan.json").write_text("{}")
    spec = replace(SPEC, epochs=1)
    for restart in (False, True):
        with pytest.raises(UsageError, match=r"folds of a protocol \(plan\.json\).*--out"):
            train(samples, tmp_path, spec, CLIP, MODEL, device="cpu", restart=restart)
    assert {path.name for path in tmp_path.iterdir()} == {"plan.json"}
    about = {"data": "colours", "protocol": "group-kfold", "fold": "fold-1"}
    train(samples, tmp_path, spec, CLIP, MODEL, device="cpu", about=about)


def test_what_cannot_be_compiled_is_one_clear_line(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without a compiler, which is looked for minutes later."""
    from torch._inductor.exc import InductorError, InvalidCxxCompiler

    def fails(self: CnnBiRnn, frames: torch.Tensor) -> torch.Tensor:
        raise InductorError(InvalidCxxCompiler(), None)

    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: None)
    monkeypatch.setattr(CnnBiRnn, "pool", fails)
    observer = _Each()
    spec = replace(SPEC, compile=True)
    with pytest.raises(RunError) as caught:
        train(samples, tmp_path / "run", spec, CLIP, MODEL, device="cpu", observer=observer)
    line = str(caught.value)
    assert line.startswith("--compile failed (InvalidCxxCompiler: No working C++ compiler found")
    assert line.endswith("; it needs a C++ compiler such as g++; train without it")
    assert "compiling the CNN in the first epoch takes minutes" in observer.notes
