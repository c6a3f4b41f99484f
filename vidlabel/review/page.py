"""The page itself: one HTML file with its style, its script and its data inside.

It loads nothing from elsewhere. Its Content-Security-Policy (https://www.w3.org/TR/CSP3/) allows
the one style and the one script by their hashes, and pictures and clips from the disk or from the
page's own origin. File names and class names are not trusted: the template escapes them, the data
is JSON without any `<`, and the script only sets text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, Literal, TypeAlias

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from vidlabel.results.record import Record
from vidlabel.specs import Status
from vidlabel.text import safe
from vidlabel.version import __version__

SCRIPTS = (
    "segments.js", "rows.js", "view.js", "player.js", "strip.js", "timeline.js", "keys.js",
)  # fmt: skip
"""Parts of the script; each uses those before it."""

Order: TypeAlias = Literal["value", "uncertain", "confidence", "path"]
"""In which order a page opens: by what a look is worth (see `order`), the closest second choice
first, the least confident first, or by path."""

BINS = 20
"""Bars of the histogram of confidence."""


@dataclass(frozen=True)
class PageRow:
    """A row of the table, and what else the page needs."""

    record: Record
    path: str
    """Absolute path of the video, with surrogates for bytes that are not UTF-8."""
    given: str
    """Path as the table has it, with such surrogates."""
    href: str
    """Relative URL of the video, percent-encoded."""
    truth: str
    """True class; "" if it is unknown."""
    name: str
    """Name of the files of its preview, without the suffix."""
    poster: str
    """Relative URL, percent-encoded."""
    clip: str
    """Like `poster`; "" if there is none."""
    rank: int = 0
    """Place in the order by value, from 0."""
    why: str = ""
    """Why there is neither poster nor clip, in words."""
    segments: tuple[Record, ...] | None = None
    """The rows of the table for a video that is shown with a strip of its segments, in order; None
    for a row that is shown as a clip by itself."""
    duration_s: float = 0.0
    """Length of a video with segments."""
    fps: float = 0.0
    """Frames per second that its clip shows; 0 if unknown."""


def page(
    name: str, digest: str, classes: Sequence[str], rows: Sequence[PageRow], order: Order = "value"
) -> str:
    """The HTML text for a table of this name, which opens in an `order`; the browser stores
    corrections under its `digest` and the row's number. One can choose from the `classes`."""
    style = Markup(_asset("page.css"))
    script = Markup('"use strict";\n(() => {\n' + "".join(map(_asset, SCRIPTS)) + "})();\n")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_asset("page.html"))
    timeline = any(row.segments is not None for row in rows)
    data = {"name": safe(name), "digest": digest, "classes": list(classes), "timeline": timeline}
    return template.render(
        name=safe(name),
        version=__version__,
        timeline=timeline,
        order=order,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=_json(data | {"rows": [_row(row) for row in rows]}),
        **_summary(rows),
    )


def _asset(name: str) -> str:
    return (resources.files("vidlabel.review") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _json(value: object) -> Markup:
    # Without `<`, no text can end the element or open a comment. ASCII writes surrogates (bytes of
    # a name that are not UTF-8) as escapes, which keeps them.
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _row(row: PageRow) -> dict[str, Any]:
    """A row for the script, without empty values."""
    values = row.record
    told = {
        "path": row.path,
        "given": row.given,
        "shown": safe(values["path"]),
        "status": values["status"],
        "label": "" if _uncertain(values) else values["label"],
        "confidence": values["confidence"],
        "top": [[top["label"], top["confidence"]] for top in values["top"]],
        "part": _part(values),
        "duration": values["duration_s"],
        "frames": values["frames_used"],
        "model": values["model"],
        "reason": safe(values["reason"] or ""),
        "detail": safe(values["detail"] or ""),
        "truth": row.truth,
        "href": row.href,
        "poster": "" if row.why else row.poster,
        "clip": "" if row.why else row.clip,
        "why": safe(row.why),
        "rank": row.rank,
    }
    if row.segments is not None:
        told |= {"label": "", "confidence": None, "top": [], "duration": row.duration_s}
        told |= {"fps": row.fps or None, "segments": [_segment(row, each) for each in row.segments]}
    return {key: value for key, value in told.items() if value not in (None, "", [])}


def _segment(row: PageRow, values: Record) -> list[Any]:
    """Start and end in seconds, label ("" if there is none) and confidence."""
    end_s = min(row.duration_s, row.duration_s if values["end_s"] is None else values["end_s"])
    start_s = min(max(0.0, values["start_s"] or 0.0), end_s)
    label = "" if _uncertain(values) else values["label"]
    return [start_s, end_s, label, values["confidence"]]


def _uncertain(values: Record) -> bool:
    return values["status"] == Status.UNCERTAIN


def _part(values: Record) -> list[float]:
    """Start and end in seconds if the row is for a segment of the video."""
    start_s, end_s, duration_s = values["start_s"], values["end_s"], values["duration_s"]
    if start_s is None or end_s is None:
        return []
    whole = start_s <= 0 and (duration_s is None or end_s >= duration_s - 1e-3)
    return [] if whole else [start_s, end_s]


def _summary(rows: Sequence[PageRow]) -> dict[str, Any]:
    """The values above the grid: counts of the table, without corrections."""
    rows = [replace(row, record=record) for row in rows for record in row.segments or [row.record]]
    records = [row.record for row in rows]
    labelled = [row for row in rows if row.record["status"] != Status.FAILED]
    judged = [row for row in labelled if row.truth and not _uncertain(row.record)]
    right = [row for row in judged if row.truth == row.record["label"]]
    counts = Counter(row.record["label"] or "" for row in labelled if not _uncertain(row.record))
    good = Counter(row.truth for row in right)
    wrong = Counter(row.record["label"] or "" for row in judged) - good
    classes = [
        {"label": label, "shown": safe(label), "count": count, "wrong": wrong[label]}
        for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    shares = [c for row in labelled if (c := row.record["confidence"]) is not None]
    bins = Counter(min(int(share * BINS), BINS - 1) for share in shares)
    states = Counter(str(each["status"]) for each in records)
    reasons = Counter(
        safe(each["reason"] or "unknown") for each in records if each["status"] == Status.FAILED
    )
    return {
        "videos": len({row.path for row in rows}),
        "rows": len(rows),
        "models": ", ".join(sorted({safe(each["model"]) for each in records if each["model"]})),
        "classes": classes,
        "most": max([*counts.values(), states[Status.UNCERTAIN], 1]),
        "bins": [bins[i] for i in range(BINS)],
        "fullest": max(bins.values(), default=1),
        "median": sorted(shares)[len(shares) // 2] if shares else None,
        "states": states,
        "reasons": reasons.most_common(),
        "judged": len(judged),
        "right": len(right),
        "with_truth": any(row.truth for row in rows),
    }
