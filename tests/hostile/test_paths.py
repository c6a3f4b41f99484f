"""B2 24-26, 29, 30, and the extra formats of 9: names, links, rights, scripts and playlists."""

from __future__ import annotations

import os
import socket
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import children
import pytest
import videos
from PIL import Image

from vidlabel.clips.read import read_clip
from vidlabel.errors import Reason, UsageError, VideoError
from vidlabel.files.find import find_videos
from vidlabel.specs import ClipSpec, Limits
from vidlabel.video import reader as video_module
from vidlabel.video.container import EXTRA_CONTAINERS, check_formats
from vidlabel.video.reader import open_video, probe

MakeVideo = Callable[..., Path]

SMALL = ClipSpec(frames=6, size_px=32, resize_px=48)


def refused(path: Path | str, limits: Limits | None = None) -> VideoError:
    """The error that a file gives; a line that names it."""
    with pytest.raises(VideoError) as raised:
        read_clip(str(path), SMALL, 1, limits or Limits())
    assert str(path) in raised.value.detail
    assert "\n" not in raised.value.detail
    return raised.value


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server on this machine; the test fails if anyone connected to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


def test_b2_24_links(make_video: MakeVideo, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(make_video().read_bytes())
    (folder / "itself").symlink_to(folder)
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "gone.mp4").symlink_to("nowhere.mp4")
    paths = [Path(item.path) for item in find_videos([str(folder)])]
    assert [path.name for path in paths] == ["a.mp4", "gone.mp4", "loop.mp4"]
    rows = children.read_all(paths)
    assert [row["reason"] for row in rows] == ["", Reason.NOT_FOUND, Reason.NOT_FOUND]


def test_b2_25_not_regular_is_refused_without_hanging(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    (tmp_path / "link.mp4").symlink_to("fifo.mp4")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.mp4"))
        paths = sorted(tmp_path.iterdir())
        rows = children.read_all(paths)
    assert [row["reason"] for row in rows] == [Reason.NOT_REGULAR] * 5


def test_b2_25_not_regular_is_refused_without_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*args: object, **kwargs: object) -> None:
        raise AssertionError(args)

    monkeypatch.setattr(av, "open", opened)
    monkeypatch.setattr("builtins.open", opened)
    monkeypatch.setattr(os, "open", opened)
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "fifo.mp4")
    for name in ("folder.mp4", "fifo.mp4"):
        assert refused(tmp_path / name).reason is Reason.NOT_REGULAR


ODD_NAMES = [
    b"new\nline.mp4",
    b"tab\t.mp4",
    b"escape\x1b[31m.mp4",
    b"quote'\".mp4",
    b"-leading.mp4",
    b"=1+1.mp4",
    b"@at.mp4",
    b"%03d.mp4",
    b"*star?.mp4",
    b"[ab].mp4",
    b"[/].mp4",
    b" space .mp4",
    b"back\\slash.mp4",
    b"semi;colon|pipe&.mp4",
    b"colon:concat.mp4",
    b"concat:a.mp4",
    b"file:a.mp4",
    b"pipe:0.mp4",
    b"data:x.mp4",
    b"\xff\xfe.mp4",
    unicodedata.normalize("NFC", "café.mp4").encode(),
    unicodedata.normalize("NFD", "café.mp4").encode(),
    "видео🎥.mp4".encode(),
    b"n" * 220 + b".mp4",
    b"NA.mp4",
]


def test_b2_26_odd_names_open_the_right_file(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [Path(os.fsdecode(name.replace(b"/", b""))) for name in ODD_NAMES]
    for number, name in enumerate(names):
        name.write_bytes(make_video(frames=3 + number).read_bytes())
    assert len(find_videos(["."])) == len(names)
    for number, name in enumerate(names):
        (item,) = find_videos([str(name)])
        assert item.problem is None
        assert probe(item.path).frames == 3 + number
        with open_video(item.path) as video:
            last = video.frames_at([99.0], 48).pixels
        assert videos.read_barcodes(last) == [2 + number]


def test_b2_29_permission_denied(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(make_video().read_bytes())

    def refuse(*args: object, **kwargs: object) -> None:
        raise av.error.PermissionError(13, "Permission denied", str(path))

    if os.geteuid() == 0:  # root reads everything
        monkeypatch.setattr(av, "open", refuse)
    else:
        path.chmod(0)
    assert refused(path).reason is Reason.PERMISSION


@pytest.mark.parametrize("change", ["vanishes", "is cut", "is overwritten"])
@pytest.mark.parametrize("walk_bytes", [2**25, 0])
def test_b2_29_file_changes_while_it_is_read(
    walk_bytes: int,
    change: str,
    make_video: MakeVideo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(video_module, "WALK_BYTES", walk_bytes)
    path = tmp_path / "x.mkv"
    path.write_bytes(make_video(suffix=".mkv", frames=60, gop=6).read_bytes())
    outcome: object
    try:
        with open_video(str(path)) as video:
            if change == "vanishes":
                path.unlink()
            elif change == "is cut":
                os.truncate(path, 600)
            else:
                path.write_bytes(b"\xff" * path.stat().st_size)
            outcome = video.frames_at([0.05, 5.95], 48)
    except VideoError as error:
        outcome = error.reason
    if walk_bytes:  # all packets are in memory already
        assert not isinstance(outcome, Reason)
        assert videos.read_barcodes(outcome.pixels) == [0, 59]
    elif isinstance(outcome, Reason):
        assert outcome in {Reason.NOT_FOUND, Reason.NOT_VIDEO, Reason.NO_FRAMES, Reason.READ_ERROR}
    else:
        assert outcome.pixels.shape == (2, 48, 64, 3)


SCRIPTS = {
    "ffconcat": "ffconcat version 1.0\nfile 'good.mp4'\n",
    "ffconcat to the net": "ffconcat version 1.0\nfile 'http://{server}/x.mp4'\n",
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\ngood.ts\n#EXT-X-ENDLIST\n",
    "m3u8 to the net": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nhttp://{server}/x.ts\n"
    "#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
    "<BaseURL>http://{server}/x.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "asx": '<asx version="3.0"><entry><ref href="http://{server}/x.asf"/></entry></asx>',
    "asf reference": "[Reference]\nRef1=http://{server}/x.asf\n",
    "rtsp text": "rtsptextRTSP://{server}/x\n",
}


@pytest.fixture
def beside_good_files(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files that the scripts name are there, and could be opened."""
    monkeypatch.chdir(tmp_path)
    Path("good.mp4").write_bytes(make_video().read_bytes())
    Path("good.ts").write_bytes(make_video(suffix=".ts").read_bytes())


@pytest.mark.parametrize("kind", SCRIPTS)
@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".asf", ".m3u8", ".mpd"])
def test_b2_30_scripts_and_playlists_are_refused(
    kind: str, suffix: str, beside_good_files: None, listener: socket.socket
) -> None:
    path = Path(f"x{suffix}")
    path.write_text(SCRIPTS[kind].replace("{server}", f"127.0.0.1:{listener.getsockname()[1]}"))
    assert refused(path).reason is Reason.NOT_VIDEO
    assert refused(path, Limits(formats=tuple(EXTRA_CONTAINERS))).reason is Reason.NOT_VIDEO


@pytest.mark.parametrize("name", EXTRA_CONTAINERS)
def test_b2_30_an_allowed_format_opens_nothing_else(
    name: str, beside_good_files: None, listener: socket.socket
) -> None:
    server = f"127.0.0.1:{listener.getsockname()[1]}"
    for kind, script in SCRIPTS.items():
        for suffix in (".mp4", *EXTRA_CONTAINERS[name].split()):
            path = Path(f"x{suffix}")
            path.write_text(script.replace("{server}", server))
            # A raw format takes its suffix's word for it that text is video, and finds none.
            hollow = {Reason.NO_FRAMES, Reason.READ_ERROR} if suffix != ".mp4" else set()
            error = refused(path, Limits(formats=(name,)))
            assert error.reason in {Reason.NOT_VIDEO, *hollow}, kind


@pytest.mark.parametrize(
    "name", ["hls", "dash", "concat", "sdp", "image2", "png_pipe", "lavfi", ""]
)
def test_b2_30_other_formats_cannot_be_allowed(name: str, make_video: MakeVideo) -> None:
    with pytest.raises(UsageError) as raised:
        check_formats(["gif", name])
    message = str(raised.value)
    assert "--allow-formats" in message
    assert "\n" not in message
    assert all(known in message for known in EXTRA_CONTAINERS)
    with pytest.raises(UsageError), open_video(str(make_video()), Limits(formats=(name,))):
        pass


def test_b2_09_formats_that_may_be_allowed(make_video: MakeVideo, tmp_path: Path) -> None:
    check_formats(EXTRA_CONTAINERS)
    suffixes = " ".join(EXTRA_CONTAINERS.values()).split()
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in suffixes)
    picture = tmp_path / "picture.gif"
    frames = [Image.fromarray(videos.barcode(i, 64, 48)) for i in range(8)]
    frames[0].save(picture, save_all=True, append_images=frames[1:], duration=100)
    made = {
        "gif": picture,
        "mjpeg": make_video(suffix=".mjpeg", codec="mjpeg", pix_fmt="yuvj420p", frames=8),
        "yuv4mpegpipe": make_video(suffix=".y4m", codec="wrapped_avframe", frames=8),
        "apng": make_video(suffix=".apng", codec="apng", pix_fmt="rgb24", frames=8),
    }
    for name, path in made.items():
        with open_video(str(path)) as video:  # its own suffix says what it is
            assert video.duration_s > 0
        path = path.rename(tmp_path / f"{name}.mp4")
        assert refused(path).reason is Reason.NOT_VIDEO
        with open_video(str(path), Limits(formats=(name,))) as video:
            shown = videos.read_barcodes(video.frames_at([0.0, video.duration_s], 48).pixels)
        assert shown == [0, 7], name


def test_b2_30_names_that_look_like_protocols(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    monkeypatch.chdir(tmp_path)
    server = f"127.0.0.1:{listener.getsockname()[1]}"
    Path("a.mp4").write_bytes(make_video(frames=9).read_bytes())
    for name in (f"http://{server}/x.mp4", f"tcp://{server}", "concat:a.mp4", "subfile,,:a.mp4"):
        assert refused(name).reason is Reason.NOT_FOUND
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(make_video(frames=4).read_bytes())
        assert probe(name).frames == 4
