"""The folder of a run, `--out`: one training, or all folds of a protocol in folders of their own.

plan.json says which data, protocol and folds it holds, run.json how and on what each start of the
command was run, and recipe.toml with which settings.
"""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vidlabel.device import pick_device
from vidlabel.errors import UsageError
from vidlabel.evaluate.plan import PLAN, SPEC, read_description
from vidlabel.files.lock import holding
from vidlabel.files.write import write_bytes
from vidlabel.text import text_path
from vidlabel.train.distributed import Team
from vidlabel.train.training_folder import (
    RECIPE,
    RUN,
    check_description,
    forget,
    has_begun,
    write_json,
    writing,
)
from vidlabel.version import __version__

_RESTART = "plan.restart"
"""A file that exists while `RunFolder.begin` forgets earlier folds."""


class RunFolder:
    """The folder of a run, for all of its processes; only the first one writes.

    Args:
        path: the folder.
        team: the processes.
        session: what run.json says of this start (`describe_session`); None writes none.
        recipe: the text of recipe.toml.
    """

    def __init__(
        self, path: Path, team: Team, session: Mapping[str, Any] | None = None, recipe: str = ""
    ) -> None:
        self.path = path
        self.plan: Mapping[str, Any] | None = None
        """What plan.json says, with the names of the folds in `folds`; None without a protocol."""
        self.begun = False
        """Whether a training of this run has begun, so that the folder is this run's."""
        self._team = team
        self._session = session
        self.recipe = recipe

    def check(self) -> None:
        """Check that a protocol with this plan may resume what the folder holds.

        Raises:
            UsageError: the folder is for something else, or a restart was interrupted.
        """
        if (self.path / _RESTART).exists():
            raise UsageError(f"{self.path}: a restart was interrupted; use --restart again")
        if self._trained_plan():
            check_description(self.path / PLAN, self.plan or {})
        elif not (self.path / PLAN).exists() and has_begun(self.path):
            raise UsageError(
                f"{self.path}: holds a run without a protocol; use --restart to start over, or "
                "name another --out"
            )

    def begin(self, training: Path, *, restart: bool) -> None:
        """Make the folder this run's, when its first training can begin: forget earlier runs if
        it is to `restart`, and write plan.json, run.json and recipe.toml.

        All folds are forgotten at once, so that folds of two runs never lie side by side; if the
        process is killed meanwhile, a file remains that tells the next run to restart again.

        Args:
            training: the folder of the training that begins; the caller holds its lock.
            restart: forget all that earlier runs have written.

        Raises:
            UsageError: there is a run.json that cannot be read.
            OutputError: another process trains a fold, or the folder cannot be written.
        """
        if self.begun or not self._team.leads:
            return
        with writing(self.path):
            if restart:
                self._forget(training)
            self._describe(restart)
            (self.path / _RESTART).unlink(missing_ok=True)
        self.begun = True

    def _forget(self, training: Path) -> None:
        places = {self.path, training}
        if self.plan is not None:
            places |= set(_places(self.path, self.plan))
            with suppress(UsageError):  # an old plan that cannot be read
                places |= set(_places(self.path, read_description(self.path / PLAN)))
        found = sorted(place for place in places if place.is_dir())
        for place in found:
            if place != training:
                with holding(place / SPEC):
                    pass
        if self.plan is not None:
            write_bytes(self.path / _RESTART, [])
        for place in found:
            forget(place)

    def _describe(self, restart: bool) -> None:
        if self.plan is not None:  # `check` has compared it: it can only say where the data are now
            write_json(self.path / PLAN, self.plan)
        if self._session is not None:
            sessions = read_description(self.path / RUN).get("sessions", [])
            write_json(self.path / RUN, {"sessions": [*sessions, self._session]})
            write_bytes(self.path / RECIPE, [self.recipe.encode()])

    def _trained_plan(self) -> bool:
        """Whether there is a plan, and a fold of it has completed an epoch."""
        return any(map(has_begun, _places(self.path, read_description(self.path / PLAN))))


def place_of(run: Path, folds: Sequence[str], fold: str) -> Path:
    """The folder of a fold: that of the run itself if there is only one."""
    return run if len(folds) == 1 else run / fold


def _places(run: Path, plan: Mapping[str, Any]) -> list[Path]:
    """The folders of the folds that a plan names."""
    names = list(plan.get("folds", {}))
    return [place_of(run, names, name) for name in names]


def describe_session(arguments: Sequence[str], device: str, seed: int) -> dict[str, Any]:
    """One start of the command: what was asked for, when, and on what it runs. The command line
    begins with the program. Raises UsageError if there is no such device."""
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
        "seed": seed,
    }


def versions() -> dict[str, str]:
    """Versions of what decides the outcome of a training."""
    return {
        "vidlabel": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "av", "numpy")},
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
