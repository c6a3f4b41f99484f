"""Names of files that a list or table spells otherwise than the disk.

A table may come from Windows (`clips\\a.mp4`), from macOS (`é` as `e` and an accent), or from a
program with another locale, which takes the bytes of a name for other characters.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vidlabel.text import text_path

_ESCAPED = re.compile(r"\\x([89a-f][0-9a-f])")  # a byte that is not UTF-8, by `text.text_path`
_ENCODINGS = (
    "cp1252", "latin-1", "cp437", "cp850", "cp1251", "koi8-r", "gb18030", "shift_jis", "euc_jp",
    "euc_kr", "big5",
)  # fmt: skip
"""Of names that are not in UTF-8."""

_SLASH, _ACCENT, _BYTES = (
    "/ in place of \\", "another Unicode form of the same letters", "another encoding of the name"
)  # fmt: skip


def path_from_text(text: str) -> str:
    """The path that a text from a UTF-8 table is, in any locale; see `text.text_path`."""
    try:
        return os.fsdecode(text.encode("utf-8", "surrogateescape"))
    except UnicodeError:  # a surrogate that stands for no byte; no file has such a name
        return text


class Spellings:
    """Finds files by names from elsewhere, and counts those that it found by another spelling."""

    def __init__(self) -> None:
        self._differs: Counter[str] = Counter()
        self._listings: dict[str, dict[str, str]] = {}

    def find(self, path: str) -> str | None:
        """The path of the file or folder that is spelled so, exactly or, where there is none,
        otherwise; None if there is none at all."""
        if os.path.lexists(path):
            return path
        raw = _ESCAPED.sub(lambda byte: os.fsdecode(bytes([int(byte[1], 16)])), path)
        if os.path.lexists(raw):
            return raw
        for text in (raw, path):
            slashed = text.replace("\\", "/")
            if found := self._by_parts(slashed):
                self._differs[_SLASH if found == slashed else _difference(slashed, found)] += 1
                return found
        return None

    def find_below(self, given: str, roots: Sequence[Path]) -> tuple[str, str]:
        """The absolute path of a file that a table names, and its name there as the disk spells it.

        A relative name is looked for below each of the `roots` (at least one). Where there is no
        such file, the result is its path below the first, and the name as it is written.
        """
        text = path_from_text(given)
        for root in roots:
            before = "" if root == Path() else f"{root}/"
            if there := self.find(text if Path(text).is_absolute() else f"{before}{text}"):
                return os.path.abspath(there), there.removeprefix(before)  # noqa: PTH100
        return os.path.abspath(roots[0] / given), given  # noqa: PTH100

    def told(self) -> str:
        """One line on what was spelled otherwise; empty if nothing was."""
        if not self._differs:
            return ""
        ways = [f"{what} ({count})" for what, count in self._differs.most_common()]
        return f"{self._differs.total()} found under another spelling: {', '.join(ways)}"

    def _by_parts(self, path: str) -> str | None:
        """A path with each of its parts as the disk spells it."""
        place = ""
        for part in path.split("/"):
            here = f"{place}{part}"
            if part and not os.path.lexists(here):
                names = {} if part.isascii() else self._names_in(place or ".")
                found = [names[key] for key in _readings(part) if key in names]
                if not found:
                    return None
                here = f"{place}{found[0]}"
            place = f"{here}/"
        return here if os.path.lexists(here) else None

    def _names_in(self, folder: str) -> dict[str, str]:
        """The names in a folder, by all texts that they may stand for."""
        if folder not in self._listings:
            try:
                names = sorted(os.listdir(folder), key=os.fsencode)  # noqa: PTH208
            except OSError:
                names = []
            self._listings[folder] = {
                key: name for name in reversed(names) if not name.isascii()
                for key in _readings(name)
            }  # fmt: skip
        return self._listings[folder]


def _readings(name: str) -> list[str]:
    """The texts that a name may stand for, composed: one if it is in UTF-8."""
    try:
        data = os.fsencode(name)
    except UnicodeEncodeError:  # in this locale, no file has such a name
        data = name.encode("utf-8", "replace")
    texts = []
    for encoding in ("utf-8", *_ENCODINGS):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        texts.append(unicodedata.normalize("NFC", text))
        if encoding == "utf-8":
            break
    return texts


def _difference(text: str, found: str) -> str:
    same = unicodedata.normalize("NFC", text_path(text))
    return _ACCENT if same == unicodedata.normalize("NFC", text_path(found)) else _BYTES
