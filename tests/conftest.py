"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import videos


@pytest.fixture(scope="session")
def make_video(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`make_video(**spec)`: a tiny video as `videos.VideoSpec` describes it, made once."""
    folder = tmp_path_factory.mktemp("videos")
    made: dict[videos.VideoSpec, Path] = {}

    def make(**values: object) -> Path:
        spec = videos.VideoSpec(**values)
        if spec not in made:
            made[spec] = videos.write(folder / f"{len(made)}{spec.suffix}", spec)
        return made[spec]

    return make
