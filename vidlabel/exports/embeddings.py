"""Embeddings: the model's feature vector of each video, as .npz or .parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vidlabel.errors import OutputError, UsageError
from vidlabel.exports import parquet
from vidlabel.files import replacing, text_path
from vidlabel.specs import Prediction

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


def write_embeddings(rows: Sequence[Prediction], out: Path) -> None:
    """Write the embeddings of the rows that have a label (status ok or partial), in their order.

    .npz: arrays `paths` (N,) str, `labels` (N,) str, `embeddings` (N,F) float32.
    .parquet: columns `path`, `label`, `embedding` (list of float32).

    Raises:
        UsageError: as `check_embeddings`.
        OutputError: a row has no embedding, or the system refused to write.
    """
    import numpy as np  # here, so that `vidlabel --help` stays quick

    check_embeddings(out)
    labelled = [row for row in rows if row.ok]
    lengths = {len(row.embedding) for row in labelled}
    if 0 in lengths or len(lengths) > 1:
        raise OutputError(f"{out}: not all videos have an embedding of the same length")
    paths = [text_path(row.path) for row in labelled]
    labels = [text_path(row.label) for row in labelled]
    vectors = np.array([row.embedding for row in labelled], dtype=np.float32)
    vectors = vectors.reshape(len(labelled), max(lengths, default=0))
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
    columns = {
        "path": pa.array(paths, pa.string()),
        "label": pa.array(labels, pa.string()),
        "embedding": pa.array(list(vectors), pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), out)
