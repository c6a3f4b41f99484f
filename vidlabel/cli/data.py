"""`vidlabel data`: HMDB51 and UCF-101 from their official archives."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidlabel.errors import ExitCode

if TYPE_CHECKING:
    from vidlabel.datasets.fetch.obtain import DataSet, Findings


@click.command()
@click.argument("name", metavar="hmdb51|ucf101", type=click.Choice(["hmdb51", "ucf101"]))
@click.option(
    "--root",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where the data set goes.",
)
@click.option(
    "--url",
    "urls",
    multiple=True,
    metavar="URL",
    help="Fetch an archive from here, instead of the official addresses. May be repeated.",
)
@click.option(
    "--from",
    "archives",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take archives that you have: a .rar or .zip, or a folder of them. May be repeated.",
)
@click.option(
    "--sha256",
    "checksums",
    multiple=True,
    metavar="HEX",
    help="Refuse an archive whose SHA-256 is none of those given. May be repeated.",
)
@click.option("-q", "--quiet", is_flag=True, help="Only the result.")
def data(
    name: str, root: Path, urls: tuple[str, ...], archives: tuple[Path, ...],
    checksums: tuple[str, ...], quiet: bool,
) -> int:  # fmt: skip
    """Download HMDB51 or UCF-101, unpack it, and count its clips.

    The same command again goes on where it stopped, and does nothing when all is there. Rars need
    unrar, unar, 7zip or bsdtar, unless they are not compressed. Exit code 0: complete; 1: clips
    or lists are missing; 2: wrong usage; 3: could not run to its end.
    """
    from vidlabel import console
    from vidlabel.datasets.fetch.obtain import DATA_SETS, obtain
    from vidlabel.errors import UsageError
    from vidlabel.signals import interruptible

    if urls and archives:
        raise UsageError("--url and --from: give one of them; --from downloads nothing")
    chosen = DATA_SETS[name]
    note = (lambda line: None) if quiet else console.note
    with interruptible() as stop:
        try:
            found = obtain(chosen, root, urls, archives, checksums, note)
        except KeyboardInterrupt:
            console.warn("stopped; the same command goes on from here")
            return ExitCode(stop.exit_code)
    _report(chosen, root, found)
    return ExitCode.OK if found.complete(chosen) else ExitCode.SOME_FAILED


def _report(chosen: DataSet, root: Path, found: Findings) -> None:
    from vidlabel import console

    console.note(
        f"{chosen.title}: {found.clips:,} of {chosen.clips:,} clips in {found.classes} of "
        f"{chosen.classes} classes"
    )
    for what, names in (("missing", found.missing), ("not in the official lists", found.extra)):
        if names:
            more = ", ..." if len(names) > 5 else ""
            console.warn(f"{len(names):,} {what}: {', '.join(names[:5])}{more}")
    if found.complete(chosen):
        where = shlex.quote(f"{chosen.name}:{root}")
        console.note(f"next: vidlabel train {where} --split 1 --out runs/{chosen.name}-1")
    elif not found.has_lists:
        console.warn(f"{root}: the lists of the official splits are not there, or not all of them")
