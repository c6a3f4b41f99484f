"""`vidlabel data`: HMDB51 and UCF-101 from their official archives."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from vidlabel.cli.options import path_option
from vidlabel.errors import ExitCode
from vidlabel.text import first_few


@click.command()
@click.argument("name", metavar="hmdb51|ucf101", type=click.Choice(["hmdb51", "ucf101"]))
@click.option(
    "--root",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Folder for the data set.",
)
@click.option(
    "--url",
    "urls",
    multiple=True,
    metavar="URL",
    help="Download an archive from here, not from the official addresses. Can be repeated.",
)
@path_option(
    "--from archives",
    "FILE",
    "Use an archive that you have: a .rar or .zip, or a folder of them. Can be repeated.",
    multiple=True,
)
@click.option(
    "--sha256",
    "checksums",
    multiple=True,
    metavar="HEX",
    help="Refuse archives that do not have this SHA-256. Can be repeated.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only the result.")
def data(
    name: str, root: Path, urls: tuple[str, ...], archives: tuple[Path, ...],
    checksums: tuple[str, ...], quiet: bool,
) -> int:  # fmt: skip
    """Download HMDB51 or UCF-101, unpack it, and check that it is complete.

    Run the same command to resume; it does nothing if the data set is complete. Compressed rar
    archives need one of the programs unrar, unar, 7zip or bsdtar. Exit code 0: complete;
    1: clips or lists are missing; 2: wrong usage; 3: the run failed.
    """
    from vidlabel import console
    from vidlabel.datasets.complete import PUBLIC
    from vidlabel.datasets.fetch.obtain import obtain
    from vidlabel.errors import UsageError
    from vidlabel.signals import interruptible

    if urls and archives:
        raise UsageError("--url and --from: give only one of them; --from downloads nothing")
    dataset = PUBLIC[name]
    note = (lambda line: None) if quiet else console.note
    with interruptible() as stop:
        try:
            found = obtain(dataset, root, urls, archives, checksums, note)
        except KeyboardInterrupt:
            console.warn("stopped; run the same command to resume")
            return ExitCode(stop.exit_code)
    console.note(
        f"{dataset.title}: {found.clips:,} of {dataset.clips:,} clips in {found.classes} of "
        f"{dataset.classes} classes"
    )
    for what, names in (("missing", found.missing), ("not in the official lists", found.extra)):
        if names:
            console.warn(f"{len(names):,} {what}: {first_few(names)}")
    if found.lists_problem:
        console.warn(f"{root}: the official split lists are missing or incomplete")
    if not found.complete:
        return ExitCode.SOME_FAILED
    where = shlex.quote(f"{dataset.name}:{root}")
    console.note(f"next: vidlabel train {where} --split 1 --out runs/{dataset.name}-1")
    return ExitCode.OK
