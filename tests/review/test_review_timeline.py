"""`vidlabel review` of segments: what the page is told, clips of whole videos, and the strip in a
real browser."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import videos
from browser import CONTRAST, Page, wait_for

from vidlabel.cli.main import main
from vidlabel.errors import VideoError
from vidlabel.results.record import check_record
from vidlabel.review.job import ReviewSpec, review_table
from vidlabel.review.page import PageRow, page
from vidlabel.review.previews import make_track, track_fps

MakeVideo = Callable[..., Path]

EVIL = '<img src=x onerror="window.hacked=1">'
FPS = 10


def segment(label: str, start_s: float | None, end_s: float | None, path: str = "a.mp4", **more):
    values = {"path": path, "label": label, "start_s": start_s, "end_s": end_s, "confidence": 0.5}
    return check_record(values | more, "here")


def told(path: Path) -> dict[str, Any]:
    """What a page tells its script."""
    text = path.read_text(encoding="utf-8")
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert match
    return json.loads(match[1])


# --- what the page is told ------------------------------------------------------------------------


def write(folder: Path, make_video: MakeVideo) -> Path:
    """A table of two videos of 12 s, one with three segments, and one that is missing."""
    for name in ("a.mp4", "b c.mp4"):
        shutil.copy(make_video(frames=120), folder / name)
    path = folder / "labels.csv"
    path.write_text(
        "path,status,label,confidence,start_s,end_s\n"
        "a.mp4,ok,run,0.9,6.000,9.000\nb c.mp4,ok,walk,0.8,,\na.mp4,ok,walk,0.7,1.000,6.000\n"
        "a.mp4,uncertain,uncertain,0.2,8.000,99.000\nnone.mp4,failed,,,,\n"
    )
    return path


@pytest.fixture
def table(make_video: MakeVideo, tmp_path: Path) -> Path:
    return write(tmp_path, make_video)


def test_each_video_is_shown_once(table: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert review_table(ReviewSpec(table, with_clips=False)) == 1
    assert "with 2 of 3 previews, 1 failed" in capfd.readouterr().err
    data = told(table.with_suffix(".html"))
    first, second, third = data["rows"]
    assert data["timeline"]
    assert first["segments"] == [[1, 6, "walk", 0.7], [6, 9, "run", 0.9], [8, 12, "", 0.2]]
    assert (first["duration"], first["fps"]) == (12, FPS)
    assert second["segments"] == [[0, 12, "walk", 0.8]], "a row without times is the whole video"
    assert ("segments" in third, third["status"]) == (False, "failed")
    digest = data["digest"]
    assert review_table(ReviewSpec(table, with_clips=False)) == 1
    assert "2 of them kept unchanged" in capfd.readouterr().err
    again = told(table.with_suffix(".html"))
    assert again["rows"][0]["duration"] == 12
    assert again["digest"] == digest
    table.write_text(table.read_text().replace("9.000", "9.100"))
    review_table(ReviewSpec(table, with_clips=False), quiet=True)
    assert told(table.with_suffix(".html"))["digest"] != digest, "corrections are of other segments"


def test_one_segment_a_video_is_a_strip_on_request(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.write_text("path,label,start_s,end_s\na.mp4,walk,1,6\nb c.mp4,run,2,3\n")
    for flag, is_timeline in (("--quiet", False), ("--timeline", True)):
        words = ["vidlabel", "review", "--no-clips", flag, str(table)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
        data = told(table.with_suffix(".html"))
        assert data["timeline"] is is_timeline
        assert ("part" in data["rows"][0]) is not is_timeline


# --- the clip of a whole video --------------------------------------------------------------------


def test_the_time_in_a_clip_is_the_time_in_the_video(make_video: MakeVideo, tmp_path: Path) -> None:
    """Of a rate that varies: on screen is what a player would show."""
    pts_ms = (0, 100, 200, 700, 800, 1500, 1600, 1700)
    path = make_video(frames=len(pts_ms), pts_ms=pts_ms)
    files = make_track(str(path), True, lambda: True)
    assert files[".jpg"][:2] == b"\xff\xd8"
    (tmp_path / "x.mp4").write_bytes(files[".mp4"])
    with av.open(str(tmp_path / "x.mp4")) as container:
        shown = [
            (frame.time, videos.read_barcode(frame.to_ndarray(format="rgb24")))
            for frame in container.decode(video=0)
        ]
    assert len(shown) >= 17
    for time_s, number in shown:
        assert number == sum(ms <= time_s * 1000 + 6 for ms in pts_ms) - 1, time_s


def test_the_frame_rate_of_a_clip_is_bounded() -> None:
    assert [track_fps(fps, 60) for fps in (4, 25, 30.02, 50, 120)] == [12, 25, 30.02, 25, 30]
    assert [track_fps(fps, 3600) for fps in (10, 25, 30)] == [10, 12.5, 15]


def test_a_clip_is_given_up_when_asked(make_video: MakeVideo) -> None:
    asked = iter([True] * 150)  # for each packet, and for each frame
    with pytest.raises(VideoError):
        make_track(str(make_video(frames=120)), True, lambda: next(asked, False))


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the two videos."""
    table = write(tmp_path_factory.mktemp("made"), make_video)
    review_table(ReviewSpec(table), quiet=True)
    return table.with_suffix(".html")


@pytest.fixture
def shown(chromium: Any, made: Path) -> Iterator[Page]:
    """The same, nothing corrected. No test may make the browser complain."""
    chromium.get_log("browser")
    opened = Page(chromium, made)
    wait_for(lambda: opened.js("return document.querySelector('#detail video').readyState") >= 1)
    yield opened
    opened.js("localStorage.clear()")
    assert chromium.get_log("browser") == []


SEGMENTS = "return [...document.querySelectorAll('.segment')].map(e => e.title)"
SECONDS = "return document.querySelector('#detail video').currentTime"


def holding(shown: Page, key: str, *more: str) -> None:
    """Press keys while one is held."""
    from selenium.webdriver import ActionChains

    ActionChains(shown.driver).key_down(key).send_keys(*more).key_up(key).perform()


def saved(shown: Page, which: str) -> list[list[str]]:
    """The lines of the table that a person saves."""
    folder = shown.driver.downloads
    for old in folder.iterdir():
        old.unlink()
    shown.type("e")
    shown.click(f"[name=which][value={which}]")
    shown.click("[name=paths][value=given]")
    shown.click("#download")
    path = wait_for(lambda: next(folder.glob("*_corrections*.csv"), None))
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_segments_are_edited_by_keys_and_saved(shown: Page, made: Path) -> None:
    from selenium.webdriver import Keys

    assert shown.js(SEGMENTS) == [
        "walk, 0:01.0 to 0:06.0", "run, 0:06.0 to 0:09.0", "no label, 0:08.0 to 0:12.0",
    ]  # fmt: skip
    shown.type("n", " ")  # plays the second segment; pause
    assert 6 <= shown.js(SECONDS) < 8
    shown.type("p", " ", "n", " ")
    shown.type("b", Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)  # and what touches it moves along
    assert shown.js(SEGMENTS)[:2] == ["walk, 0:01.0 to 0:06.2", "run, 0:06.2 to 0:09.0"]
    assert shown.js(SECONDS) == pytest.approx(6.25, abs=0.01), "the middle of the frame there"
    holding(shown, Keys.SHIFT, Keys.ARROW_RIGHT)
    assert shown.js(SEGMENTS)[1] == "run, 0:07.2 to 0:09.0"
    shown.type("u")
    assert shown.js(SEGMENTS)[:2] == ["walk, 0:01.0 to 0:06.0", "run, 0:06.0 to 0:09.0"], "one step"
    shown.type(Keys.ARROW_LEFT)
    holding(shown, Keys.CONTROL, Keys.ARROW_LEFT)
    assert shown.js(SEGMENTS)[:2] == ["walk, 0:01.0 to 0:05.9", "run, 0:05.8 to 0:09.0"], "alone"
    shown.type(">", ".", "s", "1")  # the class of most rows; of equals, the first by name
    assert shown.js(SEGMENTS)[1:3] == ["run, 0:05.8 to 0:06.9", "walk, 0:06.9 to 0:09.0"]
    assert shown.js(SECONDS) == pytest.approx(6.95, abs=0.01)
    shown.type("n", " ", "d", Keys.ESCAPE, "u")  # without an effect
    assert len(shown.js(SEGMENTS)) == 4
    shown.type("j", "c")
    assert shown.text("reviewed") == "2 reviewed, 1 changed"
    lines = [
        ["a.mp4", "walk", "1.000", "5.900"], ["a.mp4", "run", "5.800", "6.900"],
        ["a.mp4", "walk", "6.900", "9.000"],
    ]  # fmt: skip
    assert saved(shown, "changed") == [["path", "label", "start_s", "end_s"], *lines]
    assert saved(shown, "done")[4:] == [["b c.mp4", "walk", "0.000", "12.000"]]
    shown.reload(made, "2 reviewed, 1 changed")
    assert len(shown.js(SEGMENTS)) == 4
    shown.type("x")
    assert shown.js(SEGMENTS)[1] == "run, 0:06.0 to 0:09.0"


def test_joining_adding_and_limits(shown: Page) -> None:
    from selenium.webdriver import Keys

    shown.type("m")
    assert shown.js(SEGMENTS)[0] == "walk, 0:01.0 to 0:09.0"
    shown.type("b")
    holding(shown, Keys.SHIFT, *[Keys.ARROW_LEFT] * 3)
    assert shown.js(SEGMENTS)[0] == "walk, 0:00.0 to 0:09.0", "not before the start"
    shown.type("b")
    holding(shown, Keys.SHIFT, *[Keys.ARROW_LEFT] * 10)
    assert shown.js(SEGMENTS)[0] == "walk, 0:00.0 to 0:00.1", "one frame is left"
    shown.type(*[">"] * 5, "a", Keys.ENTER)
    shown.type(EVIL)
    shown.type(Keys.ENTER)
    assert shown.js(SEGMENTS)[1] == f"{EVIL}, 0:05.1 to 0:07.1"
    assert shown.js("return document.querySelectorAll('img[onerror]').length") == 0
    shown.type(">", "o", "<", "<", "i")
    assert shown.js(SEGMENTS)[1] == f"{EVIL}, 0:04.1 to 0:06.1"
    shown.type("d", "d", "d", "d", "d")
    assert shown.js(SEGMENTS) == []
    assert "0 of 0" not in shown.text("detail")
    shown.type("u")
    assert len(shown.js(SEGMENTS)) == 1


def test_the_mouse_drags_boundaries_and_chooses(shown: Page) -> None:
    from selenium.webdriver import ActionChains

    blocks = shown.driver.find_elements("css selector", ".segment")
    width = shown.js("return document.querySelector('.lanes').clientWidth")
    edge, by = round(blocks[1].size["width"] / 2 - 2), round(width / 24)  # half a second
    mouse = ActionChains(shown.driver).move_to_element_with_offset(blocks[1], edge, 0)
    mouse.click_and_hold().move_by_offset(by, 0).move_by_offset(by, 0).release().perform()
    start, end = shown.js(
        "return ['start', 'end'].map(s => +document.querySelector(`[data-side=${s}]`).ariaValueNow)"
    )
    assert (start, end) == (6, pytest.approx(10, abs=0.1))
    assert shown.text("reviewed") == "1 reviewed, 1 changed"
    shown.driver.find_elements("css selector", ".segment")[0].click()
    wait_for(lambda: shown.js(SECONDS) > 1.2)
    assert shown.js("return document.querySelector('#detail video').paused") is False
    assert shown.label == "walk"
    shown.driver.find_element("css selector", ".ruler").click()  # its middle
    assert shown.js(SECONDS) == pytest.approx(6, abs=0.11)
    shown.type("u")
    assert shown.js(SEGMENTS)[1] == "run, 0:06.0 to 0:09.0"


def test_a_part_is_saved_with_its_times(chromium: Any, tmp_path: Path) -> None:
    """Also where each video has one row, which is shown as a clip."""
    values = [segment("walk", 2, 3, duration_s=9.0), segment("run", None, None, "b.mp4")]
    rows = [PageRow(each, "/v", each["path"], "x", "", "", "", "", why="gone") for each in values]
    path = tmp_path / "parts.html"
    path.write_text(page("parts.csv", "parts", ("run", "walk"), rows), encoding="utf-8")
    shown = Page(chromium, path)
    shown.type("1", "1")
    lines = [["a.mp4", "walk", "2.000", "3.000"], ["b.mp4", "run", "", ""]]
    assert saved(shown, "done") == [["path", "label", "start_s", "end_s"], *lines]
    shown.js("localStorage.clear()")


def test_hundreds_of_videos(chromium: Any, tmp_path: Path) -> None:
    """500 of 40 segments each; nothing is drawn that cannot be seen, and filters see segments."""
    rows = []
    for i in range(500):
        parts = tuple(
            segment(f"class_{(i + k) % 20:02}", k * 90.0, k * 90.0 + 60, f"{i}.mp4")
            for k in range(40)
        )
        whole = parts[0] | {"start_s": None, "end_s": None}
        rows.append(
            PageRow(
                whole,
                f"/v/{i}.mp4",
                f"{i}.mp4",
                "x",
                "",
                "",
                "",
                "",
                rank=i,
                why="gone",
                segments=parts,
                duration_s=3600.0,
                fps=15.0,
            )
        )
    path = tmp_path / "many.html"
    classes = [f"class_{k:02}" for k in range(20)]
    path.write_text(page("many.csv", "many", classes, rows), encoding="utf-8")
    shown = Page(chromium, path)
    assert float(shown.js("return document.documentElement.dataset.ready")) < 5000
    assert len(shown.names) < 200
    assert len(shown.js(SEGMENTS)) == 40
    assert "500 videos with 20000 segments" in shown.js(
        "return document.querySelector('.head').innerText.replaceAll(/\\s+/g, ' ')"
    )
    shown.type("n", "3")
    shown.type("+", "+")
    assert shown.text("reviewed") == "1 reviewed, 1 changed"
    times = "const v = document.querySelector('.view'); return v.scrollWidth / v.clientWidth"
    assert round(shown.js(times)) == 4
    assert shown.js(CONTRAST)[1] == []
    nameless = shown.js(
        "return [...document.querySelectorAll('button, [role=slider], output')].filter(e =>"
        " !(e.ariaLabel || e.textContent.trim())).map(e => e.outerHTML)"
    )
    assert nameless == []
    shown.js("localStorage.clear()")
    chromium.get_log("browser")
