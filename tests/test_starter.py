"""The shipped models on the shipped clips, and on real clips that they have never seen."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from vidlabel import load_labeller
from vidlabel.models.checkpoint import find_checkpoint, read_header
from vidlabel.predict.labeller import Labeller
from vidlabel.specs import SHIPPED

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="module")
def starter() -> Labeller:
    return load_labeller("starter", "cpu", "fp32")


def test_it_labels_the_example_clips_rightly(starter: Labeller) -> None:
    clips = sorted((ROOT / "examples" / "clips").glob("*.mp4"))
    assert len(clips) >= 10
    labels = {Path(row.path).stem: row.label for row in starter.predict(map(str, clips))}
    assert labels == {clip.stem: clip.stem for clip in clips}


@pytest.mark.parametrize("name", SHIPPED)
def test_example_clips_were_not_trained_on(name: str) -> None:
    from vidlabel.synthetic.clips import ACTIONS

    header = read_header(find_checkpoint(name))
    assert header.classes == ACTIONS
    seeds = [int(i[-9:-4]) for i in header.trained_on if i[-9:-4].isdigit()]
    assert 0 < max(seeds) < 500_000


@pytest.mark.parametrize("name", SHIPPED)
def test_the_files_are_small(name: str) -> None:
    assert find_checkpoint(name).stat().st_size < 15e6
    assert sum(p.stat().st_size for p in (ROOT / "examples").rglob("*.*")) < 3e6


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real clips in ../shared/data")
@pytest.mark.parametrize(
    ("name", "least"), [pytest.param("starter", 0.6, marks=pytest.mark.slow), ("starter-fast", 0.5)]
)
def test_held_out_real_clips(name: str, least: float) -> None:
    """Far above chance (1 in 18) on people, sequences and cameras that were not trained on."""
    spec = importlib.util.spec_from_file_location("recipe", ROOT / "weights" / "make_starter.py")
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    held = [s for ss in recipe.real_samples(SHARED).values() for s in ss if s.split == "test"]
    header = read_header(find_checkpoint(name))
    seen = {*header.trained_on, *header.selected_on}
    assert not seen & {f"{s.label}/{Path(s.path).name}" for s in held}
    rows = list(load_labeller(name, "cpu", "fp32").predict(s.path for s in held))
    right = sum(row.label == s.label for row, s in zip(rows, held, strict=True))
    assert len(rows) == 104
    assert right / len(rows) > least
