"""Where things are: the project, and the real clips and lists beside it."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
SHARED = ROOT.parent / "shared"
"""Real clips and official lists; tests that need them carry the marker `shared`."""
