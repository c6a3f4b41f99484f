"""In which order to look at rows: first those from which a model would learn most.

The rows are chosen one by one as BADGE does (Ash et al. 2020, "Deep Batch Active Learning by
Diverse, Uncertain Gradient Lower Bounds", arXiv 1906.03671): by k-means++ (Arthur and Vassilvitskii
2007) on the gradient that the loss would have for the last layer if the most likely class were the
true one. It is long where the model is unsure, and points elsewhere for another class or another
kind of video, so that what comes first is both uncertain and diverse. Any number of rows from the
start is such a choice. Unlike there, the gradient 0 counts as chosen from the beginning, so that no
row comes early only because the model is sure of it.

The gradient of a video is the outer product of p - e and of the features h, with p the
probabilities, e the one-hot vector of the most likely class. It is never made: the product of two
gradients is the product of their factors' products. Without features, it is p - e alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vidlabel.results.embeddings import Embeddings
from vidlabel.results.record import Record
from vidlabel.specs import Status
from vidlabel.text import text_path

FIRST = 500
"""Rows that are chosen to be diverse; nobody looks at more before the next training."""

CANDIDATES = 10_000
"""Of long tables, only so many of the closest calls are chosen from."""

_SEED = 0


def by_worth(rows: Sequence[Record], embeddings: Embeddings | None = None) -> list[int]:
    """The numbers of the rows, the most informative first; the same for the same table.

    After the first FIRST rows come those with the smallest margin between their two most likely
    classes, then rows without probabilities, in the order of the table.

    Args:
        embeddings: of the videos, as predict writes them; rows that it lacks count as average ones.
    """
    margins = np.array([_margin(row) for row in rows])
    by_margin = np.argsort(margins, kind="stable")
    open_ones = by_margin[: np.isfinite(margins).sum()][:CANDIDATES]
    few = [rows[i] for i in open_ones]
    features = _features(few, embeddings) if embeddings else np.ones((len(few), 1), np.float32)
    first: list[int] = open_ones[_spread(_errors(few), features, FIRST)].tolist()
    chosen = {*first}
    return [*first, *(i for i in by_margin.tolist() if i not in chosen)]


def _margin(row: Record) -> float:
    """How much more likely the first class is than the second, 0 to 1; infinite where unknown."""
    shares = [top["confidence"] for top in row["top"][:2]]
    if row["status"] == Status.FAILED or not shares or shares[0] is None:
        return np.inf
    return shares[0] - (shares[1] or 0.0 if len(shares) > 1 else 0.0)


def _errors(rows: Sequence[Record]) -> NDArray[np.float32]:
    """(N, K): p - e, with 0 for classes that a row does not show."""
    columns: dict[str, int] = {}
    for row in rows:
        for top in row["top"]:
            columns.setdefault(top["label"], len(columns))
    errors = np.zeros((len(rows), len(columns)), np.float32)
    for i, row in enumerate(rows):
        for top in row["top"]:
            errors[i, columns[top["label"]]] = top["confidence"] or 0.0
        errors[i, columns[row["top"][0]["label"]]] -= 1
    return errors


def _features(rows: Sequence[Record], embeddings: Embeddings) -> NDArray[np.float32]:
    """(N, F + 1): features around their mean, of mean squared length 1, and 0; for rows without an
    embedding 0, and 1 at the end: they are like each other, and unlike all others."""
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for number, path in enumerate(embeddings.paths):
        numbers[path].append(number)
    vectors = embeddings.vectors - embeddings.vectors.mean(0)
    length = np.sqrt((vectors**2).sum(1).mean())
    found = np.zeros((len(rows), vectors.shape[1] + 1), np.float32)
    seen: Counter[str] = Counter()
    for i, row in enumerate(rows):
        path = text_path(row["path"])
        if path in numbers:
            found[i, :-1] = vectors[numbers[path][seen[path] % len(numbers[path])]] / (length or 1)
            seen[path] += 1  # the segments of a video follow each other
        else:
            found[i, -1] = 1
    return found


def _spread(
    errors: NDArray[np.float32], features: NDArray[np.float32], count: int
) -> NDArray[np.intp]:
    """At most `count` numbers of rows by k-means++ on the outer products of their errors and
    features, beginning with the longest; fewer where no other is left that differs."""
    squared = (errors**2).sum(1) * (features**2).sum(1)
    if not len(squared) or squared.max() <= 0:
        return np.zeros(0, np.intp)
    random = np.random.default_rng(_SEED)
    order = [int(squared.argmax())]
    nearest = squared.copy()  # squared distance to what is chosen, or to 0
    while len(order) < min(count, len(squared)):
        last = order[-1]
        products = (errors @ errors[last]) * (features @ features[last])
        distances = np.maximum(squared + squared[last] - 2 * products, 0)
        nearest = np.minimum(nearest, distances)
        nearest[order] = 0
        nearest[nearest < 1e-6 * squared[order[0]]] = 0  # rounding; the same video twice
        total = nearest.sum(dtype=np.float64)
        if total <= 0:
            break
        order.append(int(random.choice(len(squared), p=nearest.astype(np.float64) / total)))
    return np.array(order)
