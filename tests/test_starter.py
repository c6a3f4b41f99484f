"""The shipped models on the shipped clips, and on real clips that they have never seen."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from places import ROOT, SHARED, TESTS

from vidlabel import load_labeller
from vidlabel.models.checkpoint import find_checkpoint, read_header
from vidlabel.predict.spec import PredictSpec
from vidlabel.specs import SHIPPED, UNCERTAIN

GOLDEN = json.loads((TESTS / "golden_starter.json").read_text(encoding="utf-8"))
"""Of each example clip the label and the three likeliest classes, as the shipped file gives them in
fp32: right or wrong."""
THREE = PredictSpec(top_k=3)
CLIPS = sorted((ROOT / "examples" / "clips").glob("*.mp4"))


def test_golden_predictions_of_the_example_clips() -> None:
    rows = list(load_labeller("starter", "cpu", "fp32").predict(map(str, CLIPS), THREE))
    assert {Path(row.path).stem for row in rows} == GOLDEN.keys()
    for row in rows:
        wanted = GOLDEN[Path(row.path).stem]
        assert row.label == wanted["label"]
        assert [name for name, _ in row.top] == [name for name, _ in wanted["top"]]
        assert row.confidence == pytest.approx(wanted["top"][0][1], abs=1e-3)


def test_bf16_says_the_same_where_fp32_is_sure() -> None:
    """Probabilities differ by up to 0.06."""
    rows = list(load_labeller("starter", "cpu", "bf16").predict(map(str, CLIPS), THREE))
    sure = [row for row in rows if GOLDEN[Path(row.path).stem]["top"][0][1] > 0.6]
    assert len(sure) >= 10
    for row in sure:
        label, confidence = GOLDEN[Path(row.path).stem]["top"][0]
        assert row.top[0][0] == label
        assert row.top[0][1] == pytest.approx(confidence, abs=0.08)


def test_what_it_is_not_sure_of_is_uncertain_by_default() -> None:
    least = read_header(find_checkpoint("starter")).min_confidence
    assert 0.2 < least < 0.9
    for found in GOLDEN.values():
        sure = found["top"][0][1] >= least
        assert found["label"] == (found["top"][0][0] if sure else UNCERTAIN)


def test_the_starter_says_what_it_is() -> None:
    header = read_header(find_checkpoint("starter"))
    assert (header.model.trunk, header.clip.input) == ("efficientnet_lite0", "difference")
    assert len(header.classes) == 23
    assert {"brushing_teeth", "fencing", "jumping_jack", "run", "walk"} < set(header.classes)
    assert "Apache-2.0" in header.training["licence"]
    assert not any(
        "/" in str(value) and "shared" in str(value) for value in header.training.values()
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_example_clips_were_not_trained_on(name: str) -> None:
    seen = read_header(find_checkpoint(name)).trained_on
    assert not {Path(clip).name for clip in seen} & {clip.name for clip in CLIPS}
    seeds = [int(i[-9:-4]) for i in seen if i[-9:-4].isdigit()]
    assert 0 < max(seeds) < 500_000


@pytest.mark.parametrize("name", SHIPPED)
def test_the_files_are_small(name: str) -> None:
    assert find_checkpoint(name).stat().st_size < 15e6
    assert sum(p.stat().st_size for p in (ROOT / "examples").rglob("*.*")) < 3e6


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs the real clips in ../shared/data")
def test_real_clips_of_groups_that_were_not_trained_on() -> None:
    """Far above chance (1 in 23) on the people, cameras and films that chose its epoch."""
    spec = importlib.util.spec_from_file_location("recipe", ROOT / "weights" / "make_starter.py")
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    header = read_header(find_checkpoint("starter"))
    held = set(header.selected_on) - set(header.trained_on)
    clips = {
        str(path): label
        for _, path, label, _ in recipe.real_clips(SHARED / "data")
        if f"{label}/{path.name}" in held
    }
    assert len(clips) >= 20
    rows = load_labeller("starter", "cpu", "fp32").predict(clips)
    right = sum(row.top[0][0] == clips[row.path] for row in rows)
    assert right / len(clips) > 0.6
