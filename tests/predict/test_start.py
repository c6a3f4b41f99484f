"""What a run imports before its first row: each of these takes as long as half of torch."""

from __future__ import annotations

import subprocess
import sys

from places import ROOT

NOT_NEEDED = {
    "matplotlib", "scipy", "torch._dynamo", "torchmetrics", "torchvision", "transformers",
}  # fmt: skip


def test_a_shipped_model_labels_without_importing_what_it_does_not_need() -> None:
    clip = ROOT / "examples" / "clips" / "hug.mp4"
    code = f"""
import sys
from vidlabel import load_labeller
(row,) = load_labeller("starter", "cpu", engine="torch").predict({str(clip)!r})
assert row.ok, row
print(*sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    assert NOT_NEEDED.isdisjoint(run.stdout.split())
