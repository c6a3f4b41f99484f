"""`vidlabel merge`: the tables of shards to one."""

from __future__ import annotations

from pathlib import Path

import click

from vidlabel.cli import options


@click.command()
@click.argument("shards", nargs=-1, metavar="[SHARD]...", type=click.Path(path_type=Path))
@options.path_option(
    "-o --out --output",
    "FILE",
    "Table to write: .csv, .json, .jsonl or .parquet. Or another --format: for several videos a "
    "folder.",
    required=True,
)
@options.FORMAT
@options.SIDECAR
@options.SIDECAR_DIR
@options.path_option(
    "--embeddings", "FILE", "Also write the feature vectors, if the shards were made with them."
)
@options.EXCEL_SAFE
@click.option(
    "--partial",
    is_flag=True,
    help="Write what there is, although shards are missing or unfinished; leave out those that do "
    "not fit the others.",
)
@options.QUIET
def merge(
    shards: tuple[Path, ...], out: Path, format_name: str | None, sidecars: tuple[str, ...],
    sidecar_dir: Path | None, embeddings: Path | None, excel_safe: bool, partial: bool, quiet: bool,
) -> int:  # fmt: skip
    """Join the SHARDs of `vidlabel predict --shard` to the table of one undivided run.

    SHARDs are their tables or ledgers; without any, all ledgers beside --out are taken, such as
    labels.shard-3-of-40.ledger for labels.csv. If shards are missing, unfinished, of another model
    or other settings, or there twice, each is named and nothing is written; exit code 3. With
    --partial it is 1 then, and 0 if all was complete.
    """
    from vidlabel.predict.output import TableOutput
    from vidlabel.scale.merge import merge_shards

    output = TableOutput(str(out), format_name, embeddings, excel_safe, sidecars, sidecar_dir)
    return merge_shards(shards, output, partial=partial, quiet=quiet)
