"""Options that several commands share, and those that are made from the settings of a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from vidlabel.specs import Precision, Strategy
from vidlabel.train.settings import SETTINGS, Setting, by_section, gather, show_value

DEVICE = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N, mps."
)
WORKERS = click.option(
    "-j",
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Decoder processes.  [default: one per core]",
)
EMBEDDINGS = click.option(
    "--embeddings",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the model's feature vectors: .npz or .parquet.",
)
EXCEL_SAFE = click.option(
    "--excel-safe",
    is_flag=True,
    help="In CSV, put ' before texts that a spreadsheet would run as a formula.",
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="No progress bar and no summary.")
PROTOCOL = click.option(
    "--protocol",
    metavar="NAME",
    help="official, group-kfold, leave-one-group-out, or by name one that leaks: leaky-123, "
    "random-80-20, split1-select-on-test.",
)
SPLIT = click.option(
    "--split", metavar="N|all", help="Which official split of HMDB51 or UCF-101.  [default: 1]"
)
FOLDS = click.option("--folds", default=5, show_default=True, help="Of group-kfold.")
SPLITS = click.option(
    "--splits",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The official split lists, if not beside or under ROOT.",
)
GROUP_PATTERN = click.option(
    "--group-pattern",
    metavar="REGEX",
    help="What in a video's path names its group (person, film, camera).",
)

VIEWS = click.option(
    "--views",
    default=1,
    show_default=True,
    metavar="N",
    help="Over 1: average N stretches of the video, each through three crops.",
)
STRATEGY = click.option(
    "--strategy",
    type=click.Choice(get_args(Strategy)),
    default="clip",
    show_default=True,
    help="What a model of single frames or stacks of flow looks at: the moments of its clip, the "
    "middle of the video, or every frame and stack.",
)
STREAM = click.option(
    "--stream",
    type=click.Choice(["spatial", "temporal"]),
    help="Of a two-stream model, use one stream alone.",
)
PRECISION = click.option(
    "--precision",
    default="auto",
    show_default=True,
    type=click.Choice(get_args(Precision)),
    help="Of the CNN; auto is bf16 where the device has it.",
)

_METAVARS = {"init": "NAME|FILE|RUN", "trunk_weights": "auto|imagenet|kinetics|FILE|none"}


class SectionedCommand(click.Command):
    """A command whose help shows its options under the headings of `SettingOption`s."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            if isinstance(option, click.Option) and (record := option.get_help_record(ctx)):
                heading = getattr(option, "section", "Options")
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class SettingOption(click.Option):
    """The flag of a setting; None where it is not given, so that something else can say it."""

    def __init__(self, declarations: list[str], setting: Setting, **how: Any) -> None:
        super().__init__(declarations, default=None, **how)
        self.section = setting.section


def setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add a flag for every setting, with its text and what it is if nothing is said."""
    usual = gather({}).values
    shown = {key: f"  [default: {show_value(value)}]" for key, value in usual.items()}
    shown |= {"resize": "  [default: 8/7 of --size]", "init": ""}
    for key in reversed([key for keys in by_section().values() for key in keys]):
        each = SETTINGS[key]
        name, kind, metavar = each.flag, each.kind, _METAVARS.get(key)
        if kind is bool:
            name = f"{each.flag}/--no-{each.flag[2:]}"
        elif not each.choices:
            metavar = metavar or ("N" if kind is int else "X")
        command = click.option(
            name,
            key,
            cls=SettingOption,
            setting=each,
            type=click.Choice(each.choices) if each.choices else kind,
            metavar=metavar,
            help=each.doc + shown[key],
        )(command)
    return command
