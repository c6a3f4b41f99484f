"""Which windows of long videos suit a model."""

from __future__ import annotations

from vidlabel.clips.windows import Windows
from vidlabel.errors import UsageError
from vidlabel.models.checkpoint import Header
from vidlabel.specs import TimelineSpec

USUAL_WINDOW_S = 2.0
"""Length of a window where neither the user nor the model says one: about that of an action, and of
a clip of the data sets that the shipped model was trained on."""

STRIDES = 4
"""Windows begin so many times in the length of one by default."""

LONG_S, LONG_CLIPS = 30.0, 10
"""A video that is longer than this, and than so many windows, is too long for one label."""


def usual_window_s(header: Header) -> float:
    """Seconds that a model's clips usually show: those of its --fps, else the median length of the
    clips that it was trained on, else `USUAL_WINDOW_S`."""
    if header.clip.fps:
        return header.clip.frames / header.clip.fps
    told = header.training.get("clip_s")
    return float(told) if isinstance(told, int | float) and told > 0 else USUAL_WINDOW_S


def is_long(header: Header, length_s: float) -> bool:
    """Whether one label says little about a video of this length."""
    return length_s > max(LONG_S, LONG_CLIPS * usual_window_s(header))


def choose_windows(header: Header, spec: TimelineSpec) -> Windows:
    """The windows of videos for a model.

    Raises:
        UsageError: the model's clips always have another length.
    """
    clip, usual_s = header.clip, usual_window_s(header)
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


def describe_windows(windows: Windows, spec: TimelineSpec) -> list[str]:
    """What to tell the user about the windows: that the stride is another one than asked for."""
    asked = spec.stride_s
    if asked is None or abs(asked - windows.stride_s) < 1e-6:
        return []
    return [
        f"--stride {asked:g}: windows start every {windows.stride_s:.4g} s, a multiple of the time "
        f"between two of the {windows.clip.frames} moments of a window"
    ]
