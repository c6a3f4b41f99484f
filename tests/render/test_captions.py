"""Captions as they are drawn: legible, inside the picture, and saying the right thing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import features

from vidlabel import fonts
from vidlabel.fonts import ELLIPSIS, drawable, fitted, load_font
from vidlabel.render import captions as caption
from vidlabel.render.captions import COLOURS, Caption, Line, Overlay, caption_of, draw_caption
from vidlabel.specs import Prediction, Status

SIZES = [
    (16, 16),
    (64, 128),
    (128, 96),
    (96, 128),
    (180, 144),
    (320, 240),
    (240, 426),
    (640, 200),
    (3840, 2160),
]
LONG = "playing_basketball_with_three_friends_in_the_park_at_night" * 3


def row(label: str, confidence: float, *more: tuple[str, float]) -> Prediction:
    return Prediction("x.mp4", Status.OK, label, confidence, ((label, confidence), *more))


def ink(overlay: Overlay) -> np.ndarray:
    """(h, w) bool: where anything is drawn on the ground."""
    return (overlay.rgba != overlay.rgba[0, 0]).any(-1)


def luminance(rgb: np.ndarray) -> float:
    """Relative luminance of a colour 0..255, as WCAG 2.2 defines it."""
    share = np.asarray(rgb) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


# --- what is said ---------------------------------------------------------------------------------


def test_a_label_with_its_probability() -> None:
    said = caption_of(row("shake_hands", 0.78, ("hug", 0.2)))
    assert said == Caption((Line("shake hands", 0.78),), "", "shake_hands")


def test_more_classes_if_asked() -> None:
    said = caption_of(row("a", 0.5, ("b_c", 0.3), ("d", 0.1)), top_k=2)
    assert said.lines == (Line("a", 0.5), Line("b c", 0.3))


def test_right_and_wrong() -> None:
    assert caption_of(row("hug", 0.9), "hug").verdict == "right"
    wrong = caption_of(row("hug", 0.9, ("punch", 0.1)), "punch", 2)
    assert wrong.verdict == "wrong"
    assert [line.text for line in wrong.lines] == ["hug", "truth: punch", "punch"]


def test_uncertain_is_neither() -> None:
    unsure = Prediction("x", Status.UNCERTAIN, "uncertain", 0.2, (("hug", 0.2), ("kick", 0.1)))
    said = caption_of(unsure, "hug", 2)
    assert said.verdict == ""
    assert [line.text for line in said.lines] == ["uncertain", "hug", "truth: hug"]


@pytest.mark.field
@pytest.mark.parametrize("name", ["uncertain", "other", "failed"])
def test_a_class_called_like_a_state_is_right_or_wrong(name: str) -> None:
    """Field 9: a class called `uncertain` was neither right nor wrong."""
    assert caption_of(row(name, 0.9), name).verdict == "right"
    assert caption_of(row(name, 0.9), "hug").verdict == "wrong"
    unsure = replace(row(name, 0.2), status=Status.UNCERTAIN, label="uncertain")
    assert (caption_of(unsure, name).verdict, caption_of(unsure, name).label) == ("", "")


def test_no_label_says_why() -> None:
    failed = Prediction("x", Status.FAILED, reason="no_decoder")
    assert [line.text for line in caption_of(failed).lines] == ["no label: no decoder"]
    assert [line.text for line in caption_of(None, "hug").lines] == ["no label", "truth: hug"]
    assert math.isnan(caption_of(failed).lines[0].share)
    assert caption_of(failed).label is None


# --- how it looks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("label", ["hug", LONG, "Ågfjpqy", "", "W" * 5000])
def test_nothing_is_cut_off(label: str, width: int, height: int) -> None:
    for said in (caption_of(row(label, 1.0), "hug", 1), caption_of(row(label, 0.3), label)):
        overlay = draw_caption(said, width, height)
        drawn = ink(overlay)
        assert overlay.rgba.shape[1] <= width
        assert drawn.any()
        for edge in (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]):
            assert not edge.any()
        picture = np.full((height, width, 3), 99, dtype=np.uint8)
        shown = overlay.onto(picture)
        assert shown.shape[1] == width
        assert (shown.shape[0] > height) == overlay.below
        assert (picture == 99).all(), "the frame itself stays"
        top = height if overlay.below else height - len(overlay.rgba)
        assert (shown[:top] == 99).all(), "and so does what is above the caption"


@pytest.mark.parametrize(("width", "height"), SIZES[1:])
def test_letters_can_be_read(width: int, height: int) -> None:
    """A capital letter is 8 px high at least, and about a thirtieth of a large picture."""
    overlay = draw_caption(Caption((Line("H"),)), width, height)
    high = int(ink(overlay).any(1).sum())
    assert high >= max(8, min(width, height) // 35)
    assert overlay.below == (min(width / 18, height / 15) < caption.READABLE_PX)


def test_many_lines_do_not_hide_the_picture() -> None:
    said = caption_of(row("a", 0.5, *((name, 0.1) for name in "bcde")), top_k=5)
    assert draw_caption(said, 320, 240).below
    assert not draw_caption(caption_of(row("a", 0.5)), 320, 240).below


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_it_is_legible_on_any_ground(shade: int) -> None:
    ground = np.full((240, 320, 3), shade, dtype=np.uint8)
    shown = draw_caption(caption_of(row("hug", 0.9)), 320, 240).onto(ground)
    behind = luminance(shown[-1, 0])
    for colour in (*(each[:3] for each in COLOURS.values()), caption.WHITE[:3], caption.PALE[:3]):
        assert (luminance(np.array(colour)) + 0.05) / (behind + 0.05) >= 4.5, colour


def test_right_is_green_wrong_is_red_and_their_marks_differ() -> None:
    drawn = {}
    for verdict, truth in (("right", "hug"), ("wrong", "kick")):
        shown = draw_caption(caption_of(row("hug", 0.5), truth), 320, 240).rgba
        assert (shown == COLOURS[verdict]).all(-1).sum() > 100
        other = COLOURS["wrong" if verdict == "right" else "right"]
        assert not (shown == other).all(-1).any()
        drawn[verdict] = (shown[:24, :22] != shown[0, 0]).any(-1)  # the mark, without its colour
    assert (drawn["right"] != drawn["wrong"]).sum() > 20
    green, red = (COLOURS[verdict][:3] for verdict in ("right", "wrong"))
    assert np.argmax(green) == 1
    assert np.argmax(red) == 0


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_the_bar_is_as_long_as_the_probability(share: float) -> None:
    shown = draw_caption(caption_of(row("hug", share)), 320, 240).rgba
    bar = max(int((line == COLOURS[""]).all(-1).sum()) for line in shown)
    track = max(int((line != shown[0, 0]).any(-1).sum()) for line in shown)
    assert bar == pytest.approx(share * track, abs=2)


# --- names ----------------------------------------------------------------------------------------


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    short = fitted("playing basketball with friends", 20, len)
    assert short == f"playing ba{ELLIPSIS}h friends"
    assert fitted("hug", 3, len) == "hug"
    assert fitted("hug", 0, len) == ""


def test_an_accent_is_not_torn_from_its_letter() -> None:
    for width in range(3, 12):
        assert f"{ELLIPSIS}\N{COMBINING ACUTE ACCENT}" not in fitted("e\u0301" * 8, width, len)


def test_right_to_left_is_drawn_from_the_right() -> None:
    assert drawable("abc") == "abc"
    hebrew = "\u05dc\u05d7\u05d9\u05e6\u05ea \u05d9\u05d3"  # a long word, then a short one
    font = load_font(hebrew, 24)
    mask = font.getmask(drawable(hebrew))
    columns = np.flatnonzero(np.array(mask).reshape(mask.size[::-1]).any(0))
    gap = int(np.diff(columns).argmax())
    assert columns[gap] < mask.size[0] / 2, "the short word is at the left"


def test_right_to_left_without_raqm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda name: False)
    assert drawable("\u05d0\u05d1 12 \u05d2") == "\u05d2 12 \u05d1\u05d0"
    assert drawable("shake hands") == "shake hands"


def test_what_no_font_has_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "OTHERS", ())
    assert drawable("\u63e1\u624b a") == "\\u63e1\\u624b a"
    assert drawable("\U00020000") == "\\U00020000"
    assert drawable("a\x1b\u202eb") == "a\\x1b\\u202eb"
    assert drawable("Stra\u00dfe \u0436 \u0639 \u05d0") == "Stra\u00dfe \u0436 \u0639 \u05d0"


def test_a_font_that_has_the_glyphs_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    has = {"": "ab", "cjk.ttc": "ab\u63e1", "more.ttf": "ab\u63e1\u624b"}
    opened: list[str] = []

    def open_font(name: str, size_px: int) -> object:
        opened.append(name)
        return object()

    monkeypatch.setattr(fonts, "OTHERS", ("cjk.ttc", "more.ttf"))
    monkeypatch.setattr(fonts, "_has", lambda name, character: character in has[name])
    monkeypatch.setattr(fonts, "_open", open_font)
    for text, name in (("ab", ""), ("a\u63e1", "cjk.ttc"), ("\u624b", "more.ttf"), ("x", "")):
        load_font(text, 12)
        assert opened[-1] == name


def test_without_matplotlibs_font_there_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "OTHERS", ())
    monkeypatch.setattr(fonts, "_open", lambda name, size_px: None)
    monkeypatch.setattr(fonts, "_has", fonts._has.__wrapped__)
    assert drawable("hug \u0436") == "hug \\u0436"
    assert ink(draw_caption(caption_of(row("hug", 0.5)), 320, 240)).any()
