"""Every failure mode in tests/README.md has tests with its number, and every such test a line."""

from __future__ import annotations

import re

import pytest
from places import TESTS

LINE = re.compile(r"^\| (\d+) \| .+ \| .+ \| (.+) \|$", re.MULTILINE)
LINES = {
    int(number): re.findall(r"\]\(([\w/]+\.py)\)", tests)
    for number, tests in LINE.findall((TESTS / "README.md").read_text(encoding="utf-8"))
}
"""The number of each line, and the files that it names."""


def test_the_lines_are_numbered() -> None:
    assert list(LINES) == list(range(1, 55))


@pytest.mark.parametrize("number", LINES)
def test_each_line_names_the_files_that_test_it(number: int) -> None:
    test = re.compile(rf"^def test_b2_{number:02}_\w+\(", re.MULTILINE)
    files = {
        path.relative_to(TESTS).as_posix()
        for path in TESTS.rglob("test_*.py")
        if test.search(path.read_text(encoding="utf-8"))
    }
    assert files == set(LINES[number])
    assert files


def test_each_numbered_test_has_a_line() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    assert set(map(int, re.findall(r"def test_b2_(\d+)_", sources))) <= set(LINES)
