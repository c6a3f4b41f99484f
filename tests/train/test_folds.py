"""Protocols from end to end: folds trained and tested, continued, and never leaking unsaid."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes import COLOURS, colour_video
from places import TESTS
from program import Invoke as Run

from vidlabel.datasets.leaks import find_leak
from vidlabel.datasets.open import open_dataset
from vidlabel.datasets.protocols import Fold, make_folds
from vidlabel.errors import UsageError
from vidlabel.evaluate.job import EvalRequest, choose_folds, report_of, warn_of_doubts
from vidlabel.evaluate.leak_check import check_tests
from vidlabel.train.progress import TrainView

pytestmark = pytest.mark.usefixtures("rough_intervals")

SMALL = ("--epochs", 1, "--batch-size", 4, "--frames", 2, "--size", 32, "--hidden", 8,
         "--val-fraction", 0.4, "--device", "cpu", "--epoch-steps", 1,
         "--trunk-weights", "none")  # fmt: skip


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

    from vidlabel.cli.main import cli

    out = tmp_path_factory.mktemp("runs") / "people"
    command = ["train", people, "--protocol", "leave-one-group-out", "--out", out, *SMALL]
    arguments = [str(each) for each in command]
    begin, begun = TrainView.begin, []

    def stopped(self: TrainView, out: Path, *others: object) -> None:
        begun.append(out)
        if len(begun) == 2:
            raise KeyboardInterrupt
        begin(self, out, *others)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainView, "begin", stopped)
        result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert result.exception is None, result.output
    assert "run the same command to resume" in result.stderr
    first = (out / "ada" / "best.safetensors").read_bytes()
    assert not (out / "bo" / "result.json").exists()
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert result.exception is None, result.output
    assert "ada: complete already" in result.stderr
    assert "fold 2 of 3, bo: training" in result.stderr
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


def test_eval_of_a_run_folder_gives_the_same_figures_and_leaves_its_report(
    vidlabel: Run, trained: Path, people: Path, tmp_path: Path
) -> None:
    own = trained / "report" / "metrics.json"
    before, written = own.read_text(), own.stat().st_mtime_ns
    shutil.copytree(people, tmp_path / "a copy")
    code, stdout, stderr = vidlabel(
        "eval", tmp_path / "a copy", "--model", trained, "--device", "cpu"
    )
    assert code == 0, stderr
    assert "leave-one-group-out: 3 models on 18 videos" in stdout
    other = trained / "report-a-copy"
    assert f"report written to {other}" in stderr
    assert (other / "metrics.json").read_text() == before
    assert own.stat().st_mtime_ns == written


def test_other_tests_of_a_run_have_reports_of_other_names(tmp_path: Path) -> None:
    plan = {"data": "hmdb51:x", "protocol": "official", "group_pattern": None,
            "folds": {"split-1": [], "split-2": []}}  # fmt: skip
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    folds = [Fold(name, (), (), ()) for name in plan["folds"]]

    def name(
        data: str = "hmdb51:x", folds: list[Fold] = folds, protocol: str = "official", **how: Any
    ) -> str:  # fmt: skip
        return report_of(EvalRequest(data, str(tmp_path), **how), folds, protocol).name

    assert name() == "report"
    assert name(folds=folds[1:]) == "report-split-2"
    assert name(stream="temporal", views=3) == "report-views-3-temporal"
    assert name("other/set") == "report-set"
    assert name(folds=folds, protocol="group-kfold") == "report-group-kfold"
    assert name(group_pattern="x") == "report-regrouped"
    (tmp_path / "plan.json").unlink()
    assert name("a/clips.csv", [Fold("clips", (), (), ())], "") == "report-clips"


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


def _contents(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}


def test_a_restart_that_cannot_begin_leaves_all_as_it_was(
    vidlabel: Run, trained: Path, people: Path
) -> None:
    before = _contents(trained)
    command = ["train", people, "--protocol", "leave-one-group-out", "--out", trained, *SMALL]
    code, _, stderr = vidlabel(*command, "--restart", "--trunk-weights", "nofile")
    assert code == 3, stderr
    assert "nofile" in stderr
    assert _contents(trained) == before


def test_a_restart_forgets_all_folds_at_once(
    vidlabel: Run, trained: Path, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it is stopped when the first fold begins."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "old").mkdir()
    plan = json.loads((run / "plan.json").read_text())
    plan["folds"]["old"] = [1, 0, 1]  # of a run with more folds
    (run / "plan.json").write_text(json.dumps(plan))
    (run / "old" / "best.safetensors").touch()

    def stopped(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainView, "begin", stopped)
    command = ["train", people, "--protocol", "leave-one-group-out", "--out", run, *SMALL]
    _, _, stderr = vidlabel(*command, "--restart", "--lr", 0.01)
    assert "stopped" in stderr
    assert not list(run.rglob("best.safetensors"))
    assert not list(run.rglob("result.json"))
    plan = json.loads((run / "plan.json").read_text())
    assert plan["train"]["lr"] == 0.01
    assert set(plan["folds"]) == {"ada", "bo", "cy"}
    assert not (run / "plan.restart").exists()
    (run / "plan.restart").touch()  # as a kill would leave it between the two
    code, _, stderr = vidlabel(*command, "--lr", 0.01)
    assert code == 2
    assert "a restart was interrupted; use --restart again" in stderr


def test_a_folder_in_use_is_not_begun_anew(vidlabel: Run, trained: Path, people: Path) -> None:
    from vidlabel.files.lock import holding

    before = _contents(trained)
    command = ["train", people, "--protocol", "leave-one-group-out", "--out", trained, *SMALL]
    with holding(trained / "cy" / "spec.json"):
        code, _, stderr = vidlabel(*command, "--restart")
    assert code == 3
    assert "in use by" in stderr
    assert _contents(trained) == before


def test_a_folder_in_which_nothing_was_trained_takes_other_settings(
    vidlabel: Run, people: Path, tmp_path: Path
) -> None:
    command = ["train", people, "--protocol", "leave-one-group-out", "--out", tmp_path / "run"]
    for name in ("nofile", "neither"):
        code, _, stderr = vidlabel(*command, *SMALL, "--trunk-weights", name)
        assert code == 3, stderr
        assert name in stderr


def test_a_protocol_keeps_out_of_the_folder_of_a_plain_run(
    vidlabel: Run, people: Path, tmp_path: Path
) -> None:
    (tmp_path / "log.csv").touch()
    command = ["train", people, "--protocol", "leave-one-group-out", "--out", tmp_path, *SMALL]
    code, _, stderr = vidlabel(*command)
    assert code == 2
    assert f"{tmp_path}: holds a run without a protocol; use --restart to start over" in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_clips_of_one_name_in_the_folders_of_several_people_are_no_leak(tmp_path: Path) -> None:
    for person in ("ada", "bo", "cy"):
        for colour in ("blue", "red"):
            path = tmp_path / "set" / colour / person / "001.mp4"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"x")
    dataset = open_dataset(str(tmp_path / "set"), tmp_path, group_pattern="/(.+)/")
    folds = make_folds(dataset, "leave-one-group-out")
    check_tests(folds, "leave-one-group-out", "set")
    for fold in folds:
        known = {s.id for s in fold.train}, {s.group for s in fold.train}
        leak, _ = find_leak(*known, fold.test)
        assert leak.new == leak.tested


def test_classes_that_look_alike_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t.csv"
    table.write_text("path,label,group\na.mp4,red,ada\nb.mp4,Red,ada\nc.mp4,blue,bo\n")
    warn_of_doubts(open_dataset(str(table), tmp_path))
    told = capsys.readouterr().err
    assert told.startswith("warning: classes 'Red' and 'red' differ only in case or spaces")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("c.mp4,red,bo,test", ""),
        ("c.mp4,red,ada,test", r"of 1 test clip of t, 1 share a source with clips that are to be "
         r"trained on, such as .*c\.mp4 \(group ada\); give a group's clips the same split"),
        ("x/a.mp4,blue,bo,test", ""),  # another file
        ("x/v_Y_g01_c01.avi,red,cy,train\ny/v_Y_g01_c01.avi,red,bo,test",
         "1 are to be trained on, such as .*y/v_Y"),  # a copy: the name says so
        ("c.mp4,green,bo,test", "class green is tested in t, but has no video to train on"),
        ("v.mp4,red,bo,val\nc.mp4,red,bo,test", ""),
        ("x/c.mp4,red,cy,val\nc.mp4,green,bo,test\nc2.mp4,green,cy,val", "class green is tested"),
    ],
)  # fmt: skip
def test_a_test_part_that_is_trained_on_is_refused_before_training(
    rows: str, message: str, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"path,label,group,split\na.mp4,blue,ada,\nb.mp4,red,dan,train\n{rows}\n")
    dataset = open_dataset(str(table), tmp_path)
    folds, protocol = choose_folds(str(table), dataset, None, None, 0, 0)
    assert [s.split for s in folds[0].test] == ["test"]
    if not message:
        return check_tests(folds, protocol, str(table))
    with pytest.raises(UsageError, match=message):
        check_tests(folds, protocol, str(table))


def test_what_the_first_checkpoint_knows_is_refused_before_training(
    vidlabel: Run, trained: Path, people: Path, tmp_path: Path
) -> None:
    best, out = trained / "ada" / "best.safetensors", tmp_path / "run"
    command = ["train", people, "--protocol", "leave-one-group-out", "--out", out, *SMALL]
    code, _, stderr = vidlabel(*command, "--init", best)
    assert code == 2
    assert f"--init {best}: of 6 test clips of bo, " in stderr
    assert not out.exists()


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
    assert "used to choose the epoch" in stdout


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

    sys.path.insert(0, str(TESTS / "benchmarks"))
    from hmdb51_tree import SPLITS, make_tree
    from memorise import report

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
    assert "6 share a source with clips that were trained on" in stderr
