"""Text that is safe to show and to store, whatever the name of a file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TypeAlias

PathText: TypeAlias = str | os.PathLike[str]
"""A path as callers give it."""

# C0 and C1 controls (ESC among them), marks and overrides of the writing direction, line and
# paragraph separators, and surrogates, which stand for bytes that are not UTF-8. Joiners such as
# U+200D stay: emoji and several scripts need them.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def safe(text: str) -> str:
    """`text` on one line, without anything that a terminal would interpret.

    Control characters become `\\xNN` or `\\uNNNN`; a byte of a file name that is not UTF-8
    becomes its `\\xNN`, as in `text_path`.
    """
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python smuggles the byte 0x80 to 0xFF
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def text_path(path: str) -> str:
    """A path as valid UTF-8 text; bytes that are not UTF-8 become `\\xNN`."""
    try:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte; no file has such a name
        return path.encode("utf-8", "backslashreplace").decode("utf-8")


def each_path(given: PathText | Iterable[PathText]) -> list[str]:
    """The paths that a caller gives; a single path is one, not a list of its letters."""
    paths = [given] if isinstance(given, str | os.PathLike) else given
    return [os.fspath(path) for path in paths]


def split_names(texts: Iterable[str]) -> list[str]:
    """The different names in texts, in each of which commas divide several, in their order."""
    parts = (part.strip() for text in texts for part in text.split(","))
    return list(dict.fromkeys(filter(None, parts)))


def with_hint(name: str, known: Iterable[str]) -> str:
    """A name that is not known, with the known one that is most like it, whatever its case and
    signs, if there is any: `kik (did you mean kick?)`."""
    by_letters = {_letters(each): each for each in known}
    near = get_close_matches(_letters(name), by_letters, 1)
    return f"{name} (did you mean {by_letters[near[0]]}?)" if near else name


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name.casefold()).strip()


def plural(count: int, noun: str) -> str:
    """A count and its noun: `1 video`, `2 videos`, `2 classes`."""
    ending = "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{count} {noun}{'' if count == 1 else ending}"


def first_few(names: Sequence[str], most: int = 5, mark: str = ", ") -> str:
    """The first few names, and how many more there are."""
    more = len(names) - most
    return mark.join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def time_left(elapsed_s: float, done: float, to_come: float) -> str:
    """How long the rest takes at the mean speed since the start; empty if that is unknown, and at
    the end."""
    return f"{clock_time(elapsed_s / done * to_come)} left" if done and to_come else ""


def seconds_text(seconds: float) -> str:
    """Seconds to the millisecond, without zeros at the end: `12.5`."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def clock_time(seconds: float) -> str:
    """Minutes and seconds, such as `1:05`; from an hour on with hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
