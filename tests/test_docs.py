"""The README tells the truth: its commands exist, its help blocks are the real help."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from vidlabel.cli.main import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def help_of(command: str) -> str:
    """The help text of a command, 90 columns wide, as the README shows it."""
    runner = CliRunner()
    result = runner.invoke(cli, [command, "--help"], prog_name="vidlabel", terminal_width=90)
    assert result.exit_code == 0
    return result.output.strip()


def test_help_blocks_are_the_real_help() -> None:
    blocks = re.findall(r"<!-- help: (\w+) -->\n```text\n(.*?)\n?```", README, re.DOTALL)
    assert blocks
    for command, text in blocks:
        assert text.strip() == help_of(command)


def test_every_command_is_in_the_readme() -> None:
    for name in cli.commands:
        assert f"vidlabel {name}" in README


def test_commands_in_the_readme_parse() -> None:
    """Each `vidlabel ...` line of a shell block names a real command and real options."""
    lines = [
        line.split("#")[0].split(">")[0].split("|")[-1].strip()
        for block in re.findall(r"```(?:sh|console)\n(.*?)```", README, re.DOTALL)
        for line in block.splitlines()
    ]
    lines = [line.removeprefix("$ ") for line in lines]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("vidlabel ")]
    assert len(commands) >= 5
    for arguments in commands:
        command = cli.commands[arguments[0]]
        command.make_context(arguments[0], arguments[1:], resilient_parsing=False)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_column_is_explained() -> None:
    from vidlabel.results.csv import columns

    for name in columns(top_k=2):
        assert f"`{name}`" in README, name


def test_every_option_has_help() -> None:
    for name, command in cli.commands.items():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help or parameter.name in {
                    "epochs", "batch_size", "weight_decay", "cell", "dropout", "seed", "precision",
                }, f"{name} {parameter.opts}"  # fmt: skip


@pytest.mark.parametrize(
    "name", ["CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "weights/README.md"]
)
def test_companion_files_are_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 100


def test_the_python_snippet_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(compile(snippet, "README.md", "exec"), {})
    output = capsys.readouterr().out
    assert "examples/clips/wave.mp4 wave " in output
    assert "examples/clips/bend.mp4 bend " in output
    assert "(256,)" in output


def test_every_promise_names_a_test_that_exists() -> None:
    (section,) = re.findall(r"## Promises\n(.*?)\n### ", README, re.DOTALL)
    promises = re.split(r"\n(?=\d+\. )", section)[1:]
    assert len(promises) == 14
    for promise in promises:
        links = re.findall(r"\]\((tests/[^)]+\.py)\)", promise)
        assert links, promise
        linked = "".join((ROOT / link).read_text(encoding="utf-8") for link in links)
        for name in re.findall(r"`(test_\w+)`", promise):
            assert f"def {name}(" in linked, name
