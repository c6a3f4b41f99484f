"""Plots as PNG: confusion matrix, reliability diagram and training curves."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vidlabel.files.write import write_bytes
from vidlabel.text import safe

BINS = 10
_LONGEST_NAME = 24
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
    side = max(4.5, 0.22 * count + 2.5)
    figure = _figure(side + 0.6, side)
    axes = figure.add_subplot()
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_short(name) for name in classes]
    size = 8 if count <= 30 else 6
    axes.set_xticks(range(count), names, rotation=90, fontsize=size)
    axes.set_yticks(range(count), names, fontsize=size)
    right, total = int(np.trace(counts)), int(counts.sum())
    told = f"{_plain(title)}: {right} of {total} right ({right / max(1, total):.1%})"
    axes.set(xlabel="predicted", ylabel="true", title=told)
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

    Each name -> (N, K) of `probabilities` is a line, with a histogram of its confidences below.

    Raises:
        OutputError: it cannot be written.
    """
    figure = _figure(5.5, 6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], "--", color="0.6", label="calibrated")
    edges = np.linspace(0, 1, BINS + 1)
    for name, values in probabilities.items():
        confidence = values.max(1)
        right = values.argmax(1) == labels
        place = np.minimum((confidence * BINS).astype(int), BINS - 1)
        filled = [b for b in range(BINS) if (place == b).any()]
        x = [float(confidence[place == b].mean()) for b in filled]
        y = [float(right[place == b].mean()) for b in filled]
        (line,) = upper.plot(x, y, "o-", label=name, clip_on=False)
        lower.hist(confidence, edges, histtype="step", color=line.get_color(), linewidth=1.5)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is right", title=_plain(title))
    upper.legend(loc="upper left")
    lower.set(xlabel="confidence", ylabel="videos")
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


def _short(name: str) -> str:
    name = _plain(name)
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "\u2026"


def _plain(text: str) -> str:
    return safe(text).replace("$", r"\$")  # matplotlib reads $...$ as a formula


def _save(figure: Figure, path: Path) -> None:
    data = BytesIO()
    with warnings.catch_warnings():  # names in scripts that the font does not have become boxes
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing", UserWarning)
        figure.savefig(data, format="png", dpi=_DPI)
    write_bytes(path, [data.getvalue()])
