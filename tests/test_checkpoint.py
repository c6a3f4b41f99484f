"""Checkpoints describe themselves; whatever is wrong with one is one clear error."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes import CLIP, COLOURS, random_checkpoint
from safetensors.torch import load_file, save_file

from vidlabel.checkpoint import (
    Header,
    find_checkpoint,
    load_checkpoint,
    read_header,
    save_checkpoint,
)
from vidlabel.errors import CheckpointError, UsageError
from vidlabel.specs import ModelSpec


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return random_checkpoint(tmp_path / "model.safetensors")


def _rewrite(path: Path, **changes: object) -> None:
    """Save the same weights with a changed header."""
    header = json.loads(read_header(path).to_json()) | changes
    state = load_file(path)
    save_file(state, path, metadata={"vidlabel": json.dumps(header)})


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


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 5000, -1])
def test_b2_44_truncated_file_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=str(path)):
        load_checkpoint(str(path))


@pytest.mark.parametrize("content", [b"<html>404</html>", b"PK\3\4" * 100, b"\0" * 64])
def test_b2_44_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(str(path))


def test_b2_43_a_pickle_is_never_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (marker,))  # type: ignore[return-value]

    path = tmp_path / "evil.safetensors"
    torch.save(Attack(), path)
    with pytest.raises(CheckpointError):
        load_checkpoint(str(path))
    assert not marker.exists()


def test_foreign_safetensors_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="not one of vidlabel's"):
        load_checkpoint(str(tmp_path / "x.safetensors"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["a", "b"]}, "2 class names"),
        ({"classes": ["a", "b", "a"]}, "same name"),
        ({"format": 99}, "format"),
        ({"temperature": 0}, "temperature"),
        ({"clip": {"frames": 0}}, "--frames"),
        ({"clip": {"nonsense": 1}}, "nonsense"),
        ({"model": None}, "description"),
    ],
)
def test_b2_45_wrong_description_is_refused(path: Path, changes: dict, message: str) -> None:
    _rewrite(path, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(str(path))


def test_b2_45_weights_that_do_not_fit_are_refused(path: Path) -> None:
    state = load_file(path)
    header = read_header(path)
    save_file({k: v for k, v in state.items() if k != "embed.bias"}, path,
              metadata={"vidlabel": header.to_json()})  # fmt: skip
    with pytest.raises(CheckpointError, match=r"missing \['embed.bias'\]"):
        load_checkpoint(str(path))
    save_file(state | {"embed.bias": torch.zeros(3)}, path,
              metadata={"vidlabel": header.to_json()})  # fmt: skip
    with pytest.raises(CheckpointError, match=r"embed.bias is \(3,\)"):
        load_checkpoint(str(path))


def test_b2_46_weights_that_are_not_finite_are_refused(path: Path) -> None:
    state = load_file(path)
    state["classify.weight"][0, 0] = float("nan")
    save_file(state, path, metadata={"vidlabel": read_header(path).to_json()})
    with pytest.raises(CheckpointError, match="not finite"):
        load_checkpoint(str(path))


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match="starter"):
        find_checkpoint("nonexistent")


def test_header_needs_matching_classes() -> None:
    with pytest.raises(UsageError, match="3 class names"):
        Header(ModelSpec(classes=2), CLIP, COLOURS)


def test_huge_header_length_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(CheckpointError):
        read_header(path)
