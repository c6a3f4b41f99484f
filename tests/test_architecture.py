"""The design's laws about imports and sizes, held against the code itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

import vidlabel

PACKAGE = Path(vidlabel.__file__).parent

GROUND = {
    "console", "device", "errors", "fonts", "machine", "signals", "spans", "specs", "text",
    "version",
}  # fmt: skip
"""Single modules that every room may import."""

ORDER: list[set[str]] = [
    GROUND,
    {"files"},
    {"video"},
    {"clips"},
    {"models"},
    {"decode"},
    {"results"},
    {"predict"},
    {"scale"},
    {"synthetic"},
    {"datasets"},
    {"evaluate"},
    {"doctor", "render", "review", "sort", "train"},
    {"cli"},
    {"__main__"},
]
"""Rooms in the order in which a video passes through them. A room imports itself and those before
it; rooms in one set do the work of different commands, and stay apart."""

ONLY_IN = {
    "av": {"video", "render.encode"},
    "click": {"cli"},
    "httpx": {"datasets.fetch", "models.weights"},
    "huggingface_hub": {"models.hf_folder"},
    "imageio": {"render", "review", "video.write"},
    "jinja2": {"review"},
    "matplotlib": {"evaluate.plots"},
    "pandas": {"results", "datasets.table", "evaluate.report", "train.log"},
    "pyarrow": {"results"},
    "rich": {"console", "predict.progress", "train.progress"},
    "safetensors": {"models.checkpoint", "models.hf_folder", "models.weights"},
    "scipy": {"evaluate.metrics"},
    "torchmetrics": {"evaluate.metrics"},
    "transformers": {"models.hf_folder", "models.hugging_face"},
}
"""Where a package may be imported: rooms, or modules of them."""

LONGEST_MODULE, LONGEST_FUNCTION = 400, 60  # lines

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            inside = PACKAGE.joinpath(*parts[1:]) if parts[0] == "vidlabel" else None
            for alias in node.names:
                is_module = inside and (inside / f"{alias.name}.py").is_file()
                yield f"{node.module}.{alias.name}" if is_module else node.module


def _room(module: str) -> str:
    return module.split(".")[0]


def _floor(module: str) -> int:
    return next(i for i, rooms in enumerate(ORDER) if _room(module) in rooms)


def _own_imports(name: str) -> set[str]:
    """The modules of vidlabel that one imports, without `vidlabel.`."""
    names = {
        imported.partition(".")[2] for imported in _imports(MODULES[name])
        if imported.startswith("vidlabel.")
    }  # fmt: skip
    return names


def test_every_module_has_a_room() -> None:
    rooms = {_room(name) for name in MODULES} - {"__init__"}
    assert rooms == set.union(*ORDER)


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"__init__"}))
def test_imports_run_one_way(name: str) -> None:
    for imported in _own_imports(name):
        assert _floor(imported) <= _floor(name), f"{name} imports {imported}"
        if _room(imported) != _room(name) and _room(name) not in GROUND:
            assert _floor(imported) < _floor(name), f"{name} imports its sibling {imported}"


def test_no_module_imports_itself_in_a_circle() -> None:
    left = {name: _own_imports(name) & set(MODULES) for name in MODULES if name != "__init__"}
    while free := {name for name, needs in left.items() if not needs & set(left)}:
        left = {name: needs for name, needs in left.items() if name not in free}
    assert not left


@pytest.mark.parametrize("package", sorted(ONLY_IN))
def test_a_package_is_used_in_one_place(package: str) -> None:
    users = {
        name for name, path in MODULES.items()
        if package in {imported.split(".")[0] for imported in _imports(path)}
    }  # fmt: skip
    assert users, f"{package} is not used"
    outside = {
        user for user in users
        if not any(f"{user}.".startswith(f"{place}.") for place in ONLY_IN[package])
    }  # fmt: skip
    assert not outside


@pytest.mark.parametrize("room", sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")))
def test_a_room_imports_nothing_by_itself(room: str) -> None:
    assert not list(_imports(PACKAGE / room / "__init__.py"))


@pytest.mark.parametrize("module", ["vidlabel", "vidlabel.cli.main", "vidlabel.decode.worker"])
def test_light_modules_stay_light(module: str) -> None:
    light = "worker" in module
    heavy = {"torch", "torchvision", "pandas"} | (set() if light else {"av", "numpy"})
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert heavy.isdisjoint(loaded)


def test_exports_are_what_is_promised() -> None:
    assert len(set(vidlabel.__all__)) == len(vidlabel.__all__)
    for name in vidlabel.__all__:
        assert getattr(vidlabel, name) is not None
    with pytest.raises(AttributeError):
        vidlabel.nonsense  # noqa: B018


@pytest.mark.parametrize("name", sorted(MODULES))
def test_modules_and_functions_stay_readable(name: str) -> None:
    lines = len(MODULES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_MODULE, f"{name} has {lines} lines; split it by noun"
    for node in ast.walk(_tree(MODULES[name])):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{name}.{node.name} has {length} lines"


def test_tests_mirror_the_rooms() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    rooms = {_room(name) for name, path in MODULES.items() if path.parent != PACKAGE}
    assert rooms <= folders
