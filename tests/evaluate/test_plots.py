"""Plots, judged by their pictures: what is written on them tells classes apart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure

from vidlabel import fonts
from vidlabel.evaluate.plots import plot_confusion, plot_reliability
from vidlabel.fonts import distinct

COUNTS = np.array([[3, 1], [0, 2]])


def picture(path: Path, names: list[str], title: str = "") -> bytes:
    plot_confusion(path, COUNTS, names, title)
    return path.read_bytes()


def font_file(path: Path, text: str) -> Path:
    """A font with a glyph for each of these characters: a bar, the higher the later."""
    names = [f"c{number}" for number in range(len(text))]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", *names])
    font.setupCharacterMap(dict(zip(map(ord, text), names, strict=True)))
    glyphs = {".notdef": TTGlyphPen(None).glyph()}
    for number, name in enumerate(names, 1):
        pen = TTGlyphPen(None)
        high = 800 * number // len(names)
        pen.moveTo((100, 0))
        for corner in ((100, high), (900, high), (900, 0)):
            pen.lineTo(corner)
        pen.closePath()
        glyphs[name] = pen.glyph()
    font.setupGlyf(glyphs)
    font.setupHorizontalMetrics({name: (1000, 100) for name in glyphs})
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupOS2()
    font.setupPost()
    font.setupNameTable({"familyName": "Bars", "styleName": "Regular"})
    font.save(path)
    return path


@pytest.mark.field
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("playing_guitar_on_stage_with_a_band", "playing_guitar_on_stage_with_a_dog"),
        ("\u6325\u624b", "\u63e1\u624b"),  # to wave, to shake hands
        ("left_hand" * 5 + "up" + "the_end" * 5, "left_hand" * 5 + "down" + "the_end" * 5),
        ("\u0938\u094d\u0935\u093e\u0917\u0924", "\u0938\u0935\u093e\u0917\u0924"),
        ("\N{WAVING HAND SIGN}", "\N{CLAPPING HANDS SIGN}"),
    ],
)
def test_class_names_differ_on_the_matrix(one: str, other: str, tmp_path: Path) -> None:
    """Field 15: names were cut at the end, so that three classes were one, or were boxes."""
    first = picture(tmp_path / "a.png", [one, other])
    assert first != picture(tmp_path / "b.png", [other, one])


@pytest.mark.field
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\u5b89\u5a1c", "\u674e\u534e"),
        ("\u0905\u0928\u093e", "\u0930\u0935\u093f"),
        ("$a$", "$b$"),
    ],
)
def test_folds_are_called_after_people(one: str, other: str, tmp_path: Path) -> None:
    """Field 15: the same in titles, which name the fold that was tested."""
    assert picture(tmp_path / "a.png", ["a", "b"], one) != picture(
        tmp_path / "b.png", ["a", "b"], other
    )


@pytest.mark.field
def test_a_font_of_the_system_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Field 15: as for captions. A glyph that its font lacks would be a warning, an error here."""
    names = ["\u6325\u624b", "\u63e1\u624b"]
    monkeypatch.setattr(fonts, "OTHERS", ())
    without = picture(tmp_path / "a.png", names, "x")
    monkeypatch.setattr(
        fonts, "OTHERS", (str(font_file(tmp_path / "bars.ttf", "\u6325\u63e1\u624b")),)
    )
    assert distinct(names, 14) == names
    assert picture(tmp_path / "a.png", names, "x") != without


@pytest.mark.field
def test_names_are_shortened_in_the_middle_and_stay_distinct() -> None:
    """Field 15: where they would look alike, they are longer."""
    long = [f"playing_{what}_on_the_stage_of_a_small_theatre" for what in ("guitar", "drums")]
    middle = [f"{'a' * 40}{letter}{'b' * 40}" for letter in "xyz"]
    shown = distinct(["walk", *long, *middle], 10)
    assert shown[0] == "walk"
    assert len(set(shown)) == 6
    for text, name in zip(shown[1:], [*long, *middle], strict=True):
        assert text[:4] == name[:4]
        assert text[-4:] == name[-4:]
    assert all(fonts.ELLIPSIS in text and len(text) < 24 for text in shown[1:3])
    assert distinct(["a" * 90, "a" * 90], 10) == 2 * distinct(["a" * 90], 10)
    marked = "\u0938\u094d"  # a letter and a mark of its script, neither in DejaVu Sans
    assert distinct([marked], 14) == [fonts.drawable(marked)]


@pytest.mark.field
@pytest.mark.parametrize("times", [1, 7, 400])
def test_the_reliability_diagram_counts_the_videos(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Field 22: a share that is right says little without the number of videos."""
    drawn: list[Figure] = []
    save = Figure.savefig

    def savefig(figure: Figure, *arguments: object, **options: object) -> None:
        drawn.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    first = np.repeat([[0.55, 0.45], [0.95, 0.05], [0.91, 0.09]], times, axis=0)
    second = np.repeat([[0.65, 0.35], [0.25, 0.75], [0.95, 0.05]], times, axis=0)
    labels = np.zeros(3 * times, dtype=int)
    plot_reliability(tmp_path / "r.png", {"a": first, "b": second}, labels)
    lower = drawn[0].axes[1]
    told = Counter(text.get_text() for text in lower.texts)
    assert told == {str(times): 4, str(2 * times): 1}
    top = lower.get_window_extent().y1
    assert all(text.get_window_extent().y1 <= top for text in lower.texts), "none is cut off"
