"""Workers that are killed at any moment: what is merged in the end is what one run writes."""

from __future__ import annotations

import random
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from program import Program, Run, gone

from vidlabel.scale.shard import Shard

EAGER = "import vidlabel.results.ledger as ledger; ledger.COMMIT_S = 0.0\n"
"""Each result is committed as it comes, so that a kill hits every stage."""

WORKERS = 4


@pytest.mark.parametrize(
    "kills", [2, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(400)])]
)
def test_four_workers_are_killed_at_random_moments(
    kills: int, program: Program, clips: Path, model: Path, whole: Path, tmp_path: Path
) -> None:
    noise = random.Random(kills)
    hit, rounds, stages = 0, 0, set()
    decoders: list[int] = []

    def start(out: Path, number: int) -> Run:
        shard = ("--shard", f"{number}/{WORKERS}", "-j", 1, "--batch-size", 1)
        return program.start("predict", clips, "-m", model, "-o", out, *shard, before=EAGER)

    while hit < kills:
        out = tmp_path / f"{rounds}" / "labels.csv"
        out.parent.mkdir()
        workers = {number: start(out, number) for number in range(1, WORKERS + 1)}
        for _ in range(min(4, kills - hit)):
            number = noise.randint(1, WORKERS)
            time.sleep(noise.uniform(0.05, 1.5))
            decoders += workers[number].decoders()
            workers[number].signal(signal.SIGKILL)
            if workers[number].wait().code < 0:
                hit += 1
                stages.add(recorded(Shard(number, WORKERS).beside(out).with_suffix(".ledger")))
            workers[number] = start(out, number)
        ends = [worker.wait() for worker in workers.values()]
        assert all(end.code in (0, 1) for end in ends), ends
        merged = program.run("merge", "-o", out)
        assert merged.code == 0, merged.err
        assert out.read_bytes() == whole.read_bytes()
        rounds += 1
    assert gone(decoders)
    assert kills < 20 or len(stages) >= 3, "all kills came too early or too late to say anything"


def recorded(ledger: Path) -> int:
    """Results in a ledger; -1 if there is none yet."""
    if not ledger.exists():
        return -1
    with closing(sqlite3.connect(ledger)) as db, suppress(sqlite3.OperationalError):
        return int(db.execute("SELECT count(*) FROM results").fetchone()[0])
    return -1
