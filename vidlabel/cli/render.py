"""`vidlabel render`: videos as pictures to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vidlabel.cli.options import DEVICE, QUIET
from vidlabel.errors import ExitCode, RunError, UsageError


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "--flow",
    type=click.Choice(["wheel", "uv"]),
    help="Draw optical flow beside the video: its direction as a hue, or a map each for across "
    "and down.",
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="A folder, which gets the tree of the inputs; for a single video, a .gif or .mp4.",
)
@click.option(
    "--format",
    "fmt",
    type=click.Choice(["mp4", "gif"]),
    help="What to write into a folder.  [default: mp4]",
)
@click.option(
    "--width",
    type=int,
    metavar="PX",
    help="Of the video and of each map beside it.  [default: the video's, up to 320]",
)
@click.option(
    "--max-seconds",
    default=10.0,
    show_default=True,
    metavar="S",
    help="How much of each video, from its start.",
)
@click.option(
    "--max-flow",
    type=float,
    metavar="PX",
    help="Motion, in pixels of the picture per frame, that has full colour, to compare videos.  "
    "[default: of each video, what 99.5 % of its pixels stay below]",
)
@DEVICE
@click.option("--restart", is_flag=True, help="Also make again what is newer than its video.")
@QUIET
def render(
    inputs: tuple[str, ...], flow: Any, out: Path, fmt: str | None, width: int | None,
    max_seconds: float, max_flow: float | None, device: str, restart: bool, quiet: bool,
) -> int:  # fmt: skip
    """Make pictures of videos: folders (recursively), files and globs.

    Every frame keeps its time. Files that are there and newer than their videos are kept. Exit
    code 0: all rendered; 1: done, but some videos failed; 2: wrong usage; 3: could not run, or
    not to its end.
    """
    if flow is None:
        raise UsageError("render draws optical flow: add --flow wheel or --flow uv (see --help)")
    from vidlabel import console
    from vidlabel.files import find_videos
    from vidlabel.inference import pick_device
    from vidlabel.render import RenderSpec, plan, render_videos
    from vidlabel.signals import interruptible

    spec = RenderSpec(flow, width, max_seconds, max_flow)
    jobs = plan(find_videos(inputs), inputs, out, fmt)
    if not jobs:
        raise RunError(f"no videos in {', '.join(inputs)}, other than in --out {out}")
    with interruptible() as stop:
        try:
            return render_videos(jobs, spec, pick_device(device), out, restart, quiet)
        except KeyboardInterrupt:
            console.warn("stopped; the same command goes on with the next video")
            return ExitCode(stop.exit_code)
