"""Fonts for text in pictures: find one that has all glyphs of a text, and make text fit a width."""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from PIL import ImageFont, features

from vidlabel.text import safe

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

OTHERS = (
    "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf",
    "NotoSansArabic-Regular.ttf", "NotoSansHebrew-Regular.ttf", "NotoSansDevanagari-Regular.ttf",
    "NotoSansBengali-Regular.ttf", "NotoSansTamil-Regular.ttf", "NotoSansThai-Regular.ttf",
    "DroidSansFallbackFull.ttf", "wqy-zenhei.ttc", "Arial Unicode.ttf",
)  # fmt: skip
"""Font files to look for among the system's fonts, for glyphs that DejaVu Sans lacks."""

_LONGEST = 200  # characters of a text that are used; no picture has room for more
_TRIED_PX = 16  # size at which glyphs are compared
_NO_CHARACTER = "\U0010ffff"  # Unicode promises that no font has a glyph for it


def load_font(text: str, size_px: int) -> Font:
    """The first font that has every glyph of the text, or else DejaVu Sans."""
    return _open(_name_for(text), size_px) or ImageFont.load_default(size_px)


def font_file(text: str) -> str | None:
    """The file of that font; None if DejaVu Sans is not there."""
    font = _open(_name_for(text), _TRIED_PX)
    return None if font is None else str(font.path)


def _name_for(text: str) -> str:
    return next((name for name in ("", *OTHERS) if not _missing(text, name)), "")


def distinct(texts: Sequence[str], most_em: float, bidi: bool | None = None) -> list[str]:
    """Texts to be drawn, `drawable` and `fitted` to a width in sizes of the font; of different ones
    that would look alike, as much as is needed to tell them apart."""
    whole = [drawable(text, bidi) for text in texts]
    widths = [load_font(text, _TRIED_PX).getlength for text in whole]
    room = [most_em * _TRIED_PX] * len(whole)
    while True:
        shown = [fitted(*each) for each in zip(whole, room, widths, strict=True)]
        of = dict(zip(shown, whole, strict=True))
        alike = {short for short, text in zip(shown, whole, strict=True) if of[short] != text}
        if not alike:
            return shown
        room = [1.5 * px if short in alike else px for px, short in zip(room, shown, strict=True)]


def width_em(text: str) -> float:
    """Width of a drawn text in sizes of its font."""
    return load_font(text, _TRIED_PX).getlength(text) / _TRIED_PX


def drawable(text: str, bidi: bool | None = None) -> str:
    """`text` so that one font can draw it: safe, and with `\\uNNNN` for characters no font has.

    `bidi` says whether what draws it orders right-to-left text; None: as Pillow does here.
    """
    text = safe(text)
    if len(text) > _LONGEST:
        text = text[: _LONGEST // 2] + ELLIPSIS + text[-_LONGEST // 2 :]
    lacking = min((_missing(text, name) for name in ("", *OTHERS)), key=len)
    text = "".join(_escaped(each) if each in lacking else each for each in text)
    if not (features.check("raqm") if bidi is None else bidi):  # else it goes from left to right
        from bidi import get_display  # type: ignore[import-untyped,unused-ignore]

        text = get_display(text)
    return text


def fitted(text: str, width_px: float, width_of: Callable[[str], float]) -> str:
    """`text`, or its beginning and end with an ellipsis between, so that it fits a width, as
    `width_of` measures it in px."""
    if width_of(text) <= width_px:
        return text
    for kept in range(len(text) - 1, 0, -1):
        head, tail = text[: (kept + 1) // 2], text[len(text) - kept // 2 :]
        if tail and unicodedata.combining(tail[0]):  # it belongs to the letter before
            continue
        shorter = head.rstrip() + ELLIPSIS + tail.lstrip()
        if width_of(shorter) <= width_px:
            return shorter
    return ""


@cache
def _open(name: str, size_px: int) -> ImageFont.FreeTypeFont | None:
    """A font by its file name, "" for DejaVu Sans, which comes with matplotlib; None if it is not
    there."""
    if not name:
        found = importlib.util.find_spec("matplotlib")  # this imports nothing
        folder = Path(found.origin).parent if found and found.origin else Path()
        name = str(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")
    try:
        return ImageFont.truetype(name, size_px)
    except OSError:
        return None


def _missing(text: str, name: str) -> frozenset[str]:
    """The characters of a text for which a font has no glyph."""
    return frozenset(each for each in set(text) if not _has(name, each))


@cache
def _has(name: str, character: str) -> bool:
    if character.isspace() or unicodedata.category(character) == "Cf":
        return True  # these are invisible
    font = _open(name, _TRIED_PX)
    if font is None:
        return not name and character.isascii()  # Pillow's own font replaces DejaVu
    # Pillow cannot list glyphs, but a missing one looks like that of a character no font has; Raqm
    # would draw a mark of another script on a circle of this font.
    font = font.font_variant(layout_engine=ImageFont.Layout.BASIC)
    none, mask = font.getmask(_NO_CHARACTER), font.getmask(character)
    return mask.size != none.size or bytes(mask) != bytes(none)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
