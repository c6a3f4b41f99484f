"""A project of BORIS (.boris), which cannot import events: an observation for each video.

The format is JSON, version 7.0, as in BORIS's own source (boris/config.py,
https://github.com/olivierfriard/BORIS; user guide: https://www.boris.unito.it). Classes are state
events: an event when the state begins, another when it ends. A state is on or off, so segments of
one class that overlap or touch become one.
"""

from __future__ import annotations

import json
import string
from datetime import datetime
from typing import Any

from vidlabel.results.formats.timeline import Timeline, classes_of, is_timed, span_ms

_PLAYERS = [str(number) for number in range(1, 9)]
_KEYS = string.ascii_lowercase + string.digits + string.ascii_uppercase


def boris(timelines: tuple[Timeline, ...], now: datetime | None = None) -> str:
    """All videos as one project; those without a label have no events.

    Args:
        now: date of the project and its observations; the present if None.
    """
    date = (now or datetime.now()).strftime("%Y-%m-%dT%H:%M:%S")
    value = {
        "time_format": "hh:mm:ss",
        "project_date": date,
        "project_name": "vidlabel",
        "project_description": "",
        "project_format_version": "7.0",
        "subjects_conf": {},
        "behaviors_conf": {
            str(number): _behaviour(name, _KEYS[number : number + 1])
            for number, name in enumerate(classes_of(timelines))
        },
        "observations": {each.path: _observation(each, date) for each in timelines},
        "behavioral_categories": [],
        "behavioral_categories_config": {},
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _behaviour(name: str, key: str) -> dict[str, Any]:
    """A class; the first 62 have a key by which they are coded."""
    return {
        "type": "State event", "key": key, "code": name, "description": "", "color": "",
        "category": "", "modifiers": {}, "excluded": "", "coding map": "",
    }  # fmt: skip


def _observation(timeline: Timeline, date: str) -> dict[str, Any]:
    file = timeline.absolute
    media: dict[str, Any] = {"hasVideo": {file: True}, "offset": {"1": 0.0}}
    if timeline.duration_s is not None:
        media["length"] = {file: timeline.duration_s}
    if timeline.fps is not None:
        media["fps"] = {file: timeline.fps}
    said = [] if timeline.status == "ok" else [timeline.status, timeline.reason]
    return {
        "file": {player: [file] if player == "1" else [] for player in _PLAYERS},
        "type": "MEDIA",
        "date": date,
        "description": ": ".join(filter(None, said)),
        "time offset": 0.0,
        "events": _events(timeline),
        "observation time interval": [0, 0],
        "independent_variables": {},
        "visualize_spectrogram": False,
        "visualize_waveform": False,
        "close_behaviors_between_videos": False,
        "media_info": media,
    }


def _events(timeline: Timeline) -> list[list[Any]]:
    """Time in seconds, subject, code, modifier, comment and frame of each event, by time."""
    spans: dict[str, list[list[Any]]] = {}
    for segment in filter(is_timed, timeline.segments):
        start, end = span_ms(segment)
        states = spans.setdefault(segment.label, [])
        if states and start <= states[-1][1]:
            states[-1][1] = max(states[-1][1], end)
            continue
        said = "" if segment.confidence is None else f"{segment.confidence:.2f}"
        states.append([start, end, said])
    events = [
        [ms / 1000, "", label, "", comment, "NA"]
        for label, states in spans.items()
        for start, end, said in states
        for ms, comment in ((start, said), (end, ""))
    ]
    return sorted(events, key=lambda event: event[0])
