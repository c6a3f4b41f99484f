"""What a file is that has the name of a video and cannot be read as one."""

from __future__ import annotations

import re

from vidlabel.errors import Reason

_HEAD_BYTES = 64 * 1024

ENCRYPTED = "its video is encrypted (DRM); it can be played only by its own application"

_ENCRYPTED_FILES = {
    b"Salted__": "OpenSSL",
    b"-----BEGIN PGP MESSAGE": "PGP",
    b"\x00GITCRYPT\x00": "git-crypt",
    b"age-encryption.org/": "age",
    b"-----BEGIN AGE ENCRYPTED FILE": "age",
}
_OTHERS = {
    b"version https://git-lfs.github.com/": "a Git LFS pointer to the video; run `git lfs pull`",
    b"/annex/objects/": "a git-annex pointer to the video; run `git annex get`",
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a ZIP archive; unpack it first",
    b"Rar!\x1a\x07": "a RAR archive; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
    b"\x1f\x8b": "a gzip archive; unpack it first",
}
"""How files begin, and what they are."""

_HTML = re.compile(rb"<(!doctype\s+html|html)\b", re.IGNORECASE)
_LEAST_TEXT, _TEXT_SHOWN = 12, 60  # characters


def recognise(path: str) -> tuple[Reason, str] | None:
    """The reason why a file is no video, and what it is instead; None if that is not known."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  (any bytes)
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    for start, program in _ENCRYPTED_FILES.items():
        if head.startswith(start):
            return Reason.ENCRYPTED, f"the file is encrypted by {program}; decrypt it first"
    if _is_scrambled(head):
        return Reason.ENCRYPTED, ENCRYPTED
    for start, what in _OTHERS.items():
        if head.startswith(start):
            return Reason.NOT_VIDEO, f"this is {what}"
    text = head.removeprefix(b"\xef\xbb\xbf")
    if text.lstrip().startswith(b"<") and _HTML.search(text):
        return Reason.NOT_VIDEO, "this is an HTML page, such as a sign-in page; download it again"
    try:
        words = " ".join(text.decode().split())
    except UnicodeDecodeError:
        return None
    if len(words) < _LEAST_TEXT or not words.isprintable():
        return None
    return Reason.NOT_VIDEO, f"this is a text: {words[:_TEXT_SHOWN]}"


def _is_scrambled(head: bytes) -> bool:
    """Whether packets of an MPEG transport stream have the scrambling bits (ISO 13818-1, 2.4.3.3)
    set; those of its tables, which may be most of a small file, never have."""
    for size, start in ((188, 0), (192, 4)):  # .ts; .m2ts
        packets = [head[i : i + 4] for i in range(start, len(head) - 4, size)]
        if len(packets) > 8 and all(packet[0] == 0x47 for packet in packets):
            return sum(bool(packet[3] & 0x80) for packet in packets) > len(packets) / 10
    return False
