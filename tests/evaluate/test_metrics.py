"""Each figure against an example worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vidlabel.evaluate.metrics import (
    calibration_error,
    confusion,
    fit_temperature,
    mean_class_accuracy,
    measure,
    per_class,
    retempered,
    top1,
)

# Six clips, three classes: true 0 0 0 1 1 2, predicted 0 0 1 1 2 1.
LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
PROBABILITIES = torch.tensor(
    [
        [0.7, 0.2, 0.1],
        [0.5, 0.3, 0.2],
        [0.3, 0.6, 0.1],
        [0.1, 0.8, 0.1],
        [0.2, 0.3, 0.5],
        [0.3, 0.4, 0.3],
    ]
)
BEST = PROBABILITIES.argmax(1)


def test_accuracy_and_its_interval() -> None:
    figure = measure(PROBABILITIES, LABELS)["top1"]
    assert figure.value == pytest.approx(3 / 6)
    # Wilson, p = 1/2: half width z sqrt(1 / 4n + z^2 / 4n^2) / (1 + z^2 / n)
    z, n = 1.959964, 6
    half = z * math.sqrt(0.25 / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert figure.low == pytest.approx(0.5 - half, abs=1e-4)
    assert figure.high == pytest.approx(0.5 + half, abs=1e-4)


def test_top5_of_three_classes_is_always_right() -> None:
    assert measure(PROBABILITIES, LABELS)["top5"].value == 1.0


def test_top5_counts_the_five_likeliest() -> None:
    probabilities = torch.tensor([[0.3, 0.25, 0.2, 0.1, 0.08, 0.07]]).repeat(4, 1)
    assert measure(probabilities, torch.tensor([0, 4, 5, 5]))["top5"].value == 0.5


def test_mean_class_accuracy() -> None:
    expected = (2 / 3 + 1 / 2 + 0) / 3
    assert measure(PROBABILITIES, LABELS)["mean_class_accuracy"].value == pytest.approx(expected)
    # A class that does not occur has no share, also if it is predicted.
    assert mean_class_accuracy(torch.tensor([0, 1]), torch.tensor([0, 0]), 3) == 0.5


def test_macro_f1() -> None:
    # Class 0: precision 2/2, recall 2/3. Class 1: 1/3, 1/2. Class 2: 0/1, 0/1.
    expected = (2 * 1 * (2 / 3) / (1 + 2 / 3) + 2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2) + 0) / 3
    assert measure(PROBABILITIES, LABELS)["macro_f1"].value == pytest.approx(expected)


def test_loss_is_the_mean_negative_log_likelihood() -> None:
    expected = -np.log([0.7, 0.5, 0.3, 0.8, 0.3, 0.3]).mean()
    assert measure(PROBABILITIES, LABELS)["loss"].value == pytest.approx(expected, rel=1e-5)


def test_intervals_hold_the_value_and_narrow_with_more_clips() -> None:
    few = measure(PROBABILITIES, LABELS)
    many = measure(PROBABILITIES.repeat(50, 1), LABELS.repeat(50))
    for name, figure in many.items():
        assert figure.value == pytest.approx(few[name].value)
        assert figure.low <= figure.value <= figure.high
        assert figure.high - figure.low <= few[name].high - few[name].low


def test_one_clip_has_no_bootstrap_interval() -> None:
    figures = measure(PROBABILITIES[:1], LABELS[:1])
    assert math.isnan(figures["loss"].low)
    assert figures["top1"].low < 1.0


@pytest.mark.field
@pytest.mark.parametrize(("count", "right"), [(6, True), (6, False), (2, True), (40, True)])
def test_clips_that_are_all_alike_give_no_bootstrap_interval(count: int, right: bool) -> None:
    """field 21: six clips that are all right had the interval "1.0000 to 1.0000"."""
    labels = torch.arange(count) % 2
    figures = measure(torch.eye(2)[labels if right else 1 - labels] * 0.8 + 0.1, labels)
    for name in ("mean_class_accuracy", "macro_f1"):
        assert figures[name].value == right
        assert math.isnan(figures[name].low)
        assert math.isnan(figures[name].high)
    assert 0 < figures["top1"].high - figures["top1"].low < 1, "Wilson's holds for few clips too"


def test_confusion_and_classes() -> None:
    assert confusion(BEST, LABELS, 3).tolist() == [[2, 1, 0], [0, 1, 1], [0, 1, 0]]
    figures = per_class(BEST, LABELS, 3)
    assert figures["accuracy"].tolist() == pytest.approx([2 / 3, 1 / 2, 0])
    assert figures["precision"].tolist() == pytest.approx([1, 1 / 3, 0])


def test_calibration() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]])
    labels = torch.tensor([0, 1, 0, 1])
    assert top1(logits, labels) == 0.75
    # Right 3 times in 4, so the best temperature makes the confidence 0.75: 2 / T = log 3.
    temperature = fit_temperature(logits.repeat(1000, 1), labels.repeat(1000))
    assert temperature == pytest.approx(2 / np.log(3), rel=0.02)
    assert calibration_error((logits / temperature).softmax(1), labels) < 0.01
    assert calibration_error((logits * 50).softmax(1), labels) == pytest.approx(0.25, abs=1e-3)
    # Confidences 0.7, 0.5, 0.6, 0.8, 0.5, 0.4 are right 1, 1, 0, 1, 0, 0 times. With ten bins:
    # 0.7 and 0.8 alone, 0.5 twice (right once), 0.6 and 0.4 alone and wrong.
    expected = (0.3 + 2 * 0.0 + 0.6 + 0.2 + 0.4) / 6
    assert calibration_error(PROBABILITIES, LABELS) == pytest.approx(expected, abs=1e-6)


def test_a_temperature_of_few_clips_stays_near_1() -> None:
    logits = torch.tensor([[2.0, 0.0]])
    labels = torch.tensor([0])
    few, many = (fit_temperature(logits.repeat(n, 1), labels.repeat(n)) for n in (4, 4000))
    assert many < 0.25, "all are right: as sure as can be"
    assert 0.7 < few < 1


def test_retempered_undoes_a_temperature() -> None:
    logits = torch.randn(5, 4)
    now = torch.tensor([[0.5], [1.0], [2.0], [3.0], [0.7]])
    back = retempered((logits / now).softmax(1), now, 1.0)
    torch.testing.assert_close(back, logits.softmax(1))
