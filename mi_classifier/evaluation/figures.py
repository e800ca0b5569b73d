"""Figures: colors that the color-blind tell apart, titles, units, readable in print."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from mi_classifier import workdir as workdirs

# Okabe & Ito (2008), told apart by the color-blind and in gray; and a marker for each.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, whole or not at all.

    Raises:
      UserError: the folder cannot be written to.
    """
    with mpl.rc_context({"svg.hashsalt": ""}):
        workdirs.write_with(path, lambda p: figure.savefig(p, format="png", dpi=150))


def principal_components(x: np.ndarray, count: int = 2) -> np.ndarray:
    """Projects on the directions of largest variance (PCA).

    Args:
      x: `[N, D]`.
      count: of components; where D is less, the others are 0.

    Returns:
      `[N, count]`; each component's largest weight is positive.
    """
    centered = x - x.mean(0, dtype=np.float64)
    _, _, directions = np.linalg.svd(centered, full_matrices=False)
    directions = directions[:count]
    largest = np.abs(directions).argmax(1)
    signs = np.sign(np.take_along_axis(directions, largest[:, None], 1))
    projected = centered @ (directions * signs).T
    return np.pad(projected, [(0, 0), (0, count - projected.shape[1])])


def mixture(
    samples: Mapping[str, tuple[np.ndarray, np.ndarray]], names: Sequence[str]
) -> Figure:
    """Draws labeled samples on their first two principal components (Figure 8).

    Args:
      samples: by title, inputs `[N, D]` and labels `[N]`; those of one dimension are
        drawn against their label.
      names: of the classes.
    """
    columns = -(-len(samples) // 2)
    figure = Figure(figsize=(3 * columns, 6.2), layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False).ravel()
    for axis, (title, (x, y)) in zip(axes, samples.items(), strict=False):
        points = principal_components(x)
        single = x.shape[1] == 1
        for c, name in enumerate(names):
            own = points[y == c]
            height = np.full(len(own), c) if single else own[:, 1]
            style = {"color": COLORS[c], "marker": MARKERS[c], "label": name}
            axis.scatter(own[:, 0], height, s=6, alpha=0.6, linewidths=0, **style)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("x" if single else "first component", fontsize=8)
        axis.set_ylabel("class" if single else "second component", fontsize=8)
        axis.tick_params(labelsize=7)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(names), fontsize=8
    )
    return figure


def curves(
    panels: Mapping[str, Mapping[str, Any]], x: Sequence[float], xlabel: str
) -> Figure:
    """Draws estimates against a truth, a panel for each setting.

    Args:
      panels: by title, curves by name: values `[S, X]` of S seeds, of which the mean
        and the range are drawn; "truth" is drawn as a line.
      x: where, `[X]`.
      xlabel: what x is.
    """
    figure = Figure(figsize=(4.2 * len(panels), 3.6), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for index, (name, values) in enumerate(lines.items()):
            values = np.atleast_2d(values)
            mean = values.mean(0)
            if name == "truth":
                axis.plot(x, mean, color="black", linewidth=1, label=name, zorder=1)
                continue
            style = {"color": COLORS[index % 6], "marker": MARKERS[index % 6]}
            error = np.abs(np.stack([values.min(0), values.max(0)]) - mean)
            axis.errorbar(
                x,
                mean,
                error,
                linestyle="none",
                markersize=5,
                capsize=3,
                linewidth=1,
                label=name,
                **style,
            )
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(xlabel)
        axis.set_ylabel("mutual information, nats")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return figure
