"""Captioned previews by `vidlabel render`, judged by decoding what it has made."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import fakes
import numpy as np
import pytest
import torch
import videos
from PIL import Image, ImageSequence
from places import ROOT
from torch import nn

from vidlabel import __version__
from vidlabel.cli.main import main
from vidlabel.clips.flow_stacks import with_flow
from vidlabel.clips.read import cut, read_time_steps
from vidlabel.errors import UsageError
from vidlabel.files.metadata_tag import read_tag, write_tag
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import Checkpoint, Header
from vidlabel.predict import labeller as predict
from vidlabel.render.album import names_of
from vidlabel.render.captions import COLOURS, Caption, Line, draw_caption
from vidlabel.render.labels import ModelLabels
from vidlabel.render.layout import STRIP
from vidlabel.render.spec import RenderOptions
from vidlabel.render.stream_bars import Bars, StreamPanel
from vidlabel.results.ledger import Ledger
from vidlabel.results.ledger_run import LastRun, RunSettings
from vidlabel.results.record import TableInfo
from vidlabel.results.tables import write_table
from vidlabel.specs import ClipSpec, Limits, ModelSpec, Prediction, Status, VideoItem
from vidlabel.video.write import write_preview

MakeVideo = Callable[..., Path]
Run = Callable[..., tuple[int, str]]
Row = tuple[str, float]
CPU = torch.device("cpu")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`vidlabel render ARGUMENTS` without a model, unless `fake_model` is there too."""

    def run(*arguments: object) -> tuple[int, str]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["vidlabel", "render", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return end.value.code, capfd.readouterr().err

    def no_model(*arguments: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(predict, "load_checkpoint", no_model)
    return run


@pytest.fixture
def fake_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`--model NAME` labels by colour; gives the names that were loaded."""
    loaded: list[str] = []

    def load(name: str, _classes: object) -> object:
        loaded.append(name)
        return fakes.colour_checkpoint()

    monkeypatch.setattr(predict, "load_checkpoint", load)
    return loaded


def plain(number: int, width: int, height: int) -> np.ndarray:
    """Grey, a little brighter from frame to frame."""
    return np.full((height, width, 3), 100 + number, dtype=np.uint8)


def labelled(path: object, label: str, confidence: float, *more: Row) -> Prediction:
    return Prediction(
        str(path), Status.OK, label, confidence, ((label, confidence), *more), 0.0, 1.0, 1.0, 4, "m"
    )


def table(out: Path, *rows: Prediction, excel_safe: bool = False) -> Path:
    """What `vidlabel predict` writes."""
    info = TableInfo("m", 3, __version__, excel_safe=excel_safe)
    write_table(rows, out, out.suffix[1:], info)
    return out


def frames(path: Path) -> np.ndarray:
    """(N, H, W, 3) uint8 RGB."""
    with av.open(str(path)) as container:
        return np.stack(
            [
                frame.to_ndarray(format="rgb24", src_colorspace=frame.colorspace)
                for frame in container.decode(video=0)
            ]
        )


def has(picture: np.ndarray, colour: tuple[int, ...]) -> bool:
    """Whether a good part of a picture is near a colour, whatever a codec has made of it."""
    return bool((np.abs(picture.astype(int) - colour[:3]).max(-1) < 40).sum() > 40)


# --- what is made ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", ["mp4", "gif"])
def test_a_caption_is_in_every_frame_and_nowhere_else(
    fmt: str, run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    path = make_video(draw=plain, frames=5, fps=10, size=(320, 240))
    labels = table(tmp_path / "l.csv", labelled(path, "shake_hands", 0.5))
    out = tmp_path / f"x.{fmt}"
    assert run(path, "--labels", labels, "--out", out) == (0, f"1 of 1 video rendered to {out}\n")
    seen = frames(out).astype(int)
    assert seen.shape == (5, 240, 320, 3)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        expected = ("h264", "yuv420p") if fmt == "mp4" else ("gif", "bgra")
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == expected
        assert container.duration / av.time_base == pytest.approx(0.5, abs=0.02)
    change = np.abs(seen - seen[..., :1, :1, :]).max(-1) > 30  # against the corner, which is bare
    assert not change[:, :190].any()
    for each in change[:, 210:]:
        assert each.mean() > 0.8, "the caption covers the foot of the frame"
    assert seen[0, 0, 0, 0] < seen[4, 0, 0, 0], "frames are not all the first one"
    assert has(seen[2, 195:], COLOURS[""])


def test_right_and_wrong_have_their_colours(
    run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    path = make_video(draw=plain, frames=2, size=(320, 240))
    labels = table(tmp_path / "l.csv", labelled(path, "hug", 0.8))
    truth = tmp_path / "truth.csv"
    for label, colour, other in (("hug", "right", "wrong"), ("kick", "wrong", "right")):
        truth.write_text(f"path,label\n{path},{label}\n")
        out = tmp_path / f"{label}.gif"
        assert run(path, "--labels", labels, "--truth", truth, "-o", out)[0] == 0
        seen = frames(out)[0]
        assert has(seen, COLOURS[colour])
        assert not has(seen, COLOURS[other])


@pytest.mark.field
def test_a_table_with_other_spellings_of_the_paths(
    run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    """Field 14: labels and truth of a table from another system find their videos."""
    path = shutil.copy(make_video(), tmp_path / "e\u0301.mp4")
    labels = table(tmp_path / "labels.csv", labelled(tmp_path / "\xe9.mp4", "walk", 0.9))
    (tmp_path / "truth.csv").write_text("path,label\n.\\\xe9.mp4,walk\n")
    arguments = (path, "--labels", labels, "--truth", tmp_path / "truth.csv")
    code, told = run(*arguments, "--out", tmp_path / "out.gif")
    assert code == 0
    assert told.count("1 found under another spelling: another Unicode form") == 2


def test_truth_from_a_folder_of_classes(run: Run, make_video: MakeVideo, tmp_path: Path) -> None:
    data = make_video(draw=plain, frames=2, size=(320, 240)).read_bytes()
    paths = [tmp_path / "in" / name / "a.mp4" for name in ("hug", "kick")]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    labels = table(tmp_path / "l.csv", *(labelled(path, "hug", 0.8) for path in paths))
    root, out = tmp_path / "in", tmp_path / "out"
    assert run(root, "--labels", labels, "--truth", root, "--out", out)[0] == 0
    assert has(frames(out / "hug/a.mp4.mp4")[0], COLOURS["right"])
    assert has(frames(out / "kick/a.mp4.mp4")[0], COLOURS["wrong"])


@pytest.mark.parametrize("size", [(128, 96), (64, 128), (16, 16)])
def test_small_frames_have_their_caption_below(
    size: tuple[int, int], run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    path = make_video(draw=plain, frames=2, size=size)
    label = "playing_a_very_long_game_with_many_friends" * 3
    labels = table(tmp_path / "l.csv", labelled(path, label, 0.8, ("hug", 0.1)))
    out = tmp_path / "x.gif"
    assert run(path, "--labels", labels, "--out", out, "--top-k", 2)[0] == 0
    seen = frames(out).astype(int)
    width, height = size
    assert seen.shape[2] == width
    assert height + 24 < seen.shape[1] < height + 80
    assert np.abs(seen[:, :height] - seen[:, :1, :1]).max() < 20, "the frame is all there"
    for edge in (seen[0, height:, 0], seen[0, -1]):
        assert np.abs(edge - STRIP).max() < 20, "nothing is cut off"


def test_portrait_by_rotation(run: Run, make_video: MakeVideo, tmp_path: Path) -> None:
    spec = {"draw": videos.corner_frame, "frames": 2, "size": (426, 240)}
    path = make_video(**spec, rotation=(-90, False, False))
    labels = table(tmp_path / "l.csv", labelled(path, "hug", 0.8))
    out = tmp_path / "x.mp4"
    assert run(path, "--labels", labels, "--out", out, "--width", 240)[0] == 0
    seen = frames(out)
    assert seen.shape[1:3] == (426, 240)
    assert videos.corners(seen[0][:300]) == "BRWG"
    assert has(seen[0][380:], COLOURS[""])


@pytest.mark.parametrize(
    "label", ["\u063a\u0636\u0628", "\u05d7\u05d9\u05d1\u05d5\u05e7", "\u63e1\u624b", "\udce9\x1b["]
)
def test_names_of_all_scripts(label: str, run: Run, make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(draw=plain, frames=2, size=(320, 240))
    labels = table(tmp_path / "l.jsonl", labelled(path, label, 0.8))
    out = tmp_path / "x.gif"
    assert run(path, "--labels", labels, "--out", out)[0] == 0
    assert has(frames(out)[0][195:, :200], (255, 255, 255))


def test_fewer_frames_keep_their_times(run: Run, make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(frames=30, fps=30)
    labels = table(tmp_path / "l.csv", labelled(path, "hug", 0.8))
    out = tmp_path / "x.mp4"
    assert run(path, "--labels", labels, "--out", out, "--fps", 10)[0] == 0
    with av.open(str(out)) as container:
        times = [float(f.pts * f.time_base) for f in container.decode(video=0)]
        assert container.duration / av.time_base == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(times, np.arange(10) / 10, atol=1e-4)
    shown = videos.read_barcodes(frames(out)[:, :48])
    assert shown == list(range(0, 30, 3))


def test_quality_and_loop(run: Run, make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(draw=videos.corner_frame, frames=3, size=(320, 240))
    labels = table(tmp_path / "l.csv", labelled(path, "hug", 0.8))
    sizes = []
    for quality in (0, 45):
        out = tmp_path / f"{quality}.mp4"
        assert run(path, "--labels", labels, "--out", out, "--quality", quality)[0] == 0
        sizes.append(out.stat().st_size)
    assert sizes[1] < 0.8 * sizes[0]
    for number, loop in ((8, "--no-loop"), (200, "--loop")):
        out = tmp_path / "x.gif"
        assert run(path, "--labels", labels, "-o", out, "--quality", number, loop)[0] == 0
        assert len(np.unique(frames(out).reshape(-1, 3), axis=0)) <= number
        with Image.open(out) as gif:
            assert gif.info.get("loop") == (None if loop == "--no-loop" else 0)
            assert sum(f.info["duration"] for f in ImageSequence.Iterator(gif)) == 300


def test_flow_has_a_caption_only_if_asked(run: Run, make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(draw=plain, frames=2, size=(320, 240))
    labels = table(tmp_path / "l.csv", labelled(path, "hug", 0.8))
    arguments = (path, "--flow", "wheel", "--device", "cpu", "--max-flow", 3)
    assert run(*arguments, "-o", tmp_path / "bare.gif")[0] == 0
    assert run(*arguments, "-o", tmp_path / "said.gif", "--labels", labels)[0] == 0
    bare, said = (frames(tmp_path / f"{name}.gif")[0] for name in ("bare", "said"))
    assert not has(bare[:, :320], COLOURS[""])
    assert has(said[195:, :320], COLOURS[""])
    assert np.abs(bare[:, 320:].astype(int) - said[:, 320:]).mean() < 5


# --- where labels come from -----------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl", "parquet", "ledger"])
@pytest.mark.parametrize("absolute", [False, True])
def test_every_table_of_predict_is_read(
    suffix: str, absolute: bool, run: Run, make_video: MakeVideo, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    path = Path("=a.mp4")  # what a spreadsheet would run
    path.write_bytes(make_video(draw=plain, frames=2, size=(320, 240)).read_bytes())
    labels = Path(f"l.{suffix}")
    row = labelled(path.absolute() if absolute else path, "hug", 0.5, ("a", 0.3), ("b", 0.2))
    if suffix == "ledger":
        with Ledger(labels) as ledger:
            item, last = VideoItem(0, row.path), LastRun("m", ("a", "b", "hug"), 3, 0.0)
            ledger.begin([item], RunSettings("m", 1, "fp32"), last, Limits())
            ledger.record(row)
    else:
        table(labels, row, excel_safe=True)
    assert run(path, "--labels", labels, "-k", 3, "--out", "x.gif") == (
        0, "1 of 1 video rendered to x.gif\n",
    )  # fmt: skip
    one = table(tmp_path / "other.csv", labelled(path, "hug", 0.5, ("a", 0.3), ("b", 0.2)))
    assert run(path, "--labels", one, "-k", 3, "--out", "y.gif")[0] == 0
    np.testing.assert_array_equal(frames(Path("x.gif")), frames(Path("y.gif")))


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("l.csv", "a,b\n1,2\n", "l.csv: no column label and path"),
        ("l.json", "{", "l.json: is not JSON"),
        ("l.jsonl", '{"path": "x", "status": "odd"}', "l.jsonl:1: status is 'odd'; it must be ok"),
        ("l.parquet", "no", "l.parquet: cannot be read: "),
        ("l.txt", "", "l.txt: unknown format; the file must end in .csv, .json"),
        ("l.csv", "path,status,label,confidence,reason\nx,ok,hug,1,\n", "has none of these videos"),
    ],
)
def test_a_table_that_is_none(
    name: str, text: str, why: str, run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    code, told = run(make_video(frames=2), "--labels", tmp_path / name, "-o", tmp_path / "x.gif")
    assert (code, why in told, told.count("\n")) == (2, True, 1), told


def test_a_model_labels_on_the_fly(fake_model: list[str], run: Run, tmp_path: Path) -> None:
    for colour in fakes.COLOURS:
        fakes.colour_video(tmp_path / "in" / colour / "x.mp4", colour)
    (tmp_path / "in" / "green" / "y.mp4").write_text("no video")
    arguments = (tmp_path / "in", "--truth", tmp_path / "in", "--device", "cpu", "--width", 320)
    out = tmp_path / "out"
    code, told = run(*arguments, "--out", out, "--model", "mine")
    assert (code, fake_model) == (1, ["mine"])
    assert told.endswith(f"3 of 4 videos rendered to {out}, 1 failed\n")
    assert told.startswith("error: ")
    assert "y.mp4" in told
    for colour in fakes.COLOURS:
        seen = frames(out / colour / "x.mp4.mp4")
        assert len(seen) == 12
        assert has(seen[5][200:], COLOURS["right"])
    code, told = run(*arguments, "--out", out)
    assert (code, fake_model) == (1, ["mine", "starter"])
    assert f"0 of 4 videos rendered to {out}, 1 failed, 3 kept" in told


# --- many videos, again and again -----------------------------------------------------------------


def test_a_video_without_a_label_is_shown_all_the_same(
    run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    data = make_video(draw=plain, frames=2, size=(320, 240)).read_bytes()
    root, out = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    for name in ("failed", "fine", "missing"):
        (root / f"{name}.mp4").write_bytes(data)
    (root / "broken.mp4").write_text("no video")
    failed = Prediction(str(root / "failed.mp4"), Status.FAILED, reason="timeout", detail="x: slow")
    labels = table(tmp_path / "l.csv", failed, labelled(root / "fine.mp4", "hug", 0.9))
    for _ in range(2):
        code, told = run(root, "--labels", labels, "--out", out)
        assert code == 1
        assert "1 failed, 2 without a label" in told
        assert told.startswith(f"error: {root}/broken.mp4: ")
    assert "1 of" not in told.splitlines()[0]
    shown = {path.name: frames(path)[0] for path in out.iterdir() if path.suffix == ".mp4"}
    assert sorted(shown) == ["failed.mp4.mp4", "fine.mp4.mp4", "missing.mp4.mp4"]
    foots = {name: picture[200:].astype(int) for name, picture in shown.items()}
    assert has(foots["fine.mp4.mp4"], COLOURS[""])
    for name in ("failed.mp4.mp4", "missing.mp4.mp4"):
        assert has(foots[name], (255, 255, 255))
        assert not has(foots[name], COLOURS[""]), "no bar"
    assert np.abs(foots["failed.mp4.mp4"] - foots["missing.mp4.mp4"]).max() > 100, "it says why"


def test_what_has_another_caption_is_made_again(
    run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    data = make_video(draw=plain, frames=2, size=(320, 240)).read_bytes()
    root, out = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    for name in "abc":
        (root / f"{name}.mp4").write_bytes(data)

    def rows(label: str, truth: str, *options: object) -> list[str]:
        """Which files have changed when b has this label and this truth."""
        labels = table(
            tmp_path / "l.csv",
            *(labelled(root / f"{name}.mp4", "hug", 0.9) for name in "ac"),
            labelled(root / "b.mp4", label, 0.8),
        )
        (tmp_path / "t.csv").write_text(f"path,label\nin/b.mp4,{truth}\n")
        before = {path: path.stat().st_mtime_ns for path in out.glob("*.gif")}
        code, _ = run(root, "--labels", labels, "--truth", tmp_path / "t.csv", "--out", out,
                      "--format", "gif", *options)  # fmt: skip
        assert code == 0
        return [
            p.name[0] for p in sorted(out.glob("*.gif")) if p.stat().st_mtime_ns != before.get(p)
        ]

    assert rows("hug", "hug") == ["a", "b", "c"]
    assert rows("hug", "hug") == []
    assert rows("kick", "hug") == ["b"]
    assert has(frames(out / "b.mp4.gif")[0], COLOURS["wrong"])
    assert rows("kick", "kick") == ["b"]
    assert has(frames(out / "b.mp4.gif")[0], COLOURS["right"])
    assert rows("kick", "kick", "--top-k", 2) == ["a", "b", "c"]
    assert rows("kick", "kick", "--top-k", 2) == []
    os.utime(root / "c.mp4", (1, 1))  # an older video in its place, as `cp -p` makes it
    assert rows("kick", "kick", "--top-k", 2) == ["c"]
    (out / "a.mp4.gif").write_bytes(b"GIF89a, but not ours")
    assert rows("kick", "kick", "--top-k", 2) == ["a"]


def test_the_same_files_whatever_the_number_of_threads(
    run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    root = tmp_path / "in"
    root.mkdir()
    rows = []
    for number in range(6):
        path = root / f"{number}.mp4"
        path.write_bytes(make_video(frames=4 + number, fps=25).read_bytes())
        rows.append(labelled(path, f"class_{number}", 0.1 * number))
    (root / "3.mp4").write_text("no video")
    (root / "5.mp4").write_text("no video either")
    labels = table(tmp_path / "l.json", *rows)
    told = []
    for workers in (1, 4):
        out = tmp_path / f"out{workers}"
        code, said = run(root, "--labels", labels, "--out", out, "-j", workers)
        assert code == 1
        told.append(said.replace(str(out), "OUT"))
    assert told[0] == told[1]
    assert [line.split(": ")[1] for line in told[0].splitlines()[:2]] == [
        str(root / "3.mp4"), str(root / "5.mp4"),
    ]  # fmt: skip
    for name in ("0.mp4.mp4", "1.mp4.mp4", "2.mp4.mp4", "4.mp4.mp4"):
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out4" / name).read_bytes()


@pytest.mark.parametrize("suffix", ["mp4", "gif", "png"])
def test_a_tag_changes_nothing_but_can_be_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    if suffix == "png":
        Image.fromarray(plain(0, 32, 32)).save(path)
    else:
        pictures = [plain(number * 9, 32, 32) for number in range(3)]
        write_preview(path, pictures, 10, pictures)
    assert read_tag(path) == ""
    before = frames(path)
    write_tag(path, "0123abcd")
    assert read_tag(path) == "0123abcd"
    np.testing.assert_array_equal(frames(path), before)
    if suffix != "mp4":
        with Image.open(path) as image:
            assert len(list(ImageSequence.Iterator(image))) == len(before)
    assert read_tag(tmp_path / "none.gif") == ""


# --- many videos in one picture -------------------------------------------------------------------


@pytest.fixture
def many(make_video: MakeVideo, tmp_path: Path) -> tuple[Path, Path]:
    """A folder of videos that differ in length, rate and form, one broken, and their labels."""
    root = tmp_path / "in"
    root.mkdir()
    specs = {
        "a": {"frames": 10, "fps": 10}, "b": {"frames": 4, "fps": 10},
        "c": {"frames": 8, "fps": 20, "size": (48, 96)}, "e": {"frames": 10, "fps": 10},
        "f": {"frames": 10, "fps": 10},
    }  # fmt: skip
    for name, spec in specs.items():
        (root / f"{name}.mp4").write_bytes(make_video(**spec).read_bytes())
    (root / "d.mp4").write_text("no video")
    rows = [labelled(root / f"{name}.mp4", name * 3, 0.5) for name in specs]
    return root, table(tmp_path / "l.csv", *rows)


@pytest.mark.parametrize("fmt", ["mp4", "gif"])
def test_a_grid_plays_all_at_their_own_speed(
    fmt: str, run: Run, many: tuple[Path, Path], tmp_path: Path
) -> None:
    root, labels = many
    names = [root / f"{name}.mp4" for name in "abc"]
    out = tmp_path / f"x.{fmt}"
    told = run(*names, "--labels", labels, "--grid", "2x2", "--width", 64, "--out", out)
    assert told == (0, f"3 of 3 videos in {out}\n")
    seen = frames(out)
    with av.open(str(out)) as container:
        assert container.duration / av.time_base == pytest.approx(1.0, abs=0.03)
    assert len(seen) == 20, "at the rate of the fastest, as long as the longest"
    cell = (seen.shape[1] - 4) // 2
    assert 48 + 20 < cell < 48 + 50
    assert seen.shape[2] == 64 + 4 + 64
    a, b, c, none = (
        seen[:, top : top + 48, left : left + 64] for top in (0, cell + 4) for left in (0, 68)
    )
    assert videos.read_barcodes(a) == [moment // 2 for moment in range(20)]
    assert videos.read_barcodes(b) == [moment // 2 % 4 for moment in range(20)], "again and again"
    narrow = c[:, :, 20:44]
    assert videos.read_barcodes(narrow) == [moment % 8 for moment in range(20)]
    assert c[:, :, :18].max() < 40, "black beside a narrow one"
    assert none.max() < 40
    for top, left in ((0, 0), (0, 68), (cell + 4, 0)):
        assert has(seen[7, top + 48 : top + cell, left : left + 64], COLOURS[""])


def test_more_videos_than_cells_are_several_grids(
    run: Run, many: tuple[Path, Path], tmp_path: Path
) -> None:
    root, labels = many
    out = tmp_path / "out"
    arguments = (root, "--labels", labels, "--grid", "1x3", "--width", 32, "--out", out)
    code, told = run(*arguments, "--max-seconds", 0.4)
    assert code == 1
    assert told.startswith(f"error: {root}/d.mp4: ")
    assert told.endswith(f"5 of 6 videos in {out}/grid-1.mp4 to grid-2.mp4, 1 failed\n")
    assert sorted(path.name for path in out.iterdir()) == ["grid-1.mp4", "grid-2.mp4"]
    assert [frames(out / f"grid-{n}.mp4").shape[2] for n in (1, 2)] == [104, 68], "no holes"
    with av.open(str(out / "grid-2.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(0.4, abs=0.01)


def test_a_grid_is_made_again_when_a_label_has_changed(
    run: Run, many: tuple[Path, Path], tmp_path: Path
) -> None:
    root, labels = many
    (root / "d.mp4").unlink()
    out = root / "all.gif"  # beside the videos: the next run must not take it for one
    arguments = (root, "--labels", labels, "--grid", "2x3", "--width", 32, "--out", out)
    assert run(*arguments) == (0, f"5 of 5 videos in {out}\n")
    before = out.read_bytes()
    own = "left out: 1 preview that vidlabel has made\n"
    assert run(*arguments) == (0, f"{own}{out} kept unchanged (--restart makes it again)\n")
    rows = [labelled(root / f"{name}.mp4", name * 3, 0.9) for name in "abcef"]
    table(labels, *rows)
    assert run(*arguments)[1] == f"{own}5 of 5 videos in {out}\n"
    assert out.read_bytes() != before


@pytest.mark.field
@pytest.mark.parametrize(
    ("album", "name"),
    [(("--grid", "2x3"), "x.gif"), (("--sheet", 2), "x.png"), ((), "folder")],
    ids=["grid", "sheet", "each"],
)
def test_what_was_made_of_moved_videos_is_kept_and_of_changed_ones_is_not(
    album: tuple[object, ...], name: str, run: Run, many: tuple[Path, Path], tmp_path: Path
) -> None:
    """Field 5: a preview belongs to videos of a name, size and time, wherever they are."""
    root, labels = many
    (root / "d.mp4").unlink()
    out = tmp_path / name
    arguments = ("--labels", labels, *album, "--width", 32, "--out", out)
    assert run(root, *arguments)[0] == 0
    place = tmp_path / "elsewhere" / "deeper"
    place.parent.mkdir()
    root.rename(place)
    table(labels, *(labelled(place / f"{each}.mp4", each * 3, 0.5) for each in "abcef"))
    assert "kept unchanged (--restart" in run(place, *arguments)[1]
    older = (place / "b.mp4").stat().st_mtime_ns - 10**12  # older than what was made of it
    (place / "a.mp4").write_bytes((place / "b.mp4").read_bytes())
    os.utime(place / "a.mp4", ns=(older, older))
    told = run(place, *arguments)[1]
    assert told.startswith(f"{5 if album else 1} of 5 videos ")


def test_a_sheet_has_a_row_for_each_video(
    run: Run, many: tuple[Path, Path], tmp_path: Path
) -> None:
    root, labels = many
    out = tmp_path / "x.png"
    code, told = run(root, "--labels", labels, "--sheet", 5, "--width", 100, "--out", out)
    assert (code, told.splitlines()[-1]) == (1, f"5 of 6 videos in {out}, 1 failed")
    with Image.open(out) as image:
        assert image.format == "PNG"
        page = np.asarray(image.convert("RGB"))
    assert page.shape[1:] == (160 + 5 * 104, 3)
    step = (len(page) + 4) // 5
    assert 4 + 75 + 12 < step < 4 + 75 + 36, "times are below the frames"
    for row, shown in ((0, [1, 3, 5, 7, 9]), (1, [0, 1, 2, 2, 3]), (2, [0, 2, 4, 5, 7])):
        top = row * step
        assert has(page[top : top + 75, :160], COLOURS[""])
        stills = [page[top : top + 75, 164 + 104 * n : 264 + 104 * n] for n in range(5)]
        stills = [still[:, 31:69] if row == 2 else still for still in stills]
        assert videos.read_barcodes(stills) == shown
    assert run(root, "--labels", labels, "--sheet", 5, "--out", tmp_path / "out")[0] == 1
    assert (tmp_path / "out" / "sheet.png").is_file()


def strip(text: str, width: int) -> np.ndarray:
    """One line of plain text below a picture, (h, width, 3)."""
    return draw_caption(Caption((Line(text),)), width, 1, below=True).rgba[..., :3]


@pytest.mark.field
@pytest.mark.parametrize(
    ("how", "count", "times"),
    [
        ({"frames": 10, "fps": 10}, 5, ["0.1 s", "0.3 s", "0.5 s", "0.7 s", "0.9 s"]),
        ({"frames": 3, "pts_ms": (0, 700, 900)}, 2, ["0.0 s", "0.7 s"]),  # not index over rate
        ({"frames": 3, "pts_ms": (0, 62_500, 3_723_400)}, 2, ["1:02.5", "1:02.5"]),
        ({"frames": 3, "pts_ms": (0, 3_723_400, 3_800_000)}, 3, ["0.0 s", "0.0 s", "0.0 s"]),
        ({"frames": 4, "pts_ms": (0, 3_600_000, 3_723_400, 7_000_000)}, 4,
         ["0.0 s", "0.0 s", "1:02:03.4", "1:02:03.4"]),
    ],
)  # fmt: skip
def test_a_sheet_says_when_each_frame_is(
    how: dict[str, object], count: int, times: list[str], run: Run, make_video: MakeVideo,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Field 22: the frames of a sheet had no times."""
    path, out = make_video(**how), tmp_path / "x.png"
    labels = table(tmp_path / "l.csv", labelled(path, "hug", 0.5))
    run(path, "--labels", labels, "--sheet", count, "--width", 100, "--out", out)
    page = np.asarray(Image.open(out).convert("RGB"))
    for number, time in enumerate(times):
        expected = strip(time, 100)
        left = 164 + 104 * number
        np.testing.assert_array_equal(page[75 : 75 + len(expected), left : left + 100], expected)


@pytest.mark.field
@pytest.mark.parametrize(
    "names",
    [("a.mp4", "b.mp4"), ("walk/001.mp4", "run/001.mp4"), ("train/walk/1.mp4", "val/walk/1.mp4")],
)
@pytest.mark.parametrize("kind", ["--grid", "--sheet"])
def test_each_video_of_an_album_is_named(
    kind: str, names: tuple[str, str], run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    """Field 22: a grid had no file names; where they are equal, they need their folders."""
    rows = []
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(make_video(draw=plain, frames=2, size=(160, 120)), tmp_path / "in" / name)
        rows.append(labelled(tmp_path / "in" / name, "hug", 0.5))
    labels = table(tmp_path / "l.csv", *rows)
    how, suffix = ("1x2", "gif") if kind == "--grid" else (2, "png")
    out = tmp_path / f"x.{suffix}"
    assert run(tmp_path / "in", "--labels", labels, kind, how, "--width", 160, "-o", out)[0] == 0
    page = frames(out)[0] if suffix == "gif" else np.asarray(Image.open(out).convert("RGB"))
    parts = np.split(page[:, [*range(160), *range(164, 324)]], 2, axis=1)
    if suffix == "png":
        parts = [page[: (len(page) - 4) // 2, :256], page[(len(page) + 4) // 2 :, :256]]
    for part, name in zip(parts, sorted(names), strict=True):
        written = strip(name, part.shape[1])
        places = [
            np.abs(part[top:][: len(written)].astype(int) - written).mean()
            for top in range(len(part) - len(written) + 1)
        ]
        other = np.abs(written.astype(int) - strip("zzzzz", part.shape[1])).mean()
        assert min(places) < 0.2 * other, "it is written there"


def test_names_of_the_album_are_short_and_differ() -> None:
    assert names_of(["in/a.mp4", "x/b.mp4"]) == {"in/a.mp4": "a.mp4", "x/b.mp4": "b.mp4"}
    paths = ["/d/in/x/a.mp4", "/d/in/y/a.mp4", "/d/in/b.mp4"]
    assert list(names_of(paths).values()) == ["x/a.mp4", "y/a.mp4", "b.mp4"]
    assert names_of(["a.mp4", "a.mp4"]) == {"a.mp4": "a.mp4"}


@pytest.mark.field
@pytest.mark.parametrize("name", ["wave both hands", "cutting in kitchen", "shake hands"])
def test_the_picture_in_the_readme_cuts_no_label(name: str) -> None:
    """Field 22: it said `wave...hands`. The command is in examples/README.md."""
    told = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    (width,) = map(int, re.findall(r"render examples/clips --grid 3x6 --width (\d+)", told))
    with Image.open(ROOT / "examples" / "previews.gif") as image:
        # A picture whose sides are rounded can be a pixel wider than asked for.
        assert 6 * width <= image.width - 5 * 4 <= 6 * (width + 1)
    shown = draw_caption(Caption((Line(name, 1.0),)), width, 1, below=True).rgba
    whole = draw_caption(Caption((Line(name),)), 1000, 1, below=True).rgba
    columns = np.flatnonzero((whole != whole[0, 0]).any((0, 2)))
    rows = slice(0, len(whole) - 5)  # above the bar
    np.testing.assert_array_equal(shown[rows, : columns[-1] + 1], whole[rows, : columns[-1] + 1])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--grid", "3", "-o", "x.gif"], "--grid is ROWSxCOLUMNS, such as 2x3; got 3"),
        (["--grid", "0x3", "-o", "x.gif"], "--grid must be 1x1 to 100x100"),
        (["--grid", "1x3", "-o", "x.png"], "--out x.png: a grid is a .mp4 or .gif"),
        (["--sheet", "3", "-o", "x.gif"], "--out x.gif: a sheet is a .png"),
        (["--sheet", "0", "-o", "x.png"], "--sheet must be 1 to 100, got 0"),
        (["--sheet", "3", "--grid", "1x2", "-o", "x.png"], "are different pictures; choose one"),
        (["--sheet", "3", "--format", "gif", "-o", "x"], "--sheet is a .png"),
    ],
)
def test_wrong_usage_of_grids(
    arguments: list[str], why: str, run: Run, many: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    root, labels = many
    monkeypatch.chdir(root)
    code, told = run(root, "--labels", labels, *arguments)
    assert (code, told.count("\n")) == (2, 1), told
    assert why in told


# --- what two streams say -------------------------------------------------------------------------

STREAMS = ClipSpec(frames=2, size_px=32, resize_px=36, input="rgb+flow", step_s=0.0, pairs=1)


@pytest.fixture(scope="module")
def two_streams() -> Checkpoint:
    """A two-stream model with random weights, decided by what it sees."""
    torch.manual_seed(0)
    small = "shufflenet_v2_x0_5"
    spec = ModelSpec("two-stream", classes=7, trunk=small, flow_trunk=small, flow_weight=0.3)
    network = build_model(spec, STREAMS)
    with torch.no_grad():
        for module in network.trunk.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        network.train()(torch.randint(0, 255, (8, *STREAMS.shape), dtype=torch.uint8))
        for name, weight in network.classify.named_parameters():
            weight.mul_(20 if "weight" in name else 1)
    header = Header(spec, STREAMS, tuple(f"class_{k}" for k in range(7)))
    return Checkpoint("streams", header, network.eval(), "0" * 64)


def test_the_panel_says_what_each_stream_says(
    two_streams: Checkpoint, make_video: MakeVideo
) -> None:
    path = str(make_video(frames=20, fps=10))
    panel = StreamPanel(two_streams, CPU, "fp32")
    times_s, streams = panel.probabilities(path, 1.3)
    assert times_s == pytest.approx([0.125, 0.375, 0.625, 0.875, 1.125])
    spatial, temporal, both = streams.values()
    assert spatial.shape == (5, 7)
    np.testing.assert_allclose(both, 0.7 * spatial + 0.3 * temporal, atol=1e-4)
    assert np.abs(spatial - temporal).max() > 0.1
    assert np.abs(np.diff(spatial, axis=0)).max() > 0.01, "moments differ"
    # A clip of 8 steps over all of the video has the moments of 4 a second.
    clip = replace(STREAMS, frames=8)
    steps = with_flow(
        torch.from_numpy(read_time_steps(path, clip, 1, Limits()).clips[0]), clip, CPU
    )
    with torch.no_grad():
        plain = two_streams.network(torch.from_numpy(cut(steps[:, None].numpy(), clip, 1)))
    np.testing.assert_allclose(both, plain.softmax(1).numpy()[:5], atol=1e-3)


def test_bars_follow_the_moments_and_keep_their_places() -> None:
    rows = np.array([[0.1, 0.6, 0.3], [0.1, 0.2, 0.7]], dtype=np.float32)
    streams = {"a": rows, "b": rows[::-1]}
    bars = Bars([0.5, 1.5], streams, ("x", "y", "z"), 404)
    pictures = [plain(n, 404, 10) for n in range(4)]
    shown = list(bars.below(pictures, [0.0, 0.9, 1.1, 9.0]))
    for picture, bare in zip(shown, pictures, strict=True):
        np.testing.assert_array_equal(picture[:10], bare)
    first, same, second, last = (picture[10:] for picture in shown)
    assert (first == same).all()
    assert (second == last).all()
    for column, lengths in ((first[:, :200], (0.3, 0.6, 0.1)), (second[:, :200], (0.7, 0.2, 0.1))):
        blue = (column == COLOURS[""][:3]).all(-1).sum(1)
        track = int((column != STRIP).any(-1).sum(1).max())
        found = [int(n) for n, before in zip(blue[1:], blue, strict=False) if n and n != before]
        assert found == pytest.approx([track * length for length in lengths], abs=3)


def test_a_panel_is_below_the_video_and_its_flow(
    two_streams: Checkpoint, run: Run, make_video: MakeVideo, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(predict, "load_checkpoint", lambda name, _: two_streams)
    path, out = make_video(draw=plain, frames=4, size=(320, 240)), tmp_path / "x.gif"
    arguments = (path, "--panel", "--model", "mine", "--device", "cpu", "--max-flow", 3)
    assert run(*arguments, "--out", out) == (0, f"1 of 1 video rendered to {out}\n")
    seen = frames(out)
    assert seen.shape[0] == 4
    assert seen.shape[2] == 644
    assert seen.shape[1] > 240 + 100
    assert has(seen[0][200:240, :320], COLOURS[""]), "the caption"
    for left in (0, 216, 432):
        assert has(seen[0][240:, left : left + 210], COLOURS[""])
    assert "1 kept" in run(*arguments, "--out", out)[1]


@pytest.mark.usefixtures("fake_model")
def test_a_panel_needs_two_streams(run: Run, make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(frames=2)
    code, told = run(path, "--panel", "--device", "cpu", "-o", tmp_path / "x.gif")
    assert (code, "only a two-stream model has streams to show" in told) == (2, True), told
    code, told = run(path, "--panel", "--stream", "spatial", "-o", tmp_path / "x.gif")
    assert (code, "it goes with --flow alone" in told) == (2, True), told


def test_captions_among_some_classes(make_video: MakeVideo) -> None:
    labeller = predict.Labeller(fakes.colour_checkpoint(), "cpu")
    items = [VideoItem(0, str(make_video(frames=4)))]
    every, some = ModelLabels(labeller, 3), ModelLabels(labeller, 3, ("red,blue",))
    (whole,), (row,) = every.rows(items), some.rows(items)
    assert {name for name, _ in row.top} == {"blue", "red"}
    of = dict(whole.top)
    assert row.confidence == pytest.approx(max(of["blue"], of["red"]) / (of["blue"] + of["red"]))
    assert some.key(items[0]) != every.key(items[0]), "else the old preview would be kept"
    assert some.told.startswith("among 2 of 3 classes")
    for others in ({"labels": Path("x.csv")}, {"panel": True}):
        with pytest.raises(UsageError, match="--classes"):
            RenderOptions(["x"], Path("y"), classes=("red,blue",), **others)
