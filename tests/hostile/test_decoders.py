"""Decoder processes that crash, hang or take too much: each costs its own file only."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest
from fakes import CLIP, colour_video
from faulty import DeadJob, FaultyJob
from program import gone, processes

import vidlabel
from vidlabel.decode.pool import DecoderPool
from vidlabel.decode.worker import DecodeJob
from vidlabel.errors import Reason, RunError, VideoError
from vidlabel.specs import Limits, VideoItem


@pytest.fixture(autouse=True)
def _decoders_find_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))


def items(folder: Path, names: list[str]) -> list[VideoItem]:
    paths = [colour_video(folder / f"{name}.mp4", "red", seed=i) for i, name in enumerate(names)]
    return [VideoItem(i, str(path)) for i, path in enumerate(paths)]


def outcomes(
    folder: Path, names: list[str], workers: int = 2, **limits: float
) -> dict[str, VideoError | None]:
    """The error of each file, None where it was read; every file has exactly one outcome."""
    job = FaultyJob(CLIP, limits=Limits(**limits))  # type: ignore[arg-type]
    with DecoderPool(job, workers) as pool:
        pids = [worker.process.pid for worker in pool._workers]
        done = [(Path(d.item.path).stem, d.error) for d in pool.run(items(folder, names))]
    assert gone(pids)
    assert sorted(name for name, _ in done) == sorted(names)
    return dict(done)


def healthy(count: int) -> list[str]:
    return [f"v{i}" for i in range(count)]


@pytest.mark.parametrize("death", ["segfault", "oom", "exit"])
@pytest.mark.parametrize("workers", [1, 2])
def test_b2_38_a_crash_costs_its_own_file_only(death: str, workers: int, tmp_path: Path) -> None:
    names = ["v0", death, "v1", "flaky", "v2", "bug", f"{death}_2", *healthy(12)[3:]]
    found = outcomes(tmp_path, names, workers)
    for name in (death, f"{death}_2"):
        error = found.pop(name)
        assert error is not None
        assert error.reason is Reason.CRASHED
        assert name in error.detail
        assert "twice" in error.detail
    bug = found.pop("bug")
    assert bug is not None
    assert bug.reason is Reason.READ_ERROR
    assert "our own mistake" in bug.detail
    assert all(error is None for error in found.values()), "the flaky one passes when retried"


def test_b2_38_every_file_crashes(tmp_path: Path) -> None:
    names = [f"segfault_{i}" for i in range(6)]
    found = outcomes(tmp_path, names)
    assert {error.reason for error in found.values() if error} == {Reason.CRASHED}


def test_b2_38_too_much_memory_is_a_row(tmp_path: Path) -> None:
    found = outcomes(tmp_path, ["v0", "hog", "v1"], memory_mb=2048)
    hog = found.pop("hog")
    assert hog is not None
    assert hog.reason is Reason.TOO_LARGE
    assert "2048 MiB (--max-memory)" in hog.detail
    assert found == {"v0": None, "v1": None}


def test_b2_38_processes_that_never_come_up_end_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    with (
        DecoderPool(DeadJob(CLIP), 2) as pool,
        pytest.raises(RunError, match=r"during their start .exit status 7.; run `vidlabel doctor`"),
    ):
        list(pool.run(items(tmp_path, healthy(3))))
    assert time.monotonic() - started < 30
    capfd.readouterr()


@pytest.mark.parametrize("kind", ["hang", "loop"])
def test_b2_39_no_progress_is_ended_by_the_heartbeat(kind: str, tmp_path: Path) -> None:
    names = ["v0", kind, "v1", "slow", "v2"]
    found = outcomes(tmp_path, names, stall_s=1.0, timeout_s=100.0)
    error = found.pop(kind)
    assert error is not None
    assert error.reason is Reason.TIMEOUT
    assert "no progress within 1 s, twice" in error.detail
    assert all(error is None for error in found.values()), "slow is not stuck"


def test_b2_39_progress_without_end_is_ended_at_the_deadline(tmp_path: Path) -> None:
    found = outcomes(tmp_path, ["v0", "endless", "v1"], workers=1, timeout_s=1.0)
    error = found.pop("endless")
    assert error is not None
    assert error.reason is Reason.TIMEOUT
    assert "over 1 s (--timeout), twice" in error.detail
    assert found == {"v0": None, "v1": None}


def test_b2_39_a_real_file_shows_progress(tmp_path: Path) -> None:
    seen: list[None] = []
    path = colour_video(tmp_path / "x.mp4", "red", count=12)
    DecodeJob(CLIP).read(str(path), lambda: seen.append(None))
    assert len(seen) >= 12


def test_b2_40_decoders_are_new_programs_and_not_forks(tmp_path: Path) -> None:
    with DecoderPool(DecodeJob(CLIP), 1) as pool:
        next(iter(pool.run(items(tmp_path, ["v0", "v1"]))))
        (worker,) = pool._workers
        command = Path(f"/proc/{worker.process.pid}/cmdline").read_bytes().split(b"\0")
        assert b"vidlabel.decode.worker" in command
        score = Path(f"/proc/{worker.process.pid}/oom_score_adj").read_text()
        assert int(score) >= 500, "when memory runs out, a decoder is to go, not the program"
        threads = list(Path(f"/proc/{worker.process.pid}/task").iterdir())
        assert len(threads) == 2, "one that decodes, one that watches the parent"
        assert worker.process.pid in processes()


def test_b2_40_nothing_in_the_package_forks() -> None:
    """What starts processes says `spawn`; multiprocessing.connection starts none."""
    for path in Path(vidlabel.__file__).parent.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Attribute):
                assert not node.attr.startswith("fork"), path
            elif isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None) or ""
                names = {f"{module}.{alias.name}".strip(".") for alias in node.names}
                names -= {"concurrent.futures.ThreadPoolExecutor", "concurrent.futures.Future"}
                if any(
                    name.startswith(("multiprocessing", "concurrent.futures")) for name in names
                ):
                    spawns = 'get_context("spawn")' in source
                    assert spawns or module == "multiprocessing.connection", path


def test_b2_40_ffmpeg_decodes_in_one_thread(tmp_path: Path) -> None:
    from vidlabel.video.reader import open_video

    with open_video(str(colour_video(tmp_path / "x.mp4", "red"))) as video:
        context = video._source.context
        assert context.thread_count == 1
        assert context.thread_type.name == "NONE"
