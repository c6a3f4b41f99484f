"""The command line: parse, call one function, answer with an exit code.

Nothing heavy is imported before a command needs it: `--help` knows neither torch nor av.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidlabel import __version__
from vidlabel.errors import ExitCode, RunError, UsageError, VidlabelError
from vidlabel.specs import ClipSpec, Limits, ModelSpec

if TYPE_CHECKING:
    from vidlabel.specs import VideoItem

_DEFAULT_LIMITS = Limits()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show a traceback when something goes wrong.")
def cli(debug: bool) -> None:
    """Label folders of videos with what people do in them."""


@cli.command()
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option(
    "-o",
    "--out",
    default="-",
    metavar="FILE",
    help="Table to write: .csv, .json, .jsonl or .parquet; - is stdout.  [default: -]",
)
@click.option(
    "--format",
    "format_name",
    metavar="NAME",
    help="csv, json, jsonl or parquet, instead of what the suffix says.",
)
@click.option(
    "--from-file",
    type=click.File("rb"),
    metavar="LIST",
    help="Read paths from a file, one a line (or NUL-separated); - is stdin.",
)
@click.option(
    "--include",
    multiple=True,
    metavar="GLOB",
    help="In folders, take only files that match. May be repeated.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="In folders, leave out files and folders that match. May be repeated.",
)
@click.option(
    "-m",
    "--model",
    default="starter",
    show_default=True,
    metavar="NAME|FILE",
    help="A shipped model (see `vidlabel models`) or a .safetensors checkpoint.",
)
@click.option("-k", "--top-k", default=5, show_default=True, help="Classes listed per video.")
@click.option(
    "--views",
    default=1,
    show_default=True,
    metavar="N",
    help="Over 1: average N stretches of the video, each through three crops.",
)
@click.option(
    "--min-confidence",
    default=0.0,
    metavar="P",
    help="Label a video `uncertain` when its best class is less likely.",
)
@click.option(
    "--embeddings",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the model's feature vectors: .npz or .parquet.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N, mps.")
@click.option(
    "--precision", default="auto", show_default=True, type=click.Choice(["auto", "fp32", "bf16"])
)
@click.option("--batch-size", type=int, metavar="N", help="Clips per batch.  [default: auto]")
@click.option(
    "-j", "--workers", type=int, metavar="N", help="Decoder processes.  [default: one per core]"
)
@click.option(
    "--timeout",
    default=_DEFAULT_LIMITS.timeout_s,
    show_default=True,
    metavar="S",
    help="Seconds after which decoding one file is given up.",
)
@click.option(
    "--max-pixels",
    default=_DEFAULT_LIMITS.pixels,
    show_default=True,
    metavar="N",
    help="Refuse videos with larger frames.",
)
@click.option(
    "--max-duration",
    default=_DEFAULT_LIMITS.duration_s,
    show_default=True,
    metavar="S",
    help="Refuse longer videos.",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first video that cannot be labelled.")
@click.option("--dry-run", is_flag=True, help="List the videos that would be labelled, and stop.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no summary.")
def predict(
    inputs: tuple[str, ...], out: str, format_name: str | None, from_file: Any,
    include: tuple[str, ...], exclude: tuple[str, ...], model: str, top_k: int, views: int,
    min_confidence: float, embeddings: Path | None, device: str, precision: Any,
    batch_size: int | None, workers: int | None, timeout: float, max_pixels: int,
    max_duration: float, fail_fast: bool, dry_run: bool, quiet: bool,
) -> int:  # fmt: skip
    """Label videos: folders (recursively), files and globs; - reads a list from stdin.

    Every video gets one row in the table, also one that cannot be read. Exit code 0: all
    labelled; 1: done, but some videos failed; 2: wrong usage; 3: nothing could run.
    """
    from vidlabel.exports import STDOUT, pick_format

    fmt = pick_format(out, format_name)
    items = _collect(inputs, from_file, include, exclude)
    if dry_run:
        return _list_items(items)

    from vidlabel.batch import Output, label_videos
    from vidlabel.predict import PredictSpec, load_labeller

    output = Output(None if out == STDOUT else Path(out), fmt, embeddings)
    output.check()
    limits = Limits(pixels=max_pixels, duration_s=max_duration, timeout_s=timeout)
    spec = PredictSpec(top_k, views, batch_size, workers, min_confidence, limits)
    labeller = load_labeller(model, device, precision)
    return label_videos(labeller, items, spec, output, fail_fast=fail_fast, quiet=quiet)


@cli.command()
@click.argument("data")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where checkpoints, log.csv and split.csv go.",
)
@click.option("--epochs", default=40, show_default=True)
@click.option("--batch-size", default=16, show_default=True)
@click.option("--lr", default=5e-4, show_default=True, help="Peak learning rate of AdamW.")
@click.option("--weight-decay", default=0.05, show_default=True)
@click.option(
    "--val-fraction",
    default=0.2,
    show_default=True,
    help="Share of each class to hold out, by whole groups.",
)
@click.option(
    "--group-pattern",
    metavar="REGEX",
    help="What in a video's path names its group (person, film, camera).",
)
@click.option(
    "--input",
    "frame_input",
    default="rgb",
    show_default=True,
    type=click.Choice(["rgb", "motion"]),
    help="What the model sees of a frame.",
)
@click.option("--frames", default=16, show_default=True, help="Time steps per clip.")
@click.option("--size", default=112, show_default=True, help="Height and width of a clip, px.")
@click.option("--resize", type=int, help="Shorter side before cropping, px.  [default: 8/7 size]")
@click.option("--cell", default="gru", show_default=True, type=click.Choice(["rnn", "gru", "lstm"]))
@click.option("--hidden", default=128, show_default=True, help="RNN units per direction.")
@click.option("--dropout", default=0.3, show_default=True)
@click.option("--init", default="", metavar="NAME|FILE", help="Start from a checkpoint's weights.")
@click.option(
    "--trunk-weights",
    default="",
    metavar="imagenet|FILE",
    help="Start the CNN from torchvision's ImageNet weights.",
)
@click.option(
    "--per-class",
    default=100,
    show_default=True,
    help="With DATA `synthetic`: clips to generate of each class.",
)
@click.option(
    "--max-bad",
    default=0.01,
    show_default=True,
    help="Stop if a larger share of the videos cannot be read.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N, mps.")
@click.option(
    "-j", "--workers", type=int, metavar="N", help="Decoder processes.  [default: one per core]"
)
@click.option("-q", "--quiet", is_flag=True, help="Only errors.")
def train(
    data: str, out: Path, epochs: int, batch_size: int, lr: float, weight_decay: float,
    val_fraction: float, group_pattern: str | None, frame_input: Any, frames: int, size: int,
    resize: int | None, cell: Any, hidden: int, dropout: float, init: str, trunk_weights: str,
    per_class: int, max_bad: float, seed: int, device: str, workers: int | None, quiet: bool,
) -> int:  # fmt: skip
    """Train a model on DATA and keep its best checkpoint.

    DATA is a folder with one sub-folder per class, a CSV file `path,label[,group][,split]`, or
    `synthetic` for generated clips. Videos of one group are never divided between the training
    part and the held-out part that accuracy is measured on.
    """
    from vidlabel import console
    from vidlabel.batch import stopping
    from vidlabel.datasets import read_data
    from vidlabel.train import Epoch, TrainSpec
    from vidlabel.train import train as run_training

    clip = ClipSpec(
        frames=frames, size_px=size, resize_px=resize or round(size * 8 / 7), input=frame_input
    )
    model = ModelSpec(cell=cell, hidden=hidden, dropout=dropout)
    spec = TrainSpec(
        epochs=epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay,
        val_fraction=val_fraction, max_bad=max_bad, seed=seed, init=init,
        trunk_weights=trunk_weights,
    )  # fmt: skip

    def on_epoch(line: Epoch) -> None:
        if not quiet:
            console.note(
                f"epoch {line.epoch}/{epochs}  loss {line.train_loss:.3f}  held out: loss "
                f"{line.val_loss:.3f}, top-1 {line.val_top1:.1%}  {line.seconds:.0f} s"
            )

    with stopping() as signals:
        try:
            samples = read_data(data, out, group_pattern, per_class, seed)
            result = run_training(
                samples, out, spec, clip, model, device=device, workers=workers, on_epoch=on_epoch,
                decoding=lambda total: console.Progress(total, quiet=quiet),
            )  # fmt: skip
        except KeyboardInterrupt:
            console.warn(f"stopped; the best checkpoint so far, if any, is in {out}")
            return ExitCode.TERMINATED if signals else ExitCode.INTERRUPTED
    for path in result.unreadable:
        console.warn(f"not trained on, cannot be read: {path}")
    if not quiet:
        best = result.best
        console.note(
            f"best: epoch {best.epoch}, top-1 {best.val_top1:.1%} on "
            f"{result.header.metrics['held_out_videos']} held-out videos; {result.checkpoint}"
        )
    return ExitCode.SOME_FAILED if result.unreadable else ExitCode.OK


@cli.command()
def models() -> int:
    """List the models that --model knows by name."""
    from vidlabel import console
    from vidlabel.checkpoint import find_checkpoint, load_checkpoint
    from vidlabel.specs import SHIPPED

    rows = []
    for name in sorted(SHIPPED):
        checkpoint = load_checkpoint(name)
        header = checkpoint.header
        count = sum(p.numel() for p in checkpoint.network.parameters())
        clip = header.clip
        top1 = header.metrics.get("held_out_top1")
        rows.append([
            checkpoint.id, header.model.arch, f"{count:,}",
            f"{clip.frames} x {clip.size_px} px, {clip.input}", str(len(header.classes)),
            "" if top1 is None else f"{top1:.1%}", f"{find_checkpoint(name).stat().st_size:,}",
        ])  # fmt: skip
    columns = ["model", "architecture", "parameters", "clip", "classes", "held-out top-1", "bytes"]
    console.table("Models", columns, rows)
    return ExitCode.OK


@cli.command()
@click.argument("file")
def info(file: str) -> int:
    """Say what is in a video FILE, a checkpoint, or a shipped model."""
    from dataclasses import fields

    from vidlabel import console
    from vidlabel.specs import SHIPPED

    if file in SHIPPED or file.endswith(".safetensors"):
        from vidlabel.checkpoint import find_checkpoint, read_header

        header = read_header(find_checkpoint(file))
        rows = [
            ["model", str(header.model)], ["clip", str(header.clip)],
            ["classes", ", ".join(header.classes)], ["temperature", str(header.temperature)],
            *([name, str(value)] for name, value in sorted(header.metrics.items())),
            *([name, str(value)] for name, value in sorted(header.training.items())),
            ["trained_on", f"{len(header.trained_on)} clips"],
        ]  # fmt: skip
    else:
        from vidlabel.video import probe

        found = probe(file)
        rows = [[f.name, str(getattr(found, f.name))] for f in fields(found)]
    console.table(console.safe(file), ["", ""], rows)
    return ExitCode.OK


@cli.command()
@click.argument("dataset", required=False)
def doctor(dataset: str | None) -> int:
    """Check the installation, and the layout of a DATASET folder if one is given."""
    from vidlabel import console
    from vidlabel.doctor import examine

    findings = examine(dataset)
    marks = {True: "ok", False: "PROBLEM", None: ""}
    rows = [[f.name, f.value, marks[f.ok], f.advice] for f in findings]
    console.table("vidlabel doctor", ["what", "found", "", "advice"], rows)
    return ExitCode.SOME_FAILED if any(f.ok is False for f in findings) else ExitCode.OK


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print a completion script: eval "$(vidlabel completion bash)"."""
    from click.shell_completion import get_completion_class

    maker = get_completion_class(shell)
    assert maker is not None  # click has all three
    click.echo(maker(cli, {}, "vidlabel", "_VIDLABEL_COMPLETE").source())
    return ExitCode.OK


def main() -> None:
    """Run the command line and exit with its code: one line for an error, never a traceback
    unless --debug asks for it."""
    debug = "--debug" in sys.argv[1:]
    try:
        code = cli.main(prog_name="vidlabel", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader of our stdout, `head` for example, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.SOME_FAILED
    except VidlabelError as error:
        if debug:
            raise
        from vidlabel import console

        console.error(str(error))
        code = error.exit_code
    sys.exit(int(code or 0))


def _collect(
    inputs: tuple[str, ...], from_file: Any, include: tuple[str, ...], exclude: tuple[str, ...]
) -> list[VideoItem]:
    """The videos meant by arguments, list files and stdin."""
    from vidlabel.files import find_videos, read_list

    named: list[str] = []
    for text in inputs:
        named += read_list(sys.stdin.buffer.read()) if text == "-" else [text]
    if from_file is not None:
        named += read_list(from_file.read())
    if not inputs and from_file is None:
        raise UsageError("name a folder, files or globs to label, or --from-file LIST")
    items = find_videos(named, include, exclude)
    if not items:
        raise RunError(f"no videos in {', '.join(named) or 'the list'}; see --include")
    return items


def _list_items(items: list[VideoItem]) -> int:
    from vidlabel.files import text_path

    for item in items:
        click.echo(text_path(item.path))
        if item.problem:
            click.echo(f"would fail: {item.problem}: {text_path(item.detail)}", err=True)
    click.echo(f"{len(items)} videos", err=True)
    return ExitCode.OK
