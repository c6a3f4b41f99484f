"""Small files that ask for much: frames, streams, tags and tables, built byte by byte."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av

# --- MP4: boxes -------------------------------------------------------------------------------


def box(name: bytes, *content: bytes) -> bytes:
    """An MP4 box."""
    body = b"".join(content)
    return (len(body) + 8).to_bytes(4, "big") + name + body


def in_moov(mp4: bytes, extra: bytes) -> bytes:
    """An MP4 whose header comes last, with more boxes in its header."""
    start = mp4.index(b"moov") - 4
    size = int.from_bytes(mp4[start : start + 4], "big")
    return mp4[:start] + (size + len(extra)).to_bytes(4, "big") + mp4[start + 4 :] + extra


def with_tags(mp4: bytes, tags: Iterable[tuple[bytes, bytes]]) -> bytes:
    """An MP4 with iTunes tags: (four letters, text)."""
    items = [box(name, box(b"data", b"\0\0\0\1\0\0\0\0", text)) for name, text in tags]
    handler = box(b"hdlr", b"\0" * 8 + b"mdirappl" + b"\0" * 9)
    return in_moov(mp4, box(b"udta", box(b"meta", b"\0" * 4, handler, box(b"ilst", *items))))


def with_tracks(mp4: bytes, count: int) -> bytes:
    """An MP4 with so many more copies of its track."""
    start = mp4.index(b"trak") - 4
    size = int.from_bytes(mp4[start : start + 4], "big")
    return in_moov(mp4, mp4[start : start + size] * count)


def with_samples(mp4: bytes, count: int) -> bytes:
    """An MP4 that claims `count` frames of one byte each, in one chunk."""
    data = bytearray(mp4)
    for name, place, value in (
        (b"stsz", 8, 1),
        (b"stsz", 12, count),
        (b"stsc", 16, count),
        (b"stts", 12, count),
    ):
        start = data.index(name) + place
        data[start : start + 4] = value.to_bytes(4, "big")
    return bytes(data)


def with_box_value(data: bytes, name: bytes, place: int, value: bytes) -> bytes:
    """The file with `value` so many bytes after the first `name`."""
    start = data.index(name) + place
    return data[:start] + value + data[start + len(value) :]


# --- Matroska: elements -----------------------------------------------------------------------

TRACKS = bytes.fromhex("1654AE6B")


def element(number: str, *content: bytes) -> bytes:
    """An EBML element; `number` is its id in hexadecimal."""
    body = b"".join(content)
    return bytes.fromhex(number) + (len(body) | 1 << 56).to_bytes(8, "big") + body


def whole(number: str, value: int) -> bytes:
    """An EBML element that holds an unsigned number."""
    return element(number, value.to_bytes(4, "big"))


def mkv_tags(count: int, size: int = 8) -> bytes:
    """A Tags element with `count` different tags of `size` bytes."""
    tags = (
        element("67C8", element("45A3", b"K%d" % i), element("4487", b"v" * size))
        for i in range(count)
    )
    return element("1254C367", element("7373", element("63C0"), *tags))


def mkv_attachments(count: int, size: int = 8) -> bytes:
    """An Attachments element with `count` fonts of `size` bytes."""
    kind = b"application/x-truetype-font"
    files = (
        element(
            "61A7",
            element("466E", b"%d.ttf" % i),
            element("4660", kind),
            element("465C", b"x" * size),
            whole("46AE", i + 1),
        )
        for i in range(count)
    )
    return element("1941A469", *files)


def mkv_chapters(count: int) -> bytes:
    """A Chapters element with `count` chapters."""
    chapters = (
        element("B6", whole("73C4", i + 1), whole("91", i), element("80", element("85", b"c")))
        for i in range(count)
    )
    return element("1043A770", element("45B9", *chapters))


def with_elements(mkv: bytes, extra: bytes) -> bytes:
    """A live MKV (its segment has no length) with more elements in front of its tracks."""
    start = mkv.rindex(TRACKS)  # the first one is a reference to it
    return mkv[:start] + extra + mkv[start:]


def with_mkv_tracks(
    mkv: bytes, count: int, codec: bytes = b"V_MPEG4/ISO/AVC", kind: int = 1
) -> bytes:
    """A live MKV with `count` more tracks: of video (1) or subtitles (17)."""
    start = mkv.rindex(TRACKS) + 4
    width = 9 - mkv[start].bit_length()
    size = int.from_bytes(mkv[start : start + width], "big") & ((1 << 7 * width) - 1)
    own = mkv[start + width : start + width + size]
    picture = element("E0", whole("B0", 64), whole("BA", 48))
    more = (
        element(
            "AE",
            whole("D7", i + 10),
            whole("73C5", i + 10),
            whole("83", kind),
            element("86", codec),
            picture if kind == 1 else b"",
        )
        for i in range(count)
    )
    return mkv[: start - 4] + element("1654AE6B", own, *more) + mkv[start + width + size :]


# --- MPEG-TS ----------------------------------------------------------------------------------


def ts_section(pid: int, table: int, number: int, body: bytes) -> bytes:
    """A TS packet that holds one section of a program table."""
    head = (0xB000 | len(body) + 9).to_bytes(2, "big") + number.to_bytes(2, "big") + b"\xc1\0\0"
    section = bytes([table]) + head + body
    section += _crc32(section).to_bytes(4, "big")
    return b"\x47" + (0x4000 | pid).to_bytes(2, "big") + b"\x10\0" + section.ljust(183, b"\xff")


def with_programs(ts: bytes, streams: int) -> bytes:
    """A TS with so many more video streams in front, 30 to a program, of few packets each."""
    pids = range(0x200, 0x200 + streams)
    programs = [pids[i : i + 30] for i in range(0, streams, 30)]
    out = b""
    for start in range(0, len(programs), 40):
        numbers = range(start, min(start + 40, len(programs)))
        entries = (struct.pack(">HH", n + 1, 0xE000 | 0x1000 + n) for n in numbers)
        out += ts_section(0, 0, 1, b"".join(entries))
    for number, members in enumerate(programs):
        entries = (b"\x1b" + struct.pack(">HH", 0xE000 | pid, 0xF000) for pid in members)
        out += ts_section(0x1000 + number, 2, number + 1, b"\xe2\0\xf0\0" + b"".join(entries))
    packets = [ts[i : i + 188] for i in range(0, len(ts), 188)]
    picture = [p for p in packets if struct.unpack(">H", p[1:3])[0] & 0x1FFF == 0x100][:3]
    for pid in pids:
        for p in picture:
            flags = struct.unpack(">H", p[1:3])[0] & 0xE000
            out += p[:1] + struct.pack(">H", flags | pid) + p[3:]
    return out + ts


def _crc32(data: bytes) -> int:
    """MPEG's CRC, most significant bit first."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value


# --- sizes that lie in the codec's own data ---------------------------------------------------


class Bits:
    """Writes bits, and H.264's variable-length numbers."""

    def __init__(self) -> None:
        self._bits = ""

    def u(self, *pairs: tuple[int, int]) -> Bits:
        """Numbers of a fixed width: (value, bits)."""
        self._bits += "".join(format(value, f"0{width}b") for value, width in pairs)
        return self

    def ue(self, *values: int) -> Bits:
        """Exponential Golomb codes."""
        for value in values:
            digits = format(value + 1, "b")
            self._bits += "0" * (len(digits) - 1) + digits
        return self

    def unit(self, kind: int) -> bytes:
        """The bits as an H.264 NAL unit."""
        bits = self._bits + "1"
        bits += "0" * (-len(bits) % 8)
        raw = int(bits, 2).to_bytes(len(bits) // 8, "big")
        for end in (0, 1, 2, 3):  # an escape where the data would look like a start code
            raw = raw.replace(b"\0\0" + bytes([end]), b"\0\0\3" + bytes([end]))
        return b"\0\0\0\1" + bytes([kind]) + raw


def h264(size_px: int, frames: int) -> bytes:
    """A raw H.264 stream of square frames, all of which but the first are one skipped slice."""
    side = size_px // 16
    sps = Bits().u((66, 8), (0, 8), (52, 8)).ue(0, 0, 2, 1).u((0, 1)).ue(side - 1, side - 1)
    sps.u((1, 1), (1, 1), (0, 1), (0, 1))
    pps = Bits().ue(0, 0).u((0, 2)).ue(0, 0, 0).u((0, 3)).ue(0, 0, 0).u((0, 3))
    first = Bits().ue(0, 7, 0).u((0, 4)).ue(0).u((0, 2)).ue(0)
    out = [sps.unit(0x67), pps.unit(0x68), first.unit(0x65)]
    for i in range(1, frames):
        skipped = Bits().ue(0, 5, 0).u((i % 16, 4), (0, 3)).ue(0, side * side)
        out.append(skipped.unit(0x41))
    return b"".join(out)


def vp8(ivf: bytes, size_px: int) -> bytes:
    """A VP8 file whose key frames say that they are so large (at most 16383)."""
    return _after_each(ivf, b"\x9d\x01\x2a", struct.pack("<HH", size_px, size_px))


def vp9(ivf: bytes, size_px: int) -> bytes:
    """A VP9 file whose key frames say that they are so large (at most 65536)."""
    data = bytearray(ivf)
    place = -1
    while (place := data.find(b"\x49\x83\x42", place + 1)) >= 0:
        bits = int.from_bytes(data[place + 3 : place + 9], "big")
        bits &= ~(0xFFFFFFFF << 12)  # 4 bits of colour, 16 of width, 16 of height
        bits |= (size_px - 1 << 16 | size_px - 1) << 12
        data[place + 3 : place + 9] = bits.to_bytes(6, "big")
    return bytes(data)


def mjpeg(avi: bytes, size_px: int) -> bytes:
    """A Motion JPEG file whose pictures say that they are so large (at most 65535)."""
    return _after_each(avi, b"\xff\xc0\x00\x11\x08", struct.pack(">HH", size_px, size_px))


def avi_size(avi: bytes, size_px: int) -> bytes:
    """An AVI whose stream header says that its frames are so large."""
    return with_box_value(avi, b"strf", 12, struct.pack("<ii", size_px, size_px))


def png_movie(path: Path, size_px: int) -> Path:
    """A MOV of one PNG picture, honestly this large, in a track that says 64 x 48."""
    rows = zlib.compressobj(1)
    line = b"\0" * (size_px + 1)
    pixels = b"".join(rows.compress(line) for _ in range(size_px)) + rows.flush()
    header = struct.pack(">IIBBBBB", size_px, size_px, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    )
    with av.open(str(path), "w") as out:
        stream = out.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        packet = av.Packet(png)
        packet.stream, packet.time_base = stream, Fraction(1, 1)
        packet.pts = packet.dts = 0
        packet.is_keyframe = True
        out.mux(packet)
    return path


def _after_each(data: bytes, mark: bytes, value: bytes) -> bytes:
    parts = data.split(mark)
    return mark.join([parts[0], *(value + part[len(value) :] for part in parts[1:])])
