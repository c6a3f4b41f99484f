"""Throughput of shards and of several devices, against one run; and what listing and merging cost.

    python tests/benchmarks/shards.py [--clips 400] [--repeats 3] [--rows 50000] [--model FILE]

Labels the same clips (3 s, 320x240, MPEG-4, generated) by

- `predict` alone;
- one shard of one;
- two shards at the same time, with half of the decoders each, and `merge`;
- `predict --device cpu,cpu`;

in each round one after the other, and prints clips per second and the ratio to `predict` alone of
the same round, medians. The time to start (Python, torch, the model), measured by the same command
when all is done, is shown apart and left out of the throughput. All tables must be byte-identical.

Then it times the parts that grow with the number of files: choosing a shard's videos of `--rows`
empty files, and merging 4 shards with as many rows in all, and with four times as many, for which
the memory must stay flat. The exit code is 1 if a table differs, or if the larger merge needed over
20 MiB more.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from against_plain_script import make_short_clips

from vidlabel.files.find import find_videos
from vidlabel.predict.output import TableOutput
from vidlabel.results.ledger import Ledger
from vidlabel.results.ledger_run import LastRun, RunSettings
from vidlabel.scale.merge import merge_shards
from vidlabel.scale.shard import Shard, take
from vidlabel.specs import Limits, Prediction, Status, VideoItem

VIDLABEL = (sys.executable, "-m", "vidlabel")
CLASSES = tuple(f"class {i}" for i in range(23))


def together(*commands: Sequence[object]) -> float:
    """Seconds that commands take which are started at the same time."""
    started = time.perf_counter()
    running = [
        subprocess.Popen([*VIDLABEL, *map(str, words)], stderr=subprocess.DEVNULL)
        for words in commands
    ]
    for each in running:
        if code := each.wait():
            raise SystemExit(f"{each.args} ended with {code}")
    return time.perf_counter() - started


def one_round(clips: Path, folder: Path, model: str) -> dict[str, tuple[float, float]]:
    """Seconds of labelling, and of the start, of each way."""
    folder.mkdir()
    base = ("predict", clips, "--model", model, "--device", "cpu", "--quiet", "--out")
    half = max(1, len(os.sched_getaffinity(0)) // 2)
    ways: dict[str, list[Sequence[object]]] = {
        "alone": [(*base, folder / "alone.csv")],
        "1 shard": [(*base, folder / "one.csv", "--shard", "1/1")],
        "2 shards": [
            (*base, folder / "two.csv", "--shard", f"{number}/2", "--workers", half)
            for number in (1, 2)
        ],
        "cpu,cpu": [(*base, folder / "devices.csv", "--device", "cpu,cpu")],
    }
    seconds = {}
    for name, commands in ways.items():
        whole_s, start_s = together(*commands), together(*commands)
        seconds[name] = (whole_s - start_s, start_s)
    for name in ("one", "two"):
        seconds[f"merge {name}"] = (together(("merge", "--out", folder / f"{name}.csv", "-q")), 0.0)
    table = (folder / "alone.csv").read_bytes()
    for name in ("one", "two", "devices"):
        if (folder / f"{name}.csv").read_bytes() != table:
            raise SystemExit(f"{name}.csv differs from the table of predict alone")
    return seconds


def compare(count: int, repeats: int, model: str, folder: Path) -> None:
    clips = folder / "clips"
    clips.mkdir()
    make_short_clips(clips, count)
    rounds = [one_round(clips, folder / f"{i}", model) for i in range(repeats)]
    print(f"{count} clips of 3 s, medians of {repeats}; all tables are byte-identical")
    for name in rounds[0]:
        label_s = statistics.median(each[name][0] for each in rounds)
        start_s = statistics.median(each[name][1] for each in rounds)
        if name.startswith("merge"):
            print(f"{name}: {label_s:.2f} s, most of it the start")
            continue
        ratio = statistics.median(each["alone"][0] / each[name][0] for each in rounds)
        print(f"{name}: {count / label_s:.1f} clips/s, {ratio:.2f} times predict alone; "
              f"start {start_s:.1f} s")  # fmt: skip


def list_files(rows: int, folder: Path) -> None:
    """Time that listing takes, and choosing a shard."""
    for i in range(rows):
        place = folder / f"{i // 1000:04}"
        if i % 1000 == 0:
            place.mkdir(parents=True)
        (place / f"{i:08}.mp4").touch()
    started = time.perf_counter()
    items = find_videos(folder)
    found = time.perf_counter()
    take(items, Shard(1, 4))
    chosen = time.perf_counter()
    print(f"listing {rows:,} files: {(found - started) / rows * 1e6:.1f} us each, "
          f"choosing {(chosen - found) / rows * 1e6:.1f} us each")  # fmt: skip


def merge_rows(rows: int, folder: Path) -> float:
    """Time that merging takes; MiB by which memory grew at the most."""
    folder.mkdir()
    items = [VideoItem(i, f"clips/{i // 1000:05}/{i:08}.mp4", below_at=6) for i in range(rows)]
    run = LastRun("starter@00000000", CLASSES, 5, 0.6)
    top = tuple((name, 1 / len(CLASSES)) for name in CLASSES)
    for number in range(1, 5):
        own, shard = take(items, Shard(number, 4))
        path = folder / f"l.shard-{number}-of-4.ledger"
        about = LastRun(run.model, CLASSES, run.top_k, run.min_confidence, shard=shard)
        with Ledger(path) as ledger:
            ledger.begin(own, RunSettings("0" * 64, 1, "fp32"), about, Limits(), output="l.csv")
            for item in own:
                ledger.record(Prediction(item.path, Status.OK, CLASSES[0], top[0][1], top,
                                         0.0, 3.0, 3.0, 12, run.model))  # fmt: skip
            ledger.finish()
    size = sum(path.stat().st_size for path in folder.iterdir())
    del items
    ours, theirs = os.pipe()
    if os.fork() == 0:  # its memory is its own
        before, started = peak_mib(), time.perf_counter()
        merge_shards((), TableOutput(str(folder / "l.csv")), quiet=True)
        took, grew = time.perf_counter() - started, peak_mib() - before
        os.write(theirs, f"{took} {grew}".encode())
        os._exit(0)
    os.close(theirs)
    os.wait()
    took, grew = map(float, os.read(ours, 100).split())
    print(f"merging {rows:,} rows: {took / rows * 1e6:.0f} us each; ledgers "
          f"{size / rows:.0f} bytes each; memory grew by {grew:.0f} MiB")  # fmt: skip
    return grew


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--model", default="starter")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        compare(options.clips, options.repeats, options.model, folder)
        list_files(options.rows, folder / "files")
        small, large = (merge_rows(n, folder / f"{n}") for n in (options.rows, 4 * options.rows))
    sys.exit(large > small + 20)


if __name__ == "__main__":
    main()
