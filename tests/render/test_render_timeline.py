"""Previews of videos with segments by `vidlabel render`, judged by decoding what it has made."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import videos
from PIL import Image

from vidlabel.render.captions import Caption, Line
from vidlabel.render.class_colours import HUES, UNCERTAIN_PAINT, paints
from vidlabel.render.labels import TableLabels
from vidlabel.render.layout import STRIP
from vidlabel.render.spec import RenderSpec
from vidlabel.render.stretch import LONGEST_S, Stretch, StretchFrames
from vidlabel.render.timeline import MOST_ROWS, Segment, Timeline
from vidlabel.render.timeline_strip import Span, TimelineStrip
from vidlabel.render.timeline_view import TimelineView
from vidlabel.specs import VideoItem
from vidlabel.video import reader
from vidlabel.video.reader import open_video

MakeVideo = Callable[..., Path]
Run = Callable[..., tuple[int, str]]
Row = tuple[str, float, float]
SIZE = (320, 240)


def grey(number: int, width: int, height: int) -> np.ndarray:
    """Neither white nor a colour of a class."""
    del number
    return np.full((height, width, 3), 100, dtype=np.uint8)


@pytest.fixture(scope="module")
def long_video(make_video: MakeVideo) -> Path:
    return make_video(frames=60, fps=10, size=SIZE, draw=grey)


@pytest.fixture(scope="module")
def counted(make_video: MakeVideo) -> Path:
    """Each frame shows its number."""
    return make_video(frames=60, fps=10, size=SIZE, gop=8, bf=2)


def table(out: Path, rows: Sequence[tuple[object, str, float, float, float, str]]) -> Path:
    """Rows: path, label, confidence, start_s, end_s, status; all videos last 6 s."""
    lines = ["path,label,confidence,start_s,end_s,status,duration_s"]
    lines += [",".join(map(str, row)) + ",6.0" for row in rows]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return out


def segments(out: Path, path: object, *rows: Row) -> Path:
    return table(out, [(path, label, 0.9, start, end, "ok") for label, start, end in rows])


def timeline(*rows: Row) -> Timeline:
    looks = paints(label for label, *_ in rows)
    return Timeline.of(
        Segment(start, end, label, Caption((Line(label, 0.9, looks[label]),)), looks[label])
        for label, start, end in rows
    )


def look(path: Path, times_s: Sequence[float]) -> np.ndarray:
    """The frames of a preview at some of its times, (N, H, W, 3)."""
    with open_video(str(path)) as video:
        info = video.info()
        return video.frames_at(times_s, min(info.width_px, info.height_px)).pixels


def near(pixels: np.ndarray, colour: Sequence[int]) -> np.ndarray:
    return np.abs(pixels.astype(int) - np.array(colour)).max(-1) < 40


def playhead(picture: np.ndarray) -> float:
    """Where the line is, as a share of the width: the columns that are white along the strip."""
    strip = picture[SIZE[1] + 6 : SIZE[1] + 18]
    columns = np.flatnonzero((strip.min(-1) > 200).mean(0) > 0.8)
    assert 1 <= columns.size <= 4
    return float(columns.mean()) / picture.shape[1]


# --- one preview of each video --------------------------------------------------------------------


@pytest.mark.parametrize("fmt", ["mp4", "gif"])
def test_the_caption_follows_the_segments(
    fmt: str, render: Run, long_video: Path, tmp_path: Path
) -> None:
    labels = segments(tmp_path / "l.csv", long_video, ("kick", 1.0, 2.5), ("wave", 3.0, 6.0))
    out = tmp_path / f"x.{fmt}"
    code, said = render(long_video, "--labels", labels, "-o", out, "--fps", 10)
    assert (code, said) == (0, f"1 of 1 video rendered to {out}\n")
    times_s = [0.5, 0.95, 1.05, 2.45, 2.65, 2.95, 3.05, 5.85]
    seen = look(out, times_s)
    assert seen.shape[1] > SIZE[1] + 20, "the strip is below"
    kick, wave = HUES[0], HUES[1]
    shown = []
    for picture in seen:
        caption = picture[200 : SIZE[1]]
        colours = [near(caption, colour).sum() > 60 for colour in (kick, wave)]
        shown.append({(True, False): "kick", (False, True): "wave"}.get((*colours,), "-"))
    assert shown == ["-", "-", "kick", "kick", "-", "-", "wave", "wave"]
    for picture, time_s in zip(seen, times_s, strict=True):
        assert playhead(picture) == pytest.approx(time_s / 6, abs=0.03)
        strip = picture[SIZE[1] :]
        assert near(strip, kick).any(), "all classes, at all times"
        assert near(strip, wave).any()


def test_a_table_of_whole_clips_has_no_strip(render: Run, long_video: Path, tmp_path: Path) -> None:
    labels = segments(tmp_path / "l.csv", long_video, ("kick", 0.0, 6.0))
    assert render(long_video, "--labels", labels, "-o", tmp_path / "x.mp4", "--fps", 2)[0] == 0
    assert look(tmp_path / "x.mp4", [1.0]).shape[1:3] == SIZE[::-1]


def test_a_long_video_is_shown_within_a_minute(make_video: MakeVideo) -> None:
    path = make_video(frames=150, fps=1, size=(64, 48))
    item, spec = VideoItem(0, str(path)), RenderSpec(fps=2)
    frames = StretchFrames(item, None, spec, Stretch())
    assert frames.speed == 3
    assert frames.end_s == pytest.approx(50)
    assert frames.end_s <= LONGEST_S
    numbers = [
        videos.read_barcode(pixels)
        for count, pixels in frames.at(frames.moments_s) for _ in range(count)
    ]  # fmt: skip
    assert numbers == [int(n / 2 * 3 + 1e-6) for n in range(100)]


@pytest.mark.parametrize("walk_bytes", [0, reader.WALK_BYTES])
@pytest.mark.parametrize("kind", [(".mp4", "libx264"), (".mkv", "libx264"), (".avi", "mpeg4")])
def test_a_stretch_is_that_of_decoding_everything(
    walk_bytes: int, kind: tuple[str, str], make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "WALK_BYTES", walk_bytes)
    suffix, codec = kind
    path = make_video(
        suffix=suffix, codec=codec, frames=40, fps=10, bf=2, gop=7, draw=videos.barcode
    )
    stretch = Stretch(1.25, 3.3, 1.0)
    frames = StretchFrames(VideoItem(0, str(path)), None, RenderSpec(), stretch)
    shown = [videos.read_barcode(p) for n, p in frames.at(frames.moments_s) for _ in range(n)]
    with open_video(str(path)) as video:
        truth = video.frames_at([frames.true_s(each) + 0.01 for each in frames.moments_s], 48)
    assert frames.fps == pytest.approx(10)
    assert shown == videos.read_barcodes(truth.pixels)
    assert len(shown) in (20, 21)


def test_speed_of_a_whole_clip(render: Run, counted: Path, tmp_path: Path) -> None:
    labels = table(tmp_path / "l.csv", [(counted, "kick", 0.9, 0, 6, "ok")])
    out = tmp_path / "x.mp4"
    assert render(counted, "--labels", labels, "-o", out, "--speed", 4, "--max-seconds", 4)[0] == 0
    with open_video(str(out)) as video:
        assert video.duration_s == pytest.approx(1.0)
    upper = look(out, [0.0, 0.55, 0.95])[:, : SIZE[1] // 2]
    assert np.abs(upper[0].astype(int) - upper[1]).max() > 100, "other frames"


def test_it_is_made_again_when_a_segment_moves(
    render: Run, long_video: Path, tmp_path: Path
) -> None:
    labels, out = tmp_path / "l.csv", tmp_path / "x.mp4"
    command = (long_video, "--labels", labels, "-o", out, "--fps", 2, "--width", 64)
    segments(labels, long_video, ("kick", 1.0, 2.5))
    assert render(*command)[1].startswith("1 of 1 video rendered")
    assert "kept unchanged" in render(*command)[1]
    segments(labels, long_video, ("kick", 1.0, 2.6))
    assert render(*command)[1].startswith("1 of 1 video rendered")


def test_grids_and_sheets_follow_too(render: Run, long_video: Path, tmp_path: Path) -> None:
    labels = segments(tmp_path / "l.csv", long_video, ("kick", 0.0, 3.0), ("wave", 3.0, 6.0))
    grid, sheet = tmp_path / "g.mp4", tmp_path / "s.png"
    assert render(long_video, "--labels", labels, "-o", grid, "--grid", "1x1", "--fps", 5)[0] == 0
    first, last = look(grid, [1.0, 5.0])
    foot = slice(180, SIZE[1])
    assert near(first[foot], HUES[0]).sum() > 60 > near(first[foot], HUES[1]).sum()
    assert near(last[foot], HUES[1]).sum() > 60 > near(last[foot], HUES[0]).sum()
    assert abs(playhead(last) - playhead(first) - 4 / 6) < 0.04
    assert render(long_video, "--labels", labels, "-o", sheet, "--sheet", 2)[0] == 0
    page = np.asarray(Image.open(sheet).convert("RGB"))
    left, right = page[120:-40, 260:420], page[120:-40, 424:]
    for part, shown in ((left, [True, False]), (right, [False, True]), (page[-40:], [True, True])):
        assert [near(part, colour).any() for colour in HUES[:2]] == shown


# --- the parts ------------------------------------------------------------------------------------


def test_segments_on_screen_and_their_rows() -> None:
    some = timeline(("a", 0, 4), ("b", 2, 6), ("c", 3, 5), ("d", 3.5, 8), ("a", 9, 10))
    shown = ["".join(each.label for each in some.at(t)) for t in (0, 1.9, 2, 3.6, 4, 8, 9.9, 10)]
    assert shown == ["a", "a", "ab", "abcd", "bcd", "", "a", ""]
    assert len(some.rows) == MOST_ROWS
    for row in some.rows[:-1]:
        assert all(first.end_s <= later.start_s for first, later in pairwise(row))
    assert sorted(x.label for row in some.rows for x in row) == ["a", "a", "b", "c", "d"]


def luminance(colour: Sequence[int]) -> float:
    """Relative luminance by WCAG 2.2."""
    parts = np.array(colour) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("colour", [*HUES, UNCERTAIN_PAINT.colour])
def test_colours_have_contrast(colour: tuple[int, int, int]) -> None:
    light = luminance(colour) + 0.05
    assert light / 0.05 >= 4.5, "with black text"
    assert light / (luminance(STRIP) + 0.05) >= 3, "with what is around"


def test_every_class_has_its_own_look() -> None:
    looks = paints(f"class {number}" for number in range(3 * len(HUES)))
    assert len({*looks.values()}) == len(looks)
    assert looks == paints(reversed([*looks])), "whatever the order"


@pytest.mark.parametrize("width", [16, 48, 216, 640, 1280])
@pytest.mark.parametrize("count", [1, 5, 60])
def test_a_strip_of_any_width(width: int, count: int) -> None:
    names = (
        "kick",
        "a_very_long_class_name_that_does_not_end",
        "\u8d70\u308b",
        "\u0645\u0634\u064a",
    )
    labels = [f"{names[n % 4]}{n // 4 % 6}" for n in range(count)]
    some = timeline(*((label, n, n + 0.8) for n, label in enumerate(labels)))
    strip = TimelineStrip(some, Span(0, count), width, 12)
    assert strip.height < 120
    pages = [strip.at(time_s) for time_s in (0, count / 2, count)]
    assert {page.shape for page in pages} == {(strip.height, width, 3)}
    assert not np.array_equal(pages[0], pages[-1])


def test_pictures_have_one_size_whatever_is_on_screen() -> None:
    some = timeline(("a", 0, 4), ("b", 2, 6), ("c", 3, 5), ("\u0915\u0942", 7, 8))
    for size in ((320, 240), (120, 90)):
        view = TimelineView(some, size, Span(0, 10))
        blank = np.zeros((size[1], size[0], 3), dtype=np.uint8)
        shapes = {view.onto(blank, time_s).shape for time_s in np.arange(0, 10, 0.5)}
        assert shapes == {(size[1] + view.extra_px, size[0], 3)}


def test_uncertain_segments_are_hollow(tmp_path: Path, long_video: Path) -> None:
    labels = table(
        tmp_path / "l.csv",
        [
            (long_video, "uncertain", 0.3, 1, 2, "uncertain"),
            (long_video, "uncertain", 0.9, 3, 4, "ok"),  # a class may be called so
        ],
    )
    read = TableLabels(labels)
    first, second = read.segments(VideoItem(0, str(long_video)))
    assert read.paint(first).hollow
    assert not read.paint(second).hollow


def test_a_segment_that_ends_before_it_begins_costs_a_line(
    render: Run, long_video: Path, tmp_path: Path
) -> None:
    labels = segments(tmp_path / "l.csv", long_video, ("kick", 3.0, 2.0), ("wave", 1.0, 2.0))
    out = tmp_path / "x.mp4"
    code, said = render(long_video, "--labels", labels, "-o", out, "--fps", 2, "--width", 64)
    assert code == 0
    assert "1 segment left out, as end_s is not after start_s" in re.sub(r"\s+", " ", said)
