"""ActivityNet's JSON, version 1.3.

One file has both of its forms: `results` and `external_data`, as predictions are submitted, and
`database` and `taxonomy`, as the data set itself comes, so that tools that train on ActivityNet
read it too. The evaluation code (https://github.com/activitynet/ActivityNet) accepts it as either.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from vidlabel.results.formats.timeline import Timeline, classes_of, is_timed

SUBSET = "validation"
"""Of all videos: what the evaluation code looks at by default."""


def activitynet(timelines: tuple[Timeline, ...]) -> str:
    """All videos as JSON; those without a label have an empty list.

    A video's id is its file name without the suffix, or its whole path where others have the same.
    A segment without a confidence has the score 1.
    """
    stems = Counter(Path(each.name).stem for each in timelines)
    results: dict[str, list[dict[str, Any]]] = {}
    database: dict[str, dict[str, Any]] = {}
    for timeline in timelines:
        stem = Path(timeline.name).stem
        key = stem if stems[stem] == 1 else timeline.path
        timed = [segment for segment in timeline.segments if is_timed(segment)]
        results[key] = [
            {
                "label": each.label,
                "score": 1.0 if each.confidence is None else each.confidence,
                "segment": [each.start_s, each.end_s],
            }
            for each in timed
        ]
        about: dict[str, Any] = {"subset": SUBSET, "path": timeline.path}
        if timeline.duration_s is not None:
            about["duration"] = timeline.duration_s
        about["annotations"] = [
            {"label": each.label, "segment": [each.start_s, each.end_s]} for each in timed
        ]
        database[key] = about
    models = sorted({each.model for each in timelines if each.model})
    value = {
        "version": "VERSION 1.3",
        "results": results,
        "external_data": {"used": True, "details": f"vidlabel {', '.join(models)}".strip()},
        "database": database,
        "taxonomy": _taxonomy(classes_of(timelines)),
    }
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _taxonomy(classes: list[str]) -> list[dict[str, Any]]:
    """The classes, all of them below one root."""
    root = {"nodeId": 0, "nodeName": "Root", "parentId": None, "parentName": None}
    return [root] + [
        {"nodeId": number, "nodeName": name, "parentId": 0, "parentName": "Root"}
        for number, name in enumerate(classes, 1)
    ]
