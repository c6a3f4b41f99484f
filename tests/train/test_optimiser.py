"""The optimiser, its learning rate over time, and averages of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vidlabel.train.optimiser import FLOOR, MovingAverage, make_optimiser, rate_over_time
from vidlabel.train.recipes import TrainSpec


def test_the_rate_rises_to_its_peak_and_falls_along_a_cosine() -> None:
    rate = rate_over_time(TrainSpec(warmup=0.1), 100)
    rates = [rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx((1 + FLOOR) / 2)
    assert rates[100] == pytest.approx(FLOOR)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_constant_rate_stays_and_no_warm_up_starts_at_the_peak() -> None:
    rate = rate_over_time(TrainSpec(warmup=0.0, schedule="constant"), 10)
    assert [rate(step) for step in range(10)] == [1.0] * 10


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_the_trunk_has_its_own_rate_norms_no_decay_and_what_is_frozen_is_left_out(
    name: str,
) -> None:
    trunk = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    network = nn.Sequential(trunk, nn.Linear(3, 2))
    trunk[0].bias.requires_grad_(False)
    spec = TrainSpec(optimiser=name, lr=0.1, trunk_lr=0.2, weight_decay=0.3)  # type: ignore[arg-type]
    optimiser = make_optimiser(network, trunk, spec)
    found = {
        id(p): (group["lr"], group["weight_decay"])
        for group in optimiser.param_groups
        for p in group["params"]
    }
    head = network[1]
    assert found == {
        id(trunk[0].weight): (pytest.approx(0.02), 0.3),
        id(trunk[1].weight): (pytest.approx(0.02), 0.0),
        id(trunk[1].bias): (pytest.approx(0.02), 0.0),
        id(head.weight): (0.1, 0.3),
        id(head.bias): (0.1, 0.0),
    }
    assert type(optimiser).__name__.lower() == name


def test_the_average_follows_quickly_at_first_and_slowly_later() -> None:
    network = nn.Linear(1, 1, bias=False)
    average = MovingAverage(network, decay=0.9)

    def step(value: float) -> float:
        with torch.no_grad():
            network.weight.fill_(value)
        average.update_parameters(network)
        return float(average.module.weight.detach())

    assert step(1.0) == 1.0, "the first is taken as it is"
    assert step(2.0) == pytest.approx(1.0 * 2 / 11 + 2.0 * 9 / 11)
    for _ in range(200):
        step(0.0)
    low = step(0.0)
    assert step(1.0) == pytest.approx(low * 0.9 + 0.1, abs=1e-6)
