"""Which of several video streams is the video: field 3."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import pytest
import videos
from av.stream import Disposition

from vidlabel.errors import Reason, VideoError
from vidlabel.video import reader as video_module
from vidlabel.video.reader import open_video

pytestmark = pytest.mark.field

NO_FLAG, DEFAULT, COVER = Disposition(0), Disposition.default, Disposition.attached_pic
CONTAINERS = (".mkv", ".mov", ".mp4", ".ts")
FPS = 10


@dataclass(frozen=True)
class Track:
    """A video stream; its frames show `first`, `first` + 1 and so on."""

    first: int
    size: tuple[int, int]
    frames: int = 24
    every: int = 1
    """Each frame lasts so many tenths of a second."""
    disposition: Disposition = NO_FLAG
    codec: str = "libx264"


def write(path: Path, *tracks: Track) -> Path:
    with av.open(str(path), "w") as out:
        streams = []
        for track in tracks:
            stream = out.add_stream(track.codec, rate=FPS, options={"g": "12", "bf": "0"})
            stream.width, stream.height = track.size
            stream.pix_fmt = "rgb24" if track.codec == "png" else "yuv420p"
            stream.disposition = track.disposition
            streams.append(stream)
        for tick in range(max(track.frames * track.every for track in tracks)):
            for stream, track in zip(streams, tracks, strict=True):
                number, rest = divmod(tick, track.every)
                if rest or number >= track.frames:
                    continue
                picture = videos.barcode(track.first + number, *track.size)
                frame = av.VideoFrame.from_ndarray(picture)
                frame.pts, frame.time_base = tick, Fraction(1, FPS)
                out.mux(stream.encode(frame))
        for stream in streams:
            out.mux(stream.encode(None))
    return path


@pytest.fixture(params=[2**25, 0], ids=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file as a small one, and treated as a large one."""
    monkeypatch.setattr(video_module, "WALK_BYTES", request.param)


def shown(path: Path, time_s: float = 0.55) -> int:
    with open_video(str(path)) as video:
        return videos.read_barcode(video.frames_at([time_s], 48).pixels[0])


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_a_large_still_is_not_the_video(suffix: str, tmp_path: Path, size: None) -> None:
    """field 3: area alone chose a slide, or a picture of the sender, of one frame."""
    still = Track(700, (128, 96), frames=1, disposition=DEFAULT)
    path = write(tmp_path / f"x{suffix}", still, Track(0, (64, 48)))
    assert shown(path) == 5


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_slides_beside_a_camera(suffix: str, tmp_path: Path, size: None) -> None:
    """field 3: a picture every two seconds is a slide show, however large and long."""
    slides = Track(700, (128, 96), frames=2, every=20)
    path = write(tmp_path / f"x{suffix}", slides, Track(0, (64, 48), frames=30))
    assert shown(path) == 5


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".mp4"])  # MPEG-TS has no such flag
def test_the_default_stream_is_the_video(suffix: str, tmp_path: Path, size: None) -> None:
    """field 3: players show the stream that the file marks, also if another one is larger."""
    for order in (1, -1):
        tracks = (Track(700, (128, 96)), Track(0, (64, 48), disposition=DEFAULT))[::order]
        assert shown(write(tmp_path / f"{order}{suffix}", *tracks)) == 5


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_a_short_insert_is_not_the_video(suffix: str, tmp_path: Path, size: None) -> None:
    """field 3: of streams that are equal otherwise, the one that lasts is the video."""
    flag = NO_FLAG if suffix == ".ts" else DEFAULT
    insert = Track(700, (128, 96), frames=8, disposition=flag)
    path = write(tmp_path / f"x{suffix}", insert, Track(0, (64, 48), 30, disposition=flag))
    assert shown(path) == 5


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_the_larger_of_equal_streams(suffix: str, tmp_path: Path, size: None) -> None:
    """field 3: area still decides between two views, though one is a frame longer."""
    flag = NO_FLAG if suffix == ".ts" else DEFAULT
    proxy = Track(700, (32, 32), frames=31, disposition=flag)
    path = write(tmp_path / f"x{suffix}", proxy, Track(0, (64, 48), 30, disposition=flag))
    assert shown(path) == 5


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_an_attached_picture_is_never_the_video(suffix: str, tmp_path: Path, size: None) -> None:
    """field 3: drones and phones attach a large picture of the video to it."""
    cover = Track(700, (128, 96), 1, disposition=COVER, codec="png")
    path = write(tmp_path / f"x{suffix}", cover, Track(0, (64, 48)))
    assert shown(path) == 5
    alone = write(tmp_path / f"y{suffix}", cover)
    with pytest.raises(VideoError) as raised, open_video(str(alone)):
        pass
    assert raised.value.reason is Reason.NO_VIDEO_STREAM
