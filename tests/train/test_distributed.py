"""Several processes train one model: on the CPU, two of them, as `torchrun` starts them."""

from __future__ import annotations

import copy
import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import colour_video
from places import TESTS
from torch import nn
from torch.distributed import HashStore

from vidlabel.errors import RunError, UsageError
from vidlabel.models.checkpoint import load_checkpoint
from vidlabel.train.distributed import Team, join_team, reduce_gradients, share_layers, speaks_first

_SCRIPT = """
import json, runpy, sys
from dataclasses import replace
import torch
from torch import nn
import test_trainer as one
from vidlabel.train.distributed import Team, join_team, reduce_gradients, share_layers
from vidlabel.models.build import build_model
from vidlabel.train.trainer import Trainer

def norms(team):
    torch.manual_seed(0)
    values, wanted = torch.randn(8, 3, 5, 5) * 4 + 100, torch.randn(8, 3, 5, 5)
    found = {"apart": {}, "totals": []}

    def compare(name, one, other):
        apart = float(((one - other).abs() / (1 + other.abs())).max())
        found["apart"][name] = max(apart, found["apart"].get(name, 0.0))

    for momentum in (0.1, None):
        plain = nn.Sequential(nn.BatchNorm2d(3, momentum=momentum))
        plain[0].weight.data.uniform_(0.5, 2)
        shared = nn.Sequential(nn.BatchNorm2d(3, momentum=momentum))
        shared.load_state_dict(plain.state_dict())
        share_layers(shared, team)
        part = team.part(8)
        for _ in range(2):
            whole = values.clone().requires_grad_()
            own = values[part].clone().requires_grad_()
            plain.zero_grad(), shared.zero_grad()
            expected, output = plain(whole), shared(own)
            (expected * wanted).sum().backward()
            (output * wanted[part]).sum().backward()
            totals = torch.tensor([1.0, team.rank])
            reduce_gradients(team, list(shared.parameters()), totals)
            found["totals"].append(totals.tolist())
            compare("output", output.detach(), expected.detach()[part])
            compare("input gradient", own.grad, whole.grad[part])
            for (name, ours), theirs in zip(shared.named_parameters(), plain.parameters()):
                compare("gradient of " + name, ours.grad, theirs.grad)
        for name, value in plain.state_dict().items():
            compare("state " + name, shared.state_dict()[name].double(), value.double())
        compare("evaluation", shared.eval()(values).detach(), plain.eval()(values).detach())
    found["apart"] = team.gather(found["apart"])
    found["ranks"] = team.gather(team.rank)
    found["shared"] = team.gather(team.share(team.rank))
    found["leads"] = team.gather(team.leads)
    return found

def losses(team):
    spec = replace(one.SPEC, mixup=0.3, cutmix=1.0, ema=0.9, lr=3e-3)
    torch.manual_seed(0)
    # In single precision rounding decides which side of a ReLU a value is on, and a few of them
    # are enough to tell two trainings apart after some steps.
    network = build_model(replace(one.MODEL, dropout=0.4), one.CLIP).double()
    watch = one._Notes()
    trainer = Trainer(
        network, one._Frames(), one.SPLIT, one.CLIP, spec, one.CPU, team, watch
    )
    for number in range(1, 4):
        watch.losses += trainer.epoch(number)
        trainer.recompute_batchnorm(number)
        logits, labels = trainer.logits()
        assert labels.tolist() == [0, 1]
        watch.losses += logits.flatten().tolist()
    return watch.losses

team = join_team(one.CPU)
found = {"norms": norms(team), "together": losses(team)}
team.wait()
if team.leads:
    found["alone"] = losses(Team())
    with open(sys.argv[1], "w") as file:
        json.dump(found, file)
del sys.argv[1]
runpy.run_module("vidlabel", run_name="__main__", alter_sys=True)
"""
"""What each process does, in one start, which takes longer than all of it: the parts of a training
by themselves, then `python -m vidlabel` with the arguments that are left."""


@dataclass(frozen=True)
class _Done:
    """What two processes have measured, said on their standard error, and written."""

    found: Any
    said: str
    folder: Path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> _Done:
    folder = tmp_path_factory.mktemp("two")
    for colour in ("red", "blue"):
        for number in range(8):
            name = f"place{number}_1.mp4"
            colour_video(folder / "clips" / colour / name, colour, 8, seed=number)
    (folder / "script.py").write_text(_SCRIPT)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        folder / "script.py", folder / "found.json",
        "train", folder / "clips", "--out", folder / "run", "--epochs", "3",
        "--batch-size", "8", "--frames", "4", "--size", "32", "--hidden", "16", "--device", "cpu",
        "--val-fraction", "0.3", "--group-pattern", "(place[0-9])_", "--workers", "1",
        "--cache", folder / "cache", "--epoch-steps", "1", "--trunk-weights", "none",
    ]  # fmt: skip
    path = os.pathsep.join([str(TESTS), str(TESTS / "train"), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    return _Done(json.loads((folder / "found.json").read_text()), ended.stderr, folder)


def test_alone_nothing_is_sent() -> None:
    team = Team()
    values = torch.ones(2)
    assert team.add(values) is values
    assert team.gather("x") == ["x"]
    assert team.share("x") == "x"
    assert team.part(6) == slice(0, 6)
    assert team.leads
    reduce_gradients(team, [], values)
    team.wait()


def test_shared_dropout_leaves_out_what_one_process_would() -> None:
    values = torch.rand(6, 5, requires_grad=True)
    alone = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.3), nn.Dropout(0.0)))
    torch.manual_seed(1)
    expected = alone(values)
    for rank in range(3):
        team = Team(rank, size=3)
        network = copy.deepcopy(alone)
        share_layers(network, team)
        own = values.detach()[team.part(6)].clone().requires_grad_()
        torch.manual_seed(1)
        found = network(own)
        assert torch.equal(found, expected[team.part(6)])
        assert torch.equal(network.eval()(own), own)
    share_layers(alone, Team())
    assert type(alone[0]) is nn.Dropout, "alone nothing changes"


def test_the_first_to_speak_speaks_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert not speaks_first(), "the first says it, before they have met"
    monkeypatch.setattr("vidlabel.train.distributed._meeting", [HashStore()])
    assert speaks_first()
    assert not speaks_first()


def test_the_end_of_another_process_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: Exception) -> None:
        def end(*given: object) -> None:
            raise error

        monkeypatch.setattr("torch.distributed.all_reduce", end)

    fail(RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer"))
    with pytest.raises(RunError, match="another process of this training has ended"):
        Team(0, 2).add(torch.ones(1))
    fail(RuntimeError("CUDA error: device-side assert triggered"))
    with pytest.raises(RuntimeError, match="CUDA error"):
        Team(0, 2).add(torch.ones(1))


def test_variables_that_make_no_sense_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UsageError, match="WORLD_SIZE"):
        join_team(torch.device("cpu"))


def test_shared_batchnorm_is_batchnorm_over_all_processes(done: _Done) -> None:
    found = done.found["norms"]
    assert len(found["apart"]) == 2, "each process compares its own part"
    for apart in found["apart"]:
        assert len(apart) == 10
        assert max(apart.values()) < 1e-4, apart
    assert found["totals"] == [[2.0, 1.0]] * 4
    assert found["ranks"] == [0, 1]
    assert found["shared"] == [0, 0]
    assert found["leads"] == [True, False]


def test_two_processes_train_as_one_does(done: _Done) -> None:
    """Every loss, and what the held-out part is given, over three epochs with dropout."""
    one, two = done.found["alone"], done.found["together"]
    assert len(one) == 3 * (2 + 2 + 4)
    assert max(one) - min(one) > 0.05, "nothing was learned"
    assert two == pytest.approx(one, abs=1e-6)


def test_the_command_trains_with_two_processes(done: _Done) -> None:
    assert done.said.count("epoch 3/3") == 1, "one process speaks"
    run = done.folder / "run"
    with (run / "log.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3
    assert load_checkpoint(str(run / "best.safetensors")).header.classes == ("blue", "red")
    assert (run / "result.json").is_file()
    assert len(list((done.folder / "cache").glob("*/*.npy"))) == 16
