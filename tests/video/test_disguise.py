"""Files that have the name of a video and cannot be read as one."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from vidlabel.errors import Reason, VideoError
from vidlabel.video.reader import open_video, probe

pytestmark = pytest.mark.field

MakeVideo = Callable[..., Path]

KEY = "76a6c65c5ea762046bd749a2e632ccbb"
CENC = (("encryption_scheme", "cenc-aes-ctr"), ("encryption_key", KEY), ("encryption_kid", KEY))


def refused(path: Path) -> VideoError:
    with pytest.raises(VideoError) as raised, open_video(str(path)) as video:
        list(video.frames(32))
    assert raised.value.detail.startswith(f"{path}: ")
    return raised.value


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", Reason.NOT_VIDEO,
         "this is a Git LFS pointer to the video; run `git lfs pull`"),
        (b"/annex/objects/MD5E-s5--1.mp4\n", Reason.NOT_VIDEO, "git-annex pointer"),
        (b"\xef\xbb\xbf\n<!-- x -->\n<!DOCTYPE  html><title>Sign in</title>", Reason.NOT_VIDEO,
         "this is an HTML page, such as a sign-in page; download it again"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', Reason.NOT_VIDEO,
         'this is a text: <?xml version="1.0"?><Error><Code>AccessDenied'),
        (b'{"error": {"code": 403,\r\n "message": "quota"}}', Reason.NOT_VIDEO,
         'this is a text: {"error": {"code": 403, "message": "quota"}}'),
        (b"PK\x03\x04" + bytes(300), Reason.NOT_VIDEO, "a ZIP archive; unpack it first"),
        (b"Salted__" + bytes(range(256)), Reason.ENCRYPTED, "encrypted by OpenSSL"),
        (b"\0GITCRYPT\0" + bytes(range(256)), Reason.ENCRYPTED, "encrypted by git-crypt"),
    ],
)  # fmt: skip
def test_the_reason_says_what_the_file_is(
    data: bytes, reason: Reason, words: str, tmp_path: Path
) -> None:
    """Field 16: `not a video, or its header is missing` for what is plainly something else."""
    path = tmp_path / "x.mp4"
    path.write_bytes(data)
    error = refused(path)
    assert error.reason is reason
    assert words in error.detail


def test_an_encrypted_mp4_says_so(make_video: MakeVideo) -> None:
    """Field 16: `no_frames` for a film under DRM."""
    path = make_video(mux=CENC)
    assert refused(path).reason is Reason.ENCRYPTED
    with pytest.raises(VideoError, match=r"its video is encrypted \(DRM\)"):
        probe(str(path))


@pytest.mark.parametrize("suffix", [".ts", ".m2ts"])
def test_a_scrambled_broadcast_says_so(suffix: str, make_video: MakeVideo, tmp_path: Path) -> None:
    """Field 16: a recording of a scrambled channel, without and with times before each packet."""
    data = bytearray(make_video(suffix=".ts").read_bytes())
    noise = random.Random(1)
    packets = [data[i : i + 188] for i in range(0, len(data), 188)]
    for packet in packets:
        if (packet[1] & 0x1F, packet[2]) == (1, 0):  # the stream, not the tables
            packet[3] |= 0xC0
            packet[4:] = noise.randbytes(184)
    before = bytes(4 * (suffix == ".m2ts"))
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"".join(before + packet for packet in packets))
    assert refused(path).reason is Reason.ENCRYPTED


def test_what_is_not_known_keeps_its_reason(tmp_path: Path) -> None:
    """Field 16: nothing is guessed about random bytes or a word."""
    for data in (random.Random(2).randbytes(5000), b"no video"):
        (tmp_path / "x.mp4").write_bytes(data)
        assert "not a video, or its header is missing" in refused(tmp_path / "x.mp4").detail
