"""A run folder that is killed while it forgets earlier runs can be restarted, and only that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vidlabel.errors import UsageError
from vidlabel.train.distributed import Team
from vidlabel.train.run_folder import RunFolder

PLAN = {"folds": {"a": [2, 0, 1], "b": [2, 0, 1]}, "seed": 1}


def run_folder(path: Path, seed: int) -> RunFolder:
    run = RunFolder(path, Team(), {"seed": seed}, "recipe")
    run.plan = PLAN | {"seed": seed}
    return run


def test_a_restart_that_is_killed_can_only_be_restarted(tmp_path: Path) -> None:
    for fold in ("a", "b"):
        (tmp_path / fold).mkdir()
    run_folder(tmp_path, 1).begin(tmp_path / "a", restart=False)
    for fold in ("a", "b"):
        (tmp_path / fold / "result.json").touch()
    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.name == "result.json" and path.parent.name == "b":
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            run_folder(tmp_path, 2).begin(tmp_path / "a", restart=True)
    assert (tmp_path / "b" / "result.json").exists()
    for seed in (1, 2):
        with pytest.raises(UsageError, match="a restart was interrupted; use --restart again"):
            run_folder(tmp_path, seed).check()
    again = run_folder(tmp_path, 2)
    again.begin(tmp_path / "a", restart=True)
    assert again.begun
    assert not list(tmp_path.rglob("result.json"))
    assert json.loads((tmp_path / "plan.json").read_text()) == PLAN | {"seed": 2}
    assert json.loads((tmp_path / "run.json").read_text()) == {"sessions": [{"seed": 2}]}
    run_folder(tmp_path, 2).check()


def test_a_run_begins_once(tmp_path: Path) -> None:
    run = run_folder(tmp_path, 1)
    run.begin(tmp_path / "a", restart=True)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "result.json").touch()  # of its first fold, when the second one begins
    run.begin(tmp_path / "b", restart=True)
    assert (tmp_path / "a" / "result.json").exists()
    with pytest.raises(UsageError, match=r"other settings \(seed was 1, is 2\); use --restart"):
        run_folder(tmp_path, 2).check()
