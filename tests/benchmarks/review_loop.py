"""How many looks a model needs, in the order of the review page and in others.

    python tests/benchmarks/review_loop.py DATA [--group-pattern REGEX] [--features FILE.npz]

Replays predict, review and train on real clips (a folder with one sub-folder per class, or a table)
with the truth as the reviewer. A linear model on the features of the starter's network with
ImageNet weights (mean, deviation and change over time) begins with one clip of each class. In each
round it labels the training clips that nobody has looked at, the next --batch of them in some order
get their true class, and it is fitted again. Two fifths of the groups are only for testing. The
orders are those of `vidlabel review --order`, by the product's own code, and a random one; all
start alike.

Printed: the accuracy after each round, and the looks until it stays at a target, as means over the
seeds; in parentheses half of the 95 % interval (t) of the difference from random order.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from vidlabel import console
from vidlabel.datasets.open import open_dataset
from vidlabel.datasets.samples import Sample
from vidlabel.decode.pool import DecoderPool
from vidlabel.decode.worker import DecodeJob
from vidlabel.machine import worker_count
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import load_checkpoint
from vidlabel.results.embeddings import Embeddings
from vidlabel.results.record import Record, TableInfo, record
from vidlabel.review.order import by_worth
from vidlabel.specs import Prediction, Status, VideoItem

Floats = NDArray[np.float32]
Ordered = Callable[[Sequence[Record], Embeddings, np.random.Generator], list[int]]


def margin(row: Record) -> float:
    """As the page sorts by `uncertain`."""
    first, second = (top["confidence"] or 0.0 for top in row["top"][:2])
    return first - second


ORDERS: dict[str, Ordered] = {
    "random": lambda rows, _, random: random.permutation(len(rows)).tolist(),
    "confidence": lambda rows, *_: sorted(
        range(len(rows)), key=lambda i: rows[i]["confidence"] or 0.0
    ),
    "uncertain": lambda rows, *_: sorted(range(len(rows)), key=lambda i: margin(rows[i])),
    "value, table alone": lambda rows, *_: by_worth(rows),
    "value, --embeddings": lambda rows, embeddings, _: by_worth(rows, embeddings),
}


@dataclass(frozen=True)
class Clips:
    """The clips of a data set: features (N, F), class numbers (N,), groups and classes."""

    features: Floats
    truth: NDArray[np.int64]
    groups: tuple[str, ...]
    classes: tuple[str, ...]


def features_of(samples: Sequence[Sample]) -> Floats:
    """(N, F): mean, deviation and mean change over time of each clip's frame features."""
    header = load_checkpoint("starter").header
    network = build_model(header.model, header.clip).eval()
    network.load_pretrained("imagenet")  # the starter's own weights know clips of these sets
    found: dict[int, Floats] = {}
    items = [VideoItem(i, sample.path) for i, sample in enumerate(samples)]
    with (
        DecoderPool(DecodeJob(header.clip), worker_count(None)) as pool,
        console.Progress(len(items), doing="features") as progress,
        torch.no_grad(),
    ):
        for done in pool.run(items):
            assert done.data is not None, done.error
            frames = network.frame_features(torch.from_numpy(done.data.clips.copy()))[0]
            change = frames.diff(dim=0).abs().mean(0)
            found[done.item.index] = torch.cat([frames.mean(0), frames.std(0), change]).numpy()
            progress.advance()
    return np.stack([found[i] for i in range(len(items))])


def fit(features: Floats, truth: NDArray[np.int64], classes: int) -> Callable[[Floats], Floats]:
    """Multinomial logistic regression with weighted classes; gives probabilities (N, K)."""
    x, y = torch.from_numpy(features), torch.from_numpy(truth)
    weights = torch.zeros(x.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    per_class = 1 / torch.bincount(y, minlength=classes).clamp(min=1).float()
    per_class /= per_class[y].mean()
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logits = x @ weights + bias
        value = torch.nn.functional.cross_entropy(logits, y, per_class)
        value = value + 1e-3 * weights.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    w, b = weights.detach(), bias.detach()
    return lambda values: (torch.from_numpy(values) @ w + b).softmax(1).numpy()


def replay(clips: Clips, order: Ordered, seed: int, rounds: int, batch: int) -> list[float]:
    """Test accuracy before the first look and after each round."""
    random = np.random.default_rng(seed)
    groups = random.permutation(sorted({*clips.groups}))
    tested = np.isin(clips.groups, groups[: max(2, len(groups) * 2 // 5)])
    train, test = np.flatnonzero(~tested), np.flatnonzero(tested)
    scale = clips.features[train].std(0) + 1e-3
    x = (clips.features - clips.features[train].mean(0)) / scale
    x *= 10 / np.sqrt((x[train] ** 2).sum(1).mean())
    # In the space of the training clips, where the weights lie anyway: the same, with less to fit.
    x = x @ np.linalg.svd(x[train], full_matrices=False)[2].T
    known = [int(random.choice(train[clips.truth[train] == c])) for c in np.unique(clips.truth)]
    accuracy = []
    for turn in range(rounds + 1):
        model = fit(x[known], clips.truth[known], len(clips.classes))
        accuracy.append(float((model(x[test]).argmax(1) == clips.truth[test]).mean()))
        pool = np.setdiff1d(train, known)
        if turn == rounds or len(pool) < batch:
            break
        names = tuple(map(str, pool))
        rows = [
            row_of(name, shares, clips.classes)
            for name, shares in zip(names, model(x[pool]), strict=True)
        ]
        looked = order(rows, Embeddings(names, x[pool]), random)[:batch]
        known += pool[looked].tolist()
    return accuracy


def row_of(name: str, shares: Floats, classes: Sequence[str]) -> Record:
    """The row of a table that predict would write."""
    top = tuple((classes[c], float(shares[c])) for c in np.argsort(-shares))
    return record(Prediction(name, Status.OK, *top[0], top), TableInfo("linear", top_k=5))


def looks_until(accuracy: NDArray[np.float64], target: float, batch: int) -> float:
    """Looks until the accuracy reaches the target for good, between rounds by a straight line; all
    of them where it never does."""
    below = np.flatnonzero(accuracy < target)
    if not len(below):
        return 0.0
    last = int(below[-1])
    if last == len(accuracy) - 1:
        return float(batch * last)
    rise = accuracy[last + 1] - accuracy[last]
    return float(batch * (last + (target - accuracy[last]) / rise))


def told(values: NDArray[np.float64], random: NDArray[np.float64], form: str) -> str:
    """A mean, and half of the interval of its difference from random order."""
    difference = values - random
    half = 0.0
    if len(values) > 1 and difference.std():
        quantile = stats.t.ppf(0.975, len(values) - 1)
        half = quantile * difference.std(ddof=1) / np.sqrt(len(values))
    return form.format(values.mean()) + (f" ({form.format(half)})" if half else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("data")
    parser.add_argument("--group-pattern")
    parser.add_argument("--features", type=Path, help="keep the features in this file")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=12, help="looks between two trainings")
    parser.add_argument("--target", type=float, help="default: random order's after half the looks")
    args = parser.parse_args()
    data = open_dataset(args.data, Path(), group_pattern=args.group_pattern)
    if args.features and args.features.is_file():
        features = np.load(args.features)["features"]
    else:
        features = features_of(data.samples)
        if args.features:
            np.savez(args.features, features=features)
    truth = np.array([data.classes.index(sample.label) for sample in data.samples])
    groups = tuple(sample.group for sample in data.samples)
    clips = Clips(features.astype(np.float32), truth, groups, data.classes)
    curves = {}
    for name, order in ORDERS.items():
        runs = [replay(clips, order, seed, args.rounds, args.batch) for seed in range(args.seeds)]
        curves[name] = np.array([run[: min(map(len, runs))] for run in runs])
    usual = curves["random"]
    target = args.target or float(usual.mean(0)[(usual.shape[1] + 1) // 2])
    print(f"{args.data}: {len(truth)} clips, {len(data.classes)} classes, {len({*groups})} groups")
    rounds = [f"{args.batch * turn}" for turn in range(usual.shape[1])]
    print(
        f"| order | accuracy after {', '.join(rounds)} looks, % | mean | looks until {target:.0%} |"
    )
    print("|---|---|---|---|")
    needed = {
        name: np.array([looks_until(run, target, args.batch) for run in curves[name]])
        for name in curves
    }
    for name, runs in curves.items():
        steps = " ".join(f"{100 * value:.1f}" for value in runs.mean(0))
        mean = told(100 * runs[:, 1:].mean(1), 100 * usual[:, 1:].mean(1), "{:.1f}")
        print(f"| {name} | {steps} | {mean} | {told(needed[name], needed['random'], '{:.0f}')} |")


if __name__ == "__main__":
    main()
