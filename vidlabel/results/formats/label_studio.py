"""Tasks for Label Studio, with the labels as predictions.

A label for a whole video is a choice of the control tag `<Choices name="choice" toName="video">`, a
segment a region of `<TimelineLabels name="timeline" toName="video">`
(https://labelstud.io/tags/timelinelabels), from its first frame to its last, counted from 1. The
task's `fps` is for `<Video name="video" value="$video" frameRate="$fps"/>`: Label Studio takes it
as constant.

Videos are addressed as files of Label Studio's own machine, below the root that it serves
(`LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true`, `LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/`).
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from vidlabel.results.formats.timeline import Segment, Timeline, span_frames


def label_studio(timelines: tuple[Timeline, ...]) -> str:
    """A task for each video, in one list; those without a label have no prediction."""
    return json.dumps([_task(each) for each in timelines], ensure_ascii=False, indent=1) + "\n"


def _task(timeline: Timeline) -> dict[str, Any]:
    data: dict[str, Any] = {
        "video": f"/data/local-files/?d={quote(timeline.absolute.lstrip('/'))}",
        "path": timeline.path,
        "status": timeline.status,
        "reason": timeline.reason,
    }
    if timeline.fps is not None:
        data["fps"] = timeline.fps
    if not timeline.segments:
        return {"data": data}
    if timeline.whole:
        found = [_choice(timeline.segments[0])]
    else:
        assert timeline.fps is not None  # the caller has looked
        found = [
            _region(number, segment, timeline.fps)
            for number, segment in enumerate(timeline.segments, 1)
        ]
    prediction: dict[str, Any] = {"model_version": timeline.model or "vidlabel", "result": found}
    scores = [each.confidence for each in timeline.segments if each.confidence is not None]
    if scores:
        prediction["score"] = sum(scores) / len(scores)
    return {"data": data, "predictions": [prediction]}


def _choice(segment: Segment) -> dict[str, Any]:
    return _scored(
        segment,
        {
            "id": "choice",
            "from_name": "choice",
            "to_name": "video",
            "type": "choices",
            "value": {"choices": [segment.label]},
        },
    )


def _region(number: int, segment: Segment, fps: float) -> dict[str, Any]:
    first, after = span_frames(segment, fps)
    return _scored(
        segment,
        {
            "id": f"segment{number}",
            "from_name": "timeline",
            "to_name": "video",
            "type": "timelinelabels",
            "value": {
                "ranges": [{"start": first + 1, "end": after}],
                "timelinelabels": [segment.label],
            },
        },
    )


def _scored(segment: Segment, region: dict[str, Any]) -> dict[str, Any]:
    if segment.confidence is not None:
        region["score"] = segment.confidence
    return region
