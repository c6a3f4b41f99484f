"""Segments, labelled spans of longer videos: which of them share seconds, and their groups."""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vidlabel.datasets.samples import Sample
from vidlabel.spans import WHOLE, Span
from vidlabel.text import plural, text_path

SHARED_S = 1e-3
"""Spans that share less only touch: tables round to milliseconds."""

STRETCHES = 10
"""Of a recording that is the only one: at least so many groups, if there are enough segments."""

_FRAGMENT = re.compile(r"#t=(\d+(?:\.\d+)?)(?:,(\d+(?:\.\d+)?))?\Z")


def with_groups(samples: Sequence[Sample], remarks: list[str]) -> list[Sample]:
    """The samples of a table, with groups for the segments that have none, by recording.

    If all samples to learn from are segments of one recording, this would be one group, and nothing
    could be held out; then its groups are stretches of time, which no segment crosses, and
    `remarks` gets a line. It gets another if segments of different classes show the same seconds.
    """
    remarks += _doubt(samples)
    learned = [sample for sample in samples if sample.split != "test"] or samples
    group: dict[Sample, str] = {}
    if len({_place(s) for s in learned}) == 1 and not any(s.group for s in learned):
        group = _stretches([s for s in samples if _place(s) == _place(learned[0]) and not s.group])
        but = "" if len(group) == len(samples) else " but those to test on"
        remarks.append(
            f"all segments{but} are of one recording, {text_path(learned[0].path)}: they are "
            f"divided into {plural(len({*group.values()}), 'group')} by time, and figures measured "
            "on some of these say little about other recordings"
        )
    return [s if s.group else replace(s, group=group.get(s) or recording(s)) for s in samples]


def recording(sample: Sample) -> str:
    """The group of a segment by its recording: the name of the file, without its suffix."""
    return _stem(sample.file)


def overlapping(known: Collection[str], test: Sequence[Sample]) -> set[str]:
    """Ids of the test clips that show some of the same seconds of a recording as a clip in `known`,
    ids too, whatever its class. Only if one of the two is a segment."""
    spans: dict[str, list[Span]] = defaultdict(list)
    below: dict[str, list[Span]] = defaultdict(list)
    for clip in known:
        _, file, span = parts_of(clip)
        spans[file].append(span)
        for end in file_ends(file):
            below[end].append(span)
    found = set()
    for sample in test:
        others = list(below.get(sample.file, ()))
        for end in file_ends(sample.file):
            others += spans.get(end, ())
        own = sample.video.span
        if any(_share(own, other) for other in others if (own, other) != (WHOLE, WHOLE)):
            found.add(sample.id)
    return found


def recordings(clips: Collection[str]) -> set[str]:
    """The groups that `with_groups` gives the segments among the clips, which are ids."""
    return {_stem(file) for _, file, span in map(parts_of, clips) if span != WHOLE}


def file_ends(file: str) -> Iterator[str]:
    """The end of a path, and those with fewer steps: `a/b/c.mp4`, `b/c.mp4`, `c.mp4`."""
    steps = file.split("/")
    return ("/".join(steps[i:]) for i in range(len(steps)))


def parts_of(clip: str) -> tuple[str, str, Span]:
    """The label, the file (a name, or the end of a path) and the span in an id (`Sample.id`)."""
    label, _, file = clip.partition("/")
    match = _FRAGMENT.search(file)
    if match is None:
        return label, file, WHOLE
    return label, file[: match.start()], (float(match[1]), float(match[2] or math.inf))


def _share(first: Span, second: Span) -> bool:
    return min(first[1], second[1]) - max(first[0], second[0]) > SHARED_S


def _stem(file: str) -> str:
    return str(Path(file).with_suffix(""))


def _place(sample: Sample) -> str:
    return os.path.abspath(sample.path)  # noqa: PTH100 - links are not followed


def _doubt(samples: Sequence[Sample]) -> list[str]:
    """A line, if samples of different classes show the same seconds of a video."""
    videos: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.is_segment:
            videos[_place(sample)].append(sample)
    for sample in samples:
        if not sample.is_segment and _place(sample) in videos:
            videos[_place(sample)].append(sample)
    pairs = []
    for members in videos.values():
        lasting: list[Sample] = []  # those that have begun, and not ended
        for sample in sorted(members, key=lambda s: s.video.span):
            lasting = [each for each in lasting if each.end_s - sample.start_s > SHARED_S]
            other = next((each for each in lasting if each.label != sample.label), None)
            pairs += [(sample, other)] if other else []
            lasting.append(sample)
    if not pairs:
        return []
    first, second = pairs[0]
    return [
        f"{plural(len(pairs), 'row')} with seconds that another row gives another class, such as "
        f"{text_path(str(first.video))} ({first.label}) and {second.video.fragment or 'all of it'} "
        f"({second.label}); a segment has one class"
    ]


def _stretches(samples: Sequence[Sample]) -> dict[Sample, str]:
    """The groups of the segments of one recording: stretches of time with about as many segments
    each, of each part (`split`) its own."""
    group: dict[Sample, str] = {}
    splits = sorted({sample.split for sample in samples})
    for split in splits:
        runs = _runs([sample for sample in samples if sample.split == split])
        count = min(STRETCHES, len(runs))
        while count < len(runs) and not _dealt_apart(runs, count):
            count = min(2 * count, len(runs))
        part = f"{split or 'train'}/" if len(splits) > 1 else ""
        for number, run in enumerate(runs):
            name = f"{part}{_stem(run[0].file)} {number * count // len(runs) + 1:02}"
            group |= dict.fromkeys(run, name)
    return group


def _runs(samples: Sequence[Sample]) -> list[list[Sample]]:
    """The samples in the order of time; those that share seconds, directly or by way of others,
    are one run."""
    runs: list[list[Sample]] = []
    end_s = 0.0
    for sample in sorted(samples, key=lambda s: s.video.span):
        if runs and end_s - sample.start_s > SHARED_S:
            runs[-1].append(sample)
        else:
            runs.append([sample])
        end_s = max(end_s, sample.end_s)
    return runs


def _dealt_apart(runs: Sequence[Sequence[Sample]], count: int) -> bool:
    """Whether each class that is in several runs is in several of `count` stretches of them."""
    inside: dict[str, set[int]] = defaultdict(set)
    stretches: dict[str, set[int]] = defaultdict(set)
    for number, run in enumerate(runs):
        for sample in run:
            inside[sample.label].add(number)
            stretches[sample.label].add(number * count // len(runs))
    return all(len(stretches[label]) > 1 for label in inside if len(inside[label]) > 1)
