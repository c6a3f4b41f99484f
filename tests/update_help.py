"""Write the help texts to tests/cli/help, one file for each command: python tests/update_help.py"""

from __future__ import annotations

from places import TESTS

HELP = TESTS / "cli" / "help"
"""The golden files: `vidlabel.txt`, and `COMMAND.txt` for each command."""


def help_texts() -> dict[str, str]:
    """What `vidlabel --help` and `vidlabel COMMAND --help` print, by the name of their file.

    Lines are at most 90 characters long, whatever the terminal's width.
    """
    from click.testing import CliRunner

    from vidlabel.cli.main import cli

    runner = CliRunner()
    texts = {}
    for name in ("vidlabel", *sorted(cli.commands)):
        words = ["--help"] if name == "vidlabel" else [name, "--help"]
        result = runner.invoke(cli, words, prog_name="vidlabel", terminal_width=90)
        assert result.exit_code == 0, result.output
        texts[name] = result.output
    return texts


def main() -> None:
    texts = help_texts()
    for old in HELP.glob("*.txt"):
        if old.stem not in texts:
            old.unlink()
    for name, text in texts.items():
        (HELP / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
