"""Training on videos: it learns, keeps the best, and divides by group."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
import torch
from fakes import CLIP, colour_video

from vidlabel import load_labeller
from vidlabel.augment import Augment
from vidlabel.checkpoint import load_checkpoint, read_header
from vidlabel.datasets.samples import Sample
from vidlabel.errors import CheckpointError, RunError, UsageError
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.train import Epoch, TrainResult, TrainSpec, train

MODEL = ModelSpec(hidden=16, features=32, dropout=0.0)
SPEC = TrainSpec(epochs=8, batch_size=4, lr=2e-3, val_fraction=0.3)


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
    return train(samples, out, SPEC, CLIP, MODEL, device="cpu", on_epoch=log.append), log, out


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
        load_trunk(build_model(ModelSpec(classes=2), CLIP), str(path))


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
    load_trunk(network, str(tmp_path / "mnasnet.pth"))
    for key, value in source.layers.state_dict().items():
        assert torch.equal(network.trunk.state_dict()[key], value)
    torch.save({"layers.0.weight": torch.zeros(1)}, tmp_path / "wrong.pth")
    with pytest.raises(CheckpointError, match="not those of MNASNet"):
        load_trunk(network, str(tmp_path / "wrong.pth"))


@pytest.mark.parametrize("kind", ["rgb", "motion"])
def test_augmented_clips_keep_shape_range_and_stillness(kind: str) -> None:
    clip = ClipSpec(frames=4, size_px=32, resize_px=40, input=kind)  # type: ignore[arg-type]
    augment = Augment(clip, torch.Generator().manual_seed(1))
    picture = torch.randint(0, 255, (1, 1, 40, 60), dtype=torch.uint8)
    steps = picture.expand(8, 3, 40, 60)
    results = [augment(steps) for _ in range(20)]
    for result in results:
        assert result.shape == clip.shape
        assert result.min() >= 0
        assert result.max() <= 255
        # One change for all frames: a still video stays still, but for the noise (6 at most).
        assert (result - result[:1]).abs().mean() < 12
    assert not torch.equal(results[0], results[1])


def test_augmentation_keeps_time_in_order() -> None:
    clip = ClipSpec(frames=6, size_px=32, resize_px=32)
    augment = Augment(clip, torch.Generator().manual_seed(2))
    for _ in range(50):
        moments = augment._moments(12)
        assert (moments.diff() >= 0).all()
        assert moments[0] >= 0
        assert moments[-1] < 12


def test_wrong_settings_name_their_flag() -> None:
    with pytest.raises(UsageError, match="--batch-size"):
        TrainSpec(batch_size=1)
    with pytest.raises(UsageError, match="--lr"):
        TrainSpec(lr=0)
