"""From the rows of a table to timelines, and to files without collisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vidlabel.errors import OutputError, UsageError
from vidlabel.files.write import remove_leftovers
from vidlabel.results.formats.kinds import TIMELINE_FORMATS
from vidlabel.results.formats.timeline import Segment, Timeline
from vidlabel.results.record import Record, check_record
from vidlabel.results.timeline_files import TimelineOutput, sidecar
from vidlabel.results.timelines import Headers, timelines_of

MakeVideo = Callable[..., Path]


def row(path: str, label: str = "wave", **values: Any) -> Record:
    return check_record({"path": path, "label": label, **values}, "test")


def made(*rows: Record) -> tuple[tuple[Timeline, ...], Counter[str]]:
    return timelines_of(rows, Headers())


def write(
    out: Path, name: str, *timelines: Timeline, fps: float | None = None
) -> tuple[list[str], list[str]]:
    """The remarks, and the files below `out`."""
    output = TimelineOutput(name, out, fps)
    lines = output.write(timelines, Counter(), Headers())
    files = sorted(str(each.relative_to(out)) for each in out.rglob("*") if each.is_file())
    return lines, files


def some(path: str) -> Timeline:
    return Timeline(path, (Segment(0.0, 1.0, "wave"),))


# --- rows -----------------------------------------------------------------------------------------


def test_rows_of_a_video_need_not_follow_each_other() -> None:
    (first, second), left_out = made(
        row("a.mp4", "run", start_s=2, end_s=3, duration_s=9),
        row("b.mp4", start_s=0, end_s=9, duration_s=9),
        row("./a.mp4", "wave", start_s=0.5, end_s=4, confidence=0.25),
    )
    assert first.segments == (Segment(0.5, 4.0, "wave", 0.25), Segment(2.0, 3.0, "run"))
    assert (first.path, first.whole, second.path, second.whole) == ("a.mp4", False, "b.mp4", True)
    assert not left_out


def test_a_label_for_the_whole_video_is_told_from_a_segment() -> None:
    for times, whole in (
        ({"start_s": 0.0, "end_s": 2.9995, "duration_s": 3.0}, True),
        ({"start_s": 0.0, "end_s": 2.9, "duration_s": 3.0}, False),
        ({"start_s": 0.1, "end_s": 3.0, "duration_s": 3.0}, False),
        ({"start_s": 0.0, "end_s": 3.0}, False),  # of how long a video?
        ({}, True),
    ):
        ((timeline,), _) = made(row("absent.mp4", **times))
        assert timeline.whole is whole, times


def test_rows_without_a_label_to_show_are_counted() -> None:
    (timeline, failed), left_out = made(
        row("a.mp4", start_s=0, end_s=1),
        row("a.mp4", "uncertain", status="uncertain", start_s=1, end_s=2),
        row("b.mp4", "", status="failed", reason="not_video"),
    )
    assert [each.label for each in timeline.segments] == ["wave"]
    assert (failed.segments, failed.status, failed.reason) == ((), "failed", "not_video")
    assert left_out == {"uncertain": 1, "failed": 1}


def test_times_that_cannot_be_are_put_right_or_counted() -> None:
    ((timeline,), left_out) = made(
        row("a.mp4", "before", start_s=-1, end_s=0.5),
        row("a.mp4", "backwards", start_s=2, end_s=1),
        row("a.mp4", "all before", start_s=-2, end_s=-1),
        row("a.mp4", "open", start_s=3, end_s=None),
        row("a.mp4", "point", start_s=4, end_s=4),
    )
    assert timeline.segments == (Segment(0.0, 0.5, "before"), Segment(4.0, 4.0, "point"))
    assert left_out == {"ending before it starts": 2, "without an end": 1}


def test_a_missing_end_is_that_of_the_video(make_video: MakeVideo) -> None:
    path = str(make_video(frames=24, fps=12))
    ((whole,), _) = made(row(path))
    assert (whole.whole, whole.segments) == (True, (Segment(0.0, 2.0, "wave"),))
    ((part,), _) = made(row(path, start_s=1.5))
    assert (part.whole, part.segments) == (False, (Segment(1.5, 2.0, "wave"),))


def test_bytes_that_are_not_utf8_are_written_out(tmp_path: Path) -> None:
    ((timeline,), _) = made(row("caf\udce9.mp4", "\ud800x", start_s=0, end_s=1))
    for name, fmt in TIMELINE_FORMATS.items():
        out = tmp_path / f"x{fmt.suffix}"
        TimelineOutput(name, out, fps=25).write([timeline], Counter(), Headers())
        text = out.read_text(encoding="utf-8").replace("\\\\", "\\")
        assert "\\ud800x" in text, name
    assert timeline.path == "caf\\xe9.mp4"


# --- files ----------------------------------------------------------------------------------------


def test_files_mirror_the_paths_of_the_table(tmp_path: Path) -> None:
    lines, files = write(tmp_path, "srt", some("x/a.mp4"), some("y/a.mp4"), some("x/a.avi"))
    assert files == ["x/a.avi.srt", "x/a.mp4.srt", "y/a.mp4.srt"]
    assert lines == [f"srt: 3 files in {tmp_path}"]


def test_paths_outside_of_the_current_folder_mirror_what_they_share(tmp_path: Path) -> None:
    _, files = write(tmp_path, "vtt", some("/v/x/a.mp4"), some("/v/b.mp4"))
    assert files == ["b.mp4.vtt", "x/a.mp4.vtt"]
    _, files = write(tmp_path / "up", "vtt", some("../a.mp4"), some("../z/b.mp4"))
    assert files == ["a.mp4.vtt", "z/b.mp4.vtt"]


def test_names_of_different_case_and_long_names_do_not_collide(tmp_path: Path) -> None:
    long = "x" * 250
    names = ("a.mp4", "A.mp4", f"{long}1.mp4", f"{long}2.mp4")
    _, files = write(tmp_path, "srt", *map(some, names))
    assert len({name.casefold() for name in files}) == 4
    assert "a.mp4.srt" in files


def test_a_file_that_would_not_change_stays(tmp_path: Path) -> None:
    write(tmp_path, "eaf", some("a.mp4"), some("b.mp4"))
    before = {each: each.stat().st_mtime_ns for each in tmp_path.iterdir()}
    changed = Timeline("b.mp4", (Segment(0.0, 1.5, "run"),))
    write(tmp_path, "eaf", some("a.mp4"), changed)
    after = {each: each.stat().st_mtime_ns for each in tmp_path.iterdir()}
    assert [each.name for each in before if before[each] != after[each]] == ["b.mp4.eaf"]


@pytest.mark.parametrize("name", [each.name for each in TIMELINE_FORMATS.values() if each.one])
def test_a_video_that_has_lost_its_labels_has_no_old_ones(name: str, tmp_path: Path) -> None:
    none = Timeline("a.mp4", ())
    assert write(tmp_path, name, none)[1] == [], "no file for a video without labels"
    (file,) = write(tmp_path, name, some("a.mp4"), fps=25)[1]
    assert "wave" in (tmp_path / file).read_text()
    assert write(tmp_path, name, none)[1] == [file]
    assert "wave" not in (tmp_path / file).read_text()


def test_a_file_of_one_video_refuses_several(tmp_path: Path) -> None:
    out = tmp_path / "x.srt"
    TimelineOutput("srt", out).write([some("a.mp4")], Counter(), Headers())
    assert "wave" in out.read_text()
    with pytest.raises(UsageError, match=r"x\.srt: a file in the format srt holds one video"):
        TimelineOutput("srt", out).write([some("a.mp4"), some("b.mp4")], Counter(), Headers())
    with pytest.raises(UsageError, match=r"x\.txt: a file in the format srt holds one video"):
        TimelineOutput("srt", tmp_path / "x.txt").check(2)
    with pytest.raises(OutputError, match="cannot be created"):
        TimelineOutput("srt", out / "y").check()


def test_rows_are_left_out_with_one_line(tmp_path: Path) -> None:
    output = TimelineOutput("edl", tmp_path, fps=25)
    late = Timeline("a.mp4", (*some("a.mp4").segments, Segment(1.0, 90_000.0, "walk")))
    lines = output.write([late], Counter({"failed": 2}), Headers())
    assert lines[1] == "edl: 3 rows left out: 2 failed, 1 past 23 h"
    assert lines[2] == "edl: frames are counted at 25 fps, taken as constant"


def test_the_frame_rate_is_that_of_the_header(make_video: MakeVideo, tmp_path: Path) -> None:
    videos = [some(str(make_video(frames=24, fps=fps))) for fps in (12, 24)]
    lines, files = write(tmp_path, "edl", *videos)
    assert lines[1] == "edl: frames are counted at each video's mean rate, taken as constant"
    assert ["00:00:01:00 01:00:00:00" in (tmp_path / x).read_text() for x in files] == [True] * 2
    assert "|D:12" in (tmp_path / files[0]).read_text() + (tmp_path / files[1]).read_text()


def test_an_unknown_frame_rate_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.mp4 and 1 more video: the frame rate is.*--fps"):
        write(tmp_path, "edl", some("gone.mp4"), some("lost.mp4"))
    with pytest.raises(UsageError, match=r"120 frames per second.*counts 1 to 99\.5.*--fps"):
        write(tmp_path, "edl", some("gone.mp4"), fps=120)
    with pytest.raises(UsageError, match="--fps must be over 0"):
        TimelineOutput("edl", tmp_path, fps=0)
    whole = Timeline("gone.mp4", (Segment(0.0, 1.0, "wave"),), whole=True)
    assert write(tmp_path / "t", "label-studio", whole)[0], "a choice has no frames"


def test_sidecars_lie_beside_the_table() -> None:
    table = Path("out/labels.csv")
    found = {name: str(sidecar(name, table).out) for name in ("srt", "boris", "fiftyone")}
    assert found == {
        "srt": "out/labels_srt",
        "boris": "out/labels.boris",
        "fiftyone": "out/labels.fiftyone.json",
    }
    assert sidecar("srt", table, Path("x")).out == Path("x")
    assert sidecar("boris", table, Path("x")).out == Path("x/labels.boris")
    with pytest.raises(UsageError, match="--sidecar nonsense: unknown format; use srt, vtt"):
        sidecar("nonsense", table)


def test_leftovers_of_many_outputs_go(tmp_path: Path) -> None:
    from vidlabel.files.write import replacing

    left: list[str] = []
    for name in ("a.srt", "b.srt", "other.srt"):
        with replacing(tmp_path / name) as temporary:
            left.append(temporary.name)
    for name in left:  # as after a kill
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "a.srt", tmp_path / "b.srt")
    assert sorted(x.name for x in tmp_path.iterdir()) == sorted(
        ["a.srt", "b.srt", "other.srt", left[2]]
    )
