"""How long it takes until the first row of one short clip, against `import torch` alone.

    python tests/benchmarks/start.py [--rounds 5]

Each is a new process; they take turns, and medians of the rounds are printed. The goal is a ratio
of 1.6, and 0.3 s for --help.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

CLIP = str(Path(__file__).parents[2] / "examples" / "clips" / "hug.mp4")
PREDICT = ["-m", "vidlabel", "predict", CLIP, "--quiet"]
COMMANDS = {
    "import torch": ["-c", "import torch"],
    "import torchvision": ["-c", "import torchvision"],
    "first row": PREDICT,
    "first row, --engine torch": [*PREDICT, "--engine", "torch"],
    "--help": ["-m", "vidlabel", "--help"],
}


def first_line_s(command: list[str]) -> float:
    """Seconds until the end, or for predict until the row (the second line of its table)."""
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if "predict" in command:
            for _ in range(2):
                process.stdout.readline()
            elapsed = time.perf_counter() - started
            process.stdout.read()
        else:
            process.stdout.read()
            elapsed = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{command} exited with {process.returncode}")
    return elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for command in COMMANDS.values():  # files into memory, and the conversion of OpenVINO
        first_line_s(command)
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(options.rounds):
        for name, command in COMMANDS.items():
            found[name].append(first_line_s(command))
    for name, each in found.items():
        ratio = statistics.median(a / b for a, b in zip(each, found["import torch"], strict=True))
        print(f"{name}: {statistics.median(each):.2f} s, {ratio:.2f} of import torch")


if __name__ == "__main__":
    main()
