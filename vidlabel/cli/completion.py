"""`vidlabel completion`: tab completion in bash, zsh and fish.

The scripts of click offer either words or files, lose names with spaces or commas, and know nothing
of `--option=value` in zsh and fish. These do both; the shell itself completes the files, since only
it knows how to quote them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import click
from click.shell_completion import (
    CompletionItem,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from vidlabel.errors import ExitCode

Offer = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]

_BASH = """\
%(complete_func)s() {
    local type value IFS=$'\\n'
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            plain) COMPREPLY+=("$value") ;;
            dir) compopt -o dirnames ;;
            file)
                if (( ${#COMPREPLY[@]} )); then
                    compopt -o filenames
                    mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$2")
                else
                    compopt -o bashdefault -o default
                fi ;;
        esac
    done < <(COMP_WORDS="${COMP_LINE:0:COMP_POINT}" %(complete_var)s=bash_complete \\
        "${1/#\\~/$HOME}" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local type value told
    local -a plain described
    [[ $words[CURRENT] == -*=* ]] && compset -P '*='
    for type value told in "${(@f)$(COMP_WORDS="${(j: :)words[1,CURRENT]}" \\
            %(complete_var)s=zsh_complete ${~words[1]} 2>/dev/null)}"; do
        case $type in
            (plain) [[ $told == _ ]] && plain+=("$value") || described+=("$value:$told") ;;
            (dir) _files -/ ;;
            (file) compset -P '(hmdb51|ucf101):'; _files ;;
        esac
    done
    (( $#described )) && _describe -V %(prog_name)s described
    (( $#plain )) && compadd -V %(prog_name)s -a plain
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef %(complete_func)s %(prog_name)s
"""

_FISH = """\
function %(complete_func)s
    set -l word (commandline -ct)
    set -l before (string match -r -- '^-[^=]*=|^(?:hmdb51|ucf101):' $word)
    set -l value (string replace -r -- '^-[^=]*=|^(?:hmdb51|ucf101):' '' $word)
    set -lx COMP_WORDS (commandline -cp)
    set -lx %(complete_var)s fish_complete
    for reply in (%(prog_name)s 2>/dev/null)
        set -l part (string split -m 1 , -- $reply)
        switch $part[1]
            case plain
                printf '%%s\n' "$before$part[2]"
            case dir file
                set -l found (complete -C "'' $value")
                test $part[1] = dir && set found (string match -r '.*/$' -- $found)
                string replace -r -- '^' "$before" $found
        end
    end
end
complete --no-files --command %(prog_name)s --arguments '(%(complete_func)s)'
"""


class _Line(ShellComplete):
    """Reads the command line up to the cursor from COMP_WORDS."""

    def get_completion_args(self) -> tuple[list[str], str]:
        # A character after the cursor keeps the last word, also if it is empty or ends in `\\ `.
        words = split_arg_string(os.environ["COMP_WORDS"] + "\0")
        return words[1:-1], words[-1].removesuffix("\0")

    def format_completion(self, item: CompletionItem[str]) -> str:
        return f"{item.type},{item.value}"


@add_completion_class
class _Bash(_Line):
    name, source_template = "bash", _BASH


@add_completion_class
class _Zsh(_Line):
    name, source_template = "zsh", _ZSH
    format_completion = ZshComplete.format_completion


@add_completion_class
class _Fish(_Line):
    name, source_template = "fish", _FISH

    def format_completion(self, item: CompletionItem[str]) -> str:
        return super().format_completion(item) + (f"\t{item.help}" if item.help else "")


def offer(names: Callable[[], Iterable[str]] = list, *, files: bool = False) -> Offer:
    """What a parameter offers: the names that begin like the word, then files where asked for."""

    def matching(
        context: click.Context, parameter: click.Parameter, word: str
    ) -> list[CompletionItem[str]]:
        found = [CompletionItem(name) for name in names() if name.startswith(word)]
        return found + ([CompletionItem(word, type="file")] if files else [])

    return matching


def model_names() -> list[str]:
    """Models that predict, eval and render know by name."""
    from vidlabel.models.kinetics import KINETICS
    from vidlabel.specs import SHIPPED

    return [*SHIPPED, *KINETICS]


def protocol_names() -> list[str]:
    """Protocols of train and eval."""
    from vidlabel.datasets.protocols import PROTOCOLS

    return list(PROTOCOLS)


def trunk_names() -> list[str]:
    """CNNs of train; the list is torchvision's, which takes seconds to import."""
    from vidlabel.models import trunks

    return trunks.trunk_names()


def format_names() -> list[str]:
    """Rarer formats of predict."""
    from vidlabel.video.container import EXTRA_CONTAINERS

    return list(EXTRA_CONTAINERS)


def timeline_names() -> list[str]:
    """Formats of labels over time."""
    from vidlabel.results.formats.kinds import TIMELINE_FORMATS

    return list(TIMELINE_FORMATS)


FILES = offer(files=True)
MODELS = offer(model_names, files=True)
DEVICES = offer(lambda: ("auto", "cpu", "cuda", "cuda:0", "mps"))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print a script for tab completion. Use it with: eval "$(vidlabel completion bash)".

    In fish: vidlabel completion fish | source
    """
    maker = get_completion_class(shell)
    assert maker is not None  # the three above
    cli = click.get_current_context().find_root().command
    click.echo(maker(cli, {}, "vidlabel", "_VIDLABEL_COMPLETE").source(), nl=False)
    return ExitCode.OK
