"""What a labeller takes, and the order in which it gives its answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count
from typing import TypeAlias

from vidlabel.files.find import VIDEO_SUFFIXES, find_videos
from vidlabel.specs import Limits, Prediction, VideoItem
from vidlabel.text import PathText
from vidlabel.video.container import check_formats, suffixes_of

Videos: TypeAlias = PathText | VideoItem | Iterable[PathText | VideoItem]
"""What a labeller takes: paths or items, one or many."""


def items_of(videos: Videos, limits: Limits) -> Iterator[VideoItem]:
    """The items of paths, numbered; a file that does not exist is one too, and gets a row."""
    check_formats(limits.formats)
    if isinstance(videos, str | os.PathLike | VideoItem):
        videos = [videos]
    numbers = count()
    for each in videos:
        if isinstance(each, VideoItem):
            found = [each]
        elif os.path.isdir(each):  # noqa: PTH112 - a name that is too long is a row
            found = find_videos(each, suffixes=VIDEO_SUFFIXES | suffixes_of(limits.formats))
        else:
            found = [VideoItem(0, os.fspath(each))]
        for item in found:
            number = next(numbers)
            yield item if item is each else replace(item, index=number)


def in_order(predictions: Iterator[tuple[int, list[Prediction]]]) -> Iterator[list[Prediction]]:
    """Predictions of each video by ascending index from 0, each as soon as all before it are there.

    If a stop leaves gaps, the predictions after them come at the end, also in order.
    """
    early: dict[int, list[Prediction]] = {}
    turn = 0
    for index, prediction in predictions:
        early[index] = prediction
        while turn in early:
            yield early.pop(turn)
            turn += 1
    for _, prediction in sorted(early.items()):
        yield prediction
