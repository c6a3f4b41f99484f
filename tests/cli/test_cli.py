"""The command line as a user meets it, judged by files, streams and exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes import COLOURS, colour_video
from program import Invoke as Run
from rich.console import Console

from vidlabel import console
from vidlabel.files.metadata_tag import write_tag

MODULE = [sys.executable, "-m", "vidlabel"]


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Healthy clips in folders, and everything that a folder of unknown origin may hold."""
    root = tmp_path_factory.mktemp("clips")
    good = ["a.mp4", "b/c.MP4", "b/NA.mp4", "=1+1.mp4", 'quo"te.mp4', "com,ma.mp4",
            "new\nline.mp4", "übung.mp4", "[/].mp4", "-dash.mp4"]  # fmt: skip
    first = colour_video(root / "a.mp4", "red")
    for name in good[1:]:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(first.read_bytes())
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("this is not a video")
    (root / "cut.mp4").write_bytes(first.read_bytes()[:300])
    (root / "folder.mp4").mkdir()
    os.mkfifo(root / "pipe.mp4")
    (root / "notes.txt").write_text("not looked at")
    (root / ".hidden.mp4").write_bytes(first.read_bytes())
    return root


BROKEN = {
    "empty.mp4": "empty",
    "text.mp4": "not_video",
    "cut.mp4": "not_video",
    "folder.mp4": "not_regular",
    "pipe.mp4": "not_regular",
}


def test_every_input_has_one_row_and_the_exit_code_is_1(
    vidlabel: Run, clips: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels.csv"
    code, stdout, stderr = vidlabel("predict", clips, "--out", out, "--model", model)
    assert (code, stdout) == (1, "")
    assert "Traceback" not in stderr
    assert "15 videos: 10 ok, 0 partial, 5 failed" in stderr
    rows = rows_of(out.read_bytes().decode())
    assert len({row["path"] for row in rows}) == len(rows) == 15
    failed = {Path(r["path"]).name: r["reason"] for r in rows if r["status"] == "failed"}
    assert {name: reason.split(":")[0] for name, reason in failed.items()} == BROKEN
    for row in rows:
        if row["status"] == "ok":
            assert row["label"] in COLOURS
            assert 0 < float(row["confidence"]) <= 1
            assert row["model"].startswith("tiny@")


def test_formats_agree(vidlabel: Run, clips: Path, model: Path, tmp_path: Path) -> None:
    tables = {}
    for suffix in ("csv", "json", "jsonl", "parquet"):
        out = tmp_path / f"labels.{suffix}"
        assert vidlabel("predict", clips / "b", "-o", out, "-m", model, "-q")[0] == 0
        tables[suffix] = out
    plain = [(r["path"], r["label"]) for r in rows_of(tables["csv"].read_text())]
    records = json.loads(tables["json"].read_text())["videos"]
    lines = [json.loads(line) for line in tables["jsonl"].read_text().splitlines()]
    assert [(r["path"], r["label"]) for r in records] == plain
    assert lines == records
    import pyarrow.parquet as pq

    table = pq.read_table(tables["parquet"]).to_pylist()
    assert [(r["path"], r["label"]) for r in table] == plain


def test_stdout_carries_data_only_and_in_order(vidlabel: Run, clips: Path, model: Path) -> None:
    code, stdout, _ = vidlabel("predict", clips / "b", clips / "a.mp4", "-m", model, "-k", 2)
    assert code == 0
    rows = rows_of(stdout)
    assert [Path(row["path"]).name for row in rows] == ["NA.mp4", "c.MP4", "a.mp4"]
    assert list(rows[0])[:7] == [
        "path", "status", "label", "confidence", "top1_label", "top2_label", "top2_confidence",
    ]  # fmt: skip
    code, stdout, _ = vidlabel("predict", clips / "b", "-m", model, "--format", "jsonl")
    assert [Path(json.loads(line)["path"]).name for line in stdout.splitlines()] == [
        "NA.mp4", "c.MP4",
    ]  # fmt: skip


def test_lists_from_file_and_stdin(vidlabel: Run, clips: Path, model: Path, tmp_path: Path) -> None:
    names = tmp_path / "list.txt"
    names.write_text("b/c.MP4\n\na.mp4\n")
    expected = ["b/c.MP4", "a.mp4"]
    for arguments, stdin in (
        (["--from-file", names], b""),
        (["--from-file", "-"], names.read_bytes()),
        (["-"], b"b/c.MP4\0a.mp4\0"),
    ):
        code, stdout, stderr = vidlabel(
            "predict", *arguments, "-m", model, "-q", stdin=stdin, cwd=clips
        )
        assert code == 0, stderr
        assert [row["path"] for row in rows_of(stdout)] == expected


def test_dry_run_lists_and_needs_no_model(vidlabel: Run, clips: Path) -> None:
    code, stdout, stderr = vidlabel(
        "predict", clips, "--dry-run", "--include", "*.MP4", "--model", "no-such-model"
    )
    assert code == 0
    assert stdout == f"{clips / 'b' / 'c.MP4'}\n"
    assert "1 video" in stderr


@pytest.mark.field
@pytest.mark.parametrize(
    ("inputs", "near"),
    [
        (["clps"], "clips"),
        (["clips/one.mp4", "-"], ""),
        (["--from-file", "old.txt"], "clips/a.mp4"),
    ],
)
def test_a_typing_error_does_not_replace_a_good_table(
    vidlabel: Run, clips: Path, tmp_path: Path, inputs: list[str], near: str
) -> None:
    """Field 8: one failed row took the place of all good ones."""
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.mp4").write_bytes((clips / "a.mp4").read_bytes())
    (tmp_path / "old.txt").write_text("clips/A.mp4\nclips/x.mp4\n")
    (tmp_path / "labels.csv").write_text("precious")
    code, stdout, stderr = vidlabel(
        "predict", *inputs, "--out", "labels.csv", stdin=b"x.mp4\ny.mp4\n", cwd=tmp_path
    )
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert "there is no such file or folder" in stderr
    assert stderr.endswith(f"; did you mean {near}?\n") or not near
    assert (tmp_path / "labels.csv").read_text() == "precious"
    assert not (tmp_path / "labels.ledger").exists()
    code, _, stderr = vidlabel("render", "clps", "--out", "out", cwd=tmp_path)
    assert (code, (tmp_path / "out").exists()) == (2, False)
    code, _, stderr = vidlabel("train", "clps", "--out", "out", cwd=tmp_path)
    assert (code, "did you mean clips?" in stderr) == (2, True)


@pytest.mark.field
def test_predict_says_what_it_leaves_out(vidlabel: Run, clips: Path, tmp_path: Path) -> None:
    """Field 6: 8 rows for 2 clips and their previews. Field 4: a suffix that is no video's."""
    shutil.copy(clips / "a.mp4", tmp_path / "a.mp4")
    shutil.copy(clips / "a.mp4", tmp_path / "a.mp4.mp4")
    write_tag(tmp_path / "a.mp4.mp4", "")
    (tmp_path / "notes.txt").touch()
    code, stdout, stderr = vidlabel("predict", tmp_path, "--dry-run")
    assert (code, stdout) == (0, f"{tmp_path / 'a.mp4'}\n")
    assert stderr.splitlines()[:2] == [
        "left out: 1 preview that vidlabel has made",
        "left out, as their suffix is no video's: 1 .txt",
    ]
    (tmp_path / "a.mp4").unlink()
    code, _, stderr = vidlabel("predict", tmp_path)
    assert (code, "left out: 1 preview" in stderr) == (3, True)


def test_embeddings_file(vidlabel: Run, clips: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.npz"
    code, *_ = vidlabel("predict", clips / "b", "-m", model, "--embeddings", out, "-q")
    assert code == 0
    with np.load(out) as data:
        assert data["embeddings"].shape == (2, 24)
        assert [Path(str(p)).name for p in data["paths"]] == ["NA.mp4", "c.MP4"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predict"], 2, "name a folder"),
        (["predict", ".", "--top-k", "0"], 2, "--top-k"),
        (["predict", ".", "--nonsense"], 2, "--nonsense"),
        (["predict", ".", "-o", "x.docx"], 2, "x.docx"),
        (["predict", ".", "-o", "text.mp4/no/x.csv"], 3, "cannot be created"),
        (["predict", ".", "-m", "no-such-model"], 3, "no-such-model"),
        (["predict", ".", "--embeddings", "x.txt"], 2, "x.txt"),
        (["predict", "empty", "-m", "starter"], 3, "no videos"),
        (["info", "text.mp4"], 1, "text.mp4"),
        (["train", "nowhere", "--out", "run"], 2, "nowhere"),
        (["train", ".", "--out", "run", "-j", "0"], 2, "-j"),
        (["predict", ".", "--workers", "-3"], 2, "-j"),
        (["eval", ".", "-m", "starter", "-j", "0"], 2, "-j"),
        (["render", ".", "-o", "out", "-j", "0"], 2, "--workers"),
    ],
)
def test_wrong_usage_is_one_clear_line(
    vidlabel: Run, clips: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "a.mp4").write_bytes((clips / "a.mp4").read_bytes())
    (tmp_path / "text.mp4").write_text("x")
    (tmp_path / "empty").mkdir()
    got, stdout, stderr = vidlabel(*arguments, cwd=tmp_path)
    assert (got, stdout) == (code, "")
    assert message in stderr
    assert "Traceback" not in stderr
    assert len(stderr.strip().splitlines()) <= 4  # click adds its usage lines


def test_cuda_without_a_gpu_is_an_error(vidlabel: Run, clips: Path, model: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    code, _, stderr = vidlabel("predict", clips, "-m", model, "--device", "cuda")
    assert code == 3
    assert "--device cuda" in stderr


def test_fail_fast_stops_at_the_first_failure(vidlabel: Run, clips: Path, model: Path) -> None:
    code, stdout, _ = vidlabel(
        "predict", clips / "text.mp4", clips / "a.mp4", "-m", model, "--fail-fast", "-q"
    )
    assert code == 1
    assert [row["status"] for row in rows_of(stdout)] == ["failed"]


@pytest.mark.field
@pytest.mark.parametrize("to_file", [False, True])
def test_fail_fast_says_that_it_stopped(
    vidlabel: Run, clips: Path, model: Path, tmp_path: Path, to_file: bool
) -> None:
    """field 18"""
    inputs = [clips / "text.mp4", clips / "a.mp4", clips / "=1+1.mp4"]
    out = ["-o", tmp_path / "labels.csv"] if to_file else []
    command = ["predict", *inputs, *out, "-m", model, "--fail-fast"]
    stderr = vidlabel(*command)[2]
    assert "warning: --fail-fast: " in stderr
    assert "text.mp4: " in stderr
    assert "stopped: 1 of 3 videos are in the table" in stderr
    assert ("run the same command to resume" in stderr) == to_file
    at_the_end = vidlabel("predict", inputs[0], "-m", model, "--fail-fast")[2]
    assert "stopped" not in at_the_end


@pytest.mark.field
def test_one_video_is_not_called_videos(
    vidlabel: Run, clips: Path, model: Path, tmp_path: Path
) -> None:
    """field 18"""
    out = tmp_path / "labels.csv"
    assert vidlabel("predict", clips / "a.mp4", "--dry-run")[2] == "1 video\n"
    assert vidlabel("predict", clips / "a.mp4", "-m", model, "-o", out)[2].startswith("1 video: ")
    assert vidlabel("export", out, "-o", tmp_path / "x.json")[2].startswith("1 of 1 video written")
    stderr = vidlabel("render", clips / "a.mp4", "-o", tmp_path / "shown", "--labels", out)[2]
    assert "1 of 1 video rendered" in stderr


@pytest.mark.field
@pytest.mark.parametrize("url", ["https://host/a.mp4", "s3://bucket/a?b.mp4", "RTSP://camera"])
def test_a_url_is_told_that_only_local_files_are_read(vidlabel: Run, url: str) -> None:
    """field 18"""
    told = "only local files are read"
    assert told in vidlabel("predict", url, "--dry-run")[2]
    assert told in vidlabel("info", url)[2]
    assert told in vidlabel("train", url, "-o", "run")[2]


@pytest.mark.field
def test_rows_on_a_terminal_have_no_bar_between_them(
    vidlabel: Run, clips: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """field 18: a bar was left between the rows."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for rows_shown in (False, True):
        shown = Terminal()
        terminal = Console(file=shown, width=100, _environ={"TERM": "xterm"})
        monkeypatch.setattr(console, "stderr", terminal)
        if rows_shown:
            monkeypatch.setattr(console, "stdout", terminal)
        vidlabel("predict", clips / "a.mp4", "-m", model)
        assert ("starting" in shown.getvalue()) != rows_shown
        assert "1 video: 1 ok" in shown.getvalue()


@pytest.mark.field
def test_common_names_of_options_work_as_well(
    vidlabel: Run, clips: Path, model: Path, tmp_path: Path
) -> None:
    """field 23: names that people know from other programs."""
    out = tmp_path / "labels.csv"
    command = ["predict", clips / "b", "--output", out, "-m", model, "--recursive", "--conf", 1]
    assert vidlabel(*command)[0] == 0
    assert [row["label"] for row in rows_of(out.read_text())] == ["uncertain"] * 2
    assert "done before" in vidlabel(*command)[2]
    assert "done before" not in vidlabel(*command, "--overwrite")[2]
    assert vidlabel("export", out, "--output", tmp_path / "x.json", "--conf", 0)[0] == 0
    videos = json.loads((tmp_path / "x.json").read_text())["videos"]
    assert {video["label"] for video in videos} <= set(COLOURS)
    shown = ["render", clips / "b", "--labels", out, "--output", tmp_path / "shown"]
    assert vidlabel(*shown, "--recursive")[0] == 0
    assert "2 kept unchanged" not in vidlabel(*shown, "--overwrite")[2]
    for name in ("train", "eval", "review", "fuse"):
        assert "--output" in vidlabel(name, "--help")[1]


@pytest.mark.field
def test_a_log_says_what_was_decided_and_has_all_messages(
    vidlabel: Run, clips: Path, model: Path, tmp_path: Path
) -> None:
    """field 23"""
    log = tmp_path / "run.log"
    command = ["predict", clips / "a.mp4", clips / "text.mp4", clips / "new\nline.mp4", "-m", model]
    *_, stderr = vidlabel(*command, "-v", "-q")
    decided = ["3 inputs name 3 videos", "model tiny@", "on cpu", "text.mp4: this is a text"]
    for words in decided:
        assert words in stderr
    code, _, stderr = vidlabel(*command, "--log-file", log)
    assert code == 1
    assert "model tiny@" not in stderr
    text = log.read_text()
    for words in [*decided, "3 videos: 2 ok, 0 partial, 1 failed"]:
        assert words in text
    assert all(re.match(r"20..-..-.. ..:..:..,... [A-Z]+ ", line) for line in text.splitlines())
    assert vidlabel("predict", tmp_path / "none", "-m", "nonsense", "--log-file", log)[0] != 0
    assert log.read_text().startswith(text)
    assert "ERROR" in log.read_text().splitlines()[-1]
    assert vidlabel("predict", "x", "--log-file", tmp_path / "no" / "x.log")[0] == 3
    assert vidlabel("eval", clips, "-m", model, "--log-file", log)[0] == 2
    assert ": 3 test clips, model " in log.read_text()


@pytest.mark.field
@pytest.mark.parametrize(
    ("config", "code", "told"),
    [
        ("top-k = 1\ninclude = ['c.*']\nquiet = true", 0, "c.MP4"),
        ("top_k = 3\ninclude = 'c.*'\nconf = 1.0", 0, "uncertain"),
        ("top_k = 2.5", 2, "'2.5' is not a valid integer"),
        ("top_k = true", 2, "--top-k"),
        ("min_confidance = 1", 2, "did you mean min_confidence?"),
        ("[predict]\ntop_k = 1", 2, "settings must be outside of tables"),
        ("top_k = ", 2, "cannot be read"),
        (None, 2, "there is no such file"),
    ],
)
def test_predict_takes_options_from_a_file(
    vidlabel: Run, clips: Path, model: Path, tmp_path: Path, config: str | None, code: int,
    told: str,
) -> None:  # fmt: skip
    """field 23: a config file for predict, as train has."""
    path = tmp_path / "predict.toml"
    if config is not None:
        path.write_text(config)
    got, stdout, stderr = vidlabel("predict", clips / "b", "-m", model, "--config", path)
    assert (got, told in stdout + stderr) == (code, True), stdout + stderr
    if code == 0:
        assert len(rows_of(stdout)) == 1
        flag = vidlabel("predict", clips / "b", "-m", model, "--config", path, "--top-k", 2)[1]
        assert "top2_label" in flag
        assert "top3_label" not in flag


def test_train_on_a_folder(vidlabel: Run, tmp_path: Path) -> None:
    for colour in ("red", "blue"):
        for i in range(4):
            colour_video(tmp_path / "data" / colour / f"{colour}_{i}.mp4", colour, 6, seed=i)
    code, stdout, stderr = vidlabel(
        "train", tmp_path / "data", "--out", tmp_path / "run", "--epochs", 1, "--batch-size", 4,
        "--frames", 2, "--size", 32, "--hidden", 8, "--val-fraction", 0.3, "--device", "cpu",
        "--epoch-steps", 1, "--trunk-weights", "none",
    )  # fmt: skip
    assert code == 0, stderr
    assert "epoch 1/1" in stderr
    assert stdout.startswith("validation set, on which the epoch was chosen: ")
    for model in (tmp_path / "run", tmp_path / "run" / "best.safetensors"):
        code, stdout, _ = vidlabel("info", model)
        assert code == 0
        assert "blue, red" in stdout
        code, stdout, _ = vidlabel("predict", tmp_path / "data" / "red", "-m", model, "-q")
        assert code == 0
        assert [row["model"][:4] for row in rows_of(stdout)] == ["run@"] * 4


def test_info_of_a_video(vidlabel: Run, clips: Path) -> None:
    code, stdout, _ = vidlabel("info", clips / "a.mp4")
    assert code == 0
    for word in ("h264", "64", "48", "12"):
        assert word in stdout


@pytest.mark.field
def test_info_and_models_are_names_and_values_and_json(
    vidlabel: Run, clips: Path, model: Path
) -> None:
    """field 21: `info` printed `ModelSpec(arch='cnn-birnn', ...)`; neither could print JSON."""
    stdout = vidlabel("info", model)[1]
    assert "Spec(" not in stdout
    assert re.search(r"^clip frames +4$", stdout, re.MULTILINE)
    assert re.search(r"^model hidden +16$", stdout, re.MULTILINE)
    about = json.loads(vidlabel("info", model, "--json")[1])
    assert (about["model"]["hidden"], about["classes"]) == (16, list(COLOURS))
    video = json.loads(vidlabel("info", clips / "a.mp4", "--json")[1])
    assert (video["codec"], video["frames"], video["duration_s"]) == ("h264", 12, 1.0)
    named = json.loads(vidlabel("models", "--json")[1])
    shown = vidlabel("models")[1]
    assert [len(rows) > 0 for rows in named.values()] == [True] * 3
    for row in (*named["trained"], *named["networks"]):
        assert row["model"] in shown
        assert f"{row['parameters']:,}" in shown


def test_it_runs_as_a_module() -> None:
    done = subprocess.run([*MODULE, "-V"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("vidlabel ")


def test_version_help_and_completion(vidlabel: Run) -> None:
    from vidlabel import __version__

    assert vidlabel("-V")[:2] == (0, f"vidlabel {__version__}\n")
    code, stdout, _ = vidlabel("--help")
    assert code == 0
    for command in ("predict", "train", "models", "info", "doctor"):
        assert command in stdout
        assert vidlabel(command, "--help")[0] == 0
    for shell in ("bash", "zsh", "fish"):
        code, stdout, _ = vidlabel("completion", shell)
        assert code == 0
        assert "_VIDLABEL_COMPLETE" in stdout
