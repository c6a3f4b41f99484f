"""Files of weights, as torch saves them: torchvision's, from its cache or the web, and others."""

from __future__ import annotations

import hashlib
import pickle
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from http.client import HTTPException
from pathlib import Path
from typing import cast
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from torch import Tensor
from torchvision.models import WeightsEnum, get_weight

from vidlabel.errors import CheckpointError, WeightsMissing
from vidlabel.models.kinetics import KINETICS
from vidlabel.text import safe

ANSWER_S = 10.0
"""Longest wait for the first answer of a server that has weights."""
SILENCE_S = 30.0
"""Longest wait for more of them."""
_UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError)
"""What can be raised where weights are read."""


def fetch_weights(source: WeightsEnum, what: str) -> tuple[dict[str, Tensor], str]:
    """torchvision's weights, from torch's cache or else downloaded into it, and their SHA-256.

    Args:
        source: which.
        what: begins the line that says why not.

    Raises:
        WeightsMissing: they can be neither found nor fetched.
        CheckpointError: they are not what their name says: it ends in the first digits of their
            SHA-256.
    """
    path = _place(source)
    named = torch.hub.HASH_REGEX.search(path.name)
    advice = f"put {source.url} into {path.parent}"
    done = "downloaded"
    kind: type[CheckpointError] = WeightsMissing
    try:
        if cached := path.exists():
            done, kind = "loaded", CheckpointError
            digest = _digest(path)
            if named and not digest.startswith(named[1]):  # torch looks only at what it downloads
                raise CheckpointError(f"{what}: {path} is not whole; remove it, or {advice}")
        else:
            _check_answers(source.url)
        # torch tells what it downloads on the standard output, which may be the user's table.
        with _silence_ends(), redirect_stdout(sys.stderr):
            state = source.get_state_dict(
                progress=False, check_hash=True, map_location="cpu", weights_only=True
            )
        return cast(dict[str, Tensor], state), digest if cached else _digest(path)
    except (HTTPException, *_UNREADABLE) as error:
        why = safe(str(error).partition("\n")[0][:200])
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        raise kind(f"{what}: cannot be {done} ({why}); {advice}") from error


def are_cached(name: str) -> bool:
    """Whether torch's cache has a file of weights for a network of `KINETICS`, whole or not."""
    return _place(get_weight(KINETICS[name].weights)).is_file()


def _place(source: WeightsEnum) -> Path:
    """Where torch keeps weights."""
    name = str(source.url).rpartition("/")[2]
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def _digest(path: Path) -> str:
    """SHA-256 of a file. Raises OSError."""
    if not path.is_file():  # opening a pipe would wait for ever
        raise OSError(f"{path} is not a file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_answers(url: str) -> None:
    """Whether a server can be reached at all. Raises OSError or HTTPException within ANSWER_S.

    A host may have a dozen addresses, of which each is waited for in turn, and no timeout holds
    for the search for them; so someone else waits.
    """
    errors: list[OSError | HTTPException] = []

    def ask() -> None:
        try:
            with urlopen(Request(url, method="HEAD"), timeout=ANSWER_S):
                pass
        except HTTPError as error:
            error.close()  # an answer
        except (OSError, HTTPException) as error:
            errors.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(ANSWER_S)
    if asking.is_alive():
        raise TimeoutError(f"no answer within {ANSWER_S:g} s")
    if errors:
        raise errors[0]


@contextmanager
def _silence_ends() -> Iterator[None]:
    """Connections made meanwhile are given up after SILENCE_S without a byte: torch.hub sets no
    timeout of its own, and one that is swallowed on the way would be waited for for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def read_weights(weights: str) -> dict[str, Tensor]:
    """A file of named tensors as torch saves them; no code in it is run."""
    if not Path(weights).is_file():  # opening a pipe would wait for ever
        raise CheckpointError(f"--trunk-weights {weights}: there is no such file")
    try:
        with Path(weights).open("rb") as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise CheckpointError(f"--trunk-weights {weights}: cannot be loaded") from error
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise CheckpointError(f"--trunk-weights {weights}: holds no named weights")
    return state
