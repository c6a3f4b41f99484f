"""Embeddings: the model's feature vector of each video, as .npz or .parquet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vidlabel.errors import OutputError, UsageError
from vidlabel.files.write import replacing
from vidlabel.specs import Prediction
from vidlabel.text import text_path

_SCHEMA = pa.schema(
    [("path", pa.string()), ("label", pa.string()), ("embedding", pa.list_(pa.float32()))]
)


@dataclass(frozen=True)
class Embeddings:
    """Embeddings as they were read."""

    paths: tuple[str, ...]
    """As in the table, N of them; several segments of a video repeat it."""
    vectors: NDArray[np.float32]
    """(N, F), all finite."""


def check_embeddings(out: Path) -> None:
    """Raises UsageError for a file whose suffix is neither .npz nor .parquet."""
    if out.suffix.lower() not in (".npz", ".parquet"):
        raise UsageError(f"--embeddings must end in .npz or .parquet, got {out}")


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
                f"{out}: the embeddings have different lengths, {length} and "
                f"{len(row.embedding)}; they must all be from one model"
            )
        packed += np.asarray(row.embedding, dtype=np.float32).tobytes()
        paths.append(text_path(row.path))
        labels.append(text_path(row.label))
    vectors = np.frombuffer(packed, dtype=np.float32).reshape(len(paths), length)
    with replacing(out) as temporary:
        if out.suffix.lower() == ".parquet":
            lists = pd.Series(list(vectors), dtype=object)
            frame = pd.DataFrame({"path": paths, "label": labels, "embedding": lists})
            frame.to_parquet(temporary, index=False, schema=_SCHEMA, row_group_size=10_000)
            return
        with temporary.open("wb") as file:
            names, kinds = np.array(paths, np.str_), np.array(labels, np.str_)
            np.savez(file, paths=names, labels=kinds, embeddings=vectors)


def read_embeddings(file: Path) -> Embeddings:
    """The embeddings that `write_embeddings` has written.

    Raises:
        UsageError: the file cannot be read, is not such a file, or is empty.
    """
    check_embeddings(file)
    try:
        if file.suffix.lower() == ".parquet":
            columns = pq.read_table(file, columns=["path", "embedding"]).to_pydict()
            paths, vectors = columns["path"], np.array(columns["embedding"], np.float32)
        else:
            with np.load(file) as arrays:  # it loads no pickle
                paths, vectors = arrays["paths"].tolist(), arrays["embeddings"]
                vectors = vectors.astype(np.float32)
    except (OSError, ValueError, KeyError, BadZipFile, pa.ArrowException) as error:
        raise UsageError(f"--embeddings {file}: cannot be read: {error}") from error
    if vectors.ndim != 2 or len(paths) != len(vectors) or not vectors.size:
        raise UsageError(f"--embeddings {file}: has no embeddings; was it written by predict?")
    if not np.isfinite(vectors).all():
        raise UsageError(f"--embeddings {file}: has numbers that are not finite")
    return Embeddings(tuple(map(str, paths)), vectors)
