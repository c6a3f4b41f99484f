"""Fonts for text in pictures: one that has all of a text's glyphs, and a text that fits a width."""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Callable
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
"""Files of fonts, looked for where the system keeps fonts, for glyphs that DejaVu Sans lacks."""

_LONGEST = 200  # characters of a text that are looked at; no picture has room for more
_TRIED_PX = 16  # size at which glyphs are compared
_NO_CHARACTER = "\U0010ffff"  # Unicode promises that no font has a glyph for it


def load_font(text: str, size_px: int) -> Font:
    """The first font that has every glyph of the text, or else DejaVu Sans."""
    name = next((name for name in ("", *OTHERS) if not _missing(text, name)), "")
    return _open(name, size_px) or ImageFont.load_default(size_px)


def drawable(text: str) -> str:
    """`text` as it can be drawn in one font: safe, and characters that no font has as `\\uNNNN`."""
    text = safe(text)
    if len(text) > _LONGEST:
        text = text[: _LONGEST // 2] + ELLIPSIS + text[-_LONGEST // 2 :]
    lacking = min((_missing(text, name) for name in ("", *OTHERS)), key=len)
    text = "".join(_escaped(each) if each in lacking else each for each in text)
    return text if features.check("raqm") else _in_order_of_sight(text)


def fitted(text: str, width_px: float, width_of: Callable[[str], float]) -> str:
    """`text`, or as much of its beginning and its end as has room, an ellipsis between them.

    Args:
        text: one line.
        width_px: the room.
        width_of: the width of a text when it is drawn, px.
    """
    if width_of(text) <= width_px:
        return text
    for kept in range(len(text) - 1, 0, -1):
        head, tail = text[: (kept + 1) // 2], text[len(text) - kept // 2 :]
        if tail and unicodedata.combining(tail[0]):  # it belongs to what is left out
            continue
        shorter = head.rstrip() + ELLIPSIS + tail.lstrip()
        if width_of(shorter) <= width_px:
            return shorter
    return ""


@cache
def _open(name: str, size_px: int) -> ImageFont.FreeTypeFont | None:
    """A font by its file's name, "" for DejaVu Sans, which comes with matplotlib; None where there
    is none."""
    try:
        return ImageFont.truetype(name or _dejavu(), size_px)
    except OSError:
        return None


@cache
def _dejavu() -> str:
    found = importlib.util.find_spec("matplotlib")  # where it is; nothing is imported
    folder = Path(found.origin).parent if found and found.origin else Path()
    return str(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


def _missing(text: str, name: str) -> frozenset[str]:
    """The characters of a text that a font has no glyph for."""
    return frozenset(each for each in set(text) if not _has(name, each))


@cache
def _has(name: str, character: str) -> bool:
    if character.isspace() or unicodedata.category(character) == "Cf":
        return True  # these leave no ink
    font = _open(name, _TRIED_PX)
    if font is None:
        return not name and character.isascii()  # Pillow's own font takes the place of DejaVu
    # Pillow does not say which glyphs there are; what is missing looks as what cannot be there.
    none, mask = font.getmask(_NO_CHARACTER), font.getmask(character)
    return mask.size != none.size or bytes(mask) != bytes(none)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _in_order_of_sight(text: str) -> str:
    """A right-to-left text turned around, words of other scripts and numbers in it not: what Raqm
    would do, without the joined forms of Arabic."""
    right = {"R", "AL"}
    if not any(unicodedata.bidirectional(each) in right for each in text):
        return text
    words = text.split(" ")
    turned = [
        word[::-1] if any(unicodedata.bidirectional(each) in right for each in word) else word
        for word in words
    ]
    return " ".join(reversed(turned))
