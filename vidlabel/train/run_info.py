"""What made a run folder: `run.json` says how and on what, `recipe.toml` with which settings."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vidlabel.console import Counting
from vidlabel.device import pick_device
from vidlabel.files.write import write_bytes
from vidlabel.text import text_path
from vidlabel.train.observer import Epoch, Watch
from vidlabel.train.settings import Settings
from vidlabel.train.state import read_description
from vidlabel.version import __version__

RUN = "run.json"
RECIPE = "recipe.toml"


class RunInfo(Watch):
    """Writes both files once it is clear that the folder is this run's, before it is trained.

    Args:
        out: the run folder.
        arguments: of the command line, the program's name first.
        settings: of the training.
        device: as for `train`.
        restart: forget earlier starts; otherwise this one is added to them.
    """

    def __init__(
        self, out: Path, arguments: Sequence[str], settings: Settings, device: str, restart: bool
    ) -> None:
        self._out = out
        self._settings = settings
        self._restart = restart
        self._session = describe_session(arguments, settings, device)
        self.written = False
        """Whether the folder is this run's, without what it was to forget."""

    def decoding(self, total: int) -> Counting:
        """Raises UsageError and OutputError, as `begin`."""
        self._write()
        return super().decoding(total)

    def begin(self, out: Path, epochs: int, steps: int, log: Sequence[Epoch]) -> None:
        """Raises UsageError where there is a run.json that cannot be read, and OutputError."""
        self._write()

    def _write(self) -> None:
        if self.written:  # by the fold before
            return
        path = self._out / RUN
        sessions = [] if self._restart else read_description(path).get("sessions", [])
        values = {"sessions": [*sessions, self._session]}
        write_bytes(path, [json.dumps(values, indent=1).encode(), b"\n"])
        write_bytes(self._out / RECIPE, [self._settings.to_toml().encode()])
        self.written = True


def describe_session(arguments: Sequence[str], settings: Settings, device: str) -> dict[str, Any]:
    """One start of the command: what was asked for, when, and on what.

    Raises:
        UsageError: there is no such device.
    """
    target = pick_device(device)
    return {
        "command": shlex.join(["vidlabel", *map(text_path, arguments[1:])]),
        "argv": [text_path(each) for each in arguments],
        "folder": text_path(str(Path.cwd())),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": versions(),
        "platform": platform.platform(),
        "device": str(target),
        "device_name": _device_name(target),
        "threads": torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "seed": settings.train.seed,
    }


def versions() -> dict[str, str]:
    """Of what a training is made by."""
    return {
        "vidlabel": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "av", "numpy")},
    }


def _device_name(device: torch.device) -> str:
    """What the hardware calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
