"""Commands that only show information: models, info, doctor."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from vidlabel.cli.completion import FILES, MODELS
from vidlabel.errors import ExitCode
from vidlabel.text import plural

if TYPE_CHECKING:
    from vidlabel.models.checkpoint import Header


JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

_SHOWN: dict[str, tuple[str, str]] = {
    "parameters": ("parameters", ",d"),
    "gflops": ("GFLOPs", ".1f"),
    "top1": ("top-1", ".1%"),
    "measured_on": ("measured on", ""),
    "published_top1": ("published top-1", ""),
}
"""Keys of the tables of `models` whose heading or format differs."""


@click.command()
@JSON
def models(as_json: bool) -> int:
    """List the models that --model knows by name.

    The first table has the trained models, the second one the networks to train. GFLOPs are
    billions of multiply-adds per clip. The figures of networks to train hold for --recipe
    original.
    """
    from vidlabel import console

    found = {"trained": _ready(), "trunks": _shipped_trunks(), "networks": _trainable()}
    if as_json:
        _print_json(found)
        return ExitCode.OK
    titles = {
        "trained": "Trained models: vidlabel predict --model NAME",
        "trunks": "Shipped ImageNet weights: vidlabel train --recipe imagenet",
        "networks": "Networks to train: vidlabel train --model NAME",
    }
    for kind, rows in found.items():
        how = {key: _SHOWN.get(key, (key, "")) for key in rows[0]}
        shown = [[format(row[key], form) for key, (_, form) in how.items()] for row in rows]
        console.table(titles[kind], [heading for heading, _ in how.values()], shown)
    return ExitCode.OK


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def _ready() -> list[dict[str, Any]]:
    """The models with trained weights."""
    from vidlabel.models.checkpoint import find_checkpoint, load_checkpoint
    from vidlabel.models.cost import cost_of
    from vidlabel.models.kinetics import KINETICS
    from vidlabel.models.weights import are_cached
    from vidlabel.specs import SHIPPED

    rows: list[dict[str, Any]] = []
    for name in sorted(SHIPPED):
        checkpoint = load_checkpoint(name)
        header = checkpoint.header
        parameters, gflops = cost_of(header.model, header.clip)
        rows.append({
            "model": checkpoint.id, "network": header.model.arch, "parameters": parameters,
            "clip": header.clip.told, "gflops": round(gflops, 3), "classes": len(header.classes),
            "top1": header.metrics["held_out_top1"],
            "measured_on": f"{header.metrics['held_out_videos']} held-out videos",
            "weights": f"shipped, {find_checkpoint(name).stat().st_size:,} bytes, "
            f"{header.training.get('licence', 'MIT')}",
        })  # fmt: skip
    for name, about in KINETICS.items():
        rows.append({
            "model": name, "network": "video-net", "parameters": about.parameters,
            "clip": about.clip.told, "gflops": about.gflops, "classes": 400, "top1": about.top1,
            "measured_on": about.protocol,
            "weights": "in torch's cache" if are_cached(name) else "to download",
        })  # fmt: skip
    return rows


def _shipped_trunks() -> list[dict[str, Any]]:
    """The trunks whose ImageNet weights are a part of vidlabel."""
    from vidlabel.models.efficientnet_lite import WEIGHTS
    from vidlabel.models.trunks import LITE0
    from vidlabel.models.weights import describe_shipped

    about = describe_shipped(WEIGHTS)
    return [{"trunk": LITE0, **{key: about[key] for key in ("licence", "copyright", "source")}}]


def _trainable() -> list[dict[str, Any]]:
    """The networks of the reimplemented systems."""
    from vidlabel.models.published import SYSTEMS
    from vidlabel.train.settings import gather

    rows: list[dict[str, Any]] = []
    for name, system in SYSTEMS.items():
        clip = gather({"model": name, "recipe": "original"}).clip
        rows.append({
            "model": name, "parameters": system.parameters, "clip": clip.told,
            "gflops": system.gflops, "published_top1": system.published, "on": system.data,
            "protocol": system.protocol,
        })  # fmt: skip
    return rows


@click.command()
@click.argument("file", shell_complete=MODELS)
@JSON
def info(file: str, as_json: bool) -> int:
    """Describe FILE: a video, a checkpoint, a run folder or a model name."""
    from pathlib import Path

    from vidlabel import console
    from vidlabel.models.kinetics import KINETICS
    from vidlabel.specs import SHIPPED

    named = file in SHIPPED or file in KINETICS or file.startswith("hf:")
    if named or file.endswith(".safetensors") or Path(file).is_dir():
        from vidlabel.models.checkpoint import describe_model

        about = _about(describe_model(file))
    else:
        from vidlabel.video.reader import probe

        found = asdict(probe(file))
        about = {k: round(v, 6) if isinstance(v, float) else v for k, v in found.items()}
    if as_json:
        _print_json(about)
    else:
        console.table(file, ["", ""], list(_rows(about)))
    return ExitCode.OK


def _about(header: Header) -> dict[str, Any]:
    """What a checkpoint says of itself; of its clips only how many there are."""
    return {
        "model": asdict(header.model),
        "clip": asdict(header.clip),
        "classes": list(header.classes),
        "temperature": header.temperature,
        "min_confidence": header.min_confidence,
        **dict(sorted(header.metrics.items())),
        **dict(sorted(header.training.items())),
        "trained_on": len(header.trained_on),
        **({"selected_on": len(header.selected_on)} if header.selected_on else {}),
    }


def _rows(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values for a table; of model and clip a row for each setting."""
    for name, value in about.items():
        if name in ("model", "clip") and isinstance(value, dict):
            yield from ((f"{name} {part}", str(each)) for part, each in value.items())
        elif isinstance(value, dict):
            parts = (f"{part} {each}" for part, each in value.items() if each != "")
            yield name, ", ".join(parts)
        elif name in ("trained_on", "selected_on"):
            yield name, plural(value, "clip")
        else:
            yield name, ", ".join(value) if isinstance(value, list) else str(value)


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
