"""Label thousands of files, good and bad, and watch memory and open files: they must stay flat.

    python tests/benchmarks/soak.py [--files 5000] [--workers N] [--model FILE]

Prints, for each tenth of the run, the memory (RSS, MiB) and the open files of the program and of
its largest decoder process, and at the end by how much they grew after the second tenth (until
then caches fill). The exit code is 1 if memory grew by more than a tenth and 10 MiB, or open files
by more than the ledger's journal, which comes and goes.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import videos
from program import processes

SPECS = (
    {"suffix": ".mp4"},
    {"suffix": ".mp4", "bf": 2, "size": (160, 120), "frames": 40},
    {"suffix": ".mkv", "bf": 2},
    {"suffix": ".webm", "codec": "libvpx"},
    {"suffix": ".avi", "codec": "mpeg4"},
    {"suffix": ".ts", "gop": 5},
    {"suffix": ".mov", "rotation": (-90, False, False)},
    {"suffix": ".mpg", "codec": "mpeg2video", "fps": 25},
    {"suffix": ".flv", "codec": "flv"},
)


def make_files(folder: Path, count: int) -> None:
    """`count` files: four fifths healthy, the others empty, text, cut or with flipped bytes."""
    sources = []
    for i, spec in enumerate(SPECS):
        path = folder / f"source{i}{spec['suffix']}"
        sources.append((path.suffix, videos.write(path, videos.VideoSpec(**spec)).read_bytes()))
        path.unlink()
    noise = random.Random(0)
    for i in range(count):
        suffix, data = noise.choice(sources)
        kind = noise.choice(["healthy"] * 16 + ["empty", "text", "cut", "flipped"])
        if kind == "empty":
            data = b""
        elif kind == "text":
            data = b"this is not a video\n" * noise.randrange(1, 50)
        elif kind == "cut":
            data = data[: noise.randrange(len(data))]
        elif kind == "flipped":
            changed = bytearray(data)
            for _ in range(20):
                changed[noise.randrange(len(data))] = noise.randrange(256)
            data = bytes(changed)
        place = folder / f"{i // 500:03}"
        place.mkdir(exist_ok=True)
        (place / f"{i:06}{suffix}").write_bytes(data)


@dataclass(frozen=True)
class Sample:
    """What a process has at one moment."""

    rss_mib: float
    files: int


def sample(pid: int) -> Sample | None:
    """None once the process is gone."""
    with contextlib.suppress(OSError, IndexError):
        status = Path(f"/proc/{pid}/status").read_text()
        rss_kib = int(status.split("VmRSS:")[1].split()[0])
        return Sample(rss_kib / 1024, len(os.listdir(f"/proc/{pid}/fd")))  # noqa: PTH208
    return None


def watch(process: subprocess.Popen[bytes]) -> list[tuple[float, Sample, Sample]]:
    """(seconds, the program, its largest decoder) about twice a second, until it ends."""
    samples = []
    started = time.monotonic()
    while process.poll() is None:
        main = sample(process.pid)
        children = [pid for pid, (parent, _) in processes().items() if parent == process.pid]
        found = [each for each in map(sample, children) if each is not None]
        if main is not None and found:
            largest = Sample(max(s.rss_mib for s in found), max(s.files for s in found))
            samples.append((time.monotonic() - started, main, largest))
        time.sleep(0.5)
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--model", default="starter")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "clips").mkdir()
        make_files(folder / "clips", wanted.files)
        command = [sys.executable, "-m", "vidlabel", "predict", str(folder / "clips"), "-q"]
        command += ["--out", str(folder / "labels.csv"), "--model", wanted.model]
        command += ["--workers", str(wanted.workers)] if wanted.workers else []
        process = subprocess.Popen(command)
        samples = watch(process)
        with (folder / "labels.csv").open(encoding="utf-8", newline="") as table:
            rows = list(csv.DictReader(table))
    seconds = samples[-1][0]
    print(f"{len(rows)} rows of {wanted.files} files in {seconds:.0f} s, exit {process.returncode}")
    print("  ".join(f"{status} {n}" for status, n in Counter(r["status"] for r in rows).items()))
    reasons = Counter(r["reason"].split(":")[0] for r in rows if r["status"] == "failed")
    print("failed:", ", ".join(f"{reason} {n}" for reason, n in reasons.most_common()))
    print("share   program MiB  files   decoder MiB  files")
    tenths = []
    for tenth in range(1, 11):
        part = [s for s in samples if (tenth - 1) / 10 < s[0] / seconds <= tenth / 10]
        if not part:
            continue
        row = [
            max(s[i].__dict__[key] for s in part) for i in (1, 2) for key in ("rss_mib", "files")
        ]
        tenths.append(row)
        print(f"{tenth / 10:4.0%}  {row[0]:11.1f}  {row[1]:5}   {row[2]:11.1f}  {row[3]:5}")
    grown = [last - first for first, last in zip(tenths[1], tenths[-1], strict=True)]
    print(
        f"grown since the second tenth: program {grown[0]:+.1f} MiB {grown[1]:+} files, "
        f"decoder {grown[2]:+.1f} MiB {grown[3]:+} files"
    )
    flat = all(grown[i] <= max(10, tenths[1][i] / 10) for i in (0, 2)) and max(grown[1::2]) <= 1
    whole = len(rows) == wanted.files and process.returncode == 1
    print("flat" if flat else "NOT FLAT", "and whole" if whole else "and NOT WHOLE")
    return 0 if flat and whole else 1


if __name__ == "__main__":
    sys.exit(main())
