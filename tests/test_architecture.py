"""The design's laws about imports, held against the code itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vidlabel

ROOT = Path(vidlabel.__file__).parent

LAYERS: list[set[str]] = [
    {"errors", "specs", "systems"},
    {
        "files",
        "pixels",
        "encode",
        "fonts",
        "caption",
        "stamp",
        "codecs",
        "metrics",
        "plots",
        "flow",
        "flowview",
        "text",
        "recipes",
        "settings",
        "watch",
        "ranking",
        "signals",
        "allocator",
        "cachefolder",
        "distributed",
    },
    {"container", "schedule"},
    {"stream", "packets"},
    {"video"},
    {
        "clips",
        "footage",
        "stacks",
        "models",
        "augment",
        "gpuclips",
        "exports",
        "console",
        "trainview",
    },
    {"decoder"},
    {"workers", "checkpoint", "inference", "datasets", "ledger"},
    {"batches", "framecache", "trainlog", "trainstate", "runfolder", "runinfo", "trainboard"},
    {"tables", "reviewpage"},
    {"featurecache"},
    {"trainer", "fusion"},
    {"predict", "train", "doctor"},
    {"evaluate"},
    {"report"},
    {"batch", "trials", "render", "labels", "grid", "panel", "review", "attention"},
    {"cli"},
    {"__main__"},
]
"""A module may import from its own layer or those before it; `vidlabel` itself holds the names."""

ONLY_IN = {
    "click": {"cli"},
    "rich": {"console", "trainview"},
    "av": {"container", "stream", "video", "pixels", "encode", "codecs"},
    "safetensors": {"checkpoint"},
    "matplotlib": {"plots"},
    "jinja2": {"reviewpage"},
    "torchmetrics": {"metrics"},
    "scipy": {"metrics"},
}


def _modules() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in ROOT.rglob("*.py"):
        name = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if name != "__init__":
            found.setdefault(name, []).append(path)
    return found


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            if node.module == "vidlabel":
                names |= {f"vidlabel.{alias.name}" for alias in node.names}
    return names


def _layer(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


def test_every_module_has_a_layer() -> None:
    assert set(_modules()) == set.union(*LAYERS)


@pytest.mark.parametrize("name", sorted(_modules()))
def test_imports_run_one_way(name: str) -> None:
    for path in _modules()[name]:
        for imported in _imports(path):
            parts = imported.split(".")
            if parts[0] == "vidlabel" and len(parts) > 1 and not parts[1].startswith("__"):
                assert _layer(parts[1]) <= _layer(name), f"{path.name} imports {imported}"
    peers = LAYERS[_layer("predict")] - {name}
    if name in LAYERS[_layer("predict")]:
        used = set.union(*(_imports(path) for path in _modules()[name]))
        assert used.isdisjoint({f"vidlabel.{peer}" for peer in peers}), "siblings stay apart"


@pytest.mark.parametrize("package", sorted(ONLY_IN))
def test_a_package_is_used_in_one_place(package: str) -> None:
    users = {
        name
        for name, paths in _modules().items()
        for path in paths
        if package in {imported.split(".")[0] for imported in _imports(path)}
    }
    assert users <= ONLY_IN[package]


@pytest.mark.parametrize("module", ["vidlabel", "vidlabel.cli", "vidlabel.decoder"])
def test_light_modules_stay_light(module: str) -> None:
    heavy = {"torch", "torchvision", "pandas"} | (set() if "decoder" in module else {"av", "numpy"})
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


def test_modules_stay_readable() -> None:
    for paths in _modules().values():
        for path in paths:
            lines = len(path.read_text().splitlines())
            assert lines <= 450, f"{path.name} has {lines} lines; split it by noun"
