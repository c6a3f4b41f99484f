"""`vidlabel cache`: the cache of decoded frames."""

from __future__ import annotations

from pathlib import Path

import click

from vidlabel.cli.options import path_option
from vidlabel.errors import ExitCode


@click.command()
@path_option("--folder", "FOLDER", "Folder of the cache; the default is the user's own.")
@click.option("--clear", is_flag=True, help="Remove all cached frames.")
def cache(folder: Path | None, clear: bool) -> int:
    """Show or clear the cache of decoded frames.

    `vidlabel train` keeps decoded frames so that the next training does not decode the videos
    again. Frames that no training has used for 30 days are removed automatically.
    """
    from vidlabel import console
    from vidlabel.errors import OutputError
    from vidlabel.train import cache_folder

    place = folder or cache_folder.default_folder()
    try:
        found = cache_folder.usage(place, clear=clear)
    except OSError as error:
        raise OutputError(f"{place}: {error.strerror or error}") from error
    many, much = ("removed", "freed") if clear else ("entries", "size")
    large = found.size >= 2**30
    size = f"{found.size / 2**30:.1f} GiB" if large else f"{found.size / 2**20:.1f} MiB"
    console.table("", ["", ""], [["folder", place], [many, found.videos], [much, size]])
    return ExitCode.OK
