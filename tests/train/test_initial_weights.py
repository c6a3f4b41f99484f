"""What a training takes over from the checkpoint of --init, class by class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes import CLIP

from vidlabel.models.base import ClipModel
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import Header, save_checkpoint
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.train.distributed import Team
from vidlabel.train.initial_weights import initial_network
from vidlabel.train.observer import TrainObserver
from vidlabel.train.recipes import TrainSpec

BEFORE, NOW = ("hug", "kick", "run"), ("hop", "hug", "run", "walk")
MODEL = ModelSpec(classes=3, embed=8, hidden=4, features=6)
NETWORKS = {
    "cnn-birnn": (MODEL, CLIP),
    "with statistics": (replace(MODEL, statistics=True), CLIP),
    "conv-lstm": (replace(MODEL, arch="conv-lstm"), CLIP),
    # as many features as classes: the first layer must not be taken for the last
    "conv-lstm of 3": (replace(MODEL, arch="conv-lstm", features=3, hidden=3), CLIP),
    "spatial": (replace(MODEL, arch="spatial"), CLIP),
    "two-stream": (
        replace(MODEL, arch="two-stream", flow_trunk="mnasnet0_5"),
        replace(CLIP, input="rgb+flow", pairs=1),
    ),
}


class _Notes(TrainObserver):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, line: str) -> None:
        self.notes.append(line)


def _start(folder: Path, model: ModelSpec, clip: ClipSpec) -> tuple[Path, ClipModel]:
    torch.manual_seed(1)
    network = build_model(model, clip)
    with torch.no_grad():
        for layer in network.classify.modules():
            if isinstance(layer, torch.nn.BatchNorm1d):
                layer.running_mean += 1
    path = folder / "start.safetensors"
    save_checkpoint(path, Header(model, clip, BEFORE), network)
    return path, network


def _network(
    path: Path, model: ModelSpec, clip: ClipSpec, classes: tuple[str, ...]
) -> tuple[ClipModel, list[str]]:
    header = Header(replace(model, classes=len(classes)), clip, classes)
    watch = _Notes()
    spec = TrainSpec(init=str(path))
    return initial_network(header, spec, Team(), watch)[0], watch.notes


@pytest.mark.parametrize("name", NETWORKS)
def test_known_classes_keep_their_rows_in_every_layer(name: str, tmp_path: Path) -> None:
    model, clip = NETWORKS[name]
    path, before = _start(tmp_path, model, clip)
    now, _ = _network(path, model, clip, NOW)
    old, new = before.state_dict(), now.state_dict()
    rows = {f"{layer}.{what}" for layer in now.class_layers() for what in ("weight", "bias")}
    assert len(rows) == (4 if name in ("with statistics", "two-stream") else 2)
    for key in new:
        if key not in rows:
            assert torch.equal(new[key], old[key]), key
            continue
        assert len(new[key]) == 4
        for place, label in enumerate(NOW):
            if label in BEFORE:
                assert torch.equal(new[key][place], old[key][BEFORE.index(label)])
        assert not torch.equal(new[key][0], new[key][3])


def test_a_new_class_is_neither_likely_nor_unlikely(tmp_path: Path) -> None:
    path, before = _start(tmp_path, MODEL, CLIP)
    with torch.no_grad():
        before.classify.weight.mul_(1000)
    save_checkpoint(path, Header(MODEL, CLIP, BEFORE), before)
    now, _ = _network(path, MODEL, CLIP, NOW)
    clips = torch.randint(0, 255, (6, *CLIP.shape), dtype=torch.uint8)
    with torch.no_grad():
        old, new = before.eval()(clips), now.eval()(clips)
    torch.testing.assert_close(new[:, 1], old[:, 0])
    torch.testing.assert_close(new[:, 2], old[:, 2])
    spread = old.std(1).mean()
    for column in (0, 3):
        assert (new[:, column] - old.mean(1)).abs().max() < spread / 20


def test_what_becomes_of_the_classes_is_told(tmp_path: Path) -> None:
    path, before = _start(tmp_path, MODEL, CLIP)
    _, notes = _network(path, MODEL, CLIP, ("Runs", "hug", "swim"))
    assert notes == [
        f"--init {path}: 1 of its 3 classes go on, 2 are left out; new: Runs (did you mean "
        "run?), swim"
    ]
    assert not _network(path, MODEL, CLIP, BEFORE)[1]
    strange, _ = _network(path, MODEL, CLIP, ("a", "b", "c"))
    assert strange.classify.weight.abs().max() < 1  # random, and the rest is that of the model
    assert torch.equal(strange.state_dict()["mix.weight"], before.state_dict()["mix.weight"])
