"""`vidlabel fuse`: join two streams to one model."""

from __future__ import annotations

from pathlib import Path

import click

from vidlabel.cli.completion import FILES
from vidlabel.cli.options import path_option
from vidlabel.errors import ExitCode


@click.command()
@click.argument("spatial", shell_complete=FILES)
@click.argument("temporal", shell_complete=FILES)
@path_option("-o --out --output", "FILE", "Checkpoint to write (.safetensors).", required=True)
@click.option(
    "--flow-weight",
    default=0.5,
    metavar="X",
    help="Weight of the temporal stream in the average of both probabilities, 0 to 1.",
)
def fuse(spatial: str, temporal: str, out: Path, flow_weight: float) -> int:
    """Join a SPATIAL and a TEMPORAL checkpoint to a two-stream model."""
    from vidlabel import console
    from vidlabel.files.write import make_folder
    from vidlabel.models.checkpoint import load_checkpoint, save_checkpoint
    from vidlabel.models.fusion import fuse as fuse_streams

    header, network = fuse_streams(load_checkpoint(spatial), load_checkpoint(temporal), flow_weight)
    make_folder(out.parent)
    save_checkpoint(out, header, network)
    console.note(f"two-stream model of {len(header.classes)} classes written to {out}")
    return ExitCode.OK
