"""The terminal: nothing in a name is obeyed, stdout stays data, narrow windows lose nothing."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from vidlabel import console
from vidlabel.specs import Prediction, Status
from vidlabel.text import safe, time_left
from vidlabel.train.observer import Epoch
from vidlabel.train.progress import TrainView

ROWS = [
    Prediction("a.mp4", Status.OK, "wave", 0.9),
    Prediction("b.mp4", Status.OK, "wave", 0.7),
    Prediction("c.mp4", Status.PARTIAL, "[bold]run", 0.5, reason="damaged"),
    Prediction("d.mp4", Status.FAILED, reason="not_video"),
    Prediction("e.mp4", Status.FAILED, reason="not_video"),
    Prediction("f.mp4", Status.FAILED, reason="timeout"),
]


def tally_of(rows: Sequence[Prediction]) -> console.Tally:
    tally = console.Tally()
    assert list(tally.counting(rows)) == list(rows)
    return tally


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        """What was written, without colours and moves of the cursor."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Terminal]:
    """`terminal(name, width)`: make `stderr` or `stdout` a terminal; returns what it gets."""

    def make(name: str, width: int = 80, kind: str = "xterm") -> Terminal:
        stream = Terminal()
        fake = Console(
            file=stream,
            width=width,
            markup=False,
            highlight=False,
            emoji=False,
            _environ={"TERM": kind},
        )
        monkeypatch.setattr(console, name, fake)
        return stream

    return make


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain.mp4", "plain.mp4"),
        ("esc\x1b[31m", "esc\\x1b[31m"),
        ("a\nb\tc\rd", "a\\x0ab\\x09c\\x0dd"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("gpj.\u202emp4", "gpj.\\u202emp4"),
        ("\u2066x\u2069\u2028", "\\u2066x\\u2069\\u2028"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("\ud800", "\\ud800"),
        ("动画 é 👩‍👧 [b]", "动画 é 👩‍👧 [b]"),
    ],
)
def test_safe(text: str, shown: str) -> None:
    assert safe(text) == shown
    safe(text).encode()


@pytest.mark.parametrize("name", ["[/].mp4", "[bold]x.mp4", "[link=x]", ":smile:.mp4", "a\\[b]"])
@pytest.mark.parametrize("say", [console.error, console.warn, console.note])
def test_names_are_not_markup(
    say: Callable[[str], None], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say(f"{name}: broken")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(f"{name}: broken\n")


@pytest.mark.parametrize("name", ["[/].mp4", "[bold]x.mp4", "esc\x1b[2J.mp4"])
def test_names_are_not_obeyed_on_a_terminal(
    terminal: Callable[..., Terminal], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = terminal("stdout"), terminal("stderr")
    console.error(name)
    console.table(name, [name], [[name]])
    row = Prediction(name, Status.OK, name, 0.5)
    console.summary(tally_of([row]), 1.0, name, "cpu", name)
    shown = name.replace("\x1b", "\\x1b")
    assert out.getvalue().count(shown) == 3
    assert err.getvalue().count(shown) == 4
    assert "\x1b[2J" not in out.getvalue() + err.getvalue()


def test_a_message_is_one_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    console.error("word " * 100 + "\nsecond")
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("error: word")
    console.warn("w")
    console.note("n")
    assert capsys.readouterr().err == "warning: w\nn\n"


def test_summary_of_a_run_that_went_on(capsys: pytest.CaptureFixture[str]) -> None:
    console.summary(tally_of(ROWS), 2.0, "starter", "cpu", before=4)
    assert capsys.readouterr().err.splitlines()[0] == (
        "6 videos: 2 ok, 1 partial, 3 failed; 4 done before, 2 in 2.0 s (1.0 videos/s) "
        "with starter on cpu"
    )


def test_summary_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.summary(tally_of(ROWS), 3.0, "starter", "cpu", "labels.csv")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "6 videos: 2 ok, 1 partial, 3 failed; 3.0 s (2.0 videos/s) with starter on cpu",
        "labels: wave 2 (0.80), [bold]run 1 (0.50)",
        "failed: not_video 2, timeout 1",
        "written to labels.csv",
    ]


def test_summary_of_nothing_and_of_a_timeline(capsys: pytest.CaptureFixture[str]) -> None:
    console.summary(tally_of([]), 0.0, "m", "cpu")
    assert capsys.readouterr().err == "0 videos: 0 ok, 0 partial, 0 failed; 0.0 s with m on cpu\n"
    console.summary(tally_of([ROWS[0]] * 3), 1.0, "m", "cpu")
    assert capsys.readouterr().err.startswith("1 video, 3 segments: 3 ok")


@pytest.mark.field
def test_summary_counts_uncertain_videos_as_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    """Field 9: they were counted with a class of that name."""
    sure = Prediction("a", Status.OK, "uncertain", 0.9)
    unsure = Prediction("b", Status.UNCERTAIN, "uncertain", 0.3)
    console.summary(tally_of([sure, unsure]), 3.0, "starter", "cpu")
    told = capsys.readouterr().err
    assert "2 videos: 1 ok, 0 partial, 0 failed, 1 uncertain" in told
    assert "labels: uncertain 1 (0.90)" in told


def test_summary_lists_ten_labels(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Prediction(f"{i}", Status.OK, f"label{i % 12}", 0.5) for i in range(30)]
    console.summary(tally_of(rows), 1.0, "m", "cpu")
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("labels: ")]
    line, _, more = line.rpartition(" and ")
    assert more == "2 more labels"
    names = [part.split()[0] for part in line.removeprefix("labels: ").split(", ")]
    assert len(names) == 10
    assert set(names) >= {f"label{i}" for i in range(6)}  # three times each, the others twice


@pytest.mark.field
@pytest.mark.parametrize("many", [9, 10, 11, 300])
def test_a_summary_says_that_there_are_more_labels(
    many: int, terminal: Callable[..., Terminal], capsys: pytest.CaptureFixture[str]
) -> None:
    """field 18: the summary stopped at 10 labels without a sign."""
    rows = [Prediction(f"{i}", Status.OK, f"label{i}", 0.5) for i in range(many)]
    console.summary(tally_of(rows), 1.0, "m", "cpu")
    shown = terminal("stderr")
    console.summary(tally_of(rows), 1.0, "m", "cpu")
    sign = {9: "", 10: "", 11: "and 1 more label\n", 300: "and 290 more labels\n"}[many]
    for text in (capsys.readouterr().err, shown.text()):
        assert sign in text
        assert ("more" in text) == bool(sign)


@pytest.mark.field
def test_a_bar_moves_before_the_first_result_and_counts_the_start(
    terminal: Callable[..., Terminal],
) -> None:
    """field 18: the bar stood still for the first 10 s, and the time left did not count them."""
    now = [100.0]
    stream = terminal("stderr", 100)
    with console.Progress(83, done=3, clock=lambda: now[0]) as progress:
        now[0] += 10
        assert "3/83 starting" in stream.text()
        for _ in range(8):  # a batch: all at the same moment
            progress.advance(clips=1)
    assert "11/83 0.8 clips/s 1:30 left" in stream.text()


@pytest.mark.field
@pytest.mark.parametrize(
    ("elapsed_s", "done", "to_come", "left"),
    [(10, 0, 80, ""), (10, 8, 0, ""), (10, 8, 72, "1:30 left"), (3600, 1, 2, "2:00:00 left")],
)
def test_time_left_is_at_the_mean_speed(
    elapsed_s: float, done: int, to_come: int, left: str
) -> None:
    """field 18"""
    assert time_left(elapsed_s, done, to_come) == left


@pytest.mark.parametrize("width", [8, 20, 40, 200])
def test_summary_and_tables_fit_any_width(terminal: Callable[..., Terminal], width: int) -> None:
    out, err = terminal("stdout", width), terminal("stderr", width)
    console.summary(tally_of(ROWS), 3.0, "starter", "cpu", "labels.csv")
    console.table("Models", ["name", "value"], [["a-rather-long-name", "x" * 50]])
    assert "labels.csv" in err.getvalue()
    assert all(len(line) <= width for line in out.text().splitlines())
    assert out.text().count("x") == 50 or width == 8  # there is no room for two columns in 8


def test_table_without_a_terminal_is_aligned_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("Models", ["name", "n"], [["动画", 1], ["abc", None], ["a\x1bb", "x"]])
    out, err = capsys.readouterr()
    assert err == ""
    assert out == "Models\nname    n\n动画    1\nabc     None\na\\x1bb  x\n"


def test_table_without_title_or_header(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", ["", ""], [["codec", "h264"]])
    assert capsys.readouterr().out == "codec  h264\n"
    console.table("", ["name", "n"], [])
    assert capsys.readouterr().out == "name  n\n"


def test_a_stdout_that_is_not_utf8_still_gets_its_table() -> None:
    code = "from vidlabel import console; console.table('é', ['动'], [['ok']])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert done.stdout == b"\\xe9\n\\u52a8\nok\n"


def count_to_the_end(**options: bool) -> None:
    with console.Progress(4, **options) as progress:
        progress.advance(1, 3)
        progress.advance(2, 5, 1)
        progress.advance()


def test_progress_says_nothing_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take a pipe for a terminal
    count_to_the_end()
    assert capsys.readouterr() == ("", "")


def test_progress_is_silent_when_quiet_or_on_a_dumb_terminal(
    terminal: Callable[..., Terminal],
) -> None:
    stream = terminal("stderr")
    count_to_the_end(quiet=True)
    assert stream.getvalue() == ""
    stream = terminal("stderr", kind="dumb")
    count_to_the_end()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("width", [20, 100])
def test_progress_on_a_terminal(terminal: Callable[..., Terminal], width: int) -> None:
    stream = terminal("stderr", width)
    with console.Progress(4) as progress:
        progress.advance(1, 3)
        progress.advance(2, 5, 1)
        console.warn("[/].mp4: slow")
        print("data")  # stdout is not taken over
    text = stream.text()
    assert "warning: [/].mp4: slow" in text
    assert "data" not in text
    if width == 100:
        assert "3/4" in text
        assert "clips/s, 1 failed" in text


def test_progress_lets_errors_through(terminal: Callable[..., Terminal]) -> None:
    stream = terminal("stderr")
    with pytest.raises(KeyError), console.Progress(1):
        raise KeyError
    assert stream.getvalue().endswith("\x1b[2K")  # the bar is gone again


def test_progress_counts_what_an_earlier_run_did(terminal: Callable[..., Terminal]) -> None:
    stream = terminal("stderr", 100)
    with console.Progress(10, done=7) as progress:
        progress.advance()
    assert "8/10" in stream.getvalue()


def test_progress_says_what_it_does_and_counts_videos(terminal: Callable[..., Terminal]) -> None:
    stream = terminal("stderr", 100)
    with console.Progress(10, done=7, doing="[decoding]") as progress:
        progress.advance()
    assert "[decoding] " in stream.text()
    assert re.search(r"8/10 [0-9.]+ videos/s", stream.text())


EPOCHS = [
    Epoch(1, 5e-4, 2.9, 0.1, 2.8, 0.125, 61.0),
    Epoch(2, 2.5e-4, 1.4512, 0.5, 1.9, 1.0, 3725.0),
    Epoch(3, 0.0, 0.7, 0.9, 2.0, 0.3, 9.4),
]


def train_on(view: TrainView, before: int = 0, epochs: int = 3) -> None:
    """Tell the view of a training, from after epoch `before` to its end."""
    with view.decoding(2) as decoding:
        decoding.advance()
    view.begin(Path("run"), epochs, 2, EPOCHS[:before])
    for line in EPOCHS[before:]:
        view.step(line.train_loss - 0.5, 16)
        view.step(line.train_loss + 0.5, 16)
        view.epoch(line, best=line.epoch != 3)
    view.note("[/] noted")
    view.end()
    view.end()


@pytest.mark.parametrize("width", [24, 48, 60, 80, 200])
def test_a_training_is_a_table_over_a_bar(terminal: Callable[..., Terminal], width: int) -> None:
    stream = terminal("stderr", width)
    train_on(TrainView())
    lines = stream.text().splitlines()
    assert all(len(line) <= width for line in lines)
    assert not any("resuming" in line for line in lines)
    if width < 60:
        return
    wanted = """\
           training     validation
epoch   loss   top-1    loss   top-1     time             lr
  1/3  2.900   10.0%   2.800   12.5%     1:01  best  5.0e-04
  2/3  1.451   50.0%   1.900  100.0%  1:02:05  best  2.5e-04
  3/3  0.700   90.0%   2.000   30.0%     0:09        0.0e+00
[/] noted
"""
    shown = [line.rstrip() for line in lines]
    assert [line for line in wanted.splitlines() if line not in shown] == []
    assert stream.text().count("training") == 1
    assert stream.getvalue().rstrip().endswith("\x1b[2K"), "the bar is gone"


def test_the_bar_tells_how_far_it_is(terminal: Callable[..., Terminal]) -> None:
    stream = terminal("stderr", 100)
    view = TrainView()
    view.begin(Path("run"), 4, 2, EPOCHS[:1])
    view.step(1.5, 16)
    view.end()
    assert stream.text().startswith("resuming after epoch 1\n")
    shown = [line for line in stream.text().splitlines() if line.startswith("epoch 2/4")]
    assert re.search(r" 3/8 loss 1\.500 [0-9.]+ clips/s 0:00:0[0-9] 0:00 left$", shown[-1])


def test_the_time_left_follows_from_the_speed_of_this_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [100.0]
    view = TrainView(clock=lambda: now[0])
    view.begin(Path("run"), 4, 10, EPOCHS[:1])
    for number, line in enumerate(EPOCHS[1:], 2):
        for _ in range(10):
            view.step(1.0, 15)
        now[0] += 30 * 60
        view.epoch(line, best=number == 2)
    ends = [line.rpartition(" s")[2] for line in capsys.readouterr().err.splitlines()[1:]]
    assert ends == [", 1:00:00 left", ", 30:00 left"]


@pytest.mark.field
def test_folds_are_counted_and_their_time_left_is_that_of_all(
    terminal: Callable[..., Terminal], capsys: pytest.CaptureFixture[str]
) -> None:
    """field 21: each fold of leave-one-group-out looked like the whole run."""
    now = [100.0]
    view = TrainView(clock=lambda: now[0])
    view.fold("fold 6 of 7", 1)
    for later in (1, 0):
        view.fold(f"fold {7 - later} of 7", later)
        view.begin(Path("run"), 1, 10, [])
        for _ in range(10):
            view.step(1.0, 15)
        now[0] += 60
        view.epoch(EPOCHS[0], best=True)
    ends = [line.rpartition(" s")[2] for line in capsys.readouterr().err.splitlines()]
    assert ends == [", 1:00 left for all folds", ""]
    stream = terminal("stderr", 120)
    view.begin(Path("run"), 1, 10, [])
    view.end()
    assert "fold 7 of 7, epoch 1/1" in stream.text()


def test_a_training_without_a_terminal_is_a_line_per_epoch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    train_on(TrainView(), before=1)
    assert capsys.readouterr() == (
        "",
        "resuming after epoch 1\n"
        "epoch 2/3  loss 1.451  validation: loss 1.900, top-1 100.0%  3725 s, 0:00 left\n"
        "epoch 3/3  loss 0.700  validation: loss 2.000, top-1 30.0%  9 s\n"
        "[/] noted\n",
    )
    train_on(TrainView(quiet=True), before=1)
    assert capsys.readouterr() == ("", "")


def test_a_quiet_training_is_silent_on_a_terminal_too(terminal: Callable[..., Terminal]) -> None:
    stream = terminal("stderr")
    train_on(TrainView(quiet=True))
    assert stream.getvalue() == ""


def test_a_training_outlives_its_terminal(
    terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = terminal("stderr")
    monkeypatch.setattr(Terminal, "write", refuse)
    monkeypatch.setattr(Terminal, "flush", refuse)
    train_on(TrainView())
    assert stream.getvalue() == ""


def refuse(self: Terminal, *arguments: object) -> int:
    """What a terminal that was closed answers."""
    raise OSError(5, "Input/output error")
