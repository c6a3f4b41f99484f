"""A short text inside a preview, where every player ignores it: the stamp by which previews are not
taken for videos to label.

It is in the file and not beside it, so that it is copied, replaced and deleted with the file.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

_TAG = b"vidlabel:"
_TAIL_BYTES = 512  # end of a file that holds the text
_PNG_END = 12  # bytes of the chunk IEND
LONGEST = 200
"""Most bytes of the text; a block of a GIF has room for 255."""


def write_tag(path: Path, text: str) -> None:
    """Put a text (ASCII, up to LONGEST characters) into a finished .mp4, .gif or .png.

    It becomes a `free` box at the end of an MP4 (ISO 14496-12, 8.1.2), a comment before the trailer
    of a GIF (GIF89a, 24), or a chunk `tEXt` before the last chunk of a PNG.

    Raises:
        OSError: the file cannot be written.
    """
    data = _TAG + text.encode("ascii") + b";"
    assert len(data) <= LONGEST
    with path.open("rb+") as file:
        if path.suffix.lower() == ".mp4":
            file.seek(0, 2)
            file.write(struct.pack(">I", 8 + len(data)) + b"free" + data)
        elif path.suffix.lower() == ".gif":
            file.seek(-1, 2)  # the trailer, one byte
            file.write(b"\x21\xfe" + bytes([len(data)]) + data + b"\x00\x3b")
        else:
            file.seek(-_PNG_END, 2)
            end = file.read(_PNG_END)
            body = b"tEXt" + b"Comment\x00" + data
            file.seek(-_PNG_END, 2)
            length = struct.pack(">I", len(body) - 4)
            file.write(length + body + struct.pack(">I", zlib.crc32(body)) + end)


def read_tag(path: Path) -> str:
    """The text in a file; "" if there is no file or no text."""
    return _tag_of(path) or ""


def has_tag(path: str | Path) -> bool:
    """Whether a file, if it is one, is a video or GIF that vidlabel has made as a preview."""
    moving = Path(path).suffix.lower() in (".mp4", ".gif")
    return moving and _tag_of(Path(path)) is not None


def _tag_of(path: Path) -> str | None:
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return None
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            tail = file.read()
    except OSError:
        return None
    _, found, rest = tail.rpartition(_TAG)
    text, ended, _ = rest.partition(b";")
    return text.decode("ascii", "replace") if found and ended else None
