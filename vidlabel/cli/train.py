"""`vidlabel train`: labelled videos to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vidlabel.cli.options import DEVICE, FOLDS, GROUP_PATTERN, PROTOCOL, SPLIT, SPLITS, WORKERS
from vidlabel.errors import ExitCode
from vidlabel.specs import ClipSpec, ModelSpec


@click.command()
@click.argument("data")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where checkpoints, log.csv, split.csv and reports go.",
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
@PROTOCOL
@SPLIT
@FOLDS
@SPLITS
@GROUP_PATTERN
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
@DEVICE
@WORKERS
@click.option(
    "--resume/--restart",
    default=True,
    help="Go on with the run that the folder holds (the default), or begin anew.",
)
@click.option("-q", "--quiet", is_flag=True, help="Only errors.")
def train(
    data: str, out: Path, epochs: int, batch_size: int, lr: float, weight_decay: float,
    val_fraction: float, group_pattern: str | None, frame_input: Any, frames: int, size: int,
    resize: int | None, cell: Any, hidden: int, dropout: float, init: str, trunk_weights: str,
    per_class: int, max_bad: float, seed: int, device: str, workers: int | None, quiet: bool,
    protocol: str | None, split: str | None, folds: int, splits: Path | None,
    resume: bool,
) -> int:  # fmt: skip
    """Train a model on DATA and keep its best checkpoint.

    DATA is `hmdb51:ROOT`, `ucf101:ROOT`, a folder with one sub-folder per class, a CSV file
    `path,label[,group][,split]` with split train, val, test or empty, or `synthetic` for generated
    clips. Videos of one group are never divided between the training part and the held-out part
    that the epoch is chosen on. With a --protocol or --split, each of its folds is trained and then
    tested on its test clips; the same command again goes on with the folds that are not done.
    """
    from vidlabel import console
    from vidlabel.cli.eval import choose_folds, evaluate_and_show, say_found
    from vidlabel.datasets import open_dataset
    from vidlabel.datasets.synthetic import ACTIONS
    from vidlabel.predict import PredictSpec
    from vidlabel.signals import interruptible
    from vidlabel.train import TrainResult, TrainSpec
    from vidlabel.train import train as run_training
    from vidlabel.trainlog import Epoch
    from vidlabel.trials import Plan, leak_lines, train_folds

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

    def counting(total: int) -> console.Progress:
        return console.Progress(total, quiet=quiet)

    def finish(result: TrainResult) -> None:
        for path in result.unreadable:
            console.warn(f"not trained on, cannot be read: {path}")
        if not quiet:
            best = result.best
            console.note(
                f"best: epoch {best.epoch}, top-1 {best.val_top1:.1%} on "
                f"{result.header.metrics['held_out_videos']} held-out videos; {result.checkpoint}"
            )

    unreadable = False
    with interruptible() as stop:
        try:
            with counting(per_class * len(ACTIONS) if data == "synthetic" else 0) as making:
                dataset = open_dataset(
                    data, out, group_pattern=group_pattern, splits=splits, per_class=per_class,
                    seed=seed, on_clip=making.advance,
                )  # fmt: skip
            say_found(dataset)
            if protocol is None and split is None and not dataset.official:
                learned = [sample for sample in dataset.samples if sample.split != "test"]
                result = run_training(
                    learned, out, spec, clip, model, device=device, workers=workers,
                    restart=not resume, decoding=counting, on_epoch=on_epoch,
                )  # fmt: skip
                finish(result)
                unreadable = bool(result.unreadable)
                if len(learned) < len(dataset.samples):
                    chosen, _ = choose_folds(data, dataset, None, None, folds, seed)
                    unreadable |= evaluate_and_show(
                        chosen, "", data, str(out), PredictSpec(workers=workers), out / "report",
                        device=device, quiet=quiet,
                    )  # fmt: skip
                return ExitCode.SOME_FAILED if unreadable else ExitCode.OK
            chosen, protocol = choose_folds(data, dataset, protocol, split, folds, seed)
            for fold in chosen:
                for line in leak_lines(fold, protocol):
                    console.warn(line)
            plan = Plan(data, group_pattern, protocol, tuple(chosen), spec, clip, model)
            for result in train_folds(
                plan, out, device=device, workers=workers, restart=not resume,
                decoding=counting, on_epoch=on_epoch,
                on_fold=lambda fold, done: None if quiet else console.note(
                    f"{fold.name}: {'trained before' if done else 'training'}"
                ),
            ):  # fmt: skip
                finish(result)
                unreadable |= bool(result.unreadable)
            unreadable |= evaluate_and_show(
                chosen, protocol, data, str(out), PredictSpec(workers=workers), out / "report",
                device=device, quiet=quiet,
            )  # fmt: skip
        except KeyboardInterrupt:
            console.warn(f"stopped; what is trained so far is in {out}; the same command goes on")
            return ExitCode(stop.exit_code)
    return ExitCode.SOME_FAILED if unreadable else ExitCode.OK
