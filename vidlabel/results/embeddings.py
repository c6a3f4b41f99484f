"""Embeddings: the model's feature vector of each video, as .npz or .parquet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vidlabel.errors import OutputError, UsageError
from vidlabel.files.write import replacing
from vidlabel.results import parquet
from vidlabel.specs import Prediction
from vidlabel.text import text_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check_embeddings(out: Path) -> None:
    """Refuse a file that embeddings cannot be written to, before any work is done.

    Raises:
        UsageError: the suffix is neither .npz nor .parquet, or pyarrow is missing.
    """
    if out.suffix.lower() not in (".npz", ".parquet"):
        raise UsageError(f"--embeddings must end in .npz or .parquet, got {out}")
    if out.suffix.lower() == ".parquet":
        parquet.check()


def write_embeddings(rows: Iterable[Prediction], out: Path) -> None:
    """Write the embeddings of the rows that have a label (status ok or partial), in their order.

    .npz: arrays `paths` (N,) str, `labels` (N,) str, `embeddings` (N,F) float32.
    .parquet: columns `path`, `label`, `embedding` (list of float32).

    The rows are read once; rows without an embedding are left out. Memory holds the paths, the
    labels and 4 bytes for each number.

    Raises:
        UsageError: as `check_embeddings`.
        OutputError: embeddings differ in length, or the system refused to write.
    """
    import numpy as np  # here, so that `vidlabel --help` stays quick

    check_embeddings(out)
    paths: list[str] = []
    labels: list[str] = []
    packed = bytearray()
    length = 0
    for row in rows:
        if not row.ok or not len(row.embedding):
            continue
        length = length or len(row.embedding)
        if len(row.embedding) != length:
            raise OutputError(
                f"{out}: embeddings have different lengths ({length} and {len(row.embedding)}); "
                "are they of one model?"
            )
        packed += np.asarray(row.embedding, dtype=np.float32).tobytes()
        paths.append(text_path(row.path))
        labels.append(text_path(row.label))
    vectors = np.frombuffer(packed, dtype=np.float32).reshape(len(paths), length)
    with replacing(out) as temporary:
        if out.suffix.lower() == ".npz":
            with temporary.open("wb") as file:
                np.savez(
                    file,
                    paths=np.array(paths, dtype=np.str_),
                    labels=np.array(labels, dtype=np.str_),
                    embeddings=vectors,
                )
        else:
            _write_parquet(temporary, paths, labels, vectors)


def _write_parquet(
    out: Path, paths: list[str], labels: list[str], vectors: NDArray[np.float32]
) -> None:
    pa, pq = parquet.load_pyarrow()
    schema = pa.schema(
        [
            ("path", pa.string()),
            ("label", pa.string()),
            ("embedding", pa.list_(pa.float32())),
        ]
    )
    with pq.ParquetWriter(out, schema) as writer:
        for start in range(0, len(paths), parquet.GROUP_ROWS):
            group = slice(start, start + parquet.GROUP_ROWS)
            columns = [paths[group], labels[group], list(vectors[group])]
            arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
