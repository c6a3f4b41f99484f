"""Options that several commands share, and the options of the settings of a training."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args

import click

from vidlabel.cli.completion import (
    DEVICES,
    MODELS,
    offer,
    protocol_names,
    timeline_names,
    trunk_names,
)
from vidlabel.specs import Engine, Precision, Strategy, StreamName
from vidlabel.train.settings import SETTINGS, by_section, gather, read_flags, show_value


def path_option(flags: str, metavar: str, text: str, **how: Any) -> Callable[..., Any]:
    """An option whose value is a file or folder, which need not exist."""
    kind = click.Path(path_type=Path)
    return click.option(*flags.split(), type=kind, metavar=metavar, help=text, **how)


class _Time(click.ParamType[float]):
    """Seconds, or minutes and seconds, or hours too, with colons: 90, 1:30 and 0:01:30.5."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        text = str(value)
        if not re.fullmatch(r"(\d+:([0-5]?\d:)?[0-5]?\d|\d+)(\.\d+)?", text):
            self.fail(f"{text!r} is not a time; use seconds, or hh:mm:ss", param, ctx)
        parts = reversed(text.split(":"))
        return sum((float(part) * 60.0**place for place, part in enumerate(parts)), 0.0)


def timeline_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of timelines, and of the part of a video to label."""
    for option in reversed((
        click.option("--timeline", is_flag=True, help="Label segments of long videos: a row each."),
        click.option(
            "--window", type=float, metavar="S",
            help="Length of the windows of a timeline, seconds; sets --timeline.  "
            "[default: that of the model's clips if they have one, else 2]",
        ),
        click.option(
            "--stride", type=float, metavar="S",
            help="Time from the start of a window to that of the next, seconds; sets --timeline.  "
            "[default: a quarter of the window]",
        ),
        click.option(
            "--min-length", type=float, metavar="S",
            help="Leave out shorter segments.  [default: half a window]",
        ),
        click.option(
            "--gaps", is_flag=True,
            help="Also give rows for the time between segments, with the status `uncertain`.",
        ),
        click.option(
            "--start", type=_Time(), default="0", metavar="TIME",
            help="Label the videos only from here on: seconds, or hh:mm:ss.",
        ),
        click.option(
            "--end", type=_Time(), metavar="TIME", help="Label the videos only up to here."
        ),
    )):  # fmt: skip
        command = option(command)
    return command


DEVICE = click.option(
    "--device",
    default="auto",
    shell_complete=DEVICES,
    help="Device: auto, cpu, cuda, cuda:N or mps.",
)
WORKERS = click.option(
    "-j",
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Number of decoder processes.  [default: one per core]",
)
EMBEDDINGS = path_option(
    "--embeddings", "FILE", "Also write the model's feature vectors to a .npz or .parquet file."
)
FORMAT = click.option(
    "--format",
    "format_name",
    metavar="NAME",
    shell_complete=offer(lambda: ("csv", "json", "jsonl", "parquet", *timeline_names())),
    help="A table: csv, json, jsonl or parquet; or the labels over time: srt, vtt, chapters "
    "(FFmpeg), eaf (ELAN), edl, audacity, segments (CSV label,start,end), boris, activitynet, "
    "label-studio or fiftyone. Overrides the suffix of --out.",
)
SIDECAR = click.option(
    "--sidecar",
    "sidecars",
    multiple=True,
    metavar="FORMAT",
    shell_complete=offer(timeline_names),
    help="Also write the labels in such a format: one file for each video, in a folder such as "
    "labels_srt beside the table; or one for all, such as labels.boris. May be repeated.",
)
SIDECAR_DIR = path_option("--sidecar-dir", "FOLDER", "Folder for the files of --sidecar.")
EXCEL_SAFE = click.option(
    "--excel-safe",
    is_flag=True,
    help="Write CSV for Excel: with a UTF-8 mark, and an apostrophe before texts that it would run "
    "as a formula.",
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="Show neither progress bar nor summary.")
RECURSIVE = click.option(
    "--recursive",
    is_flag=True,
    expose_value=False,
    hidden=True,
    help="Folders are always walked with their sub-folders; for those who are used to it.",
)
PROTOCOL = click.option(
    "--protocol",
    metavar="NAME",
    shell_complete=offer(protocol_names),
    help="official, group-kfold, leave-one-group-out, or one that leaks test clips into training: "
    "leaky-123, random-80-20, split1-select-on-test.",
)
SPLIT = click.option(
    "--split",
    metavar="N|all",
    shell_complete=offer(lambda: ("1", "2", "3", "all")),
    help="Which official split of HMDB51 or UCF-101.  [default: 1]",
)
FOLDS = click.option("--folds", default=5, help="Number of folds of group-kfold.")
SPLITS = path_option(
    "--splits", "FOLDER", "Folder of the official split lists, if it is not beside or under ROOT."
)
GROUP_PATTERN = click.option(
    "--group-pattern",
    metavar="REGEX",
    help="Pattern that finds the name of a video's group (person, film, camera) in its path.",
)
CLASSES = click.option(
    "--classes",
    multiple=True,
    metavar="NAME,...",
    help="Choose only among these classes; their probabilities are scaled to a sum of 1. A "
    "zero-shot model learns its classes here. May be repeated.",
)
CLASS_MAP = click.option(
    "--map",
    "mapped",
    multiple=True,
    metavar="OLD=NEW|FILE",
    help="Rename a class, or join classes by giving them one name; FILE is a .csv table old,new. "
    "May be repeated.",
)

VIEWS = click.option(
    "--views",
    default=1,
    metavar="N",
    help="Above 1: average over N windows of the video, with three crops each.",
)
STRATEGY = click.option(
    "--strategy",
    type=click.Choice(get_args(Strategy)),
    default="clip",
    help="For models of single frames or flow stacks: use those of one clip, only the middle one, "
    "or all of the video.",
)
STREAM = click.option(
    "--stream",
    type=click.Choice(get_args(StreamName)),
    help="Use only one stream of a two-stream model.",
)
PRECISION = click.option(
    "--precision",
    default="auto",
    type=click.Choice(get_args(Precision)),
    help="CNN precision; auto: bf16 if the device supports it, otherwise fp32.",
)

ENGINE = click.option(
    "--engine",
    default="auto",
    type=click.Choice(get_args(Engine)),
    help="What computes the CNN on a CPU; auto: OpenVINO where it is installed and suits the "
    "model, otherwise torch.",
)

_METAVARS = {"init": "NAME|FILE|RUN", "trunk_weights": "auto|imagenet|kinetics|FILE|none"}
_OFFERED = {
    "init": MODELS,
    "trunk": offer(trunk_names),
    "flow_trunk": offer(trunk_names),
    "trunk_weights": offer(lambda: ("auto", "imagenet", "kinetics", "none"), files=True),
}


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config: a TOML file whose keys are the command's flags."""

    def use(context: click.Context, option: click.Parameter, path: Path | None) -> None:
        if path is None or context.resilient_parsing:
            return
        flags = {
            flag.removeprefix("--").replace("-", "_"): each
            for each in context.command.params if isinstance(each, click.Option) and each != option
            for flag in each.opts if flag.startswith("--")
        }  # fmt: skip
        context.default_map = {
            str(flags[key].name): [value] if flags[key].multiple and type(value) is str else value
            for key, value in read_flags(path, flags).items()
        }

    add = path_option(
        "--config", "FILE", "Options from a TOML file, such as `top_k = 3`; flags override it.",
        callback=use, expose_value=False, is_eager=True,
    )  # fmt: skip
    return cast(Callable[..., Any], add(command))


class SectionedCommand(click.Command):
    """A command whose help lists the flag of each setting under the heading of its section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            if isinstance(option, click.Option) and (record := option.get_help_record(ctx)):
                heading = SETTINGS[option.name].section if option.name in SETTINGS else "Options"
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add a flag for every setting, with its help text and its default."""
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
            default=None,  # if it is not given, a file or the recipe decides
            type=click.Choice(each.choices) if each.choices else kind,
            metavar=metavar,
            shell_complete=_OFFERED.get(key),
            help=each.doc + shown[key],
        )(command)
    return command
