"""Plots as PNG: confusion matrix, reliability diagram and training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidlabel.files.write import write_bytes
from vidlabel.fonts import distinct, font_file, width_em
from vidlabel.machine import silent_stderr

with silent_stderr():  # it and fontconfig tell of a home folder that they cannot write to
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

BINS = 10
_NAME_EM = 14.0
"""Width of a name, in sizes of its font; a longer one loses its middle."""
_NUMBERS_UP_TO = 25  # classes; with more, numbers in the cells cannot be read
_DPI = 120


def plot_confusion(
    path: Path, counts: NDArray[Any], classes: Sequence[str], title: str = ""
) -> None:
    """Confusion matrix of (K, K) counts: rows are true classes, columns predictions; shade is the
    share of the row; `title` says what was tested.

    Raises:
        OutputError: it cannot be written.
    """
    count = len(classes)
    names = _distinct(classes)
    size_pt = 8 if count <= 30 else 6
    longest_em = max(_NAME_EM, *map(width_em, names))  # more only where names are alike
    side = max(4.5, 0.22 * count + 2.5) + (longest_em - _NAME_EM) * size_pt / 72
    figure = _figure(side + 0.6, side)
    axes = figure.add_subplot()
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(count), names, rotation=90, fontsize=size_pt)
    axes.set_yticks(range(count), names, fontsize=size_pt)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        _as_it_is(label)
    right, total = int(np.trace(counts)), int(counts.sum())
    told = f"{_distinct([title])[0]}: {right} of {total} right ({right / max(1, total):.1%})"
    axes.set(xlabel="predicted", ylabel="true")
    _as_it_is(figure.suptitle(told, fontsize=11))
    if count <= _NUMBERS_UP_TO:
        for (i, j), value in np.ndenumerate(counts):
            if value:
                shade = "white" if shares[i, j] > 0.5 else "black"
                axes.text(j, i, str(int(value)), ha="center", va="center", color=shade, fontsize=7)
    figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label="share of the true class")
    _save(figure, path)


def plot_reliability(
    path: Path, probabilities: Mapping[str, NDArray[Any]], labels: NDArray[Any], title: str = ""
) -> None:
    """Reliability diagram: accuracy over confidence of the top class (Guo et al. 2017, figure 1).

    Each name -> (N, K) of `probabilities` is a line, with the videos in each bin counted below.

    Raises:
        OutputError: it cannot be written.
    """
    figure = _figure(5.5, 6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], "--", color="0.6", label="calibrated")
    width = 0.8 / BINS / max(1, len(probabilities))  # of a bar
    for number, (name, values) in enumerate(probabilities.items()):
        confidence = values.max(1)
        right = values.argmax(1) == labels
        place = np.minimum((confidence * BINS).astype(int), BINS - 1)
        filled = np.unique(place)
        x = [float(confidence[place == b].mean()) for b in filled]
        y = [float(right[place == b].mean()) for b in filled]
        (line,) = upper.plot(x, y, "o-", label=name, clip_on=False)
        left = (filled + 0.1) / BINS + number * width
        videos = [int((place == b).sum()) for b in filled]
        bars = lower.bar(left, videos, width, align="edge", color=line.get_color())
        lower.bar_label(bars, fontsize=6, rotation=90 if max(videos) > 99 else 0, padding=1)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is right", title=_distinct([title])[0])
    _as_it_is(upper.title)
    upper.legend(loc="upper left")
    lower.set(xlabel="confidence", ylabel="videos")
    lower.margins(y=0.35)  # room for the counts
    _save(figure, path)


def plot_curves(path: Path, panels: Mapping[str, Mapping[str, Sequence[float]]], best: int) -> None:
    """Values of each epoch, not smoothed: title of a panel -> name of a curve -> its values from
    epoch 1. The epoch whose checkpoint is best is marked.

    Raises:
        OutputError: it cannot be written.
    """
    figure = _figure(5.0 * len(panels), 3.8)
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (what, curves) in zip(row, panels.items(), strict=True):
        for name, values in curves.items():
            axes.plot(range(1, len(values) + 1), values, ".-", label=name)
        axes.axvline(best, linestyle=":", color="0.4", label=f"best: epoch {best}")
        axes.set(xlabel="epoch", ylabel=what)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(color="0.9")
        axes.legend()
    _save(figure, path)


def _figure(width_in: float, height_in: float) -> Figure:
    # Not pyplot: it keeps every figure alive and asks for a display.
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _distinct(names: Sequence[str]) -> list[str]:
    """Names as they are shown; different ones differ."""
    return distinct(names, _NAME_EM, bidi=matplotlib.__version_info__ >= (3, 11))


def _as_it_is(text: Text) -> None:
    """Show a text without formulas, in the font that captions would have for it."""
    font = FontProperties(fname=font_file(text.get_text()), size=text.get_fontsize())
    text.set(fontproperties=font, parse_math=False)


def _save(figure: Figure, path: Path) -> None:
    data = BytesIO()
    figure.savefig(data, format="png", dpi=_DPI)
    write_bytes(path, [data.getvalue()])
