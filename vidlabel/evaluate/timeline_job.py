"""One run of `vidlabel eval PREDICTED --truth TRUE`: segments in a table against the true ones."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidlabel import console
from vidlabel.datasets.samples import Sample
from vidlabel.datasets.table import read_table
from vidlabel.errors import UsageError
from vidlabel.evaluate.report import write_timeline_report
from vidlabel.evaluate.timeline import Segment, Timeline, TimelineFigures, measure
from vidlabel.files.spelling import path_from_text
from vidlabel.files.write import check_folder_name
from vidlabel.results.record import Record
from vidlabel.results.tables import read_labels
from vidlabel.specs import Status
from vidlabel.text import first_few, plural, text_path
from vidlabel.version import __version__


def evaluate_timelines(predicted: Path, truth: Path, out: Path | None = None) -> None:
    """Measure a table of predicted segments, print the figures, and write a report to `out`.

    Videos are matched by path, relative to the working folder or to each table's own, and else by
    the file's name, if that is unique. Rows that have failed or are uncertain are no segments. A
    true video without a row is one where nothing was found.

    Raises:
        UsageError: a table cannot be read, lacks times, or has nothing to measure; with the place.
        OutputError: the report cannot be written.
    """
    if out is not None:
        check_folder_name(out)
    true = _true_segments(truth)
    rows, astray = _by_video(read_labels(predicted).rows, predicted, true)
    if not rows:
        raise UsageError(f"{truth}: has none of the videos in {predicted}")
    if astray:
        which = "it" if len(astray) == 1 else "them"
        console.warn(
            f"{plural(len(astray), 'video')} of {predicted} left out, since {truth} has no segment "
            f"of {which}: {first_few(sorted(map(text_path, astray)), 3)}"
        )
    if lost := sorted(text_path(place) for place in true if place not in rows):
        console.warn(
            f"{truth}: no row of {predicted} is of {len(lost)} of its "
            f"{plural(len(true), 'video')}; their segments count as missed: {first_few(lost, 3)}"
        )
    timelines = [
        _timeline(place, samples, rows.get(place, ()), predicted) for place, samples in true.items()
    ]
    figures = measure(timelines)
    values = _summary(predicted, truth, timelines, figures)
    if out is not None:
        write_timeline_report(out, values, timelines, figures)
    _show(values, "" if out is None else str(out))


def _true_segments(truth: Path) -> dict[str, list[Sample]]:
    """The true segments of each video, by absolute path; of the split `test`, or else of all that
    are not `train`."""
    remarks: list[str] = []
    samples = read_table(truth, remarks)
    for remark in remarks:
        console.warn(remark)
    tested = [sample for sample in samples if sample.split == "test"]
    tested = tested or [sample for sample in samples if sample.split != "train"]
    if not tested:
        raise UsageError(f"{truth}: all rows have split train; there is nothing to test")
    found: dict[str, list[Sample]] = defaultdict(list)
    for sample in dict.fromkeys(tested):
        found[_absolute(sample.path)].append(sample)
    for sample in samples:
        if sample.split != tested[0].split and _absolute(sample.path) in found:
            raise UsageError(
                f"{truth}: {text_path(sample.path)} has rows of several splits; labels over time "
                "are measured on whole videos"
            )
    return dict(found)


def _by_video(
    rows: Iterable[Record], table: Path, true: Mapping[str, Sequence[Sample]]
) -> tuple[dict[str, list[Record]], set[str]]:
    """The predicted rows of each true video, and the paths of other videos."""
    names: dict[str, list[str]] = defaultdict(list)
    for place in true:
        names[Path(place).name].append(place)
    found: dict[str, list[Record]] = defaultdict(list)
    astray = set()
    for row in rows:
        path = path_from_text(row["path"])
        choices = [_absolute(path), _absolute(str(table.parent / path))]
        named = names.get(Path(path).name, [])
        choices += named if len(named) == 1 else []
        match = next((place for place in choices if place in true), None)
        if match is None:
            astray.add(row["path"])
        else:
            found[match].append(row)
    return dict(found), astray


def _timeline(
    place: str, samples: Sequence[Sample], rows: Sequence[Record], table: Path
) -> Timeline:
    """One video's segments; what has no end lasts as long as the video. Raises UsageError."""
    kept = [row for row in rows if row["status"] not in (Status.FAILED, Status.UNCERTAIN)]
    kept = [row for row in kept if row["label"]]
    for row in kept:
        start_s, end_s = row["start_s"], row["end_s"]
        if start_s is None or end_s is None or not 0 <= start_s < end_s:
            raise UsageError(
                f"{table}: a row of {row['path']} ({row['label']}) has no start_s and end_s, or "
                "not one after the other"
            )
    ends = [row["duration_s"] or 0.0 for row in rows] + [row["end_s"] or 0.0 for row in kept]
    ends += [sample.end_s for sample in samples if sample.end_s < math.inf]
    duration_s = max(ends, default=0.0)
    if any(sample.start_s >= duration_s for sample in samples):
        raise UsageError(
            f"{text_path(place)}: its length is not known; give its true segments an end_s, or the "
            f"rows of {table} a duration_s"
        )
    return Timeline(
        place,
        tuple(Segment(s.start_s, min(s.end_s, duration_s), s.label) for s in samples),
        tuple(map(_segment, kept)),
        duration_s,
    )


def _segment(row: Record) -> Segment:
    """A predicted segment; one without a confidence is certain."""
    start_s, end_s, label, confidence = (
        row["start_s"], row["end_s"], row["label"], row["confidence"],
    )  # fmt: skip
    assert start_s is not None  # the caller has looked
    assert end_s is not None
    assert label is not None
    return Segment(start_s, end_s, label, 1.0 if confidence is None else confidence)


def _summary(
    predicted: Path, truth: Path, timelines: Sequence[Timeline], figures: TimelineFigures
) -> dict[str, Any]:
    """All figures as plain values, for metrics.json and the terminal."""
    return {
        "predicted": text_path(str(predicted)),
        "truth": text_path(str(truth)),
        "vidlabel": __version__,
        "videos": len(timelines),
        "seconds": round(sum(each.duration_s for each in timelines), 3),
        "segments": {
            "true": sum(len(each.true) for each in timelines),
            "predicted": sum(len(each.predicted) for each in timelines),
        },
        "mean_ap": {f"{k:.1f}": _number(v) for k, v in figures.mean_ap.items()},
        "mean_ap_of_all_overlaps": _number(sum(figures.mean_ap.values()) / len(figures.mean_ap)),
        "f1": {f"{k:.2f}": _number(v) for k, v in figures.f1.items()},
        "edit": _number(figures.edit),
        "frame_accuracy": _number(figures.frame_accuracy),
        "frame_accuracy_where_labelled": _number(figures.labelled_accuracy),
    }


def _show(values: Mapping[str, Any], out: str) -> None:
    counts = values["segments"]
    title = (
        f"{values['predicted']}: {plural(counts['predicted'], 'segment')} against "
        f"{counts['true']} true ones of {plural(values['videos'], 'video')}"
    )
    rows = [[f"mAP {overlap}", value] for overlap, value in values["mean_ap"].items()]
    rows.append(["mAP 0.1 to 0.7", values["mean_ap_of_all_overlaps"]])
    rows += [[f"F1@{round(100 * float(k))}", value] for k, value in values["f1"].items()]
    rows += [
        ["edit score", values["edit"]],
        ["accuracy per frame", values["frame_accuracy"]],
        ["accuracy where labelled", values["frame_accuracy_where_labelled"]],
    ]
    shown = [[name, "-" if value is None else f"{value:.3f}"] for name, value in rows]
    console.table(title, ["figure", "value"], shown)
    if out:
        console.note(f"report written to {out}")


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _absolute(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100  (links are not followed)
