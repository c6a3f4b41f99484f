"""What a run folder says of itself: the data, protocol, folds and clips that it was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vidlabel.errors import UsageError

PLAN = "plan.json"
"""In the run folder of a protocol."""
SPEC = "spec.json"
"""In the folder of each training: what decides its outcome, the files of its clips among it."""


def read_description(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a run folder; empty if there is no such file.

    Raises:
        UsageError: it cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); --restart starts over") from error
    return values if isinstance(values, dict) else {}
