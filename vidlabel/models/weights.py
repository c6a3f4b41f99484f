"""Files of weights: torchvision's, from its cache or the web, others as torch saves them, and those
that are a part of vidlabel."""

from __future__ import annotations

import hashlib
import os
import pickle
import queue
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from vidlabel.errors import CheckpointError, RunError, WeightsMissing
from vidlabel.files.write import replacing
from vidlabel.models.kinetics import KINETICS
from vidlabel.text import safe

if TYPE_CHECKING:
    import httpx
    from torchvision.models import WeightsEnum

ANSWER_S = 10.0
"""Longest wait for a server's answer to a request for weights."""
SILENCE_S = 30.0
"""Longest wait for more data."""
_UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError)
"""What can be raised where weights are read."""


def shipped_file(name: str) -> Path:
    """A file of weights/, in the wheel or in the source tree. Raises CheckpointError."""
    package = Path(__file__).parents[1]
    for folder in (package / "weights", package.parent / "weights"):
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"{name} is missing from this installation; reinstall vidlabel")


def describe_shipped(name: str) -> dict[str, str]:
    """What a file of weights/ says of its source and licence. Raises CheckpointError."""
    try:
        with safe_open(shipped_file(name), "pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{name} cannot be read; reinstall vidlabel") from error


def shipped_weights(name: str) -> dict[str, Tensor]:
    """The tensors of a file of weights/. Raises CheckpointError."""
    path = shipped_file(name)
    try:
        return load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{name} cannot be loaded; reinstall vidlabel") from error


def fetch_weights(source: WeightsEnum, what: str) -> tuple[dict[str, Tensor], str]:
    """torchvision's weights, from torch's cache or else downloaded into it, and their SHA-256.

    Args:
        what: the start of the message of an error.

    Raises:
        WeightsMissing: they are not in the cache and cannot be downloaded.
        CheckpointError: they cannot be read, or their SHA-256 does not begin with the digits at
            the end of their name.
    """
    path = _place(source)
    named = torch.hub.HASH_REGEX.search(path.name)
    digits = named[1] if named else ""
    advice = f"put {source.url} into {path.parent}"
    if path.parts[0] == "~":  # as torch leaves it for a user without a home folder
        why = "this user has no home folder; set TORCH_HOME to a folder for weights"
        raise WeightsMissing(f"{what}: cannot be downloaded: {why}")
    try:
        if not path.exists():
            _download(source.url, path, digits)
    except (OSError, RunError) as error:
        if not os.access(path.parent, os.W_OK):
            advice += ", or set TORCH_HOME to a folder that can be written to"
        raise WeightsMissing(f"{what}: cannot be downloaded ({_why(error)}); {advice}") from error
    try:
        digest = _digest(path)
        if not digest.startswith(digits):  # torch checks only what it downloads
            raise CheckpointError(f"{what}: {path} is not whole; remove it, or {advice}")
        state = source.get_state_dict(progress=False, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise CheckpointError(f"{what}: cannot be loaded ({_why(error)}); {advice}") from error
    return cast(dict[str, Tensor], state), digest


def are_cached(name: str) -> bool:
    """Whether torch's cache has a file of weights for a network of `KINETICS`, whole or not."""
    from torchvision.models import get_weight

    return _place(get_weight(KINETICS[name].weights)).is_file()


def _place(source: WeightsEnum) -> Path:
    """Where torch keeps weights."""
    return Path(torch.hub.get_dir(), "checkpoints", source.url.rpartition("/")[2])


def _digest(path: Path) -> str:
    """SHA-256 of a file. Raises OSError."""
    if not path.is_file():  # opening a pipe would wait for ever
        raise OSError(f"{path} is not a file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _why(error: Exception) -> str:
    return safe(str(error).partition("\n")[0][:200])


def _download(url: str, path: Path, digits: str) -> None:
    """Download a file, whose SHA-256 must begin with `digits`, whole or not at all. Raises OSError,
    or RunError where it is another file or cannot be written."""
    import httpx

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _answer(url) as answer, replacing(path) as temporary:
            with temporary.open("wb") as file:
                for block in answer.iter_raw():
                    file.write(block)
            found = _digest(temporary)
            if not found.startswith(digits):
                raise RunError(f'invalid hash value (expected "{digits}", got "{found}")')
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError) as error:
        raise OSError(str(error) or type(error).__name__) from error  # the last two: a proxy's


@contextmanager
def _answer(url: str) -> Iterator[httpx.Response]:
    """The answer of a server, its contents yet to be read. Raises after ANSWER_S at the latest.

    No time limit of httpx covers the search for a host's addresses, and each address has one of
    its own; so the request is sent by a thread that can be abandoned.
    """
    import httpx

    client = httpx.Client(
        headers={"Accept-Encoding": "identity"},
        timeout=httpx.Timeout(SILENCE_S, connect=ANSWER_S),
        follow_redirects=True,
        verify=ssl.create_default_context(),  # the system's certificates
    )
    answers: queue.SimpleQueue[httpx.Response | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(client.send(client.build_request("GET", url), stream=True))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError) as error:
            answers.put(error)

    with client:
        threading.Thread(target=ask, daemon=True).start()
        try:
            answer = answers.get(timeout=ANSWER_S)
        except queue.Empty:
            raise TimeoutError(f"no answer within {ANSWER_S:g} s") from None
        if isinstance(answer, Exception):
            raise answer
        with closing(answer):
            if answer.status_code != 200:
                raise OSError(f"{answer.status_code} {answer.reason_phrase}")
            yield answer


def read_weights(weights: str) -> dict[str, Tensor]:
    """A file of named tensors as torch saves them; no code in it is run. Raises CheckpointError."""
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
