"""Segments cut out of videos by `vidlabel render --highlights`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import videos
from test_render_timeline import look, segments, table

from vidlabel.video.reader import Video, open_video

MakeVideo = Callable[..., Path]
Run = Callable[..., tuple[int, str]]
SIZE = (64, 48)


@pytest.fixture(scope="module")
def counted(make_video: MakeVideo) -> Path:
    """Each frame shows its number."""
    return make_video(frames=60, fps=10, size=SIZE, gop=8, bf=2)


def length_s(path: Path) -> float:
    with open_video(str(path)) as video:
        return video.duration_s


def files(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.rglob("*.mp4"))


def number(path: Path, time_s: float) -> int:
    """The number that is shown; the caption of such a small picture is below it."""
    return videos.read_barcode(look(path, [time_s])[0][: SIZE[1]])


def test_each_segment_is_a_file_of_its_own(render: Run, counted: Path, tmp_path: Path) -> None:
    labels = segments(
        tmp_path / "l.csv", counted, ("kick", 1.0, 2.0), ("wave", 2.0, 4.0), ("kick", 4.2, 5.7),
        ("kick", 4.2, 5.7),
    )  # fmt: skip
    out = tmp_path / "h"
    command = (counted, "--labels", labels, "-o", out, "--highlights", "Kick")
    assert render(*command) == (0, f"2 of 2 segments cut to {out}\n")
    name = counted.name
    assert files(out) == [f"{name}.1.000-2.000.kick.mp4", f"{name}.4.200-5.700.kick.mp4"]
    first, second = sorted(out.glob("*.mp4"))
    assert (length_s(first), length_s(second)) == pytest.approx((1.0, 1.5))
    assert [number(first, t) for t in (0.0, 0.5, 0.95)] == [10, 15, 19]
    assert [number(second, t) for t in (0.0, 1.45)] == [42, 56]
    assert "2 kept unchanged" in render(*command)[1]
    assert render(*command, "--padding", 0.5)[0] == 0, "other pictures, so they are made again"
    assert length_s(first) == pytest.approx(2.0)
    assert [number(first, t) for t in (0.0, 1.95)] == [5, 24]


def test_names_do_not_collide(render: Run, counted: Path, tmp_path: Path) -> None:
    labels = segments(tmp_path / "l.csv", counted, ("a/b", 1.0, 2.0), ("a_b", 1.0, 2.0))
    out = tmp_path / "h"
    code, _ = render(
        counted, "--labels", labels, "-o", out, "--highlights", "a/b", "--highlights", "a_b",
        "--width", 64, "--fps", 2,
    )  # fmt: skip
    assert code == 0
    name = f"{counted.name}.1.000-2.000.a_b"
    assert files(out) == [f"{name}-2.mp4", f"{name}.mp4"]


@pytest.mark.parametrize("fmt", ["mp4", "gif"])
def test_a_reel_joins_all_in_order(
    fmt: str, render: Run, counted: Path, make_video: MakeVideo, tmp_path: Path
) -> None:
    turned = make_video(frames=30, fps=10, size=SIZE[::-1], rotation=(90, False, False))
    rows = [
        (turned, "wave", 0.8, 0.5, 1.5, "ok"), (counted, "kick", 0.9, 4, 5, "ok"),
        (counted, "kick", 0.9, 1, 1.5, "ok"), (counted, "run", 0.9, 2, 3, "ok"),
    ]  # fmt: skip
    labels, out = table(tmp_path / "l.csv", rows), tmp_path / f"reel.{fmt}"
    command = (counted, turned, "--labels", labels, "-o", out, "--highlights", "kick,wave")
    assert render(*command, "--reel") == (0, f"3 of 3 segments in {out}\n")
    assert length_s(out) == pytest.approx(2.5, abs=0.11)
    assert [number(out, t) for t in (0.02, 0.45, 0.52, 1.45)] == [10, 14, 40, 49]
    with open_video(str(out)) as video:
        assert video.info().width_px == SIZE[0]
    assert "kept unchanged" in render(*command, "--reel")[1]


def test_whole_clips_can_be_highlights(render: Run, counted: Path, tmp_path: Path) -> None:
    labels = tmp_path / "l.csv"
    labels.write_text(f"path,label\n{counted},kick\n", encoding="utf-8")
    out = tmp_path / "x.mp4"
    code, _ = render(
        counted, "--labels", labels, "-o", out, "--highlights", "kick", "--width", 64, "--fps", 5
    )
    assert code == 0
    assert length_s(out) == pytest.approx(6.0)


def test_only_what_is_near_is_decoded(
    render: Run, make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(frames=900, fps=30, gop=15, size=(64, 48))
    labels = tmp_path / "l.csv"
    labels.write_text(f"path,label,start_s,end_s\n{path},kick,27,28\n", encoding="utf-8")
    decoded: list[float] = []
    asked = Video.frames_at

    def frames_at(self: Video, times_s, *rest, **more):
        decoded.extend(times_s)
        return asked(self, times_s, *rest, **more)

    def frames(self: Video, *rest: object) -> None:
        raise AssertionError("decoded from the start")

    monkeypatch.setattr(Video, "frames_at", frames_at)
    monkeypatch.setattr(Video, "frames", frames)
    out = tmp_path / "x.mp4"
    assert render(path, "--labels", labels, "-o", out, "--highlights", "kick")[0] == 0
    assert 26.9 < min(decoded) < max(decoded) < 28.1


def test_a_segment_after_the_end_costs_a_line(render: Run, counted: Path, tmp_path: Path) -> None:
    rows = [(counted, "kick", 0.9, 1, 2, "ok"), (counted, "kick", 0.9, 70, 80, "ok")]
    labels = table(tmp_path / "l.csv", rows)
    command = (counted, "--labels", labels, "--highlights", "kick", "--width", 64, "--fps", 2, "-o")
    for out, more in ((tmp_path / "h", ()), (tmp_path / "r.mp4", ("--reel",))):
        code, said = render(*command, out, *more)
        assert code == 1
        assert "before the segment at 1:10 begins" in " ".join(said.split())
        assert "1 failed" in said
    assert files(tmp_path / "h") == [f"{counted.name}.01.000-02.000.kick.mp4"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--highlights", "kik"], "did you mean kick?"),
        (["--highlights", "zzzz"], "it has kick, wave both hands, uncertain"),
        (["--highlights", "kick", "--grid", "1x1"], "does not go with --flow, --grid or --sheet"),
        (["--highlights", "kick", "--padding", "-1"], "--padding must be at least 0"),
        (["--reel"], "are for --highlights LABEL"),
        (["--speed", "0"], "--speed must be over 0"),
        (["--highlights", "kick", "-o", "x.mp4"], "name a folder, or join them by --reel"),
    ],
)
def test_wrong_usage(
    more: list[str], told: str, render: Run, counted: Path, tmp_path: Path
) -> None:
    labels = segments(
        tmp_path / "l.csv", counted, ("kick", 1, 2), ("kick", 3, 4), ("wave both hands", 4, 5)
    )
    out = [] if "-o" in more else ["-o", tmp_path / "h"]
    code, said = render(counted, "--labels", labels, *out, *more)
    assert code == 2
    assert told in " ".join(said.split())


def test_highlights_need_a_table(render: Run, counted: Path, tmp_path: Path) -> None:
    code, said = render(counted, "-o", tmp_path / "h", "--highlights", "kick")
    assert code == 2
    assert "--highlights needs --labels" in said
