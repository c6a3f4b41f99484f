"""Surroundings that lack something: file systems without permissions or locks, users without a
home, standard streams that are not there. What is needed says so; what is not is done without."""

from __future__ import annotations

import errno
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import COLOURS, colour_video
from places import ROOT
from program import Invoke, Program
from refusals import CHMOD, RENAME, needs_refusals, refusing

MakeVideo = Callable[..., Path]

pytestmark = pytest.mark.field


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    for colour in COLOURS[:2]:
        colour_video(folder / f"{colour}.mp4", colour)
    return folder


# --- 11: what a file system lacks -----------------------------------------------------------------


@needs_refusals
@pytest.mark.parametrize(
    ("calls", "number"),
    [
        (CHMOD, errno.EPERM),  # object stores that are mounted
        (("flock", "fcntl"), errno.ENOLCK),  # NFS without its lock service
        (("fcntl",), errno.ENOSYS),  # only locks of whole files
        (("fsync", "fdatasync"), errno.EINVAL),
    ],
    ids=["chmod", "no locks", "no fcntl locks", "no fsync"],
)
def test_field_11_what_a_folder_lacks_is_done_without(
    calls: tuple[str, ...], number: int, program: Program, pair: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels.csv"
    out.write_text("an earlier table, whose permissions would be kept")
    command = ("predict", pair, "-m", model, "-o", out, "--embeddings", tmp_path / "e.npz")
    done = program.run(*command, before=refusing(calls, number))
    assert done.code == 0, done.err
    assert len(out.read_text().splitlines()) == 3
    assert ("has no locks" in done.err) == ("flock" in calls)
    again = program.run(*command, before=refusing(calls, number))
    assert again.code == 0
    assert "all done before" in again.err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@needs_refusals
def test_field_11_what_cannot_be_done_without_says_what_to_do(
    program: Program, pair: Path, model: Path, tmp_path: Path
) -> None:
    """A file that replaces another as a whole needs renaming; mounted buckets may lack it."""
    command = ("predict", pair, "-m", model, "-o", tmp_path / "labels.csv")
    done = program.run(*command, before=refusing(RENAME, errno.ENOSYS))
    assert done.code == 3
    assert "name an --out on a local disk" in done.err
    broken = program.run(*command, before=refusing(("fsync", "fdatasync"), errno.EIO))
    assert broken.code == 3, "a disk that fails is not one that cannot flush"
    assert "name an --out on a local disk" in broken.err


# --- 13: standard streams that are not there ------------------------------------------------------

CLOSED = (
    "import sys\n"
    "for each in {numbers}:\n"
    "    os.close(each)\n"
    "    name = ('stdin', 'stdout', 'stderr')[each]\n"
    "    setattr(sys, name, None)\n"
    "    setattr(sys, f'__{{name}}__', None)\n"
)
"""As Python starts where these numbers are not open."""

STUCK = (
    "import time, vidlabel.predict.runner as runner\n"
    "collect = runner.Runner.collect\n"
    "runner.Runner.collect = lambda self: time.sleep(0.3) or collect(self)\n"
)


@pytest.mark.parametrize("numbers", [(0,), (1,), (2,), (0, 1, 2)])
def test_field_13_a_run_without_standard_streams(
    numbers: tuple[int, ...], program: Program, pair: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels.csv"
    before = CLOSED.format(numbers=numbers)
    done = program.run("predict", pair, tmp_path / "none", "-m", model, "-o", out, before=before)
    assert done.code == 1, done.err
    assert len(out.read_text().splitlines()) == 4
    assert ("2 ok" in done.err) == (2 not in numbers)
    listed = program.run("info", pair / f"{COLOURS[0]}.mp4", before=before)
    assert listed.code == 0, listed.err
    refused = program.run("predict", tmp_path / "none", "-o", tmp_path / "no" / "l", before=before)
    assert refused.code == 2, "it exits as always"


def test_field_13_children_inherit_no_file_as_a_standard_stream(
    program: Program, clips: Path, model: Path, tmp_path: Path
) -> None:
    """A decoder's messages would be written into the memory that it shares, or into the ledger."""
    before = CLOSED.format(numbers=(0, 1, 2)) + STUCK
    command = ("predict", clips, "-m", model, "-o", tmp_path / "l.csv", "--batch-size", 1)
    run = program.start(*command, before=before)
    children: list[int] = []
    deadline = time.monotonic() + 30
    while not children and time.monotonic() < deadline:
        children = [pid for pid in run.decoders() if is_decoder(pid)]
        time.sleep(0.01)
    assert children
    found = {str(Path(f"/proc/{children[0]}/fd/{number}").readlink()) for number in range(3)}
    run.signal(signal.SIGTERM)
    assert run.wait().code == 143
    assert found == {os.devnull}


def is_decoder(pid: int) -> bool:
    try:
        return b"vidlabel.decode.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return False


def test_field_13_a_table_that_nobody_would_see_is_refused(
    program: Program, pair: Path, model: Path, tmp_path: Path
) -> None:
    before = CLOSED.format(numbers=(1,))
    done = program.run("predict", pair, "-m", model, before=before)
    assert done.code == 3
    assert "stdout: is closed; name a file with --out" in done.err
    vectors = tmp_path / "vectors.npz"
    done = program.run("predict", pair, "-m", model, "--embeddings", vectors, before=before)
    assert done.code == 0, done.err
    assert vectors.is_file()


def test_field_13_a_real_shell_closes_them() -> None:
    command = [sys.executable, "-m", "vidlabel", "models", "--help"]
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command]
        assert subprocess.run(shell, capture_output=True, check=False, cwd=ROOT).returncode == 0


# --- 12: users without a home, and little memory --------------------------------------------------


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user as `docker run --user 12345` makes it: no HOME, and no account."""
    for name in ("HOME", "XDG_CACHE_HOME", "VIDLABEL_CACHE", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(user: object) -> None:
        raise KeyError(f"getpwuid(): uid not found: {user}")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(pwd, "getpwnam", nobody)


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("cache",), 3, "set VIDLABEL_CACHE"),
        (("predict", "x.mp4", "-m", "r2plus1d_18"), 3, "set TORCH_HOME"),
        (("eval", "hmdb51:~/hmdb51", "-m", "starter"), 2, "name the folder in full"),
        (("eval", "ucf101:~nobody/ucf101", "-m", "starter"), 2, "name the folder in full"),
    ],
)
def test_field_12_a_user_without_a_home_is_told_what_to_name(
    arguments: tuple[str, ...], code: int, says: str, vidlabel: Invoke, make_video: MakeVideo,
    tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "x.mp4").write_bytes(make_video(frames=3).read_bytes())
    done, _, err = vidlabel(*arguments, cwd=tmp_path)
    assert done == code, err
    assert says in err
    assert "internal error" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"], "no folder called ~"


@pytest.mark.usefixtures("homeless")
def test_field_12_a_training_without_a_home(vidlabel: Invoke, pair: Path, tmp_path: Path) -> None:
    for colour in COLOURS[:2]:
        for number in range(2):
            colour_video(tmp_path / "data" / colour / f"{colour}{number}.mp4", colour, seed=number)
    small = ("--frames", 4, "--size", 32, "--epochs", 1, "--trunk-weights", "none")
    command = ("train", tmp_path / "data", "--out", tmp_path / "run", *small)
    code, _, err = vidlabel(*command, cwd=tmp_path)
    assert code == 3
    assert "choose a folder with --cache FOLDER" in err
    code, _, err = vidlabel(*command, "--cache", tmp_path / "cache", cwd=tmp_path)
    assert code == 0, err


def test_field_12_libraries_make_no_noise_about_the_home(tmp_path: Path) -> None:
    """Matplotlib warns of it, and starts a program of fontconfig, which complains too."""
    tool = tmp_path / "fc-list"
    tool.write_text("#!/bin/sh\necho 'Fontconfig error: No writable cache directories' >&2\n")
    tool.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if name != "MPLCONFIGDIR"}
    env |= {"HOME": os.devnull, "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""}
    env |= {"PATH": f"{tmp_path}:{env['PATH']}"}
    command = [
        sys.executable,
        "-c",
        "import vidlabel.evaluate.report, sys; print('x', file=sys.stderr)",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=env)
    assert done.stderr == "x\n"


LIMITED = (
    "import resource\n"
    "pages = int(open('/proc/self/statm').read().split()[0])\n"
    "size = pages * resource.getpagesize() + {more} * 2**20\n"
    "resource.setrlimit(resource.RLIMIT_AS, (size, size))\n"
)
"""As `ulimit -v` with so many MiB more than are in use."""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize("more", [1, 16, 64])
def test_field_12_little_memory_is_named(
    more: int, program: Program, pair: Path, model: Path, tmp_path: Path
) -> None:
    command = ("predict", pair, "-m", model, "-o", tmp_path / "labels.csv", "-j", 1)
    done = program.run(*command, before=LIMITED.format(more=more))
    assert "internal error" not in done.err
    assert "Traceback" not in done.err
    if done.code:
        assert done.code == 3
        assert "ulimit -v" in done.err
    assert more > 1 or done.code == 3
