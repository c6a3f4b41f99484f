"""`vidlabel train`: labelled videos to a checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from vidlabel.cli.completion import FILES
from vidlabel.cli.log import log_options
from vidlabel.cli.options import (
    CLASS_MAP,
    DEVICE,
    FOLDS,
    GROUP_PATTERN,
    PROTOCOL,
    SPLIT,
    SPLITS,
    WORKERS,
    SectionedCommand,
    path_option,
    setting_options,
)
from vidlabel.errors import ExitCode, UsageError
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.train.recipes import AUTO, QUICK_CLIPS
from vidlabel.train.settings import RECIPE_NAMES, SETTINGS, gather


@click.command(cls=SectionedCommand)
@click.argument("data", required=False, metavar="DATA", shell_complete=FILES)
@path_option("-o --out --output", "FOLDER", "Run folder: checkpoints, log.csv, split.csv, reports.")
@click.option(
    "--recipe",
    type=click.Choice(RECIPE_NAMES),
    help="A set of settings: quick fits a classifier on what the shipped CNN sees, in about a "
    "minute; imagenet trains one with an RNN; best fine-tunes; original is what was published. "
    f"auto: quick for up to {QUICK_CLIPS} clips if no other setting needs best; imagenet if --init "
    "names a model on the shipped CNN; else best."
    f"  [default: {AUTO}]",
)
@path_option(
    "--config",
    "FILE",
    "Settings from a TOML file, such as the recipe.toml of a run; flags override it.",
)
@click.option(
    "--show-recipe", is_flag=True, help="Print all settings and the source of each, and exit."
)
@PROTOCOL
@SPLIT
@FOLDS
@SPLITS
@GROUP_PATTERN
@CLASS_MAP
@click.option(
    "--pseudo-labels",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="Of a table that predict has written, also take labels that nobody has reviewed, from the "
    "confidence P on.",
)
@click.option(
    "--per-class",
    default=100,
    metavar="N",
    help="With DATA `synthetic`: number of clips to generate for each class.",
)
@path_option(
    "--cache",
    "FOLDER",
    "Folder for decoded frames, which later runs reuse.  [default: the user's cache folder]",
)
@path_option(
    "--other", "FOLDER", "Clips of none of the classes, in any sub-folders: a class `other`."
)
@click.option("--tensorboard", is_flag=True, help="Also write a TensorBoard log.")
@DEVICE
@WORKERS
@click.option(
    "--resume/--restart",
    " /--overwrite",
    default=True,
    show_default=False,
    help="Resume the run that the folder holds (the default), or start over.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only errors and warnings.")
@log_options
@setting_options
def train(
    data: str | None, out: Path | None, recipe: str | None, config: Path | None,
    show_recipe: bool, **options: Any,
) -> int:  # fmt: skip
    """Train a model on DATA and keep its best checkpoint.

    DATA is `hmdb51:ROOT`, `ucf101:ROOT`, a folder with one sub-folder per class (or train/CLASS,
    val/CLASS and test/CLASS), a CSV file `path,label[,group][,split][,start_s,end_s]` with split
    train, val, test or empty, or `synthetic` for generated clips. With start_s and end_s (seconds)
    a row is a segment of its video, and a recording is a group. Videos of one group are never
    divided between the training part and the validation set that chooses the epoch. With a
    --protocol or --split, each of its folds is trained and then tested on its test clips; run the
    same command to resume with the folds that are not done. Of a table that predict has written,
    only the rows that a person has reviewed are taken, unless --pseudo-labels says more.

    Every setting under a heading of its own is also a key of a --config file. A setting that is
    given in neither place is taken from the checkpoint of --init (clips and network), then from
    the --recipe.
    """
    from vidlabel import console
    from vidlabel.signals import interruptible

    flags = {key: options.pop(key) for key in SETTINGS}
    settings = gather({**flags, "recipe": recipe}, config, _specs_of)
    if show_recipe:
        console.table(f"recipe {settings.recipe}", ["setting", "value", "from"], settings.rows())
        return ExitCode.OK
    if data is None or out is None:
        missing = "DATA" if data is None else "--out FOLDER"
        raise UsageError(f"{missing} is missing; see `vidlabel train --help`")

    from vidlabel.train.job import TrainRequest, run_training

    with interruptible() as stop:
        try:
            unreadable = run_training(
                TrainRequest(data, out, settings, arguments=sys.argv, **options)
            )
        except KeyboardInterrupt:
            return ExitCode(stop.exit_code)
    return ExitCode.SOME_FAILED if unreadable else ExitCode.OK


def _specs_of(name: str) -> tuple[ClipSpec, ModelSpec]:
    """Clip and network of a checkpoint. Raises UsageError if training cannot start from it."""
    from vidlabel.models.checkpoint import describe_model
    from vidlabel.train.recipes import TrainSpec

    TrainSpec(init=name)

    header = describe_model(name)
    return header.clip, header.model
