"""What the tests of shards share: a small model, a folder of clips, the table of one run."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import COLOURS, colour_video
from program import Program


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 healthy clips in two folders, all different, and 2 files that cannot be read."""
    folder = tmp_path_factory.mktemp("clips")
    for i in range(20):
        place = folder / f"{i % 2}"
        place.mkdir(exist_ok=True)
        colour_video(place / f"{i:02}.mp4", COLOURS[i % 3], 6 + i % 5, seed=i)
    (folder / "0" / "05b.mp4").write_text("not a video")
    (folder / "1" / "15b.mp4").touch()
    return folder


@pytest.fixture(scope="session")
def whole(
    program: Program, clips: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The table of an undivided run, with embeddings and sidecars beside it."""
    out = tmp_path_factory.mktemp("whole") / "labels.csv"
    done = program.run(
        "predict", clips, "-m", model, "-o", out, "--embeddings", out.with_suffix(".npz"),
        "--sidecar", "srt,boris",
    )  # fmt: skip
    assert done.code == 1, done.err
    return out
