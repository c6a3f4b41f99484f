"""The documents tell the truth: commands parse, help is the real help, links lead somewhere."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from places import ROOT
from update_help import HELP, help_texts

from vidlabel.cli.main import cli

DOCUMENTS = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "examples/README.md",
        "tests/README.md",
        "tests/benchmarks/README.md",
        "weights/MODELS.md",
        "weights/README.md",
    )
}
README = DOCUMENTS["README.md"]


def anchors(text: str) -> set[str]:
    """The names that links to the headings of a document use."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_help_texts_are_the_golden_ones() -> None:
    """After a change of options: python tests/update_help.py"""
    golden = {path.stem: path.read_text(encoding="utf-8") for path in HELP.glob("*.txt")}
    assert help_texts() == golden


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 200


def test_every_command_is_in_the_readme() -> None:
    for name in cli.commands:
        assert re.search(rf"^\| `vidlabel {name}\b", README, re.MULTILINE), name


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_parse(name: str) -> None:
    """Each `vidlabel ...` line of a shell block names a real command, options and protocol."""
    from vidlabel.datasets.protocols import PROTOCOLS

    lines = [
        line.removeprefix("$ ").split("#")[0].split(">")[0].split("|")[-1].strip()
        for block in re.findall(r"```(?:sh|console)\n(.*?)```", DOCUMENTS[name], re.DOTALL)
        for line in block.splitlines()
    ]
    for line in lines:
        if line.startswith("vidlabel "):
            arguments = shlex.split(line)[1:]
            command = cli.commands[arguments[0]]
            context = command.make_context(arguments[0], arguments[1:], resilient_parsing=False)
            assert context.params.get("protocol") in {None, *PROTOCOLS}, line


@pytest.mark.parametrize("name", DOCUMENTS)
def test_scripts_exist(name: str) -> None:
    for script in re.findall(r"python ([\w/]+\.py)", DOCUMENTS[name]):
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\((?!http)([^)]+)\)", DOCUMENTS[name]):
        path, _, anchor = target.partition("#")
        file = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


def test_the_first_screen_says_what_the_shipped_model_knows_and_how_well() -> None:
    from vidlabel.models.checkpoint import load_checkpoint

    header = load_checkpoint("starter").header
    first = " ".join(README.split("![")[0].split())
    (count, names), *_ = re.findall(r"\*\*(\d+) actions\*\*: ([^.]+)\.", first)
    assert (int(count), tuple(names.split(", "))) == (len(header.classes), tuple(header.classes))
    (right, clips, share), *_ = re.findall(r"\*\*(\d+) of (\d+) test clips \((\d+) %\)", first)
    assert int(clips) == header.metrics["held_out_videos"]
    assert int(right) == round(header.metrics["held_out_top1"] * int(clips))
    assert int(share) == round(100 * header.metrics["held_out_top1"])


def test_every_column_is_explained() -> None:
    from vidlabel.results.tables import columns

    for name in columns(top_k=2):
        assert f"`{name}`" in README, name


def test_every_option_has_help() -> None:
    for name, command in cli.commands.items():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"


def test_the_python_snippet_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(compile(snippet, "README.md", "exec"), {})
    output = capsys.readouterr().out
    assert "examples/clips/hug.mp4 hug " in output
    assert "examples/clips/run.mp4 run " in output
    assert "(256,)" in output


def test_every_promise_names_a_test_that_exists() -> None:
    tests = DOCUMENTS["tests/README.md"]
    (section,) = re.findall(r"## Promises\n(.*?)\n### ", tests, re.DOTALL)
    promises = re.split(r"\n(?=\d+\. )", section)[1:]
    assert len(promises) == 14
    for promise in promises:
        links = re.findall(r"\]\(([^)]+\.py)\)", promise)
        assert links, promise
        linked = "".join((ROOT / "tests" / link).read_text(encoding="utf-8") for link in links)
        for name in re.findall(r"`(test_\w+)`", promise):
            assert f"def {name}(" in linked, name


def test_constraints_are_names_and_versions_of_what_is_required() -> None:
    """Only the packages that every system needs: none of the CUDA libraries of torch."""
    from versions import requirements

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[a-z0-9.]+", line) for line in lines)
    pinned = dict(line.split("==") for line in lines)
    assert not [name for name in pinned if name.startswith(("nvidia-", "cuda-", "triton"))]
    for each in requirements():
        assert each.specifier.contains(pinned[each.name.lower()]), each
