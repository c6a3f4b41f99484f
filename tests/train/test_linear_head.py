"""The linear head of few clips, on made-up features."""

from __future__ import annotations

import torch
from torch import Tensor

from vidlabel.train.balance import clip_weights
from vidlabel.train.linear_head import Labels, cross_validate, fit_heads, without_each_class
from vidlabel.train.quick import joined_groups, tell_unknown
from vidlabel.train.recipes import TrainSpec

WIDTH = 200


def _clips(counts: list[int], seed: int = 0, spread: float = 0.15) -> tuple[Tensor, list[int]]:
    """Features (N, WIDTH) around a place for each class, as long as a standardised clip's."""
    random = torch.Generator().manual_seed(7)
    places = torch.randn(len(counts), WIDTH, generator=random) / WIDTH**0.5
    classes = [k for k, count in enumerate(counts) for _ in range(count)]
    random.manual_seed(seed)
    noise = torch.randn(len(classes), WIDTH, generator=random) * spread
    return places[classes] + noise, classes


def _labels(classes: list[int], balance: str = "auto") -> Labels:
    weights = clip_weights(classes, TrainSpec(balance=balance))  # type: ignore[arg-type]
    return Labels(torch.tensor(classes), weights, 1, max(classes) + 1, 0.05)


def _recall(balance: str) -> tuple[float, float]:
    """Of the common class and of one with a thousandth of its clips, on new clips."""
    features, classes = _clips([1000, 1], spread=0.05)
    tested, truth = _clips([50, 50], seed=1, spread=0.05)
    every = torch.cat([features, tested]).double()
    learned = torch.arange(len(classes))
    labels = _labels(classes + truth, balance)
    weights = _labels(classes, balance).weights
    labels = Labels(labels.classes, torch.cat([weights, torch.ones(100)]), 1, 2, 0.05)
    (head,) = fit_heads(every @ every.T, labels, learned, [1e-3])
    new = torch.arange(len(classes), len(every))
    right = head.logits(every @ every.T, labels, new).argmax(1) == torch.tensor(truth)
    return float(right[:50].double().mean()), float(right[50:].double().mean())


def test_a_class_of_one_clip_is_found_beside_one_of_a_thousand() -> None:
    common, rare = _recall("auto")
    assert common > 0.9
    assert rare > 0.9
    assert _recall("off")[1] < 0.3, "the balance is what finds it"


def test_cross_validation_takes_the_inputs_that_help_on_other_groups() -> None:
    useful, classes = _clips([8, 8, 8])
    noise = torch.randn(useful.shape, generator=torch.Generator().manual_seed(3))
    folds = torch.arange(24) % 4
    for number in (0, 1):
        inputs = [useful, noise] if number == 0 else [noise, useful]
        grams = [(each @ each.T).double() for each in inputs]
        found = cross_validate(grams, _labels(classes), folds)
        assert found.choice == number
        assert found.tested.all()
        assert (found.logits.argmax(1) == torch.tensor(classes)).double().mean() > 0.8


def test_a_class_of_one_fold_is_learned_and_never_tested() -> None:
    features, classes = _clips([6, 6, 1])
    gram = (features @ features.T).double()
    found = cross_validate([gram], _labels(classes), torch.arange(13) % 3)
    assert found.tested.tolist() == [True] * 12 + [False]
    alone = cross_validate([gram], _labels(classes), torch.zeros(13, dtype=torch.int64))
    assert not alone.tested.any()
    assert alone.temperature == 1.0


def test_clips_of_a_class_that_was_left_out_are_less_probable() -> None:
    features, classes = _clips([8, 8, 8, 8])
    gram, labels = (features @ features.T).double(), _labels(classes)
    found = cross_validate([gram], labels, torch.arange(32) % 4)
    surest = without_each_class(gram, labels, found.penalty, found.temperature)
    known, best = (found.logits / found.temperature).softmax(1).max(1)
    told = tell_unknown(known, best == labels.classes, surest)
    assert told.auroc > 0.8
    assert 0 < told.least < 1
    assert told.caught > 0.3
    helpless = tell_unknown(known, best == labels.classes, known.flip(0))
    assert (helpless.least, helpless.caught) == (0, 0)


def test_clips_that_are_nearly_alike_are_one_group() -> None:
    features, _ = _clips([6], spread=1.0)
    features[3] = features[0] + 0.01
    groups = joined_groups(features, ["a", "b", "b", "c", "d", "e"])
    assert groups == ["a", "b", "b", "a", "d", "e"]
