"""What is said of the networks, held against the networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_docs import DOCUMENTS

from vidlabel.models.build import MODELS
from vidlabel.models.cost import cost_of
from vidlabel.models.published import SYSTEMS
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.train.settings import gather


@pytest.mark.parametrize("name", SYSTEMS)
def test_parameters_and_cost_are_those_of_the_network(name: str) -> None:
    system = SYSTEMS[name]
    settings = gather({"model": name, "recipe": "original"})
    parameters, gflops = cost_of(replace(settings.model, classes=system.classes), settings.clip)
    assert parameters == system.parameters
    assert gflops == pytest.approx(system.gflops, abs=0.001)


def test_cost_counts_a_multiplication_with_its_addition_once() -> None:
    """A linear layer of F x K on T steps, beside a trunk, costs T x F x K."""
    clip = ClipSpec(frames=3, size_px=32, resize_px=32)
    spec = ModelSpec(arch="spatial", trunk="mnasnet0_5", classes=2)
    wider = replace(spec, classes=1002)
    extra = cost_of(wider, clip)[1] - cost_of(spec, clip)[1]
    assert extra * 1e9 == pytest.approx(3 * 1280 * 1000)
    assert cost_of(wider, clip)[0] - cost_of(spec, clip)[0] == 1281 * 1000


def test_every_network_of_a_system_is_in_the_table() -> None:
    assert set(SYSTEMS) == set(MODELS) - {"video-net"}
    lines = DOCUMENTS["weights/MODELS.md"].splitlines()
    for name, system in SYSTEMS.items():
        row = next(line for line in lines if line.startswith(f"| `{name}` |"))
        assert system.published in row
