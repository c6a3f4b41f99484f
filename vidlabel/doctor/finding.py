"""One result of the doctor's examination."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was examined."""

    name: str
    value: str
    ok: bool | None = None
    """None: for information only."""
    advice: str = ""
    """What to do; may be empty."""
