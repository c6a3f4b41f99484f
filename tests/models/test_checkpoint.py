"""Checkpoints describe themselves. Broken ones are in hostile/test_checkpoints_and_devices.py."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import CLIP, COLOURS, random_checkpoint
from safetensors.torch import load_file, save_file

from vidlabel.errors import CheckpointError, UsageError
from vidlabel.models.checkpoint import (
    Header,
    describe_model,
    find_checkpoint,
    load_checkpoint,
    read_header,
    save_checkpoint,
)
from vidlabel.specs import ClipSpec, ModelSpec


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return random_checkpoint(tmp_path / "model.safetensors")


def test_round_trip(path: Path, tmp_path: Path) -> None:
    first = load_checkpoint(str(path))
    header = replace(first.header, metrics={"top1": 0.5}, trained_on=("a/1.avi", "ä/2.avi"))
    save_checkpoint(tmp_path / "again.safetensors", header, first.network)
    second = load_checkpoint(str(tmp_path / "again.safetensors"))
    assert second.header == header
    clips = torch.randint(0, 255, (2, *CLIP.shape), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(first.network(clips), second.network(clips))
    assert first.digest != second.digest
    assert not second.network.training


def test_foreign_safetensors_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="not a checkpoint of vidlabel"):
        load_checkpoint(str(tmp_path / "x.safetensors"))


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match="starter"):
        find_checkpoint("nonexistent")


def test_a_run_folder_is_its_best_model(path: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(CheckpointError, match="a folder, not a checkpoint"):
        find_checkpoint(str(run))
    (run / "spec.json").touch()
    with pytest.raises(CheckpointError, match="no epoch is finished"):
        find_checkpoint(str(run))
    best = path.rename(run / "best.safetensors")
    assert find_checkpoint(str(run)) == best
    assert load_checkpoint(str(run)).header == describe_model(str(run)) == read_header(best)


def test_a_folder_of_folds_names_them(path: Path, tmp_path: Path) -> None:
    for fold in ("fold-2", "fold-1"):
        (tmp_path / fold).mkdir()
        (tmp_path / fold / "best.safetensors").write_bytes(path.read_bytes())
    with pytest.raises(
        CheckpointError, match=r"FOLD/best\.safetensors, of the folds fold-1, fold-2$"
    ):
        load_checkpoint(str(tmp_path))


@pytest.mark.field
@pytest.mark.parametrize(
    ("file", "described", "name"),
    [
        ("mine/best.safetensors", ["mine/spec.json"], "mine"),
        ("mine/last.safetensors", ["mine/spec.json"], "mine-last"),
        ("mine/best.safetensors", ["mine/spec.json", "mine/plan.json"], "mine"),
        ("mine/ada/best.safetensors", ["mine/plan.json", "mine/ada/spec.json"], "mine-ada"),
        ("downloads/best.safetensors", [], "best"),
        ("downloads/walks.safetensors", ["plan.json"], "walks"),
    ],
)
def test_a_model_is_named_after_its_run(
    path: Path, tmp_path: Path, file: str, described: list[str], name: str
) -> None:
    """field 21: every model was called best@sha."""
    for each in described:
        (tmp_path / each).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / each).touch()
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    model = load_checkpoint(str(path.rename(tmp_path / file)))
    assert model.id == f"{name}@{model.digest[:8]}"


def test_header_needs_matching_classes() -> None:
    with pytest.raises(UsageError, match="3 class names"):
        Header(ModelSpec(classes=2), CLIP, COLOURS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": ("a", "b\n")},
        {"temperature": 0.0},
        {"clip": ClipSpec(1024, 1024, 1024)},
        {"min_confidence": 1.5},
    ],
)
def test_a_header_checks_itself(wrong: dict[str, Any]) -> None:
    good = Header(ModelSpec(classes=2), CLIP, ("a", "[bold]b ä 動画"))
    with pytest.raises(UsageError):
        replace(good, **wrong)


def test_the_threshold_is_kept_and_older_files_have_none(path: Path) -> None:
    header = replace(read_header(path), min_confidence=0.625)
    assert Header.from_json(header.to_json()) == header
    values = json.loads(header.to_json())
    del values["min_confidence"]
    assert Header.from_json(json.dumps(values)).min_confidence == 0
    values["min_confidence"] = "high"
    with pytest.raises(UsageError, match="min_confidence must be a number"):
        Header.from_json(json.dumps(values))


def test_half_precision_weights_are_read(path: Path, tmp_path: Path) -> None:
    state = {k: v.half() if v.is_floating_point() else v for k, v in load_file(path).items()}
    save_file(state, tmp_path / "half", metadata={"vidlabel": read_header(path).to_json()})
    assert {p.dtype for p in load_checkpoint(str(tmp_path / "half")).network.parameters()} == {
        torch.float32
    }


def test_a_header_of_any_length_is_no_pickle(path: Path) -> None:
    """The first byte of a file is the lowest of a length; of a pickle it is always 0x80."""
    header, state = read_header(path), load_file(path)
    found = set()
    for extra in range(0, 256, 8):  # safetensors pads to 8 bytes
        again = replace(header, training={"note": "x" * extra})
        save_file(state, path, metadata={"vidlabel": again.to_json()})
        found.add(path.read_bytes()[0])
        assert read_header(path) == again
    assert 0x80 in found
