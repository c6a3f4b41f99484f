"""HMDB51 and UCF-101 from their official archives: downloaded, unpacked, checked.

    ROOT/archives/                  the downloads; not needed once everything is unpacked
    ROOT/hmdb51_org/CLASS/*.avi     the clips
    ROOT/testTrainMulti_7030_splits/CLASS_test_splitN.txt

UCF-101 goes to UCF-101/ and ucfTrainTestlist/, as in its archives. Class folders directly in
ROOT, and lists elsewhere in it, are fine too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from vidlabel.datasets.complete import Completeness, check_complete
from vidlabel.datasets.fetch.archives import MAGIC, Note
from vidlabel.datasets.fetch.download import Expected, check_url, download, sha256
from vidlabel.datasets.fetch.unpack import Tenths, Unpacker, megabytes
from vidlabel.datasets.public import ARCHIVES, PublicDataset
from vidlabel.errors import OutputError, RunError, UsageError
from vidlabel.files.lock import holding
from vidlabel.files.write import make_folder
from vidlabel.text import first_few


def obtain(
    data: PublicDataset,
    root: Path,
    urls: Iterable[str] = (),
    archives: Iterable[Path] = (),
    checksums: Iterable[str] = (),
    note: Note = lambda line: None,
) -> Completeness:
    """Download and unpack what is missing of a data set below `root`, and check the result.

    Existing files are never replaced, except empty ones. May be stopped at any time and called
    again.

    Args:
        root: created if it does not exist.
        urls: addresses of archives, instead of the data set's own.
        archives: archive files, or folders of them, instead of a download.
        checksums: SHA-256, in hexadecimal; an archive with none of these is refused.
        note: called with lines that say what happens.

    Raises:
        UsageError: an address, a checksum or a file is not one.
        RunError: an archive cannot be downloaded, is damaged, or is not what it should be.
        OutputError: the disk is full, or `root` cannot be written to or is in use.
    """
    urls, allowed = tuple(urls), {text.lower() for text in checksums}
    for url in urls:
        check_url(url)
    if bad := [text for text in allowed if not re.fullmatch("[0-9a-f]{64}", text)]:
        raise UsageError(f"--sha256 {bad[0]}: not 64 hexadecimal digits")
    given = _archive_files(archives)
    make_folder(root)
    with holding(root / "data"):
        found = check_complete(data, root, root)
        if found.complete:
            return found
        unpacker = Unpacker(data, root, note)
        unpacker.clear()
        # The lists first, where it is known which these are: they may show that all is there.
        own = [data.splits_urls, data.clips_urls] if found.lists_problem else [data.clips_urls]
        wanted = [(url,) for url in urls] or own
        given.sort(key=lambda path: path.stat().st_size)
        for path in given or (_fetch(data, root, each, note) for each in wanted):
            if allowed and (digest := sha256(path)) not in allowed:
                raise RunError(f"{path}: refused, its SHA-256 is {digest}, none of those given")
            unpacker.unpack(path, found.lists)
            found = check_complete(data, root, root)
            if found.complete:
                break
        unpacker.clear()
        if unpacker.differing:
            note(
                f"kept, although the archive has another size for them: {len(unpacker.differing)} "
                f"files ({first_few(unpacker.differing)}); delete them and run the same command "
                "to replace them"
            )
        return found


def _archive_files(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in ARCHIVES)
            if not inside:
                raise UsageError(f"--from {path}: no .rar or .zip in this folder")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UsageError(f"--from {path}: no such file")
    return found


def _fetch(data: PublicDataset, root: Path, urls: tuple[str, ...], note: Note) -> Path:
    """The archive at an address, in ROOT/archives; downloaded unless it is there."""
    folder, name = root / "archives", check_url(urls[0])
    folder.mkdir(exist_ok=True)
    target = folder / name
    if target.exists():
        note(f"{target}: already downloaded")
        return target
    note(f"downloading {urls[0]}")
    room = data.size_bytes if urls == data.clips_urls else 0
    expected = Expected(max(3 * data.size_bytes // 2, 1 << 20), room, MAGIC)
    try:
        download(urls, target, expected, progress=Tenths(name, note, megabytes), note=note)
    except OutputError:
        raise
    except RunError as error:
        raise RunError(
            f"{error}. Get {name} by hand, from {data.home} or from someone who has it, and "
            f"run: vidlabel data {data.name} --root {root} --from FILE --from FILE"
        ) from error
    note(f"{name}: {megabytes(target.stat().st_size)}, SHA-256 {sha256(target)}")
    return target
