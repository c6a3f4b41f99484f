"""Metrics of predictions: accuracy with confidence intervals, and calibration.

The formulas are those of torchmetrics and SciPy; this module chooses them and their settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

from vidlabel.machine import silent_stderr

with silent_stderr():  # it imports matplotlib; see `plots`
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_calibration_error,
        multiclass_confusion_matrix,
        multiclass_f1_score,
        multiclass_precision,
        multiclass_recall,
    )

RESAMPLES = 1000
"""Bootstrap samples for an interval."""
PRIOR_DEVIATION = 0.5
"""Prior standard deviation of the natural logarithm of a temperature."""


@dataclass(frozen=True)
class Figure:
    """A measured number and its 95 % interval; nan if the clips do not give one."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def measure(probabilities: Tensor, labels: Tensor) -> dict[str, Figure]:
    """The figures of a classifier on N clips.

    `top1`, `top5`: share of clips whose class is the likeliest, or among the five likeliest, with
    Wilson's interval (Wilson 1927). `mean_class_accuracy`: mean of the shares of right clips of
    each class that occurs; `macro_f1`: mean F1 of the classes that occur or are predicted; `loss`:
    mean negative log-likelihood, natural logarithm. The last three have percentile bootstrap
    intervals over the clips (Efron 1979), which are too narrow where clips are alike, and none
    where all samples give the same value, such as 1: that says nothing about other clips.

    `probabilities` are (N, K), N at least 1, rows summing to 1; `labels` (N,) class indices.
    """
    best, classes = probabilities.argmax(1), probabilities.shape[1]
    losses = F.nll_loss(probabilities.clamp_min(1e-12).log(), labels, reduction="none")
    return {
        "top1": _share(probabilities, labels, 1),
        "top5": _share(probabilities, labels, min(5, classes)),
        "mean_class_accuracy": _resampled(
            lambda rows: mean_class_accuracy(best[rows], labels[rows], classes), len(labels)
        ),
        "macro_f1": _resampled(
            lambda rows: float(multiclass_f1_score(best[rows], labels[rows], classes)), len(labels)
        ),
        "loss": _resampled(lambda rows: float(losses[rows].mean()), len(labels)),
    }


def mean_class_accuracy(best: Tensor, labels: Tensor, classes: int) -> float:
    """Mean over the classes that occur in `labels` (N,) of the share that `best` (N,) has right."""
    recall = multiclass_recall(best, labels, classes, average="none")
    return float(recall[torch.unique(labels)].mean())


def confusion(best: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(K, K) counts: row = true class, column = predicted class."""
    return multiclass_confusion_matrix(best, labels, classes)


def per_class(best: Tensor, labels: Tensor, classes: int) -> dict[str, Tensor]:
    """`accuracy` (recall), `precision` and `f1` of each class: (K,), 0 where undefined."""
    return {
        "accuracy": multiclass_recall(best, labels, classes, average="none"),
        "precision": multiclass_precision(best, labels, classes, average="none"),
        "f1": multiclass_f1_score(best, labels, classes, average="none"),
    }


def top1(scores: Tensor, labels: Tensor) -> float:
    """Share of rows of (N, K) whose largest score is at `labels` (N,); 0..1."""
    return float(multiclass_accuracy(scores, labels, scores.shape[1], average="micro"))


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the highest likelihood of logits (N, K) of clips that were held out.

    Temperature scaling, Guo et al. 2017, arXiv 1706.04599. One parameter and a convex problem in
    its inverse: a fine grid between 0.2 and 10 is enough. A weak prior (its logarithm is normal
    around 0) keeps ten clips that are all right by chance from making a model overconfident; a
    hundred clips outweigh it.
    """
    candidates = torch.logspace(torch.log10(torch.tensor(0.2)).item(), 1.0, 400)
    losses = torch.stack([F.cross_entropy(logits / t, labels, reduction="sum") for t in candidates])
    losses += (candidates.log() / PRIOR_DEVIATION) ** 2 / 2
    return round(float(candidates[int(losses.argmin())]), 4)


def retempered(probabilities: Tensor, now: Tensor, then: float) -> Tensor:
    """Turn softmax(logits / now), (N, K), into softmax(logits / then); `now` is (N, 1).

    Exact for the probabilities of single clips; of averaged views it is the same scaling applied
    to the average.
    """
    return (probabilities.clamp_min(1e-12).log() * (now / then)).softmax(1)


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 10) -> float:
    """Expected calibration error of (N, K) probabilities: the mean gap between the confidence of
    the best class and how often it is right, over equal-width bins (Guo et al. 2017); 0..1."""
    return float(
        multiclass_calibration_error(probabilities, labels, probabilities.shape[1], n_bins=bins)
    )


def _share(probabilities: Tensor, labels: Tensor, top_k: int) -> Figure:
    count, classes = len(labels), probabilities.shape[1]
    right = multiclass_accuracy(probabilities, labels, classes, average="micro", top_k=top_k)
    share = float(right)
    interval = stats.binomtest(round(share * count), count).proportion_ci(method="wilson")
    return Figure(share, float(interval.low), float(interval.high))


def _resampled(statistic: Callable[[Tensor], float], count: int) -> Figure:
    """A statistic of all rows, with its interval over bootstrap samples of them."""
    value = statistic(torch.arange(count))
    if count < 2:
        return Figure(value, math.nan, math.nan)
    found = stats.bootstrap(
        (np.arange(count),),
        lambda rows: statistic(torch.from_numpy(rows)),
        vectorized=False,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = map(float, found.confidence_interval)
    return Figure(value, low, high) if low < high else Figure(value, math.nan, math.nan)
