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
    """Confusion matrix: rows are true classes, columns predictions; shade is the share of the row.

    Args:
        path: a .png file.
        counts: (K, K) clips.
        classes: K names.
        title: what was tested.

    Raises:
        OutputError: it cannot be written.
    """
    count = len(classes)
    side = max(4.5, 0.22 * count + 2.5)
    figure = _figure(side + 0.6, side)
    axes = figure.add_subplot()
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_short(name) for name in classes]
    size = 8 if count <= 30 else 6
    axes.set_xticks(range(count), names, rotation=90, fontsize=size)
    axes.set_yticks(range(count), names, fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    right = int(np.trace(counts))
    total = int(counts.sum())
    axes.set_title(f"{_plain(title)}: {right} of {total} right ({right / max(1, total):.1%})")
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

    Args:
        path: a .png file.
        probabilities: name -> (N, K); a line each, and a histogram of its confidences below.
        labels: (N,) class indices.
        title: what was tested.

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
    """Values of each epoch, not smoothed.

    Args:
        path: a .png file.
        panels: title of a panel -> name of a curve -> its value for each epoch, from 1.
        best: the epoch whose checkpoint is best, marked in each panel.

    Raises:
        OutputError: it cannot be written.
    """
    figure = _figure(5.0 * len(panels), 3.8)
    for axes, (what, curves) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
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
