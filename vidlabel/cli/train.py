"""`vidlabel train`: labelled videos to a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidlabel.cli.options import DEVICE, FOLDS, GROUP_PATTERN, PROTOCOL, SPLIT, SPLITS, WORKERS
from vidlabel.errors import ExitCode
from vidlabel.specs import ClipSpec, ModelSpec

if TYPE_CHECKING:
    from vidlabel.console import Progress
    from vidlabel.datasets.protocols import Fold
    from vidlabel.datasets.samples import Dataset
    from vidlabel.train import TrainResult, TrainSpec
    from vidlabel.trainlog import Epoch


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
    from vidlabel.cli.eval import say_found
    from vidlabel.datasets import open_dataset
    from vidlabel.datasets.synthetic import ACTIONS
    from vidlabel.signals import interruptible
    from vidlabel.train import TrainSpec

    clip = ClipSpec(
        frames=frames, size_px=size, resize_px=resize or round(size * 8 / 7), input=frame_input
    )
    model = ModelSpec(cell=cell, hidden=hidden, dropout=dropout)
    spec = TrainSpec(
        epochs=epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay,
        val_fraction=val_fraction, max_bad=max_bad, seed=seed, init=init,
        trunk_weights=trunk_weights,
    )  # fmt: skip
    job = _Job(data, out, spec, clip, model, device, workers, restart=not resume, quiet=quiet)
    with interruptible() as stop:
        try:
            with job.counting(per_class * len(ACTIONS) if data == "synthetic" else 0) as making:
                dataset = open_dataset(
                    data, out, group_pattern=group_pattern, splits=splits, per_class=per_class,
                    seed=seed, on_clip=making.advance,
                )  # fmt: skip
            say_found(dataset)
            if protocol is None and split is None and not dataset.official:
                unreadable = job.one_model(dataset)
            else:
                unreadable = job.folds(dataset, group_pattern, protocol, split, folds)
        except KeyboardInterrupt:
            console.warn(f"stopped; what is trained so far is in {out}; the same command goes on")
            return ExitCode(stop.exit_code)
    return ExitCode.SOME_FAILED if unreadable else ExitCode.OK


@dataclass(frozen=True)
class _Job:
    """What is trained, and what is said of it. Its methods say whether videos were unreadable."""

    data: str
    out: Path
    spec: TrainSpec
    clip: ClipSpec
    model: ModelSpec
    device: str
    workers: int | None
    restart: bool
    quiet: bool

    def one_model(self, dataset: Dataset) -> bool:
        """Train on all that is not called `test`, and test on that, if there is any."""
        from vidlabel.cli.eval import choose_folds
        from vidlabel.train import train as run_training

        learned = [sample for sample in dataset.samples if sample.split != "test"]
        result = run_training(
            learned, self.out, self.spec, self.clip, self.model, device=self.device,
            workers=self.workers, restart=self.restart, decoding=self.counting,
            on_epoch=self.on_epoch,
        )  # fmt: skip
        unreadable = self.finish(result)
        if len(learned) < len(dataset.samples):
            chosen, _ = choose_folds(self.data, dataset, None, None, 0, self.spec.seed)
            unreadable |= self.test(chosen, "")
        return unreadable

    def folds(
        self, dataset: Dataset, group_pattern: str | None, protocol: str | None,
        split: str | None, count: int,
    ) -> bool:  # fmt: skip
        """Train and test the folds of a protocol; a leaky one says so first."""
        from vidlabel import console
        from vidlabel.cli.eval import choose_folds
        from vidlabel.trials import Plan, leak_lines, train_folds

        chosen, protocol = choose_folds(self.data, dataset, protocol, split, count, self.spec.seed)
        for line in (line for fold in chosen for line in leak_lines(fold, protocol)):
            console.warn(line)
        plan = Plan(
            self.data, group_pattern, protocol, tuple(chosen), self.spec, self.clip, self.model
        )
        unreadable = False
        for result in train_folds(
            plan, self.out, device=self.device, workers=self.workers, restart=self.restart,
            decoding=self.counting, on_fold=self.on_fold, on_epoch=self.on_epoch,
        ):  # fmt: skip
            unreadable |= self.finish(result)
        return self.test(chosen, protocol) or unreadable

    def test(self, folds: Sequence[Fold], protocol: str) -> bool:
        """Test what was trained."""
        from vidlabel.cli.eval import evaluate_and_show
        from vidlabel.predict import PredictSpec

        return evaluate_and_show(
            folds, protocol, self.data, str(self.out), PredictSpec(workers=self.workers),
            self.out / "report", device=self.device, quiet=self.quiet,
        )  # fmt: skip

    def counting(self, total: int) -> Progress:
        """A bar for so many videos."""
        from vidlabel.console import Progress

        return Progress(total, quiet=self.quiet)

    def on_fold(self, fold: Fold, complete: bool) -> None:
        self.note(f"{fold.name}: {'trained before' if complete else 'training'}")

    def on_epoch(self, line: Epoch) -> None:
        self.note(
            f"epoch {line.epoch}/{self.spec.epochs}  loss {line.train_loss:.3f}  held out: loss "
            f"{line.val_loss:.3f}, top-1 {line.val_top1:.1%}  {line.seconds:.0f} s"
        )

    def finish(self, result: TrainResult) -> bool:
        """Name the unreadable videos and the best epoch."""
        from vidlabel import console

        for path in result.unreadable:
            console.warn(f"not trained on, cannot be read: {path}")
        videos = result.header.metrics["held_out_videos"]
        self.note(
            f"best: epoch {result.best.epoch}, top-1 {result.best.val_top1:.1%} on {videos} "
            f"held-out videos; {result.checkpoint}"
        )
        return bool(result.unreadable)

    def note(self, line: str) -> None:
        from vidlabel import console

        if not self.quiet:
            console.note(line)
