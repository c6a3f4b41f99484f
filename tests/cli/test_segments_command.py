"""One recording with marked segments trains a model, and tests it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from fakes import colour_frames
from program import Done, Program

from vidlabel.models.checkpoint import read_header
from vidlabel.video.scale import Pixels
from vidlabel.video.write import write_video

FPS, FRAMES, SEGMENTS = 12, 6, 16


def colours(first: str) -> list[str]:
    return [("red", "blue")[(i + (first == "blue")) % 2] for i in range(SEGMENTS)]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings whose colour changes every half second; one is to be tested on."""
    folder = tmp_path_factory.mktemp("recordings")
    rows = ["path,label,start_s,end_s,split"]
    for name, first, split in (("a.mp4", "red", ""), ("b.mp4", "blue", "test")):

        def frames(first: str = first) -> Iterator[Pixels]:
            for number, colour in enumerate(colours(first)):
                yield from islice(colour_frames(colour, seed=number), FRAMES)

        write_video(folder / name, frames(), FPS, options={"preset": "ultrafast"})
        for number, colour in enumerate(colours(first)):
            times = f"{number * FRAMES / FPS},{(number + 1) * FRAMES / FPS}"
            rows.append(f"{name},{colour},{times},{split}")
    rows.append("b.mp4,red,100,101,test")
    (folder / "segments.csv").write_text("\n".join(rows) + "\n")
    return folder / "segments.csv"


@pytest.fixture(scope="module")
def trained(
    program: Program, table: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Done, Path]:
    out = tmp_path_factory.mktemp("runs") / "run"
    done = program.run(
        "train", table, "--out", out, "--cache", out.parent / "cache", "--epochs", 4,
        "--batch-size", 4, "--frames", 2, "--size", 32, "--hidden", 8, "--val-fraction", 0.3,
        "--device", "cpu", "--workers", 1, "--lr", 0.005, "--trunk-weights", "none",
        before="import vidlabel.evaluate.metrics as metrics\nmetrics.RESAMPLES = 50\n",
    )  # fmt: skip
    return done, out


def test_a_recording_with_marked_segments_trains_a_model(
    trained: tuple[Done, Path], table: Path
) -> None:
    done, out = trained
    assert done.code == 1, done.err  # for the segment after the end of the recording
    one = f"all segments but those to test on are of one recording, {table.parent}/a.mp4"
    assert one in done.err
    assert "16 segments of 2 classes: 12 for training, 4 for validation" in done.err
    assert "segments of each class: blue 8, red 8" in done.err
    assert "on 4 validation segments" in done.err
    header = read_header(out / "best.safetensors")
    assert len(header.trained_on) == 12
    assert all("/a.mp4#t=" in clip for clip in header.trained_on)
    assert {source.partition(" ")[0] for source in header.sources} == {"a"}
    with (out / "split.csv").open(newline="") as file:
        assert len({(row["path"], row["start_s"]) for row in csv.DictReader(file)}) == 16


def test_each_segment_is_tested_as_a_clip(trained: tuple[Done, Path], table: Path) -> None:
    """Only the right seconds of the recording give the right colour."""
    _, out = trained
    values = json.loads((out / "report" / "metrics.json").read_text())
    assert values["video_level"]["top1"]["value"] == 1.0
    assert values["videos"] == 17
    assert values["unreadable"] == [f"{table.parent}/b.mp4#t=100,101"]
    with (out / "report" / "predictions.csv").open(newline="") as file:
        *rows, beyond = csv.DictReader(file)
    assert [row["truth"] for row in rows] == [row["top1_label"] for row in rows] == colours("blue")
    assert [float(row["start_s"]) for row in rows] == [i / 2 for i in range(SEGMENTS)]
    assert [float(row["end_s"]) for row in rows] == [i / 2 + 0.5 for i in range(SEGMENTS)]
    assert (beyond["start_s"], beyond["reason"]) == ("", "out_of_range")


def test_segments_that_share_seconds_with_the_training_are_refused(
    trained: tuple[Done, Path], table: Path, tmp_path: Path, program: Program
) -> None:
    _, out = trained
    other = tmp_path / "other.csv"
    other.write_text(
        f"path,label,start_s,end_s,group\n{table.parent}/a.mp4,red,0.25,0.75,new\n"
        f"{table.parent}/b.mp4,red,0.5,1,new\n"
    )
    done = program.run("eval", other, "--model", out / "best.safetensors")
    assert done.code == 2
    assert "of 2 test clips of other, 1 were " in done.err
    assert "/a.mp4#t=0.25,0.75 (group new)" in done.err
