"""The command line: parse, call one function, answer with an exit code.

Nothing heavy is imported before a command needs it: `--help` knows neither torch nor av.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

import click

from vidlabel.cli.cache import cache
from vidlabel.cli.data import data
from vidlabel.cli.eval import evaluate
from vidlabel.cli.fuse import fuse
from vidlabel.cli.look import completion, doctor, info, models
from vidlabel.cli.predict import export, predict
from vidlabel.cli.render import render
from vidlabel.cli.review import review
from vidlabel.cli.train import train
from vidlabel.errors import ExitCode, VidlabelError
from vidlabel.version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show a traceback when something goes wrong.")
def cli(debug: bool) -> None:
    """Label folders of videos with what people do in them."""


for command in (
    predict, export, render, review, train, evaluate, fuse, data, cache, models, info, doctor,
    completion,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Run the command line and exit with its code: one line for an error, never a traceback
    unless --debug asks for it."""
    try:
        code = cli.main(prog_name="vidlabel", standalone_mode=False)
    except click.ClickException as error:
        if _speaks():
            with suppress(OSError):  # a full disk takes no message
                error.show()
        code = ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader of our stdout, `head` for example, has gone
        code = ExitCode.SOME_FAILED
    except Exception as error:
        if "--debug" in sys.argv[1:]:
            raise
        code = _tell(error)
    code = int(code or 0)
    if code > 128:  # stopped by a signal; another Ctrl-C, from here on, changes only how soon
        signal.signal(signal.SIGINT, lambda *_: os._exit(code))
    sys.exit(_flushed(code))


def _tell(error: Exception) -> ExitCode:
    """One line for what went wrong, and its exit code."""
    from vidlabel import console

    code = ExitCode.NOTHING_RAN
    if isinstance(error, VidlabelError):
        line, code = str(error), error.exit_code
    elif isinstance(error, OSError):
        line = f"the system refused: {error}"
    else:
        what = f"{type(error).__name__}: {error}"
        line = f"a mistake of vidlabel's own: {what}; --debug shows where, please report it"
    if _speaks():
        console.error(line)
    return code


def _speaks() -> bool:
    """Whether to say what is wrong: of the processes that torchrun starts for one training, one
    does."""
    if "train" not in sys.argv[1:] or os.environ.get("WORLD_SIZE", "1") == "1":
        return True
    from vidlabel.train.distributed import speaks_first

    return speaks_first()


def _flushed(code: int) -> int:
    """The exit code, once what was printed is out; Python itself would end with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # what is left has nowhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            code = code or ExitCode.NOTHING_RAN
    return int(code)
