"""Figures of numbers, with colors that color-blind readers can tell apart."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from mi_classifier.evaluation.evaluators.calibration import Bin
from mi_classifier.storage.files import write_with

# The colors of Okabe & Ito (2008), which differ in gray, too; and a marker for each.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
_ERROR_BARS = {"linestyle": "none", "capsize": 3, "linewidth": 1}


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG; if that fails, an older file stays as it is.

    Raises:
      UserError: the folder cannot be written to.
    """
    with warnings.catch_warnings():
        # Names may be in any script; a character that the font lacks becomes a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        write_with(path, lambda p: figure.savefig(p, format="png", dpi=150))


def plain(text: str) -> str:
    """Escapes text so that Matplotlib shows it as it is, not as a formula."""
    return text.encode("utf-8", "replace").decode().replace("$", r"\$")


def principal_components(x: np.ndarray, count: int = 2) -> np.ndarray:
    """Projects on the directions of largest variance (PCA).

    Args:
      x: `[N, D]`.
      count: number of components; those beyond D are 0.

    Returns:
      `[N, count]`; the largest weight of each component is positive.
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
      samples: inputs `[N, D]` and labels `[N]`, by the title of their panel; inputs of
        one dimension are drawn against their label.
      names: names of the classes.
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
            style = {"color": COLORS[c], "marker": MARKERS[c], "label": plain(name)}
            axis.scatter(own[:, 0], height, s=6, alpha=0.6, linewidths=0, **style)
        axis.set_title(plain(title), fontsize=9)
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
    """Draws estimates against the truth, a panel for each setting.

    Args:
      panels: curves by name, by the title of their panel. A curve is values `[S, X]` of
        S seeds, drawn as their mean and range; the curve "truth" is drawn as a line.
      x: positions of the values, `[X]`.
      xlabel: label of the x axis.
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
            style |= {"markersize": 5, "label": name}
            axis.errorbar(x, mean, error, **_ERROR_BARS, **style)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(xlabel)
        axis.set_ylabel("mutual information, nats")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return figure


def reliability(bins: Sequence[Bin], title: str) -> Figure:
    """Draws observed against claimed pointwise mutual information.

    Args:
      bins: the bins of a `CalibrationResult`, at least one.
      title: the title of the figure.
    """
    figure, axis = _single(title)
    claimed, observed, errors, labels = (
        np.array([getattr(row, name) for row in bins])
        for name in ("claimed", "observed", "standard_error", "labels")
    )
    ends = [min([*claimed, *observed]), max([*claimed, *observed])]
    axis.plot(ends, ends, color="black", linewidth=1, label="as claimed", zorder=1)
    style = {"color": COLORS[0], "label": "± two standard errors"}
    axis.errorbar(claimed, observed, 2 * errors, **_ERROR_BARS, **style)
    style = {"color": COLORS[0], "label": "observed; larger: more labels"}
    sizes = 12 + 120 * labels / labels.sum()
    axis.scatter(claimed, observed, sizes, zorder=3, **style)
    axis.set_xlabel("pointwise mutual information claimed by the net, nats")
    axis.set_ylabel("observed, nats")
    axis.legend(fontsize=8)
    return figure


def recall_by_frequency(
    frequencies: Sequence[float], recall: Mapping[str, np.ndarray], title: str
) -> Figure:
    """Draws the recall of each class against how frequent it is in training.

    Args:
      frequencies: the share of each class in the training labels, `[M]`.
      recall: recall of each class, `[M]`, by decision rule; NaN for a class without
        examples.
      title: the title of the figure.
    """
    figure, axis = _single(title)
    x = 100 * np.asarray(frequencies)
    low, high = x.min(), x.max()
    axis.set_xlabel("share of the training labels, %")
    if high < 1.01 * low:  # equal frequencies: order the classes by recall instead
        x = np.argsort(np.argsort(-next(iter(recall.values())), kind="stable"))
        axis.set_xlabel(f"classes by recall, each {low:.3g}% of the training labels")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    elif low > 0 and high > 3 * low:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.set_xlim(0, 1.2 * high)
    for index, (name, values) in enumerate(recall.items()):
        axis.scatter(
            x,
            100 * np.asarray(values, np.float64),
            s=22,
            facecolors="none" if index else COLORS[index],  # shows both where equal
            edgecolors=COLORS[index],
            marker=MARKERS[index],
            label=f"{name}, mean {100 * np.nanmean(values):.2f}",
        )
    axis.set_ylabel("recall on the test split, %")
    axis.legend(fontsize=8)
    return figure


def threshold_curves(
    accuracies: Mapping[str, np.ndarray], thresholds: Sequence[float], title: str
) -> Figure:
    """Draws localization accuracy over thresholds.

    Args:
      accuracies: accuracy at each threshold, `[T]`, by the title of the map.
      thresholds: `[T]`.
      title: the title of the figure.
    """
    figure, axis = _single(title)
    for index, (name, values) in enumerate(accuracies.items()):
        best = int(np.argmax(values))
        style = {"color": COLORS[index % 7], "marker": MARKERS[index % 7]}
        style["label"] = f"{name}: {100 * values[best]:.1f}% at {thresholds[best]:.2f}"
        axis.plot(thresholds, 100 * values, markevery=[best], markersize=7, **style)
    axis.set_xlabel("threshold, share of the map's maximum")
    axis.set_ylabel("boxes with IoU 0.5 or more with a true box, %")
    axis.legend(fontsize=8)
    return figure


def training_curves(rows: Sequence[Mapping[str, float]], epoch: int) -> Figure:
    """Draws loss, bound and accuracy over epochs.

    Args:
      rows: the rows of metrics.jsonl, at least one.
      epoch: the best epoch, which is marked.
    """
    panels = {
        "training loss, nats": ("train_loss", 1),
        "bound on the validation split, nats": ("validation_mutual_information", 1),
        "accuracy on the validation split, %": ("validation_accuracy", 100),
    }
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    x = [row["epoch"] for row in rows]
    for index, (axis, (title, (name, scale))) in enumerate(
        zip(figure.subplots(1, len(panels)), panels.items(), strict=True)
    ):
        values = [
            np.nan if row.get(name) is None else scale * row[name] for row in rows
        ]
        marker = "o" if len(x) < 30 else ""
        axis.plot(x, values, color=COLORS[index], marker=marker, markersize=3)
        axis.axvline(epoch, color="0.5", linestyle="dotted", linewidth=1)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(f"epoch; dotted: the best, {epoch}")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    return figure


def _single(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.set_title(plain(title), fontsize=10)
    axis.grid(alpha=0.3)
    return figure, axis
