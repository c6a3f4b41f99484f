"""Labels for FiftyOne, in its own JSON formats.

Where all labels are for whole videos, this is a `FiftyOneImageClassificationDataset`, which takes
videos too; otherwise a `FiftyOneTemporalDetectionDataset` with times in seconds
(https://docs.voxel51.com/user_guide/import_datasets.html). Videos are named by absolute path, so no
folder of media is needed:

    fiftyone.Dataset.from_dir(
        dataset_type=fiftyone.types.FiftyOneTemporalDetectionDataset, labels_path="labels.json"
    )
"""

from __future__ import annotations

import json
from typing import Any

from vidlabel.results.formats.timeline import Segment, Timeline, classes_of, is_timed

CLASSIFICATION = "FiftyOneImageClassificationDataset"
DETECTION = "FiftyOneTemporalDetectionDataset"


def fiftyone(timelines: tuple[Timeline, ...]) -> str:
    """All videos as JSON; those without a label have null."""
    whole = fiftyone_type(timelines) == CLASSIFICATION
    labels = {each.absolute: _classification(each) if whole else _detections(each)
              for each in timelines}  # fmt: skip
    value = {"classes": classes_of(timelines), "labels": labels}
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def fiftyone_type(timelines: tuple[Timeline, ...]) -> str:
    """Name of the data set's type in `fiftyone.types`."""
    labelled = [each for each in timelines if each.segments]
    return CLASSIFICATION if all(each.whole for each in labelled) else DETECTION


def _classification(timeline: Timeline) -> dict[str, Any] | None:
    return _label(timeline.segments[0]) if timeline.segments else None


def _detections(timeline: Timeline) -> list[dict[str, Any]] | None:
    found = [
        _label(each) | {"timestamps": [each.start_s, each.end_s]}
        for each in timeline.segments if is_timed(each)
    ]  # fmt: skip
    return found or None


def _label(segment: Segment) -> dict[str, Any]:
    label: dict[str, Any] = {"label": segment.label}
    return label if segment.confidence is None else label | {"confidence": segment.confidence}
