"""`vidlabel render`: previews of videos."""

from __future__ import annotations

from typing import Any

import click

from vidlabel.cli.completion import FILES, MODELS
from vidlabel.cli.log import log_options
from vidlabel.cli.options import CLASSES, DEVICE, QUIET, RECURSIVE, STREAM, path_option
from vidlabel.errors import ExitCode


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", shell_complete=FILES)
@path_option(
    "-o --out --output",
    "OUT",
    "A folder, in which files are placed as the inputs are; for a single video or a --grid "
    "also a .gif or .mp4, for a --sheet a .png.",
    required=True,
)
@click.option(
    "-m",
    "--model",
    metavar="NAME|FILE|RUN",
    shell_complete=MODELS,
    help="The model that labels the videos, as in predict.  [default: starter]",
)
@path_option(
    "--labels",
    "TABLE",
    "Use the labels that predict has written (.csv, .json, .jsonl, .parquet or .ledger) "
    "instead of a model. If a video has rows for segments of it (start_s, end_s), the caption "
    "follows them, and a strip below shows the classes over time.",
)
@path_option(
    "--truth",
    "FOLDER|CSV",
    "The true classes: a folder with one sub-folder per class, or a table path,label. Right "
    "labels are green with a tick; wrong ones are red, with a cross and the true class.",
)
@CLASSES
@click.option("-k", "--top-k", type=int, metavar="N", help="Classes in a caption.  [default: 1]")
@STREAM
@click.option(
    "--grid",
    metavar="RxC",
    help="Put all videos into one file (or several), in which R rows of C videos play at the same "
    "time. Shorter videos repeat.",
)
@click.option(
    "--sheet",
    type=int,
    metavar="N",
    help="Put all videos on one .png (or several), with N frames of each video in a row.",
)
@click.option(
    "--flow",
    type=click.Choice(["wheel", "uv"]),
    help="Draw optical flow beside the video: with the direction as a hue (wheel), or with one map "
    "each for across and down (uv). There are captions only with --model, --labels or --truth.",
)
@click.option(
    "--panel",
    is_flag=True,
    help="For a two-stream --model: draw flow beside the video, and below it the probabilities of "
    "each stream and of both over time.",
)
@click.option(
    "--attention",
    is_flag=True,
    help="Colour the places that support the label of the --model (HiResCAM), and dim what the "
    "model does not see.",
)
@click.option(
    "--format",
    "fmt",
    type=click.Choice(["mp4", "gif"]),
    help="Format of the files in a folder.  [default: mp4]",
)
@click.option(
    "--width",
    type=int,
    metavar="PX",
    help="Width of the video and of each map beside it.  [default: the video's, up to 320; 320 in "
    "a grid, 160 on a sheet]",
)
@click.option(
    "--fps",
    type=float,
    metavar="N",
    help="Frames per second of the preview.  [default: the video's, up to 30]",
)
@click.option(
    "--max-seconds",
    type=float,
    metavar="S",
    help="Show the first S seconds of the video.  [default: 10; of a video with segments, and on a "
    "sheet, all of it]",
)
@click.option(
    "--speed",
    type=float,
    metavar="X",
    help="Play the video X times as fast.  [default: 1; a video with segments as fast as shows it "
    "within a minute]",
)
@click.option(
    "--highlights",
    multiple=True,
    metavar="LABEL",
    help="Cut the segments with this label out of the videos, each into a file of its own that is "
    "named after the video and the times; without sound. Several: LABEL,LABEL, or the option "
    "again. Needs --labels.",
)
@click.option(
    "--reel", is_flag=True, help="Join the --highlights of all videos in one file, in order."
)
@click.option(
    "--padding",
    type=float,
    metavar="S",
    help="Seconds to show before and after each of the --highlights.  [default: 0]",
)
@click.option(
    "--max-flow",
    type=float,
    metavar="PX",
    help="Motion in pixels per frame that has full colour; set it to compare videos.  [default: "
    "chosen per video, from the 0.5 % of its pixels that move fastest]",
)
@click.option(
    "--quality",
    type=int,
    metavar="N",
    help="MP4: the CRF of x264, from 0 (best, largest) to 51. GIF: the number of colours, 4 to "
    "256.  [default: 20; 256]",
)
@click.option("--loop/--no-loop", default=True, help="Whether a GIF repeats.")
@DEVICE
@click.option(
    "-j", "--workers", type=int, metavar="N", help="Videos at a time.  [default: one per core]"
)
@click.option(
    "--restart",
    "--overwrite",
    is_flag=True,
    help="Make all files again, also those without changes.",
)
@RECURSIVE
@QUIET
@log_options
def render(**options: Any) -> int:
    """Make previews of videos: folders (recursively), files and globs.

    Each preview has a caption with the label and its probability. Previews have a constant frame
    rate and show each frame at its true time. Existing files are kept unless the video, its label
    or an option has changed. Exit code 0: all videos rendered and labelled; 1: finished, but some
    videos failed; 2: wrong usage; 3: the run failed.
    """
    from vidlabel import console
    from vidlabel.render.job import render as run
    from vidlabel.render.spec import RenderOptions
    from vidlabel.signals import interruptible

    asked = RenderOptions(**options)
    with interruptible() as stop:
        try:
            return run(asked)
        except KeyboardInterrupt:
            again = "start again" if asked.album else "resume"
            console.warn(f"stopped; run the same command to {again}")
            return ExitCode(stop.exit_code)
