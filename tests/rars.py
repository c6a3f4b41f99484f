"""Small rar files, byte by byte: no free program makes any. And a stand-in for unrar."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

UNIX_FILE, UNIX_LINK = 0o100644, 0o120777
STORED, PACKED = 0x30, 0x33
FOLDER_FLAG, SOLID_FLAG, PASSWORD_FLAG = 0xE0, 0x10, 0x04
NEW_YEAR_2020 = 40 << 25 | 1 << 21 | 1 << 16
END = b"\xc4\x3d\x7b\x00\x40\x07\x00"


def rar4(
    files: dict[str, bytes],
    *,
    mode: int = UNIX_FILE,
    method: int = STORED,
    flags: int = 0,
    main_flags: int = 0,
    claimed: int | None = None,
    broken_sum: bool = False,
) -> bytes:
    """A RAR 4 archive. A method other than STORED means zlib, which `fake_unrar` understands.

    Args:
        files: contents by path; a path that ends in / is a folder.
        mode: the Unix mode of each.
        method: how the data is packed.
        flags: added to each file's.
        main_flags: of the archive.
        claimed: an unpacked size to claim instead of the true one.
        broken_sum: give the data a wrong CRC.
    """
    out = b"Rar!\x1a\x07\x00" + _block(0x73, main_flags, bytes(6))
    return out + b"".join(
        _entry(name, data, mode, method, flags, claimed, broken_sum)
        for name, data in files.items()
    ) + END  # fmt: skip


def _entry(
    name: str, data: bytes, mode: int, method: int, flags: int, claimed: int | None, broken: bool
) -> bytes:
    packed = data if method == STORED else zlib.compress(data)
    raw = name.rstrip("/").encode()
    size = len(data) if claimed is None else claimed
    sums = (zlib.crc32(data) ^ broken, NEW_YEAR_2020)
    head = struct.pack("<LLBLLBBHL", len(packed), size, 3, *sums, 29, method, len(raw), mode)
    flags |= 0x8000 | (FOLDER_FLAG if name.endswith("/") else 0)
    return _block(0x74, flags, head + raw) + packed


def _block(kind: int, flags: int, rest: bytes) -> bytes:
    body = struct.pack("<BHH", kind, flags, 7 + len(rest)) + rest
    return struct.pack("<H", zlib.crc32(body) & 0xFFFF) + body


def rar5_hardlink(name: str, target: str) -> bytes:
    """A RAR 5 archive with nothing but a hard link in it."""
    to = target.encode()
    extra = bytes([5, 4, 0, len(to)]) + to  # a record: type 5, hard link, no flags, name
    extra = bytes([len(extra)]) + extra
    file = bytes([2, 1, len(extra), 0, 0, 0xA4, 0x83, 0x02, 0, 1, len(name)])
    blocks = (bytes([1, 0, 0]), file + name.encode() + extra, bytes([5, 0, 0]))
    return b"Rar!\x1a\x07\x01\x00" + b"".join(map(_block5, blocks))


def _block5(body: bytes) -> bytes:
    body = bytes([len(body)]) + body
    return struct.pack("<L", zlib.crc32(body)) + body


UNRAR = """#!{python} -ISE
import struct, sys, zlib
if sys.argv[1] == "-inul":
    sys.exit()  # asked whether it works
*_, archive = (a for a in sys.argv[1:] if a.endswith(".rar"))
data, at = open(archive, "rb").read(), 7
while at < len(data):
    kind, flags, size = struct.unpack_from("<BHH", data, at + 2)
    if kind == 0x74:
        packed, length = struct.unpack_from("<LH", data, at + 7)[0], 0
        sys.stdout.buffer.write(zlib.decompress(data[at + size : at + size + packed]))
        break
    at += size
"""


def fake_unrar(folder: Path) -> Path:
    """A program `unrar` in a folder of its own, which undoes what `rar4` does with PACKED."""
    folder.mkdir()
    program = folder / "unrar"
    program.write_text(UNRAR.format(python=sys.executable))
    program.chmod(0o755)
    return folder
