"""Timelines: a long video labelled in segments, one pass, that goes on where it was stopped."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fakes import CLIP, colour_checkpoint, colour_frames
from program import Invoke

from vidlabel.clips.windows import Windows
from vidlabel.errors import UsageError
from vidlabel.models.checkpoint import Header
from vidlabel.predict.job import RunOptions, TableOutput, label_videos
from vidlabel.predict.labeller import Labeller, PredictSpec, load_labeller
from vidlabel.predict.timeline import choose_windows, describe_windows, is_long
from vidlabel.results.tables import read_labels
from vidlabel.spans import TimelineSpec
from vidlabel.specs import ClipSpec, Limits, ModelSpec, Prediction, VideoItem
from vidlabel.video.write import write_video

SCHEDULE = [("red", 5.0), ("green", 4.0), ("blue", 6.0), ("red", 3.0)]
TIMELINE = TimelineSpec(1.0, 0.5)
SPEC = PredictSpec(top_k=3, workers=1, timeline=TIMELINE)


def _write(path: Path, schedule: list[tuple[str, float]]) -> Path:
    frames = (f for name, length_s in schedule for f in colour_frames(name, round(length_s * 12)))
    write_video(path, frames, 12, options={"preset": "ultrafast"})
    return path


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("long") / "long.mp4", SCHEDULE)


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidlabel.predict.timeline.Windows", partial(Windows, most_bytes=1))


def _told(rows: list[Prediction]) -> list[tuple[str, float, float]]:
    return [(row.label, row.start_s, row.end_s) for row in rows]


def _rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(out.read_text().splitlines()))


def test_segments_follow_the_video(long_video: Path) -> None:
    labeller = Labeller(colour_checkpoint(), "cpu")
    rows = list(labeller.predict(str(long_video), SPEC))
    assert [row.label for row in rows] == [name for name, _ in SCHEDULE]
    ends = np.cumsum([length_s for _, length_s in SCHEDULE])
    assert np.abs(ends - [row.end_s for row in rows]).max() <= 0.5
    assert [row.start_s for row in rows] == [0.0, *(row.end_s for row in rows[:-1])]
    assert {row.path for row in rows} == {str(long_video)}


@pytest.mark.usefixtures("_small_parts")
def test_a_window_gets_the_numbers_of_its_span(long_video: Path, model: Path) -> None:
    """Bit for bit, in whatever part it is."""
    labeller = load_labeller(str(model), device="cpu", precision="fp32")
    spec = PredictSpec(workers=1, timeline=TimelineSpec(1.0, 0.25))
    windows = labeller.windows(TimelineSpec(1.0, 0.25))
    parts = list(labeller.score_windows([VideoItem(0, str(long_video))], spec))
    assert len(parts) > 2
    scores = np.concatenate([part.scores for part in sorted(parts, key=lambda each: each.part)])
    assert len(scores) == windows.count(sum(length_s for _, length_s in SCHEDULE))
    for number in (0, 11, 40, len(scores) - 1):
        item = VideoItem(0, str(long_video), start_s=number * 0.25, end_s=number * 0.25 + 1.0)
        ((_, _, views),) = labeller.predict_views([item], PredictSpec(workers=1))
        np.testing.assert_array_equal(views, scores[number][None])


@pytest.mark.usefixtures("_small_parts")
def test_a_run_that_was_stopped_goes_on_inside_the_video(
    long_video: Path, model: Path, tmp_path: Path
) -> None:
    labeller = load_labeller(str(model), device="cpu", precision="fp32")
    items = [VideoItem(0, str(long_video))]

    class Killed(BaseException):
        pass

    whole, out = TableOutput(str(tmp_path / "whole.csv")), TableOutput(str(tmp_path / "out.csv"))
    quiet = RunOptions(quiet=True)
    label_videos(labeller, items, SPEC, whole, quiet)
    score, done = labeller.score_windows, []

    def until_two(items, spec, *, stop):
        for part in score(items, spec, stop=stop):
            done.append(part.part)
            yield part
            if len(done) == 2:
                raise Killed

    labeller.score_windows = until_two  # type: ignore[method-assign]
    with pytest.raises(Killed):
        label_videos(labeller, items, SPEC, out, quiet)
    label_videos(labeller, items, SPEC, out, quiet)
    assert len(done) == len(set(done)) > 2, "no part was done twice"
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert len(read_labels(tmp_path / "out.ledger").rows) == len(read_labels(out.out).rows)


def test_other_settings_of_segments_need_no_labelling(
    vidlabel: Invoke, long_video: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels.csv"
    run = ["predict", long_video, "--model", model, "--device", "cpu", "-o", out, "--window", "1"]
    code, _, told = vidlabel(*run, "--min-confidence", "0", "-j", "1")
    assert (code, "written to" in told) == (0, True)
    (row,) = {row["path"] for row in _rows(out)}
    assert row == str(long_video)
    code, _, told = vidlabel(*run, "--min-confidence", "1", "--gaps")
    assert (code, "all done before" in told) == (0, True)
    assert {row["status"] for row in _rows(out)} == {"uncertain"}
    exported = tmp_path / "again.csv"
    assert vidlabel("export", out, "-o", exported, "--min-confidence", "0")[0] == 0
    assert {row["status"] for row in _rows(exported)} == {"ok"}
    code, _, told = vidlabel(*run, "--stride", "0.6", "-j", "1")
    assert (code, "all done" in told) == (0, False), "scores depend on the stride"
    assert "windows begin every 0.5 s" in told


def test_only_a_part_of_a_video_is_labelled(
    vidlabel: Invoke, long_video: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels.csv"
    run = ["predict", long_video, "--model", model, "--device", "cpu", "-o", out, "-j", "1"]
    for more in ([], ["--window", "1", "--gaps", "--conf", "0"]):
        code, _, _ = vidlabel(*run, "--start", "0:05", "--end", "00:00:09.5", *more)
        rows = _rows(out)
        assert (code, rows[0]["start_s"], rows[-1]["end_s"]) == (0, "5.000", "9.500")
    code, _, _ = vidlabel(*run, "--start", "100", "--timeline")
    (row,) = _rows(out)
    assert (code, row["reason"].partition(":")[0]) == (1, "out_of_range")
    for wrong in (["--start", "9", "--end", "8"], ["--end", "1:99"], ["--gaps"], ["--window", "0"]):
        assert vidlabel(*run, *wrong)[0] == 2
    assert vidlabel(*run, "--timeline", "--views", "2")[0] == 2
    assert vidlabel(*run, "--timeline", "--embeddings", tmp_path / "e.npz")[0] == 2


def test_a_long_video_with_one_label_names_the_timeline(
    vidlabel: Invoke, model: Path, tmp_path: Path
) -> None:
    path, out = _write(tmp_path / "long.mp4", [("red", 31.0)]), tmp_path / "labels.csv"
    code, _, told = vidlabel("predict", path, "--model", model, "-o", out, "--conf", "0")
    (row,) = _rows(out)
    assert (code, row["status"]) == (0, "ok")
    assert row["reason"].startswith("long: 31 s")
    assert "--timeline" in told
    assert "--timeline" not in vidlabel("predict", path, "-m", model, "-o", out, "--end", "9")[2]


def test_a_video_that_cannot_be_read_has_a_row(
    vidlabel: Invoke, model: Path, tmp_path: Path
) -> None:
    broken, out = tmp_path / "broken.mp4", tmp_path / "labels.csv"
    broken.write_text("not a video")
    for where in (out, "-"):
        code, printed, _ = vidlabel("predict", broken, "-m", model, "-o", where, "--timeline")
        text = printed if where == "-" else out.read_text()
        (row,) = csv.DictReader(text.splitlines())
        assert (code, row["status"], row["reason"][:9]) == (1, "failed", "not_video")


def test_windows_suit_the_model() -> None:
    usual = choose_windows(CLIP, TimelineSpec())
    assert (usual.window_s, usual.every) == (2.0, 1)
    paced = ClipSpec(frames=16, size_px=112, resize_px=128, fps=8.0)
    windows = choose_windows(paced, TimelineSpec())
    assert (windows.window_s, windows.stride_s) == (2.0, 0.5)
    with pytest.raises(UsageError, match="leave out --window"):
        choose_windows(paced, TimelineSpec(window_s=5.0))
    with pytest.raises(UsageError, match="at most --window"):
        choose_windows(CLIP, TimelineSpec(2.0, 3.0))
    rounded = TimelineSpec(2.0, 0.7)
    assert "every 0.5 s" in describe_windows(choose_windows(CLIP, rounded), rounded)
    assert is_long(CLIP, 31.0)
    assert not is_long(CLIP, 29.0)
    assert not is_long(ClipSpec(frames=128, fps=15.0), 60.0)


def test_flow_and_paced_models_have_timelines(long_video: Path) -> None:
    import torch
    from fakes import COLOURS

    from vidlabel.models.build import build_model
    from vidlabel.models.checkpoint import Checkpoint

    torch.manual_seed(0)
    for arch, clip in (
        ("temporal", ClipSpec(2, 32, 36, "flow", step_s=0.0, pairs=2)),
        ("cnn-birnn", ClipSpec(4, 32, 36, fps=4.0)),
    ):
        spec = ModelSpec(arch=arch, classes=3, trunk="mnasnet0_5", hidden=8, features=8)
        header = Header(spec, clip, COLOURS)
        network = build_model(spec, clip).eval()
        labeller = Labeller(Checkpoint("m", header, network, "0" * 64), "cpu", "fp32")
        item = VideoItem(0, str(long_video), end_s=6.0)
        limits = PredictSpec(workers=1, limits=Limits(), timeline=TimelineSpec())
        (part,) = labeller.score_windows([item], limits)
        windows = labeller.windows(TimelineSpec())
        assert len(part.scores) == windows.count(6.0)
        begins_s = 2 * windows.stride_s
        alone = VideoItem(0, str(long_video), start_s=begins_s, end_s=begins_s + windows.window_s)
        ((_, _, views),) = labeller.predict_views([alone], PredictSpec(workers=1))
        np.testing.assert_allclose(views[0], part.scores[2], atol=2e-3)
