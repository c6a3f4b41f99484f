"""Labels over time from the command line: beside a table, in its place, and later from either."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import colour_video
from program import Invoke

SEGMENTS = """\
path,status,label,start_s,end_s
clips/a.mp4,ok,red,0,1.25
clips/a.mp4,ok,"two
lines",1,2
clips/b/a.mp4,ok,blue,0.5,1
clips/b/a.mp4,uncertain,uncertain,1,2
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with two videos of one name, a broken one, and a table of segments."""
    (tmp_path / "clips" / "b").mkdir(parents=True)
    first = colour_video(tmp_path / "clips" / "a.mp4", "red")
    shutil.copy(first, tmp_path / "clips" / "b" / "a.mp4")
    (tmp_path / "clips" / "z.mp4").write_text("this is not a video")
    (tmp_path / "marked.csv").write_text(SEGMENTS)
    return tmp_path


def files_in(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


def test_sidecars_are_written_beside_the_table_and_again(
    vidlabel: Invoke, place: Path, model: Path
) -> None:
    videos = files_in(place / "clips")
    command = ("predict", "clips", "-m", model, "-o", "labels.csv", "--conf", 0,
               "--sidecar", "SRT,boris", "--sidecar", "fiftyone")  # fmt: skip
    code, _, told = vidlabel(*command, cwd=place)
    assert code == 1
    assert "srt: 2 files in labels_srt\nsrt: 1 row left out: 1 failed\n" in told
    assert "boris: 3 videos in labels.boris\nboris: 1 row without a label: 1 failed\n" in told
    assert files_in(place / "labels_srt") == ["clips/a.mp4.srt", "clips/b/a.mp4.srt"]
    assert files_in(place / "clips") == videos, "nothing is written among the videos"
    with (place / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    first = (place / "labels_srt" / "clips" / "a.mp4.srt").read_text()
    assert first.splitlines()[2] == rows[0]["label"]
    assert first.splitlines()[1].endswith(rows[0]["end_s"].replace(".", ","))
    assert len(json.loads((place / "labels.boris").read_text())["observations"]) == 3
    labels = json.loads((place / "labels.fiftyone.json").read_text())["labels"]
    assert labels[str(place / "clips" / "a.mp4")]["label"] == rows[0]["label"]

    shutil.rmtree(place / "labels_srt")  # the next run labels nothing, and writes them again
    code, _, told = vidlabel(*command, "-q", cwd=place)
    assert (code, told) == (1, "")
    assert len(files_in(place / "labels_srt")) == 2


def test_a_format_takes_the_place_of_the_table(vidlabel: Invoke, place: Path, model: Path) -> None:
    cpu = ("-m", model, "--conf", 0, "--device", "cpu")
    code, _, told = vidlabel("predict", "clips/a.mp4", "-o", "a.vtt", *cpu, cwd=place)
    assert code == 0, told
    assert (place / "a.vtt").read_text().startswith("WEBVTT\n\n00:00:00.000 --> ")
    assert (place / "a.ledger").is_file()
    code, _, told = vidlabel("predict", "clips", "-o", "a.vtt", *cpu, cwd=place)
    assert code == 2
    assert "holds one video, but there are 3; name a folder and --format vtt" in told
    code = vidlabel("predict", "clips", "-o", "vtt", "--format", "vtt", *cpu, cwd=place)[0]
    assert code == 1
    assert files_in(place / "vtt") == ["clips/a.mp4.vtt", "clips/b/a.mp4.vtt"]


def test_sidecars_go_to_a_folder_of_choice(vidlabel: Invoke, place: Path, model: Path) -> None:
    cpu = ("-m", model, "--conf", 0, "--device", "cpu", "-q")
    vidlabel(
        "predict", "clips", "-o", "out/l.csv", "--sidecar", "edl,segments,label-studio",
        "--sidecar-dir", ".", *cpu, cwd=place,
    )  # fmt: skip
    assert files_in(place / "clips") == [
        "a.mp4", "a.mp4.csv", "a.mp4.edl", "b/a.mp4", "b/a.mp4.csv", "b/a.mp4.edl", "z.mp4"
    ]  # fmt: skip
    tasks = json.loads((place / "l.label-studio.json").read_text())
    states = {task["data"]["path"]: task["data"]["status"] for task in tasks}
    assert states == {"clips/a.mp4": "ok", "clips/z.mp4": "failed", "clips/b/a.mp4": "ok"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sidecar", "srt"), "--sidecar: its files lie beside the table; name that by --out"),
        (("-o", "x.csv", "--sidecar", "sub"), "--sidecar sub: unknown format; use srt, vtt"),
        (("-o", "x.csv", "--sidecar-dir", "y"), "--sidecar-dir needs a --sidecar"),
        (("-o", "x.txt"), "--out x.txt: unknown format; use a suffix of csv"),
        (("--format", "srt"), "--format srt cannot be written to stdout"),
    ],
)
def test_wrong_usage_is_told_before_any_work(
    arguments: tuple[str, ...], message: str, vidlabel: Invoke, place: Path
) -> None:
    code, out, told = vidlabel("predict", "clips", *arguments, cwd=place)
    assert (code, out) == (2, "")
    assert message in told


def test_export_takes_a_table_that_no_run_has_written(vidlabel: Invoke, place: Path) -> None:
    code, _, told = vidlabel("export", "marked.csv", "-o", "cues", "--format", "srt", cwd=place)
    assert (code, told) == (0, "srt: 2 files in cues\nsrt: 1 row left out: 1 uncertain\n")
    assert (place / "cues" / "clips" / "a.mp4.srt").read_text() == (
        "1\n00:00:00,000 --> 00:00:01,250\nred\n\n"
        "2\n00:00:01,000 --> 00:00:02,000\ntwo\\x0alines\n\n"
    )
    told = vidlabel("export", "marked.csv", "-o", "x", "--format", "edl", cwd=place)[2]
    assert "edl: frames are counted at" in told, "the rate of the header"
    shutil.rmtree(place / "clips")
    code, _, told = vidlabel("export", "marked.csv", "-o", "x", "--format", "edl", cwd=place)
    assert code == 2
    assert "clips/a.mp4 and 1 more video: the frame rate is not known" in told
    code = vidlabel("export", "marked.csv", "-o", "x", "--format", "edl", "--fps", 24, cwd=place)[0]
    assert code == 0
    code, _, told = vidlabel("export", "marked.csv", "-o", "marked.jsonl", cwd=place)
    assert (code, told) == (0, "4 rows written to marked.jsonl\n")
    records = [json.loads(line) for line in (place / "marked.jsonl").read_text().splitlines()]
    assert [(each["label"], each["end_s"]) for each in records][1] == ("two\nlines", 2.0)


def test_export_takes_corrections_in_a_table_and_all_classes_from_the_ledger(
    vidlabel: Invoke, place: Path, model: Path
) -> None:
    vidlabel("predict", "clips/a.mp4", "-m", model, "-o", "l.csv", "--conf", 0, "-q", cwd=place)
    table = place / "l.csv"
    with table.open(newline="") as file:
        (row,) = csv.DictReader(file)
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, row.keys())
        writer.writeheader()
        writer.writerow(row | {"label": "corrected"})
    assert vidlabel("export", "l.csv", "-o", "l.srt", cwd=place)[0] == 0
    assert "corrected" in (place / "l.srt").read_text()
    assert vidlabel("export", "l.ledger", "-o", "l.srt", cwd=place)[0] == 0
    assert row["label"] in (place / "l.srt").read_text()
    assert vidlabel("export", "l.csv", "-o", "l.json", "--top-k", 2, cwd=place)[0] == 0
    assert len(json.loads((place / "l.json").read_text())["videos"][0]["top"]) == 2
    code, _, told = vidlabel("export", "l.csv", "-o", "l.srt", "--conf", 1, cwd=place)
    assert (code, (place / "l.srt").read_text()) == (0, ""), told
    assert "srt: 1 row left out: 1 uncertain" in told
    code, _, told = vidlabel("export", "marked.csv", "-o", "l.srt", "--conf", 1, cwd=place)
    assert code == 3
    assert "marked.ledger: there is no such ledger" in told


def test_a_video_that_a_sidecar_cannot_hold_does_not_stop_the_run(
    vidlabel: Invoke, model: Path, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    fast = make_video(frames=60, fps=120)
    code, _, told = vidlabel(
        "predict", fast, "-m", model, "-o", "l.csv", "--sidecar", "edl,vtt", "--conf", 0,
        cwd=tmp_path,
    )  # fmt: skip
    assert code == 0
    assert "edl is not written: " in told
    assert "has 120 frames per second" in told
    assert (tmp_path / "l.csv").is_file()
    assert files_in(tmp_path / "l_vtt") == [f"{fast.name}.vtt"]
