"""Commands that look and change nothing: models, info, doctor, completion."""

from __future__ import annotations

import click

from vidlabel.errors import ExitCode


@click.command()
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


@click.command()
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


@click.command()
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


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print a completion script: eval "$(vidlabel completion bash)"."""
    from click.shell_completion import get_completion_class

    maker = get_completion_class(shell)
    assert maker is not None  # click has all three
    click.echo(
        maker(
            click.get_current_context().find_root().command, {}, "vidlabel", "_VIDLABEL_COMPLETE"
        ).source()
    )
    return ExitCode.OK
