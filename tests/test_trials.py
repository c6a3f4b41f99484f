"""Protocols from end to end: folds trained and tested, continued, and never leaking unsaid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import COLOURS, colour_video
from test_cli import Run, vidlabel

__all__ = ["vidlabel"]  # the fixture

pytestmark = pytest.mark.usefixtures("rough_intervals")

SMALL = ("--epochs", 1, "--batch-size", 4, "--frames", 2, "--size", 32, "--hidden", 8,
         "--val-fraction", 0.4, "--device", "cpu")  # fmt: skip


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people do three colours, twice each."""
    root = tmp_path_factory.mktemp("people")
    for person in ("ada", "bo", "cy"):
        for colour in COLOURS:
            for i in range(2):
                path = root / colour / f"{person}_{colour}_{i}.mp4"
                colour_video(path, colour, 6, seed=hash((person, i)) % 99)
    return root


@pytest.fixture(scope="module")
def trained(people: Path, rough_intervals: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of `leave-one-group-out`, stopped in its second fold and gone on with."""
    from click.testing import CliRunner

    from vidlabel import train
    from vidlabel.cli import cli

    out = tmp_path_factory.mktemp("runs") / "people"
    command = ["train", people, "--protocol", "leave-one-group-out", "--out", out, *SMALL]
    arguments = [str(each) for each in command]
    fit, calls = train._Run.fit, []

    def stopped(self: object, *others: object) -> object:
        calls.append(others)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(self, *others)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train._Run, "fit", stopped)
        result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert result.exception is None, result.output
    assert "the same command goes on" in result.stderr
    first = (out / "ada" / "best.safetensors").read_bytes()
    assert not (out / "bo" / "result.json").exists()
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert result.exception is None, result.output
    assert "ada: trained before" in result.stderr
    assert "bo: training" in result.stderr
    assert (out / "ada" / "best.safetensors").read_bytes() == first
    return out


def test_every_clip_is_tested_once_by_a_model_that_does_not_know_its_person(
    trained: Path, people: Path
) -> None:
    values = json.loads((trained / "report" / "metrics.json").read_text())
    assert values["videos"] == 18
    assert set(values["folds"]) == {"ada", "bo", "cy"}
    assert values["leak"] == {"tested": 18, "seen": 0, "siblings": 0, "new": 18, "selected_on": 0}
    assert set(values["across_folds"]["top1"]) == {"mean", "std"}
    for person in ("ada", "bo", "cy"):
        fold = json.loads((trained / "report" / person / "metrics.json").read_text())
        assert fold["videos"] == 6
        assert (trained / "report" / person / "confusion.png").exists()


def test_eval_of_a_run_folder_gives_the_same_figures(
    vidlabel: Run, trained: Path, people: Path, tmp_path: Path
) -> None:
    code, stdout, stderr = vidlabel(
        "eval", people, "--model", trained, "--out", tmp_path / "r", "--device", "cpu"
    )
    assert code == 0, stderr
    assert "leave-one-group-out: 3 models on 18 videos" in stdout
    before = json.loads((trained / "report" / "metrics.json").read_text())
    assert json.loads((tmp_path / "r" / "metrics.json").read_text()) == before


def test_eval_divides_the_data_as_the_run_did(vidlabel: Run, people: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = ("--protocol", "group-kfold", "--folds", 2, "--seed", 3)
    groups = ("--group-pattern", "([a-z]+)_[a-z]+_([01])")
    code, stdout, stderr = vidlabel("train", people, "--out", out, *made, *groups, *SMALL)
    assert code == 0, stderr
    code, again, stderr = vidlabel("eval", people, "--model", out, "--device", "cpu")
    assert code == 0, stderr
    assert again == stdout


def test_other_settings_in_the_same_folder_are_refused(
    vidlabel: Run, trained: Path, people: Path
) -> None:
    command = ["train", people, "--protocol", "leave-one-group-out", "--out", trained, *SMALL]
    command[command.index("--epochs") + 1] = 2
    code, _, stderr = vidlabel(*command)
    assert code == 2
    assert "holds a run with other settings (train.epochs was 1, is 2)" in stderr


def test_a_model_that_knows_the_clips_is_refused(
    vidlabel: Run, trained: Path, people: Path
) -> None:
    best = trained / "ada" / "best.safetensors"
    code, stdout, stderr = vidlabel("eval", people, "--model", best)
    assert (code, stdout) == (2, "")
    assert "of 18 test clips" in stderr
    assert "were trained on" in stderr
    assert "--allow-leak" in stderr
    code, stdout, stderr = vidlabel("eval", people, "--model", best, "--allow-leak")
    assert code == 0, stderr
    assert "trained on" in stdout
    assert "choosing the epoch" in stdout


def test_init_carries_what_its_model_was_trained_on(
    vidlabel: Run, trained: Path, people: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    for i in range(4):
        for colour in COLOURS:
            colour_video(other / colour / f"dan{i}_{colour}.mp4", colour, 6, seed=i)
    run = tmp_path / "run"
    code, _, stderr = vidlabel(
        "train", other, "--out", run, *SMALL, "--init", trained / "ada" / "best.safetensors"
    )
    assert code == 0, stderr
    code, _, stderr = vidlabel("eval", people, "--model", run / "best.safetensors")
    assert code == 2
    assert "were trained on" in stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "nonsense"], "--protocol nonsense: not known"),
        (["--protocol", "official"], "official"),
        (["--split", "1"], "official"),
        (["--protocol", "group-kfold", "--folds", "99"], "99"),
        (["--protocol", "group-kfold", "--split", "2"], "--split is for --protocol official"),
    ],
)
def test_protocols_that_do_not_fit_are_one_clear_line(
    vidlabel: Run, people: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    code, stdout, stderr = vidlabel("train", people, "--out", tmp_path / "r", *arguments)
    assert (code, stdout) == (2, "")
    assert message in stderr
    assert stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.shared
def test_a_model_that_only_memorises_shines_under_the_leaky_protocol_alone(tmp_path: Path) -> None:
    """With all the true names of HMDB51, by the tool's own report."""
    import sys

    sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
    from hmdb51_tree import SPLITS, make_tree
    from memorise import report

    from vidlabel.datasets import open_dataset
    from vidlabel.datasets.protocols import make_folds

    if not SPLITS.is_dir():
        pytest.skip("needs the split lists in ../shared/splits")
    make_tree(tmp_path, SPLITS)
    dataset = open_dataset(f"hmdb51:{tmp_path}", tmp_path)
    figures = {
        protocol: report(make_folds(dataset, protocol)[0], dataset.classes)
        for protocol in ("official", "leaky-123")
    }
    assert figures["official"]["video_level"]["top1"]["low"] < 1 / 51
    assert figures["official"]["video_level"]["top1"]["value"] < 0.04
    assert figures["leaky-123"]["video_level"]["top1"]["value"] > 0.75
    apart = figures["leaky-123"]["by_kind"]
    assert apart["seen"]["videos"] == 1150
    assert apart["seen"]["top1"]["value"] > 0.99
    assert apart["sibling"]["videos"] == 162
    assert apart["new"]["videos"] == 218
    assert apart["new"]["top1"]["value"] < 0.1


def test_a_table_with_a_test_part_is_trained_and_tested(
    vidlabel: Run, people: Path, tmp_path: Path
) -> None:
    parts = {"ada": "train", "bo": "val", "cy": "test"}
    table = tmp_path / "clips.csv"
    with table.open("w") as file:
        file.write("path,label,group,split\n")
        for path in sorted(people.glob("*/*.mp4")):
            person = path.name.split("_")[0]
            file.write(f"{path},{path.parent.name},{person},{parts[person]}\n")
    out = tmp_path / "run"
    code, stdout, stderr = vidlabel("train", table, "--out", out, *SMALL)
    assert code == 0, stderr
    assert "on 6 videos" in stdout
    assert json.loads((out / "report" / "metrics.json").read_text())["leak"]["new"] == 6
    code, again, stderr = vidlabel("eval", table, "--model", out, "--device", "cpu")
    assert code == 0, stderr
    assert again == stdout
    # Another clip of a person who was trained on, in the test part, is refused.
    table.write_text(table.read_text().replace("cy,test", "ada,test"))
    code, _, stderr = vidlabel("eval", table, "--model", out)
    assert code == 2
    assert "6 share a source with clips that were" in stderr
