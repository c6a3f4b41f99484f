"""`vidlabel cache`: the decoded frames that trainings keep."""

from __future__ import annotations

from pathlib import Path

import click

from vidlabel.errors import ExitCode


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Another cache than the user's own.",
)
@click.option("--clear", is_flag=True, help="Remove all of it.")
def cache(folder: Path | None, clear: bool) -> int:
    """Show, or remove, the decoded frames that trainings keep for the next one.

    They are there for speed alone. What no training has used for 30 days goes by itself.
    """
    from vidlabel import console
    from vidlabel.errors import OutputError
    from vidlabel.train import cache_folder as cachefolder

    place = folder or cachefolder.default_folder()
    try:
        found = cachefolder.clear(place) if clear else cachefolder.usage(place)
    except OSError as error:
        raise OutputError(f"{place}: {error.strerror or error}") from error
    many, much = ("removed", "freed") if clear else ("entries", "size")
    large = found.size >= 2**30
    size = f"{found.size / 2**30:.1f} GiB" if large else f"{found.size / 2**20:.1f} MiB"
    console.table("", ["", ""], [["folder", place], [many, found.videos], [much, size]])
    return ExitCode.OK
