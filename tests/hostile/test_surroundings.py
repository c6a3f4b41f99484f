"""Surroundings that lack something: file systems without permissions or locks, users without a
home, standard streams that are not there. What is needed says so; what is not is done without."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from fakes import COLOURS, colour_video
from program import Program
from refusals import CHMOD, RENAME, needs_refusals, refusing

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
