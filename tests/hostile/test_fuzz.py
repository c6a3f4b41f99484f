"""B2 23: files broken at random, reproducibly, each read in a process of its own.

A failure names the seed, and `PYTHONPATH=tests python tests/hostile/test_fuzz.py SEED FOLDER` makes
its file again. Seeds mean other files once `mutations` or an encoder has changed.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import children
import mutations
import pytest

from vidlabel.errors import Reason

GROWTH_MB = 400
"""Most memory that reading one mutated file of a few kilobytes may take."""

SLOW_S = 5.0
"""Longest that reading one mutated file may take, twice, on a busy machine."""

SEED = os.environ.get("VIDLABEL_FUZZ_SEED", "1")
COUNT = int(os.environ.get("VIDLABEL_FUZZ_COUNT", "10000"))

FOUND = (
    "default/335/ts h264",  # timestamps that fall gave a negative length, where seeking is used
    "1/589/ts mpeg2",
    "1/3590/mp4 h264 fragments",
    "1/9041/mp4 h264 fragments",
    "q/1486/ts mpeg2",  # a stream that begins late is an IndexError in PyAV, at the end of the file
    "q/1761/ts h264",
    "q/2317/flv h264",
    "q/2056/webm vp9",  # a first group of broken frames ended decoding, where seeking is used
    "q/2057/webm av1",
    "q/453/flv flv1",  # one broken timestamp made the file "too long"
    "q/891/flv h264",
)
"""Seeds of files that once went wrong."""


def mutant(seed: str, healthy: dict[str, bytes]) -> bytes:
    """The file that a seed, such as `1/17/mkv h264`, stands for."""
    name = seed.split("/", 2)[2]
    other = random.Random(seed).choice(sorted(healthy))
    return mutations.mutate(healthy[name], healthy[other], seed)


def wrong_with(row: children.Row) -> str:
    """What is not as promised in the way a file was read; empty if nothing."""
    if row["death"]:
        return f"died: {row['death']}; {row['stderr']}"
    if row["stderr"]:
        return f"wrote to stderr: {row['stderr']}"
    for read in row["reads"]:
        if read["reason"] not in {"", *Reason} or bool(read["reason"]) == (read["frames"] > 0):
            return f"neither labelled nor a known reason: {read}"
    if row["seconds"] > SLOW_S:
        return f"took {row['seconds']} s"
    if row["grown_mb"] > GROWTH_MB:
        return f"took {row['grown_mb']} MB"
    return ""


def fuzz(seeds: Iterable[str], folder: Path) -> Counter[str]:
    """Read the files of all seeds; how often each outcome came, after telling what went wrong."""
    healthy = mutations.healthy_files()
    outcomes: Counter[str] = Counter()
    rows: list[tuple[str, children.Row]] = []
    wrong: list[str] = []
    with children.Server() as server:
        for seed in seeds:
            _, number, name = seed.split("/", 2)
            path = folder / f"x{mutations.HEALTHY[name]['suffix']}"
            path.write_bytes(mutant(seed, healthy))
            row = server.read(
                path,
                walk_bytes=[2**25, 0],
                views=int(number) % 3,
                kind=["rgb", "motion"][int(number) % 2],
            )
            rows.append((seed, row))
            outcomes.update(read["reason"] or "labelled" for read in row["reads"])
            if why := wrong_with(row):
                wrong.append(f"seed {seed!r}: {why}")
    for what in ("seconds", "grown_mb"):
        most = sorted(rows, key=lambda pair: -pair[1][what])[:10]
        print(what, [(seed, row[what]) for seed, row in most])
    print(dict(outcomes))
    assert not wrong, "\n".join(wrong)
    return outcomes


def seeds(base: str, count: int) -> list[str]:
    """`count` seeds, going round the healthy files."""
    names = list(mutations.HEALTHY)
    return [f"{base}/{i}/{names[i % len(names)]}" for i in range(count)]


def test_b2_23_found_once(tmp_path: Path) -> None:
    outcomes = fuzz(FOUND, tmp_path)
    assert outcomes["labelled"] >= 2 * len(FOUND) - 2


def test_b2_23_mutations_never_crash(tmp_path: Path) -> None:
    begun = time.monotonic()
    outcomes = fuzz(seeds("default", 460), tmp_path)
    assert time.monotonic() - begun < 60
    assert outcomes["labelled"] > 200
    assert len(outcomes) >= 4  # the mutations reach what they should


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
def test_b2_23_many_mutations_never_crash(tmp_path: Path) -> None:
    outcomes = fuzz(seeds(SEED, COUNT), tmp_path)
    assert sum(outcomes.values()) == 2 * COUNT  # each file is read twice
    assert outcomes["labelled"] > COUNT / 2


if __name__ == "__main__":
    name = sys.argv[1].split("/", 2)[2]
    target = Path(sys.argv[2]) / f"mutant{mutations.HEALTHY[name]['suffix']}"
    target.write_bytes(mutant(sys.argv[1], mutations.healthy_files()))
    print(target)
