"""What the tests of whole runs share: the program, a small model, a folder of clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import children
import pytest
from fakes import COLOURS, colour_video


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 healthy clips, all different, and 4 files that cannot be read."""
    folder = tmp_path_factory.mktemp("clips")
    for i in range(40):
        colour_video(folder / f"{i:02}.mp4", COLOURS[i % 3], 6 + i % 5, seed=i)
    (folder / "05b.mp4").write_text("not a video")
    (folder / "15b.mp4").touch()
    (folder / "25b.mp4").write_bytes((folder / "00.mp4").read_bytes()[:200])
    (folder / "35b.mp4").mkdir()
    return folder


@pytest.fixture(scope="session", autouse=True)
def _server() -> Iterator[None]:
    """Ends the server that reads files, where a test has started it."""
    yield
    if children.server.cache_info().currsize:
        children.server().__exit__()
