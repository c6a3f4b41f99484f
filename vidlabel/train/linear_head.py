"""A linear classifier on features of clips, for few clips: fitted by L-BFGS in under a second.

It is multinomial logistic regression with a ridge penalty. There are far more features than clips,
so that the best weights are sums of the clips' own features (representer theorem: Schölkopf,
Herbrich and Smola 2001), and all fits need the features only once, for the clips' inner products; a
fit then has as many unknowns as clips. Penalty and inputs are chosen by cross-validation in which
no group of clips is divided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vidlabel.evaluate.metrics import fit_temperature

PENALTIES = (1e-3, 1e-4, 1e-5)
"""Factors of the squared weights, against the mean loss of a clip; largest first."""
USUAL_PENALTY = 3e-5
"""Where nothing can be cross-validated."""
ITERATIONS = 50
_JITTER = 1e-7
"""Of the mean inner product, so that clips that are alike do not make their matrix singular."""

Gram = Tensor
"""(N V, N V) float64: inner products of the features of V views of N clips."""


@dataclass(frozen=True)
class Labels:
    """What a head learns: classes (N,) int64 of N clips with V views each, 0 to K - 1, and how much
    each clip counts, (N,) float64."""

    classes: Tensor
    weights: Tensor
    views: int
    count: int
    """K."""
    smoothing: float

    def rows(self, clips: Tensor) -> Tensor:
        """Numbers of all rows of some clips, (n V,)."""
        return (clips[:, None] * self.views + torch.arange(self.views)).flatten()


@dataclass(frozen=True)
class Head:
    """A fitted head: its logits of a clip are inner products with the `clips` that it was fitted
    on, times `factors` (n V, K), plus `bias` (K,)."""

    clips: Tensor
    factors: Tensor
    bias: Tensor

    def logits(self, gram: Gram, labels: Labels, clips: Tensor) -> Tensor:
        """(n, K) float64 of the first view of some clips."""
        own = gram[clips * labels.views][:, labels.rows(self.clips)]
        return own @ self.factors + self.bias


def fit_heads(gram: Gram, labels: Labels, clips: Tensor, penalties: Sequence[float]) -> list[Head]:
    """A head for each penalty, largest first, fitted on some clips; each fit starts where the last
    one ended."""
    rows = labels.rows(clips)
    inner = gram[rows][:, rows]
    inner.diagonal().add_(_JITTER * float(inner.diagonal().mean()))
    root = torch.linalg.cholesky(inner)
    classes = labels.classes[clips].repeat_interleave(labels.views)
    weights = labels.weights[clips].repeat_interleave(labels.views)
    weights = weights / weights.sum()
    wanted = F.one_hot(classes, labels.count).double()
    seen = wanted.amax(0)  # a class without clips here is none that a label is spread over
    wanted = wanted * (1 - labels.smoothing) + labels.smoothing * seen / seen.sum()
    hidden = torch.log(seen)  # minus infinity
    turned = torch.zeros(len(rows), labels.count, dtype=torch.float64)
    bias = torch.zeros(labels.count, dtype=torch.float64)
    heads = []
    for penalty in penalties:
        _minimise(_Loss(root, wanted, weights, hidden, penalty), turned, bias)
        factors = torch.linalg.solve_triangular(root.T, turned, upper=True)
        heads.append(Head(clips, factors, bias + hidden))
    return heads


@dataclass(frozen=True)
class _Loss:
    """Mean cross-entropy and ridge penalty, of rows (R, R) whose inner products are those of the
    features, with wanted shares (R, K), weights (R,) and classes that are hidden (K,)."""

    root: Tensor
    wanted: Tensor
    weights: Tensor
    hidden: Tensor
    penalty: float

    def __call__(self, turned: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss and its slopes. They are written out: autograd takes several times as long for
        matrices that are this small."""
        likely = (self.root @ turned + bias + self.hidden).log_softmax(1)
        surprise = self.wanted * likely.masked_fill(self.hidden.isinf(), 0)
        value = self.penalty * turned.square().sum() - surprise.sum(1) @ self.weights
        slope = (likely.exp() - self.wanted) * self.weights[:, None]
        return value, self.root.T @ slope + 2 * self.penalty * turned, slope.sum(0)


@torch.no_grad()
def _minimise(loss: _Loss, turned: Tensor, bias: Tensor) -> None:
    """Minimise a loss over both, in place."""
    optimiser = torch.optim.LBFGS(
        [turned, bias], max_iter=ITERATIONS, history_size=10, line_search_fn="strong_wolfe",
        tolerance_grad=1e-6, tolerance_change=1e-8,
    )  # fmt: skip

    def measure() -> Tensor:
        value, turned.grad, bias.grad = loss(turned, bias)
        return value

    optimiser.step(measure)  # type: ignore[no-untyped-call]
    turned.grad = bias.grad = None


@dataclass(frozen=True)
class CrossValidation:
    """What was chosen, and what heads say of clips of groups that they were not fitted on."""

    choice: int
    """Number of the chosen inner products among those given."""
    penalty: float
    tested: Tensor
    """(N,) bool: clips whose class has clips of other folds too."""
    logits: Tensor
    """(N, K) float32 of those clips; 0 elsewhere."""
    temperature: float


def cross_validate(
    grams: Sequence[Gram], labels: Labels, folds: Tensor, doing: Callable[[], None] = lambda: None
) -> CrossValidation:
    """Choose among inner products and penalties by the loss on clips of other folds, weighted as
    in the fit and with the best temperature.

    Args:
        grams: of the same clips, of different inputs; the first is taken where none can be tested.
        folds: (N,) int64, the fold of each clip.
        doing: is called after each fit.
    """
    clips = torch.arange(len(folds))
    tested = torch.zeros(len(folds), dtype=torch.bool)
    parts = []
    for fold in sorted(set(folds.tolist())):
        learned = torch.isin(labels.classes, labels.classes[folds != fold])
        held = (folds == fold) & learned
        if held.any():
            parts.append((clips[~held], clips[held]))
            tested |= held
    best: CrossValidation | None = None
    least = float("inf")
    for choice, gram in enumerate(grams if parts else ()):
        found = torch.zeros(len(PENALTIES), len(folds), labels.count, dtype=torch.float64)
        for learned_on, held_out in parts:
            heads = fit_heads(gram, labels, learned_on, PENALTIES)
            for number, head in enumerate(heads):
                found[number, held_out] = head.logits(gram, labels, held_out)
            doing()
        for penalty, logits in zip(PENALTIES, found.float(), strict=True):
            truth = labels.classes[tested]
            heat = fit_temperature(logits[tested], truth)
            losses = F.cross_entropy(logits[tested] / heat, truth, reduction="none")
            loss = float((losses * labels.weights[tested]).sum() / labels.weights[tested].sum())
            if loss < least:
                least = loss
                best = CrossValidation(choice, penalty, tested, logits, heat)
    nothing = torch.zeros(len(folds), labels.count)
    return best or CrossValidation(0, USUAL_PENALTY, tested, nothing, 1.0)


def without_each_class(gram: Gram, labels: Labels, penalty: float, temperature: float) -> Tensor:
    """The largest probability (N,) that a head gives each clip if it was fitted without any clip of
    its class: what it says of a class that it does not know."""
    clips = torch.arange(len(labels.classes))
    surest = torch.zeros(len(clips))
    for left_out in range(labels.count):
        unknown = labels.classes == left_out
        (head,) = fit_heads(gram, labels, clips[~unknown], [penalty])
        logits = head.logits(gram, labels, clips[unknown])
        surest[unknown] = (logits / temperature).softmax(1).amax(1).float()
    return surest
