"""Timelines: which windows suit a model, and what becomes of their scores, part by part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from vidlabel.clips.windows import Windows
from vidlabel.errors import UsageError
from vidlabel.results.segments import to_segments
from vidlabel.results.window_scores import Collector, PartScores
from vidlabel.spans import TimelineSpec
from vidlabel.specs import ClipSpec, Prediction

USUAL_WINDOW_S = 2.0
"""Length of a window where neither the user nor the model gives one: about that of an action, and
of a clip of the data sets that the shipped model was trained on."""

STRIDES = 4
"""Windows begin so many times in the length of one by default."""

LONG_S, LONG_CLIPS = 30.0, 10
"""A video that is longer than this, and than so many windows, is too long for one label."""


def usual_window_s(clip: ClipSpec) -> float:
    """Seconds that a model's clips usually show: those of its --fps, else `USUAL_WINDOW_S`."""
    return clip.frames / clip.fps if clip.fps else USUAL_WINDOW_S


def is_long(clip: ClipSpec, length_s: float) -> bool:
    """Whether one label says little about a video of this length."""
    return length_s > max(LONG_S, LONG_CLIPS * usual_window_s(clip))


def choose_windows(clip: ClipSpec, spec: TimelineSpec) -> Windows:
    """The windows of videos for a model with such clips.

    Raises:
        UsageError: the model's clips always have another length.
    """
    usual_s = usual_window_s(clip)
    window_s = spec.window_s or usual_s
    if clip.fps and abs(window_s - usual_s) > 1e-3:
        raise UsageError(
            f"--window {window_s:g}: this model sees {clip.frames} frames at {clip.fps:g} fps, "
            f"{usual_s:.3f} s; leave out --window"
        )
    window_s = usual_s if clip.fps else window_s
    stride_s = spec.stride_s or window_s / STRIDES
    if stride_s > window_s * (1 + 1e-3):
        raise UsageError(f"--stride {stride_s:g} must be at most --window, which is {window_s:g}")
    every = min(clip.frames, max(1, round(stride_s / (window_s / clip.frames))))
    return Windows(clip, window_s, every)


def exact(spec: TimelineSpec, windows: Windows) -> TimelineSpec:
    """The spec with the windows that it leads to."""
    return replace(spec, window_s=windows.window_s, stride_s=windows.stride_s)


def label_parts(
    parts: Iterable[PartScores], classes: Sequence[str], spec: TimelineSpec, top_k: int,
    min_confidence: float, shown: Sequence[str] = (),
) -> Iterator[tuple[int, list[Prediction]]]:  # fmt: skip
    """Index and segments of each video, when all of its parts have come; `spec` is exact."""
    collector = Collector(spec.window_s or 0.0, spec.stride_s or 0.0)
    for part in parts:
        if (video := collector.add(part)) is not None:
            yield part.index, to_segments(video, classes, spec, top_k, min_confidence, shown)


def describe_windows(windows: Windows, spec: TimelineSpec) -> str:
    """What to tell the user about the windows: that the stride is another one than asked for."""
    asked = spec.stride_s
    if asked is None or abs(asked - windows.stride_s) < 1e-4 * asked:
        return ""
    return (
        f"--stride {asked:g}: windows begin every {windows.stride_s:.4g} s, a multiple of the time "
        f"between two of the {windows.clip.frames} moments of a window"
    )
