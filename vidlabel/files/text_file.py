"""Text files that other programs write: lists of files, tables, settings, official split lists."""

from __future__ import annotations

import codecs
import os
import re

from vidlabel.errors import UsageError

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # it begins with the mark of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks, and the encodings that they name."""

# In UTF-16, every ASCII character has a zero byte, so that two of them in a row look like two names
# of one byte; and a line end looks like a name that begins or ends with it.
_MAYBE_UTF16 = re.compile(rb"(?:^|\0)[^\0]\0[^\0](?:\0|$)|\n\0|\0\n")


def encoding_of(data: bytes) -> str:
    """The encoding that a byte order mark names, `utf-16`, `utf-32` or `utf-8`; `` without one."""
    return next((name for mark, name in _MARKS.items() if data.startswith(mark)), "")


def as_utf8(data: bytes, where: str) -> bytes:
    """The text of a file in UTF-8 and without a mark, whichever of the UTF encodings it has.

    Bytes that are not UTF-8 pass unchanged: names of files may hold any.

    Args:
        where: what the text is, for the message.

    Raises:
        UsageError: the text holds NUL, as UTF-16 without a mark does, or is not what its mark says.
    """
    encoding = encoding_of(data)
    try:
        text = data.decode(encoding).encode() if encoding in ("utf-16", "utf-32") else data
    except UnicodeDecodeError as error:
        name = encoding.upper()
        raise UsageError(f"{where}: damaged {name}; save it as UTF-8 ({error.reason})") from error
    text = text.removeprefix(codecs.BOM_UTF8)
    if b"\0" in text:
        raise UsageError(
            f"{where}: holds NUL characters, as UTF-16 without a byte order mark does; save it as "
            "UTF-8"
        )
    return text


def read_list(data: bytes, where: str = "the list") -> list[str]:
    """Paths from a list: one a line, or separated by NUL as `find -print0` writes them.

    Raises:
        UsageError: as `as_utf8`; and where a list with NULs could be one in UTF-16.
    """
    if b"\0" in data and encoding_of(data) in ("", "utf-8"):
        names = data.removeprefix(codecs.BOM_UTF8)
        if len(names) % 2 or not _MAYBE_UTF16.search(names):
            return [os.fsdecode(name) for name in names.split(b"\0") if name.strip()]
    return [os.fsdecode(line) for line in as_utf8(data, where).splitlines() if line.strip()]
