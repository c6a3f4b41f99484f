"""The command line: parse the arguments, call one function, return an exit code.

Heavy packages are imported when a command needs them: `--help` imports neither torch nor av.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import click

from vidlabel.cli.cache import cache
from vidlabel.cli.completion import completion
from vidlabel.cli.data import data
from vidlabel.cli.eval import evaluate
from vidlabel.cli.fuse import fuse
from vidlabel.cli.log import close_logs
from vidlabel.cli.look import doctor, info, models
from vidlabel.cli.merge import merge
from vidlabel.cli.predict import export, predict
from vidlabel.cli.render import render
from vidlabel.cli.review import review
from vidlabel.cli.sort import sort
from vidlabel.cli.train import train
from vidlabel.errors import ExitCode, VidlabelError
from vidlabel.machine import is_nearly_full, memory_ran_out, open_missing_streams
from vidlabel.version import __version__

_MORE_MEMORY = (
    "raise the limit of memory (ulimit -v, or that of the container), or use a smaller "
    "--batch-size or fewer --workers"
)


class Commands(click.Group):
    """The commands in the order of a user's work; click would sort them and cut their help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, each.get_short_help_str(200)) for name, each in self.commands.items()]
            )


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show a traceback when an error occurs.")
def cli(debug: bool) -> None:
    """Label folders of videos with what people do in them."""


for command in (
    predict, merge, export, review, sort, render, train, evaluate, fuse, data, cache, models, info,
    doctor, completion,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Run the command line and exit with its code.

    An error is printed as one line; with --debug as a traceback. Standard streams that are closed
    count as /dev/null.
    """
    open_missing_streams()
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    try:
        code = cli.main(prog_name="vidlabel", standalone_mode=False)
    except click.ClickException as error:
        if _speaks():
            with suppress(OSError):  # stderr on a full disk
                error.show()
        code = ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):  # before a command began, or while it was stopping
        from vidlabel import console

        if _speaks():
            console.warn("stopped")
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader of stdout, such as `head`, has ended
        code = ExitCode.SOME_FAILED
    except Exception as error:
        if "--debug" in sys.argv[1:]:
            raise
        code = _tell(error)
    finally:
        close_logs()
    code = int(code or 0)
    if code > 128:  # stopped by a signal; another Ctrl-C ends the process at once
        signal.signal(signal.SIGINT, lambda *_: os._exit(code))
    sys.exit(_flushed(code))


def _tell(error: Exception) -> ExitCode:
    """Print an error as one line; returns its exit code."""
    code = ExitCode.NOTHING_RAN
    if isinstance(error, VidlabelError):
        line, code = str(error), error.exit_code
        if memory_ran_out(error):
            line += f"; {_MORE_MEMORY}"
    elif memory_ran_out(error) or is_nearly_full():
        why = str(error).partition("\n")[0][:200] or type(error).__name__
        line = f"there is not enough memory ({why}); {_MORE_MEMORY}"
    elif isinstance(error, OSError):
        line = f"operating system error: {error}"
    else:
        what = f"{type(error).__name__}: {error}"
        line = f"internal error: {what}; please report it with the output of --debug"
    if _speaks():
        try:
            from vidlabel import console
        except (ImportError, MemoryError):  # there is no memory even for that
            os.write(2, f"error: {line}\n".encode("utf-8", "replace"))
        else:
            console.error(line)
    return code


def _speaks() -> bool:
    """Whether this process prints errors: of the processes of one torchrun, only one does."""
    if "train" not in sys.argv[1:] or os.environ.get("WORLD_SIZE", "1") == "1":
        return True
    from vidlabel.train.distributed import speaks_first

    return speaks_first()


def _flushed(code: int) -> int:
    """Flush stdout and stderr and return the exit code; Python itself would exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # the rest of the output cannot be written
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            code = code or ExitCode.NOTHING_RAN
    return int(code)
