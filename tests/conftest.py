"""Fixtures for all tests."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import videos
from fakes import random_checkpoint
from program import Invoke, Program

from vidlabel.cli.main import main


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for the whole suite, or a folder of it; none beside pytest for single files."""
    return 2 if all(Path(name).is_dir() for name in config.getoption("file_or_dir")) else 0


@pytest.fixture(scope="session", autouse=True)
def _frame_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps tests out of the user's cache of decoded frames."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDLABEL_CACHE", str(tmp_path_factory.mktemp("frames")))
        yield


@pytest.fixture(scope="module")
def rough_intervals() -> Iterator[None]:
    """Intervals from fewer samples, for tests that are not about them: a report takes a third of a
    second for those alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vidlabel.evaluate.metrics.RESAMPLES", 50)
        yield


@pytest.fixture(scope="session")
def program(_frame_cache: None) -> Iterator[Program]:
    """The command line, each run a process of its own."""
    with Program() as running:
        yield running


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of three colours, with random weights."""
    return random_checkpoint(tmp_path_factory.mktemp("model") / "tiny.safetensors")


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


@pytest.fixture
def render(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """`vidlabel render ARGUMENTS` on the CPU, in this process: exit code and stderr."""

    def run(*arguments: object) -> tuple[int, str]:
        capfd.readouterr()
        words = ["vidlabel", "render", "--device", "cpu", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return end.value.code, capfd.readouterr().err

    return run


@pytest.fixture
def vidlabel(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Invoke:
    """The program's own `main`, in this process: importing torch again each time takes seconds."""

    def run(
        *arguments: object, stdin: bytes = b"", cwd: Path | None = None
    ) -> tuple[int, str, str]:
        capfdbinary.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["vidlabel", *map(str, arguments)])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            if cwd is not None:
                patch.chdir(cwd)
            with pytest.raises(SystemExit) as end:
                main()
        out, err = capfdbinary.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, out.decode(), err.decode()

    return run
