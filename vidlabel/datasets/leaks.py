"""Leaks: test clips that a model was trained on, and what its accuracy then says about new ones.

A model that labels a share M of its training clips and a share A of all other clips correctly has
the accuracy (seen M + (tested - seen) A) / tested. So a reported accuracy gives bounds for A.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidlabel.datasets.complete import source_in
from vidlabel.datasets.samples import Sample
from vidlabel.datasets.segments import file_ends, overlapping, parts_of, recording, recordings
from vidlabel.errors import UsageError
from vidlabel.text import plural

MEMORISED = (0.95, 1.0)
"""The range of M in reports: a trained model labels most of its training clips correctly."""


@dataclass(frozen=True)
class Leak:
    """Numbers of test clips."""

    tested: int
    seen: int
    """Trained on."""
    siblings: int
    """Not trained on, but of the same source video (group) as a training clip."""

    def __post_init__(self) -> None:
        if min(self.tested, self.seen, self.siblings, self.new) < 0:
            raise UsageError(f"more test clips leak than there are: {self}")

    @property
    def unseen(self) -> int:
        """Not trained on: siblings and new ones."""
        return self.tested - self.seen

    @property
    def new(self) -> int:
        """Of source videos that were not trained on at all."""
        return self.tested - self.seen - self.siblings

    @property
    def share(self) -> float:
        """0 to 1; 0 of nothing."""
        return self.seen / self.tested if self.tested else 0.0


def tell_apart(samples: Sequence[Sample]) -> list[Sample]:
    """The samples of a data set, with different ids for different files.

    Files of one class with the same name (`walk/ada/1.mp4`, `walk/bo/1.mp4`) are named by the
    shortest end of their paths that differs. Names of HMDB51's and UCF-101's form identify the
    clip by themselves: files with the same such name are copies, and stay one clip. Recordings with
    segments have segments of several classes, so these are told apart whatever the class.
    """
    segmented = {Path(sample.path).name for sample in samples if sample.is_segment}
    files: dict[str, set[tuple[str, ...]]] = defaultdict(set)

    def clip_of(sample: Sample) -> str:
        name = Path(sample.path).name
        return name if name in segmented else sample.id

    for sample in samples:
        files[clip_of(sample)].add(_steps(sample))
    length: dict[str, int] = {}
    for clip, paths in files.items():
        if len(paths) > 1 and not _named_source(clip):
            longest = max(map(len, paths))
            length[clip] = next(
                n for n in range(2, longest + 1) if len({p[-n:] for p in paths}) == len(paths)
            )
    return [
        replace(s, name="/".join(_steps(s)[-length[clip] :]))
        if (clip := clip_of(s)) in length
        else s
        for s in samples
    ]


def _steps(sample: Sample) -> tuple[str, ...]:
    return Path(os.path.abspath(sample.path)).parts  # noqa: PTH100 - links are not followed


def known_among(known: Collection[str], test: Sequence[Sample]) -> set[str]:
    """Ids of the test clips that are in `known`, which may be ids of another data set.

    Where one id has more of the path than the other (see `tell_apart`), they count as the same
    clip if their ends are equal: a false alarm is better than a leak that is missed. So is a clip
    that shares seconds with a known segment, or a segment that does with a known clip.
    """
    whole = frozenset(known)
    ends = {end for clip in whole for end in _ends(clip)}
    same = {s.id for s in test if s.id in ends or not whole.isdisjoint(_ends(s.id))}
    return same | overlapping(whole, test)


def _ends(clip: str) -> Iterator[str]:
    """An id, and the ids with less of its path."""
    label, _, name = clip.partition("/")
    return (f"{label}/{end}" for end in file_ends(name))


def find_leak(
    trained_on: Collection[str], sources: Collection[str], test: Sequence[Sample]
) -> tuple[Leak, dict[str, str]]:
    """Which test clips, or other clips of their source video, a model was trained on.

    Names of HMDB51's and UCF-101's form contain the source video, so a leak is also found if the
    model was trained on these clips as a plain folder, with other groups. A recording that has
    segments is a source too.

    Args:
        trained_on: ids of its training clips.
        sources: groups of its training clips.

    Returns:
        The numbers, and for each test clip's id `seen`, `sibling` or `new`.
    """
    seen, groups = known_among(trained_on, test), recordings(trained_on).union(sources)
    named = {source for source in map(_named_source, trained_on) if source}

    def kind_of(sample: Sample) -> str:
        if sample.id in seen:
            return "seen"
        sibling = sample.group in groups or _named_source(sample.id) in named
        sibling |= sample.is_segment and recording(sample) in sources  # also if divided by time
        return "sibling" if sibling else "new"

    kinds = [kind_of(sample) for sample in test]
    leak = Leak(len(kinds), kinds.count("seen"), kinds.count("sibling"))
    return leak, {s.id: kind for s, kind in zip(test, kinds, strict=True)}


def _named_source(clip: str) -> str | None:
    """Class and source video in an id of HMDB51's or UCF-101's form."""
    label, name, _ = parts_of(clip)
    source = source_in(label, name)
    return f"{label}/{source}" if source else None


def unseen_accuracy(leak: Leak, accuracy: float, memorised: float = 1.0) -> float:
    """A, the accuracy on unseen test clips, from the `accuracy` on all of them and M, `memorised`,
    each 0 to 1. Below 0 or above 1 if no model can have that accuracy with that M.

    Raises:
        UsageError: no test clip is unseen.
    """
    if not leak.unseen:
        raise UsageError(
            "every test clip was trained on: the accuracy says nothing about new clips"
        )
    return (leak.tested * accuracy - leak.seen * memorised) / leak.unseen


def describe_leak(leak: Leak, what: str, accuracy: float | None = None) -> list[str]:
    """Lines that describe the leak.

    Args:
        what: `test` or `validation`.
        accuracy: a reported one, 0 to 1; adds the range of A that follows.
    """
    lines = [
        f"{leak.seen} of {plural(leak.tested, f'{what} clip')} ({leak.share:.1%}) were trained on",
        f"of the {'other ' if leak.seen else ''}{leak.unseen}, {leak.siblings} share a source video"
        f" (group) with a training clip and {leak.new} are new",
    ]
    if not leak.seen:
        return lines
    if not leak.unseen:
        return [*lines, f"so {what} accuracy says nothing about new clips"]
    lines.append(
        f"a model that knows its training clips by heart, and nothing else, has {leak.share:.1%} "
        f"of the {what} clips right"
    )
    if accuracy is not None:
        lines.append(f"{accuracy:.2%} of all {what} clips are right: {_range(leak, accuracy)}")
    return lines


def _range(leak: Leak, accuracy: float) -> str:
    """What that says about the clips that were not trained on, between the highest and the lowest
    M."""
    low, high = MEMORISED
    least, most = (unseen_accuracy(leak, accuracy, m) for m in (high, low))
    if most < 0:
        return (
            f"fewer than the {leak.seen} that were trained on, so the model has not even learned "
            "those, and this says nothing about new clips"
        )
    return (
        f"if {low:.0%} to {high:.0%} of those that were trained on are right, then "
        f"{max(0.0, least):.1%} to {min(1.0, most):.1%} of the other {leak.unseen} are"
    )
