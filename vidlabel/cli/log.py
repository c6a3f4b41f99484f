"""--verbose and --log-file: what was decided, and all messages."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from vidlabel.errors import OutputError
from vidlabel.text import safe
from vidlabel.version import __version__

_LOG = logging.getLogger("vidlabel")
"""Decisions are DEBUG; messages that the terminal shows anyway are INFO and above."""


_ATTACHED = ExitStack()


def close_logs() -> None:
    """Close what the options of this run have opened; after its last message."""
    _ATTACHED.close()


class _Shown(logging.Handler):
    """Shows the decisions on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.DEBUG:
            from vidlabel import console

            console.detail(record.getMessage())


class _Kept(logging.FileHandler):
    """Appends all to a file; if its disk is full, the run goes on."""

    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))

    def handleError(self, record: logging.LogRecord) -> None:
        pass


def _attach(context: click.Context, handler: logging.Handler) -> None:
    """Use a handler until `close_logs`."""
    before = _LOG.level

    def detach() -> None:
        _LOG.setLevel(before)
        _LOG.removeHandler(handler)
        handler.close()

    _LOG.setLevel(logging.DEBUG)
    _LOG.addHandler(handler)
    _ATTACHED.callback(detach)
    told = [f"vidlabel {__version__}: {shlex.join(sys.argv[1:])}"]
    if context.default_map:
        told += [f"from --config: {context.default_map}"]
    for line in told:
        handler.handle(_LOG.makeRecord(_LOG.name, logging.DEBUG, "", 0, line, (), None))


def log_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --verbose and --log-file to a command."""

    def show(context: click.Context, option: click.Parameter, wanted: bool) -> None:
        if wanted and not context.resilient_parsing:
            _attach(context, _Shown())

    def keep(context: click.Context, option: click.Parameter, path: Path | None) -> None:
        if path is None or context.resilient_parsing:
            return
        try:
            handler = _Kept(path, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise OutputError(f"--log-file {path}: cannot be written: {error.strerror}") from error
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        _attach(context, handler)

    command = click.option(
        "--log-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        callback=keep,
        expose_value=False,
        help="Append all messages, and what --verbose shows, to a file.",
    )(command)
    return click.option(
        "-v", "--verbose", is_flag=True, callback=show, expose_value=False,
        help="Show what was decided: inputs, model, device, what is reused, and why videos fail.",
    )(command)  # fmt: skip
