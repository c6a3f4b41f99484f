"""`vidlabel train` as a user meets it: what it says, and what its run folder says of the run."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import termios
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fakes import COLOURS, colour_video, random_checkpoint
from program import Done, Program, Run
from torch.distributed import TCPStore

from vidlabel import __version__
from vidlabel.errors import OutputError
from vidlabel.models.checkpoint import read_header
from vidlabel.train.observer import Epoch
from vidlabel.train.progress import TrainBoard
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.settings import SETTINGS, gather, read_config

STOPPED = (
    "import os, signal\n"
    "import vidlabel.train.progress as view\n"
    "def stop(self, line, best): os.kill(os.getpid(), signal.SIGINT)\n"
    "view.TrainView.epoch = stop\n"
)
"""Ended as by Ctrl-C when the first epoch is done."""

INTERACTIVE = "import vidlabel.console as c\nc.stderr.is_interactive = True\n"
"""What rich found out of a stderr that was not yet the terminal."""


class _Rough(Program):
    """The program with intervals from fewer samples, which no test here is about: they are most of
    what a report takes."""

    def __init__(self, program: Program) -> None:
        self._server = program._server

    def start(self, *arguments: object, before: str = "", **how: Any) -> Run:
        rough = "import vidlabel.evaluate.metrics as metrics\nmetrics.RESAMPLES = 50\n"
        return super().start(*arguments, before=rough + before, **how)


@pytest.fixture(scope="module")
def program(program: Program) -> Program:
    return _Rough(program)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people do two colours."""
    root = tmp_path_factory.mktemp("clips")
    for person in ("ada", "bo", "cy", "dan"):
        for colour in ("blue", "red"):
            colour_video(root / "data" / colour / f"{person}_{colour}_1.mp4", colour, 6)
    return root


def small(clips: Path, out: Path, *more: object) -> tuple[object, ...]:
    """The arguments of a training of two short epochs."""
    return (
        "train", clips / "data", "--out", out, "--cache", clips / "cache", "--epochs", 2,
        "--batch-size", 4, "--frames", 2, "--size", 32, "--hidden", 8, "--val-fraction", 0.3,
        "--device", "cpu", "--workers", 1, "--epoch-steps", 1, "--trunk-weights", "none", *more,
    )  # fmt: skip


def sessions(out: Path) -> list[dict[str, object]]:
    values = json.loads((out / "run.json").read_text())
    assert list(values) == ["sessions"]
    return list(values["sessions"])


@pytest.fixture(scope="module")
def done(
    program: Program, clips: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Done, Path]:
    """A training from beginning to end, and its folder."""
    out = tmp_path_factory.mktemp("runs") / "it's mine"
    done = program.run(*small(clips, out))
    assert done.code == 0, done.err
    return done, out


def test_without_a_terminal_there_is_a_line_per_epoch(done: tuple[Done, Path]) -> None:
    result, out = done
    summary, classes, *lines = result.err.splitlines()
    assert classes == "videos of each class: blue 4, red 4"  # field 4
    assert summary.startswith("8 videos of 2 classes: 6 for training, 2 for validation")
    number = r"[0-9]+\.[0-9]+"
    figures = rf"loss {number}  validation: loss {number}, top-1 {number}%  [0-9]+ s"
    assert re.fullmatch(rf"epoch 1/2  {figures}, 0:0[0-9] left", lines[0]), lines
    assert re.fullmatch(rf"epoch 2/2  {figures}", lines[1])
    assert re.fullmatch(rf"best: epoch [12], top-1 {number}% on 2 validation videos; .*", lines[2])
    assert lines[2].endswith(str(out / "best.safetensors"))
    assert lines[3].startswith("calibration error ")
    assert lines[4:] == [f"report written to {out / 'report'}"]


def test_a_run_ends_with_a_report_on_the_part_that_chose_the_epoch(done: tuple[Done, Path]) -> None:
    result, out = done
    header = read_header(out / "best.safetensors")
    title, *figures = result.out.splitlines()
    assert re.fullmatch(
        f"validation set, on which the epoch was chosen: {out.name}@[0-9a-f]{{8}} on 2 videos",
        title,
    )
    assert any(re.match("used to choose the epoch +2 ", line) for line in figures)
    values = json.loads((out / "report" / "metrics.json").read_text())
    assert values["fold"] == "validation set, on which the epoch was chosen"
    assert values["leak"]["selected_on"] == values["videos"] == 2
    assert list(values["by_kind"]) == ["selected"]
    assert values["video_level"]["top1"]["value"] == header.metrics["held_out_top1"]
    for name in ("per_class.csv", "predictions.csv", "confusion.png", "reliability.png"):
        assert (out / "report" / name).stat().st_size
    predictions = (out / "report" / "predictions.csv").read_text()
    assert all(name.partition("/")[2] in predictions for name in header.selected_on)


def test_a_run_that_is_stopped_in_its_report_is_complete(
    program: Program, clips: Path, tmp_path: Path
) -> None:
    command = small(clips, tmp_path / "run", "--epochs", 1)
    stopped = program.run(
        *command,
        before="import os, signal, vidlabel.train.job as r\n"
        "r.write_report = lambda *given: os.kill(os.getpid(), signal.SIGINT)\n",
    )
    assert stopped.code == 130
    assert stopped.err.endswith(
        "stopped; completed epochs are saved; run the same command to resume\n"
    )
    best = (tmp_path / "run" / "best.safetensors").read_bytes()
    again = program.run(*command)
    assert again.code == 0, again.err
    assert "epoch 1/1" not in again.err
    assert (tmp_path / "run" / "report" / "metrics.json").is_file()
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == best


def test_the_checkpoint_names_data_recipe_and_versions(
    done: tuple[Done, Path], clips: Path, program: Program
) -> None:
    _, out = done
    training = read_header(out / "best.safetensors").training
    assert training["data"] == str(clips / "data")
    assert training["recipe"] == "best"
    assert training["versions"] == sessions(out)[0]["versions"]
    assert "fold" not in training, "which only the folds of a protocol have"
    shown = program.run("info", out)
    assert shown.code == 0, shown.err
    for line in (
        f"data +{re.escape(str(clips / 'data'))}", "recipe +best", "selected_on +2 clips",
        rf"versions +.*vidlabel {re.escape(__version__)}.*", r"spec +.*epochs 2,.*",
    ):  # fmt: skip
        assert re.search(f"^{line}$", shown.out, re.MULTILINE), line


def test_a_stopped_run_says_truly_how_it_goes_on(
    program: Program, clips: Path, tmp_path: Path
) -> None:
    command = small(clips, tmp_path / "run")
    before = "import os, signal, vidlabel.train.job as d\n"
    early = before + "d.open_dataset = lambda *a, **k: os.kill(os.getpid(), signal.SIGINT)\n"
    first = program.run(*command, "--restart", before=early)
    assert first.code == 130
    assert first.err == (
        "warning: stopped before anything was trained; run the same command to start over\n"
    )
    stopped = program.run(*command, "--restart", before=STOPPED)
    assert stopped.err.endswith("run the same command without --restart to resume\n")
    again = program.run(*command)
    assert "resuming after epoch 1" in again.err, again.err


def test_a_second_ctrl_c_changes_no_exit_code(
    program: Program, clips: Path, tmp_path: Path
) -> None:
    late = (
        "import vidlabel.cli.main as c\n"
        "c._flushed = lambda code: os.kill(os.getpid(), signal.SIGINT)\n"
    )
    result = program.run(*small(clips, tmp_path / "run"), before=STOPPED + late)
    assert result.code == 130, result.err


def test_the_run_folder_says_how_and_on_what(done: tuple[Done, Path], clips: Path) -> None:
    _, out = done
    (session,) = sessions(out)
    words = shlex.split(str(session["command"]))
    assert words == ["vidlabel", *map(str, small(clips, out))]
    assert session["argv"] == words
    assert session["folder"] == str(Path.cwd())
    started = datetime.fromisoformat(str(session["started"]))
    assert started.tzinfo is not None
    assert abs((datetime.now().astimezone() - started).total_seconds()) < 3600
    versions = session["versions"]
    assert isinstance(versions, dict)
    assert versions["vidlabel"] == __version__
    assert set(versions) == {"vidlabel", "python", "torch", "torchvision", "av", "numpy"}
    assert session["device"] == "cpu"
    assert session["device_name"]
    assert session["platform"]
    assert (session["threads"], session["processes"], session["seed"]) == (1, 1, 0)


def test_the_recipe_of_a_run_trains_it_again(
    done: tuple[Done, Path], program: Program, clips: Path, tmp_path: Path
) -> None:
    _, out = done
    recipe = out / "recipe.toml"
    assert set(read_config(recipe)) == {*SETTINGS, "recipe"}
    again = program.run(
        "train", clips / "data", "--config", recipe, "--out", tmp_path / "run",
        "--cache", clips / "cache", "--device", "cpu", "-j", 1,
    )  # fmt: skip
    assert again.code == 0, again.err
    one, other = (read_header(folder / "best.safetensors") for folder in (out, tmp_path / "run"))
    assert one == other
    assert (tmp_path / "run" / "recipe.toml").read_text() == recipe.read_text()


def test_every_start_is_added_and_none_where_nothing_was_trained(
    program: Program, clips: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = small(clips, out, "--tensorboard")
    first = program.run(*command, before=STOPPED)
    assert first.code == 130
    assert first.err.endswith(
        "stopped; completed epochs are saved; run the same command to resume\n"
    )
    assert len(sessions(out)) == 1
    again = program.run(*command)
    assert again.code == 0, again.err
    assert "\nresuming after epoch 1\nepoch 2/2  " in again.err
    assert len(sessions(out)) == 2
    assert sorted(scalars(out / "tensorboard")) == [
        "loss/held_out", "loss/train", "lr", "top1/held_out", "top1/train",
    ]  # fmt: skip
    assert all(
        [step for step, _ in line] == [1, 2] for line in scalars(out / "tensorboard").values()
    )
    assert program.run(*command).code == 0
    assert len(sessions(out)) == 2, "it was complete"
    anew = program.run(*command, "--restart")
    assert "resuming" not in anew.err
    assert len(sessions(out)) == 1
    logged = scalars(out / "tensorboard")
    assert [step for step, _ in logged["lr"]] == [1, 2]
    assert logged["lr"][0][1] == pytest.approx(TrainSpec.lr, rel=0.1)


def test_tensorboard_has_every_epoch_once_whatever_was_written_before(tmp_path: Path) -> None:
    log = [Epoch(number, 0.1 * number, 2.0, 0.25, 3.0, 0.5, 1.0) for number in (1, 2, 3)]
    for before, to_come in (([], log[:2]), (log[:1], log[1:]), (log, [])):
        board = TrainBoard()
        board.begin(tmp_path, 3, 10, before)
        for line in to_come:
            board.epoch(line, best=True)
        board.end()
        board.end()
    assert scalars(tmp_path / "tensorboard") == {
        "loss/train": [(1, 2.0), (2, 2.0), (3, 2.0)],
        "loss/held_out": [(1, 3.0), (2, 3.0), (3, 3.0)],
        "top1/train": [(1, 0.25), (2, 0.25), (3, 0.25)],
        "top1/held_out": [(1, 0.5), (2, 0.5), (3, 0.5)],
        "lr": [(n, pytest.approx(0.1 * n)) for n in (1, 2, 3)],
    }
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="tensorboard: cannot be written"):
        TrainBoard().begin(tmp_path / "file", 3, 10, [])


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Step and value of what TensorBoard shows."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(each.step, each.value) for each in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_the_folder_of_another_run_is_not_touched(
    program: Program, clips: Path, done: tuple[Done, Path]
) -> None:
    _, out = done
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    other = program.run(*small(clips, out, "--lr", 0.1))
    assert other.code == 2
    assert f"train.lr was {TrainSpec.lr}, is 0.1" in other.err
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_the_folds_of_a_protocol_share_one_description(
    program: Program, clips: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    made = ("--protocol", "group-kfold", "--folds", 2, "--epochs", 1, "--tensorboard")
    result = program.run(*small(clips, out, *made))
    assert result.code == 0, result.err
    assert len(sessions(out)) == 1
    folds = [path.parent.name for path in sorted(out.glob("*/best.safetensors"))]
    assert len(folds) == 2
    for fold in folds:
        begun = (
            f"^fold . of ., {fold}: training\n(4 videos of .*\nvideos of each .*\n)?epoch 1/1  loss"
        )
        assert re.search(begun, result.err, re.MULTILINE)
        training = read_header(out / fold / "best.safetensors").training
        assert (training["fold"], training["recipe"]) == (fold, "best")
        assert training["versions"] == sessions(out)[0]["versions"]
        assert len(scalars(out / fold / "tensorboard")["lr"]) == 1
        assert not (out / fold / "run.json").exists()


def test_quiet_says_nothing(program: Program, clips: Path, tmp_path: Path) -> None:
    result = program.run(
        *small(clips, tmp_path / "run", "-q", "--epochs", 1, "--recipe", "original")
    )  # fmt: skip
    assert (result.code, result.out, result.err) == (0, "", "")


def test_of_several_processes_the_first_alone_speaks_and_writes(
    program: Program, clips: Path, tmp_path: Path
) -> None:
    second = (
        "import vidlabel.train.job as job, vidlabel.train.distributed as d\n"
        "job.join_team = lambda device: d.Team(rank=1, size=1, local_rank=1)\n"
    )
    table = tmp_path / "clips.csv"
    rows = [
        f"{path},{path.parent.name},{path.name},{'test' if 'dan' in path.name else ''}\n"
        for path in sorted(clips.glob("data/*/*.mp4"))
    ]
    table.write_text("path,label,group,split\n" + "".join(rows))
    command = [*small(clips, tmp_path / "run")]
    command[1] = table
    result = program.run(*command, before=second)
    assert (result.code, result.out, result.err) == (0, "", "")
    assert not (tmp_path / "run" / "run.json").exists()
    assert not (tmp_path / "run" / "report").exists()


def test_what_could_not_be_tested_is_refused_before_it_is_trained(
    program: Program, clips: Path, tmp_path: Path
) -> None:
    """A class whose only clip is a test clip."""
    table, out = tmp_path / "clips.csv", tmp_path / "run"
    rows = [f"{path},{path.parent.name},{path.name}," for path in clips.glob("data/*/*.mp4")]
    rows.append(f"{clips / 'data' / 'red' / 'ada_red_1.mp4'},green,another,test")
    rows.remove(next(row for row in rows if "ada_red" in row and "green" not in row))
    table.write_text("\n".join(["path,label,group,split", *rows, ""]))
    result = program.run("train", table, *small(clips, out)[2:])
    assert result.code == 2
    assert "class green is tested" in result.err.splitlines()[-1]
    assert not (out / "best.safetensors").exists()


def test_what_is_wrong_with_one_of_several_processes_is_said_once(
    program: Program, clips: Path, done: tuple[Done, Path], tmp_path: Path
) -> None:
    """The settings are another run's, which the first process finds out; an unknown option, and
    one out of range, which both find out before they have met."""
    _, out = done
    meeting = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(meeting.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # which torchrun keeps in a process of its own
    }  # fmt: skip
    for arguments, lines, message in (
        (small(clips, out, "--lr", 0.1), 1, "train.lr was"),
        (small(clips, tmp_path / "run", "--nonsense"), 4, "--nonsense"),
        (small(clips, tmp_path / "run", "--lr", 50), 1, "--lr must be"),
    ):
        runs = [
            program.start(*arguments, env=common | {"RANK": rank, "LOCAL_RANK": rank})
            for rank in ("0", "1")
        ]
        first, second = [run.wait() for run in runs]
        assert first.code == 2
        assert second.code != 0
        assert message in first.err
        assert first.err.count("\n") == lines, first.err
        assert second.err == ""


def test_the_original_says_what_of_it_is_published(
    program: Program, clips: Path, tmp_path: Path
) -> None:
    result = program.run(
        *small(clips, tmp_path / "run", "--recipe", "original", "--epochs", 1)
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.err.splitlines()[0] == gather({"recipe": "original"}).told


def test_on_a_terminal_there_is_a_table_and_a_bar(
    program: Program, clips: Path, tmp_path: Path
) -> None:
    """A true one, of 80 columns."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    shown = bytearray()

    def read() -> None:
        try:
            while data := os.read(master, 4096):
                shown.extend(data)
        except OSError:  # nobody has it open any more
            return

    reader = threading.Thread(target=read)
    reader.start()
    run = program.start(
        *small(clips, tmp_path / "run", "--cache", tmp_path / "cache"),
        stderr=os.ttyname(slave), env={"TERM": "xterm"}, before=INTERACTIVE,
    )  # fmt: skip
    code = program.ask({"wait": run.pid})
    os.close(slave)
    reader.join(10)
    os.close(master)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert code == 0, text
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", text)]
    end = next(i for i, line in enumerate(lines) if line.startswith("best: epoch "))
    assert max(len(line) for line in lines[:end] if not line.startswith("8 videos of ")) <= 80
    assert "epoch   loss   top-1    loss   top-1     time             lr" in lines
    rows = [line for line in lines if re.match(r"  [12]/2  [0-9.]+ .* [0-9.]+e-0[0-9]$", line)]
    assert len(rows) == 2
    assert "  best  " in rows[0]
    assert any(re.match("decoding .* [0-8]/8 ", line) for line in lines)
    assert any(re.match("epoch 1/2 .*/4 ", line) for line in lines)
    assert shown.count(b"\x1b[?25h") >= 1, "the cursor is there again"


def test_show_recipe_prints_every_setting_and_trains_nothing(
    program: Program, tmp_path: Path
) -> None:
    model = random_checkpoint(tmp_path / "tiny.safetensors")
    (tmp_path / "mine.toml").write_text("epochs = 7\n")
    result = program.run(
        "train", "--show-recipe", "--recipe", "original", "--config", "mine.toml", "--init",
        model.name, "--lr", "1e-4", "--no-compile", cwd=tmp_path,
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    title, header, *rows = [re.split("  +", line, maxsplit=2) for line in result.out.splitlines()]
    assert title == ["recipe original"]
    assert header == ["setting", "value", "from"]
    assert {row[0] for row in rows} == set(SETTINGS)
    for wanted in (
        ["epochs", "7", "mine.toml"],
        ["lr", "0.0001", "flag"],
        ["compile", "false", "flag"],
        ["init", "tiny.safetensors", "flag"],
        ["hidden", "16", "checkpoint tiny.safetensors"],
        ["size", "32", "checkpoint tiny.safetensors"],
        ["noise", "6.0", "ours"],
    ):
        assert wanted in rows
    plain = program.run("train", "--show-recipe", "--recipe", "original")
    (row,) = [line for line in plain.out.splitlines() if line.startswith("epochs ")]
    assert re.fullmatch("epochs +64 +published by .+", row)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.toml", model.name}


def test_what_a_checkpoint_brings_is_blamed_on_it(program: Program, clips: Path) -> None:
    result = program.run(
        *small(clips, clips / "none", "--init", "starter", "--model", "two-stream")
    )  # fmt: skip
    assert result.code == 2
    assert result.err == (
        "error: two-stream needs --input rgb+flow, got difference (--input is from "
        "checkpoint starter)\n"
    )


def test_init_brings_its_clips_and_network(program: Program, clips: Path, tmp_path: Path) -> None:
    model = random_checkpoint(tmp_path / "tiny.safetensors", COLOURS)
    command = (
        "train", clips / "data", "--cache", clips / "cache", "--init", model, "--epochs", 1,
        "--device", "cpu", "-j", 1, "--batch-size", 4, "--val-fraction", 0.3, "--epoch-steps", 1,
    )  # fmt: skip
    result = program.run(*command, "--out", tmp_path / "run")
    assert result.code == 0, result.err
    start, end = read_header(model), read_header(tmp_path / "run" / "best.safetensors")
    assert end.clip == start.clip
    assert (end.model.hidden, end.model.features) == (16, 24)
    other = program.run(*command, "--out", tmp_path / "other", "--hidden", 20)
    assert other.code == 2
    assert other.err.count("\n") == 1
    assert "does not fit this model" in other.err


@pytest.mark.parametrize(
    ("arguments", "toml", "message"),
    [
        ([], "", "DATA is missing"),
        (["data"], "", "--out FOLDER is missing"),
        (["--config", "none.toml"], "", "none.toml: there is no such file"),
        (
            ["--config", "x.toml"],
            "epoch = 1",
            "x.toml: epoch is not a setting; did you mean epochs?",
        ),
        (["--config", "x.toml"], "epochs = true", "x.toml: epochs must be a whole number"),
        (["--config", "x.toml"], "[a]", "x.toml: a is a table"),
        (["--config", "x.toml"], "a", "x.toml: cannot be read"),
        (["--config", "x.toml"], "ema = 2", "--ema must be 0 to 0.99999, got 2 (x.toml)"),
        (["--crop", "0"], "", "--crop must be 0.1 to 1, got 0"),
        (["data", "--out", "run", "--device", "tpu"], "", "--device tpu: not a device"),
    ],
)
def test_wrong_usage_is_one_line(
    program: Program, tmp_path: Path, arguments: list[str], toml: str, message: str
) -> None:
    (tmp_path / "x.toml").write_text(toml)
    result = program.run("train", *arguments, cwd=tmp_path)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.toml"]


def test_tensorboard_that_is_not_installed_is_said_before_any_work(
    program: Program, clips: Path, tmp_path: Path
) -> None:
    absent = "import sys\nsys.modules['torch.utils.tensorboard'] = None\n"
    result = program.run(*small(clips, tmp_path / "run", "--tensorboard"), before=absent)
    assert (result.code, result.out) == (2, "")
    assert "install vidlabel[tensorboard]" in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "run").exists()
