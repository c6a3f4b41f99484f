"""Versions to install: `python tests/versions.py floors` or `... installed`, as pip constraints.

`floors` gives the oldest versions that pyproject.toml allows, for `make oldest`. `installed` gives
what vidlabel and its extras use in this environment: the contents of constraints.txt.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import ROOT

FOLLOWS_TORCH = re.compile(r"nvidia-|cuda-|triton$")
"""Packages whose exact version torch itself requires; CPU and macOS builds have none of them."""


def requirements() -> list[Requirement]:
    """What pyproject.toml asks for, all extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    return [each for each in map(Requirement, lines) if each.name != project["name"]]


def floors() -> Iterator[str]:
    """`name==floor` for each requirement."""
    for each in requirements():
        floor = next(s.version for s in each.specifier if s.operator == ">=")
        yield f"{each.name}=={floor}"


def installed() -> Iterator[str]:
    """`name==version` for each package that the requirements bring here, their own included."""
    found: dict[str, str] = {}
    left: list[tuple[str, Iterable[str]]] = [(each.name, each.extras) for each in requirements()]
    while left:
        name, extras = left.pop()
        name = canonicalize_name(name)
        if name in found or FOLLOWS_TORCH.match(name):
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:  # needed on another system or Python only
            continue
        found[name] = package.version
        for line in package.requires or []:
            each = Requirement(line)
            if each.marker is None or any(
                each.marker.evaluate({"extra": extra}) for extra in ("", *extras)
            ):
                left.append((each.name, each.extras))
    return (f"{name}=={version}" for name, version in sorted(found.items()))


if __name__ == "__main__":
    choices = {"floors": floors, "installed": installed}
    print("\n".join(choices[sys.argv[1]]()))
