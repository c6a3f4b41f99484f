"""`--recipe quick`: what a user gets from a few clips of each class."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from fakes import COLOURS, colour_video
from program import Invoke

from vidlabel import load_labeller
from vidlabel.errors import UsageError
from vidlabel.models.checkpoint import load_checkpoint, read_header
from vidlabel.specs import OTHER
from vidlabel.train.quick import REPORT
from vidlabel.train.settings import gather

SMALL = ("--size", 32, "--resize", 32, "--frames", 4, "--device", "cpu", "--workers", 1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people do three colours; one of them does one five times."""
    root = tmp_path_factory.mktemp("clips")
    for number, person in enumerate(("ada", "bo", "cy")):
        for colour in COLOURS:
            name = f"{person}_{colour}_1.mp4"
            colour_video(root / "data" / colour / name, colour, 12, seed=number)
    return root


def _train(vidlabel: Invoke, clips: Path, out: Path, *more: object) -> tuple[int, str, str]:
    where = ("--out", out, "--cache", clips / "cache")
    return vidlabel("train", clips / "data", *where, *SMALL, *more)


@pytest.mark.usefixtures("rough_intervals")
def test_a_few_clips_give_a_model_that_all_commands_accept(
    clips: Path, tmp_path: Path, vidlabel: Invoke
) -> None:
    out = tmp_path / "mine"
    code, figures, told = _train(vidlabel, clips, out)
    assert code == 0, told
    assert told.splitlines()[0].startswith("recipe quick, for up to 500 clips")
    assert "cross-validated on 3 groups of clips, none of which is divided" in told
    assert "it sees what moves and what frames look like" in told
    assert "top-1 100.0% in cross-validation, fitted on all 9 clips" in told
    assert figures.splitlines()[0] == "cross-validation: mine on 9 videos"
    table = pd.read_csv(out / REPORT / "per_class.csv")
    assert table["accuracy"].tolist() == [1.0, 1.0, 1.0]
    header = read_header(out / "best.safetensors")
    assert (len(header.trained_on), header.selected_on) == (9, ())
    assert not header.model.rnn
    labeller = load_labeller(str(out), "cpu")
    new = [str(colour_video(tmp_path / f"{c}.mp4", c, 9, seed=50)) for c in COLOURS]
    rows = list(labeller.predict(new))
    assert [row.top[0][0] for row in rows] == list(COLOURS)
    assert len(rows[0].embedding) == labeller.checkpoint.network.scale.num_features / 3

    code, _, again = _train(vidlabel, clips, out)
    assert code == 0
    assert "in cross-validation" in again
    shutil.rmtree(out)
    code, _, told = _train(vidlabel, clips, tmp_path / "other" / "mine")
    assert code == 0, told
    first, second = (load_checkpoint(str(tmp_path / "other" / "mine")), labeller.checkpoint)
    assert first.digest == second.digest, "the same from cached features"

    code, _, told = _train(
        vidlabel, clips, tmp_path / "tuned", "--init", tmp_path / "other" / "mine",
        "--recipe", "best", "--epochs", 1, "--epoch-steps", 1, "--batch-size", 4,
        "--val-fraction", 0.3, "--freeze-trunk", "--crop", 1, "--colour", 0, "--noise", 0,
    )  # fmt: skip
    assert code == 0, told
    assert read_header(tmp_path / "tuned" / "best.safetensors").clip.input == "rgb+difference"


@pytest.mark.usefixtures("rough_intervals")
def test_clips_of_no_class_are_a_class_of_their_own(
    clips: Path, tmp_path: Path, vidlabel: Invoke
) -> None:
    data = tmp_path / "data"
    for colour in ("red", "blue"):
        shutil.copytree(clips / "data" / colour, data / colour)
    for extra in range(6):  # over three times as many as of red and blue
        colour_video(data / "blue" / f"dan{'abcdef'[extra]}_blue_1.mp4", "blue", 12, seed=extra + 9)
        colour_video(
            data / "blue" / f"eve{'abcdef'[extra]}_blue_1.mp4", "blue", 12, seed=extra + 30
        )
    where = ("--out", tmp_path / "run", "--cache", clips / "cache", *SMALL)
    code, _, told = vidlabel("train", data, "--other", clips / "data" / "green", *where)
    assert code == 0, told
    assert "classes are balanced: blue has 15 clips and " in told
    labeller = load_labeller(str(tmp_path / "run"), "cpu")
    (row,) = labeller.predict(colour_video(tmp_path / "g.mp4", "green", 9, seed=50))
    assert row.top[0][0] == OTHER
    code, _, told = vidlabel("train", data, "--other", tmp_path / "nothing", *where)
    assert code == 2
    assert "no such folder" in told
    (data / OTHER).mkdir()
    shutil.copy(next((clips / "data" / "green").iterdir()), data / OTHER)
    code, _, told = vidlabel("train", data, "--other", clips / "data" / "green", *where)
    assert code == 2
    assert "the data have a class other already" in told


def test_quick_is_taken_by_itself_unless_something_else_was_asked_for() -> None:
    few = gather({}).for_few
    assert few is not None
    assert (few.recipe, few.model.rnn, few.clip.input) == ("quick", False, "rgb+difference")
    assert gather({"recipe": "auto", "seed": 3}).for_few is not None
    for said in (
        {"recipe": "best"}, {"trunk": "resnet18"}, {"model": "conv-lstm"}, {"epochs": 3},
        {"recipe": "quick"},
    ):  # fmt: skip
        assert gather(said).for_few is None, said
    with pytest.raises(UsageError, match="--epochs 3: --recipe quick has no such choice"):
        gather({"recipe": "quick", "epochs": 3})
    with pytest.raises(UsageError, match="--recipe quick: conv-lstm has none of that name"):
        gather({"recipe": "quick", "model": "conv-lstm"})
