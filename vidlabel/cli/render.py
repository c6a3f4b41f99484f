"""`vidlabel render`: videos as pictures to look at."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidlabel.cli.options import DEVICE, QUIET, STREAM
from vidlabel.errors import ExitCode, RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from vidlabel.render.attention import Attention
    from vidlabel.render.labels import Captions
    from vidlabel.render.stream_bars import StreamPanel
    from vidlabel.specs import VideoItem
    from vidlabel.video.write import Quality


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="A folder, which gets the tree of the inputs; for a single video or a --grid, a .gif or "
    ".mp4; for a --sheet, a .png.",
)
@click.option(
    "-m",
    "--model",
    metavar="NAME|FILE|RUN",
    help="What labels the videos, as in predict.  [default: starter]",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="TABLE",
    help="Take the labels from what predict has written (.csv, .json, .jsonl, .parquet or "
    ".ledger) instead of a model.",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    metavar="FOLDER|CSV",
    help="What the videos are: a folder with one sub-folder per class, or a table path,label. "
    "Right labels are green and have a tick, wrong ones are red, with a cross and the truth.",
)
@click.option("-k", "--top-k", type=int, metavar="N", help="Classes in a caption.  [default: 1]")
@STREAM
@click.option(
    "--grid",
    metavar="RxC",
    help="All videos in one file (or several) in which R rows of C play at once, the shorter ones "
    "again and again.",
)
@click.option(
    "--sheet",
    type=int,
    metavar="N",
    help="All videos on one .png (or several): a row for each, with N frames of it.",
)
@click.option(
    "--flow",
    type=click.Choice(["wheel", "uv"]),
    help="Draw optical flow beside the video: its direction as a hue, or a map each for across "
    "and down. The video is then only captioned with --model, --labels or --truth.",
)
@click.option(
    "--panel",
    is_flag=True,
    help="Of a two-stream --model: the flow beside the video, and below them what each stream and "
    "both say at each moment.",
)
@click.option(
    "--attention",
    is_flag=True,
    help="Colour the places that speak for the label that the --model gives (HiResCAM), and dim "
    "what the model does not see.",
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
    help="Of the video and of each map beside it.  [default: the video's, up to 320; in a grid "
    "320, on a sheet 160]",
)
@click.option(
    "--fps",
    type=float,
    metavar="N",
    help="Frames a second at most; the others are left out.  [default: the video's]",
)
@click.option(
    "--max-seconds",
    type=float,
    metavar="S",
    help="How much of each video, from its start.  [default: 10; on a sheet, all]",
)
@click.option(
    "--max-flow",
    type=float,
    metavar="PX",
    help="Motion, in pixels of the picture per frame, that has full colour, to compare videos.  "
    "[default: of each video, what 99.5 % of its pixels stay below]",
)
@click.option(
    "--quality",
    type=int,
    metavar="N",
    help="Of MP4, 0 (best, largest) to 51, x264's CRF; of GIF, its colours, 4 to 256.  "
    "[default: 20; 256]",
)
@click.option("--loop/--no-loop", default=True, help="Whether a GIF repeats.  [default: loop]")
@DEVICE
@click.option(
    "-j", "--workers", type=int, metavar="N", help="Videos at a time.  [default: one per core]"
)
@click.option("--restart", is_flag=True, help="Also make again what would stay as it is.")
@QUIET
def render(
    inputs: tuple[str, ...], out: Path, model: str | None, labels: Path | None, truth: Path | None,
    top_k: int | None, stream: Any, grid: str | None, sheet: int | None, flow: Any, panel: bool,
    attention: bool, fmt: str | None, width: int | None, fps: float | None,
    max_seconds: float | None, max_flow: float | None, quality: int | None, loop: bool,
    device: str, workers: int | None, restart: bool, quiet: bool,
) -> int:  # fmt: skip
    """Make previews of videos: folders (recursively), files and globs.

    Each is captioned with its label, and how sure that is. Every frame keeps its time. Files that
    are there are kept, unless the video, its label or an option has changed. Exit code 0: all
    rendered and labelled; 1: done, but some videos failed; 2: wrong usage; 3: could not run, or
    not to its end.
    """
    if labels and (model or stream):
        raise UsageError("--labels takes the place of --model and --stream; give one or the other")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers must be at least 1, got {workers}")
    if panel and (labels or stream or grid or sheet is not None):
        raise UsageError("--panel shows both streams of a --model; it goes with --flow alone")
    if sum(each is not None for each in (flow, grid, sheet)) > 1:
        raise UsageError("--flow, --grid and --sheet are different pictures; choose one")
    if attention and (labels or grid or sheet is not None):
        raise UsageError(
            "--attention shows where a --model looks, in one video a file; it goes with neither "
            "--labels nor --grid nor --sheet"
        )
    flow = flow or ("wheel" if panel else None)
    import torch

    from vidlabel import console
    from vidlabel.device import pick_device
    from vidlabel.files.find import find_videos
    from vidlabel.render.clip import RenderSpec, plan, render_videos
    from vidlabel.render.grid import grid_of, render_album, sheet_of, target_of, without_albums
    from vidlabel.signals import interruptible

    if max_seconds is None:
        max_seconds = 10.0 if sheet is None else sys.float_info.max
    gif = fmt == "gif" or out.suffix.lower() == ".gif"
    best = _quality(quality, gif, loop)
    spec = RenderSpec(flow, width, max_seconds, max_flow, math.inf if fps is None else fps, best)
    album = grid_of(grid) if grid else None if sheet is None else sheet_of(sheet)
    items = find_videos(inputs)
    if album is not None:
        target = target_of(out, album, fmt)
        items = without_albums(items, target)
    else:
        jobs = plan(items, inputs, out, fmt)
        items = [job.item for job in jobs]
    if not items:
        raise RunError(f"no videos in {', '.join(inputs)}, other than in --out {out}")
    captions = None
    if not flow or panel or attention or model or labels or truth or top_k or stream:
        source = labels or (model or "starter", device, stream)
        captions = _captions(items, source, truth, 1 if top_k is None else top_k)
    with interruptible() as stop:
        try:
            if album is not None and captions is not None:
                return render_album(items, album, spec, target, captions, restart, quiet, workers)
            where = pick_device(device) if flow or attention else torch.device("cpu")
            streams = _panel(model or "starter", where) if panel else None
            looks = _attention(model or "starter", where, stream) if attention else None
            return render_videos(
                jobs, spec, where, out, captions, restart, quiet, workers, streams, looks
            )
        except KeyboardInterrupt:
            again = "goes on with the next video" if album is None else "begins again"
            console.warn(f"stopped; the same command {again}")
            return ExitCode(stop.exit_code)


def _captions(
    items: Sequence[VideoItem], source: Path | tuple[str, str, Any], truth: Path | None, top_k: int
) -> Captions:
    """What to say of the videos, by a table, or by a model on a device and one of its streams."""
    from vidlabel.render.labels import Captions, Labels, ModelLabels, TableLabels, read_truth

    known = read_truth(truth, items) if truth else None
    labels: Labels
    if isinstance(source, Path):
        labels = TableLabels(source)
        if not labels.knows(items):
            raise UsageError(f"--labels {source}: has none of these videos")
    else:
        from vidlabel.predict.labeller import load_labeller

        model, device, stream = source
        labels = ModelLabels(load_labeller(model, device, stream=stream), top_k)
    return Captions(labels, known, top_k)


def _panel(model: str, device: torch.device) -> StreamPanel:
    """What asks the streams of a model."""
    from vidlabel.models.checkpoint import load_checkpoint
    from vidlabel.render.stream_bars import StreamPanel

    return StreamPanel(load_checkpoint(model), device)


def _attention(model: str, device: torch.device, stream: Any) -> Attention:
    """What asks a model, or one of its streams, where it looks."""
    from vidlabel.models.checkpoint import load_checkpoint
    from vidlabel.models.fusion import take_stream
    from vidlabel.render.attention import Attention

    checkpoint = load_checkpoint(model)
    return Attention(take_stream(checkpoint, stream) if stream else checkpoint, device)


def _quality(number: int | None, gif: bool, loop: bool) -> Quality:
    """--quality and --loop; what the number means depends on the format."""
    from vidlabel.video.write import Quality

    if number is None:
        return Quality(loop=loop)
    least, most = (4, 256) if gif else (0, 51)
    if not least <= number <= most:
        kind = "a GIF" if gif else "an MP4"
        raise UsageError(f"--quality of {kind} must be {least} to {most}, got {number}")
    return Quality(colours=number, loop=loop) if gif else Quality(crf=number, loop=loop)
