"""The report of an evaluation: figures, tables and pictures."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from vidlabel.errors import OutputError
from vidlabel.evaluate.evaluate import ClipResult, Evaluation
from vidlabel.evaluate.metrics import (
    calibration_error,
    confusion,
    fit_temperature,
    measure,
    per_class,
    retempered,
)
from vidlabel.evaluate.plots import plot_confusion, plot_reliability
from vidlabel.evaluate.timeline import OVERLAPS, Timeline, TimelineFigures
from vidlabel.files.write import write_bytes
from vidlabel.text import text_path
from vidlabel.version import __version__

METRICS = "metrics.json"
MISTAKES_SHOWN = 10


def summarise(found: Evaluation) -> dict[str, Any]:
    """All figures of an evaluation as plain values, for metrics.json and the terminal."""
    probabilities, labels = found.video_level()
    clips, clip_labels = found.clip_level()
    views = round(len(clips) / max(1, len(probabilities)), 1)
    before = retempered(probabilities, found.temperatures(), 1.0)
    values: dict[str, Any] = {
        "fold": found.name,
        "model": found.model,
        "vidlabel": __version__,
        "classes": len(found.classes),
        "videos": len(found.tested),
        "unreadable": [text_path(str(each.sample.video)) for each in found.unreadable],
        "strategy": found.strategy,
        "views_per_video": int(views) if views == int(views) else views,
        "video_level": _measured(probabilities, labels),
        "clip_level": _measured(clips, clip_labels) if views > 1 else None,
        "calibration": {
            "error_before_temperature": _number(calibration_error(before, labels)),
            "error_after_temperature": _number(calibration_error(probabilities, labels)),
            "temperatures": sorted({each.temperature for each in found.read}),
            "temperature_best_on_these_clips": _number(
                fit_temperature(before.clamp_min(1e-12).log(), labels)
            ),
        },
        "leak": asdict(found.leak) | {"new": found.leak.new, "selected_on": found.selected},
        "notes": list(found.notes),
    }
    if any(each.kind != "new" for each in found.read):
        values["by_kind"] = {}
        for kind in ("seen", "sibling", "selected", "new"):
            part, part_labels = found.video_level(kind)
            if len(part):
                all_of_them = len(part) == len(found.read)  # they have been measured
                measured = values["video_level"] if all_of_them else _measured(part, part_labels)
                values["by_kind"][kind] = {"videos": len(part), **measured}
    return values


def mistakes(found: Evaluation, count: int = MISTAKES_SHOWN) -> list[ClipResult]:
    """The mistakes with the highest confidence, highest first."""
    wrong = [each for each in found.read if each.row.label != each.sample.label]
    return sorted(wrong, key=lambda each: -each.row.confidence)[:count]


def write_report(folder: Path, found: Evaluation, values: Mapping[str, Any]) -> None:
    """Write metrics.json, per_class.csv, predictions.csv, confusion.png and reliability.png.

    Raises:
        OutputError: the folder cannot be written.
    """
    _make_folder(folder)
    probabilities, labels = found.video_level()
    best = probabilities.argmax(1)
    count = len(found.classes)
    counts = confusion(best, labels, count)
    _write_csv(folder / "per_class.csv", _class_table(found, counts, best, labels))
    _write_csv(folder / "predictions.csv", _clip_table(found))
    plot_confusion(folder / "confusion.png", counts.numpy(), found.classes, found.name)
    before = retempered(probabilities, found.temperatures(), 1.0)
    plot_reliability(
        folder / "reliability.png",
        {"before temperature": before.numpy(), "as predicted": probabilities.numpy()},
        labels.numpy(),
        found.name,
    )
    _write_values(folder, values)


def write_timeline_report(
    folder: Path, values: Mapping[str, Any], timelines: Sequence[Timeline], found: TimelineFigures
) -> None:
    """Write metrics.json and per_class.csv of labels over time. Raises OutputError."""
    _make_folder(folder)
    names = list(found.precisions)
    true = Counter(segment.label for each in timelines for segment in each.true)
    predicted = Counter(segment.label for each in timelines for segment in each.predicted)
    columns: dict[str, Any] = {
        "class": names,
        "true": [true[name] for name in names],
        "predicted": [predicted[name] for name in names],
        "frame_accuracy": [found.class_accuracy[name] for name in names],
    }
    for i, overlap in enumerate(OVERLAPS):
        columns[f"ap_{overlap:.1f}"] = [found.precisions[name][i] for name in names]
    _write_csv(folder / "per_class.csv", pd.DataFrame(columns))
    _write_values(folder, values)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error


def _write_values(folder: Path, values: Mapping[str, Any]) -> None:
    """Write metrics.json: last, since it says that all is there."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(folder / METRICS, [f"{text}\n".encode()])


def _class_table(found: Evaluation, counts: Tensor, best: Tensor, labels: Tensor) -> pd.DataFrame:
    names = found.classes
    times, confused = counts.clone().fill_diagonal_(0).max(1)
    pairs = zip(times.tolist(), confused.tolist(), strict=True)
    return pd.DataFrame(
        {
            "class": names,
            "videos": counts.sum(1),
            "right": counts.diagonal(),
            **per_class(best, labels, len(names)),
            "most_confused_with": [names[other] if count else "" for count, other in pairs],
            "times": times,
        }
    )


def _clip_table(found: Evaluation) -> pd.DataFrame:
    """One row per test clip; of a clip that cannot be read, only path, truth, status and reason."""
    tested = found.tested
    columns: dict[str, Any] = {
        "path": [text_path(each.sample.path) for each in tested],
        "truth": [each.sample.label for each in tested],
        "right": pd.array(
            [None if not len(e.views) else int(e.row.label == e.sample.label) for e in tested],
            "Int64",
        ),
        "fold_kind": [each.kind for each in tested],
        "status": [each.row.status.value for each in tested],
    }
    for rank in range(min(5, len(found.classes))):
        top = [
            each.row.top[rank] if rank < len(each.row.top) else ("", math.nan) for each in tested
        ]
        columns[f"top{rank + 1}_label"] = [label for label, _ in top]
        columns[f"top{rank + 1}_confidence"] = [share for _, share in top]
    columns["start_s"] = [each.row.start_s for each in tested]
    columns["end_s"] = [each.row.end_s for each in tested]
    columns["group"] = [text_path(each.sample.group) for each in tested]
    columns["reason"] = [text_path(each.row.reason) for each in tested]
    return pd.DataFrame(columns)


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    text = table.to_csv(index=False, lineterminator="\n", float_format="%.6f")
    write_bytes(path, [text.encode()])


def _measured(probabilities: Tensor, labels: Tensor) -> dict[str, dict[str, float | None]]:
    """The figures of `measure`, without top5 if there are only five classes."""
    return {
        name: {"value": _number(f.value), "low": _number(f.low), "high": _number(f.high)}
        for name, f in measure(probabilities, labels).items()
        if name != "top5" or probabilities.shape[1] > 5
    }


def _number(value: float) -> Any:
    return None if not math.isfinite(value) else round(value, 6)
