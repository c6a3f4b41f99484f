"""Commands that only show information: models, info, doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vidlabel.cli.completion import FILES, MODELS
from vidlabel.errors import ExitCode
from vidlabel.text import plural

if TYPE_CHECKING:
    from vidlabel.models.checkpoint import Header


@click.command()
def models() -> int:
    """List the models that --model knows by name.

    The first table has the trained models, the second one the networks to train. GFLOPs are
    billions of multiply-adds per clip. The figures of networks to train hold for --recipe
    original.
    """
    from vidlabel import console

    columns = [
        "model", "network", "parameters", "clip", "GFLOPs", "classes", "top-1", "measured on",
        "weights",
    ]  # fmt: skip
    console.table("Trained models: vidlabel predict --model NAME", columns, _ready())
    columns = ["trunk", "licence", "copyright", "source"]
    title = "Shipped ImageNet weights: vidlabel train --recipe imagenet"
    console.table(title, columns, _shipped_trunks())
    columns = ["model", "parameters", "clip", "GFLOPs", "published top-1", "on", "protocol"]
    console.table("Networks to train: vidlabel train --model NAME", columns, _trainable())
    return ExitCode.OK


def _ready() -> list[list[object]]:
    """Rows of the models with trained weights."""
    from vidlabel.models.checkpoint import find_checkpoint, load_checkpoint
    from vidlabel.models.cost import cost_of
    from vidlabel.models.kinetics import KINETICS
    from vidlabel.models.weights import are_cached
    from vidlabel.specs import SHIPPED

    rows: list[list[object]] = []
    for name in sorted(SHIPPED):
        checkpoint = load_checkpoint(name)
        header = checkpoint.header
        parameters, gflops = cost_of(header.model, header.clip)
        rows.append([
            checkpoint.id, header.model.arch, f"{parameters:,}", header.clip.told,
            f"{gflops:.1f}", len(header.classes),
            f"{header.metrics['held_out_top1']:.1%}",
            f"{header.metrics['held_out_videos']} held-out videos",
            f"shipped, {find_checkpoint(name).stat().st_size:,} bytes, "
            f"{header.training.get('licence', 'MIT')}",
        ])  # fmt: skip
    for name, about in KINETICS.items():
        rows.append([
            name, "video-net", f"{about.parameters:,}", about.clip.told, f"{about.gflops:.1f}",
            400, f"{about.top1:.1%}", about.protocol,
            "in torch's cache" if are_cached(name) else "to download",
        ])  # fmt: skip
    return rows


def _shipped_trunks() -> list[list[object]]:
    """Rows of the trunks whose ImageNet weights are a part of vidlabel."""
    from vidlabel.models.efficientnet_lite import WEIGHTS
    from vidlabel.models.trunks import LITE0
    from vidlabel.models.weights import describe_shipped

    about = describe_shipped(WEIGHTS)
    return [[LITE0, *(about[key] for key in ("licence", "copyright", "source"))]]


def _trainable() -> list[list[object]]:
    """Rows of the networks of the reimplemented systems."""
    from vidlabel.models.published import SYSTEMS
    from vidlabel.train.settings import gather

    rows: list[list[object]] = []
    for name, system in SYSTEMS.items():
        clip = gather({"model": name, "recipe": "original"}).clip
        rows.append([
            name, f"{system.parameters:,}", clip.told, f"{system.gflops:.1f}", system.published,
            system.data, system.protocol,
        ])  # fmt: skip
    return rows


@click.command()
@click.argument("file", shell_complete=MODELS)
def info(file: str) -> int:
    """Describe FILE: a video, a checkpoint, a run folder or a model name."""
    from dataclasses import fields
    from pathlib import Path

    from vidlabel import console
    from vidlabel.models.kinetics import KINETICS
    from vidlabel.specs import SHIPPED

    named = file in SHIPPED or file in KINETICS
    if named or file.endswith(".safetensors") or Path(file).is_dir():
        from vidlabel.models.checkpoint import describe_model

        rows = _about(describe_model(file))
    else:
        from vidlabel.video.reader import probe

        found = probe(file)
        rows = [[f.name, str(getattr(found, f.name))] for f in fields(found)]
    console.table(file, ["", ""], rows)
    return ExitCode.OK


def _about(header: Header) -> list[list[str]]:
    """Rows that describe a checkpoint."""
    return [
        ["model", str(header.model)],
        ["clip", str(header.clip)],
        ["classes", ", ".join(header.classes)],
        ["temperature", str(header.temperature)],
        ["min_confidence", str(header.min_confidence)],
        *([name, str(value)] for name, value in sorted(header.metrics.items())),
        *([name, _shown(value)] for name, value in sorted(header.training.items())),
        ["trained_on", plural(len(header.trained_on), "clip")],
        *([["selected_on", plural(len(header.selected_on), "clip")]] if header.selected_on else []),
    ]


def _shown(value: object) -> str:
    """A value of a checkpoint's description; a dict as `name value, name value`."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name} {part}" for name, part in value.items() if part != "")


@click.command()
@click.argument("dataset", required=False, shell_complete=FILES)
def doctor(dataset: str | None) -> int:
    """Check the installation, and whether a DATASET folder is complete, if one is given."""
    from vidlabel import console
    from vidlabel.doctor.examine import examine

    findings = examine(dataset)
    marks = {True: "ok", False: "PROBLEM", None: ""}
    rows = [[f.name, f.value, marks[f.ok], f.advice] for f in findings]
    console.table("vidlabel doctor", ["what", "found", "", "advice"], rows)
    return ExitCode.SOME_FAILED if any(f.ok is False for f in findings) else ExitCode.OK
