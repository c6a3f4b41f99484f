"""Every line of the failure matrix has a test that carries its number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TRAINING = (51, 52, 53, 54)
"""Lines about training, whose tests stand with the others of that command."""


@pytest.mark.parametrize("line", [*range(1, 51), *TRAINING])
def test_each_line_has_a_test(line: int) -> None:
    folder = HERE.parent if line in TRAINING else HERE
    sources = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("test_*.py"))
    assert re.search(rf"^def test_b2_{line:02}_\w+\(", sources, re.MULTILINE)
