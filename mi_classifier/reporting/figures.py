"""Figures of numbers, with colors that color-blind readers can tell apart."""

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from mi_classifier.evaluation.evaluators.calibration import Bin
from mi_classifier.storage.files import write_with

# The colors of Okabe & Ito (2008), which differ in gray, too; and a marker for each.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
_MOST_NAMED = 12  # classes that all get their name in a figure
_LONGEST = 24  # letters of a name in a figure
_ERROR_BARS = {"linestyle": "none", "capsize": 3, "linewidth": 1}


# Every drawing happens inside of it. Else a file "matplotlibrc" in the present folder
# decides, and may ask for LaTeX, which is a program.
in_default_style = functools.partial(style.context, "default")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; if that fails, an older file stays as it is."""
    with _all_scripts():
        write_with(path, lambda p: figure.savefig(p, format="png", dpi=150))


@contextlib.contextmanager
def _all_scripts() -> Iterator[None]:
    """Ignore that a name is in a script that the font lacks: it shows boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def plain(text: str) -> str:
    """Escape text so that Matplotlib shows it as it is, not as a formula."""
    return text.encode("utf-8", "replace").decode().replace("$", r"\$")


def principal_components(x: np.ndarray) -> np.ndarray:
    """Project `[N, D]` on its two directions of largest variance, `[N, 2]` (PCA)."""
    centered = x - x.mean(0, dtype=np.float64)
    directions = np.linalg.svd(centered, full_matrices=False)[2][:2]
    largest = np.abs(directions).argmax(1)
    signs = np.sign(np.take_along_axis(directions, largest[:, None], 1))
    projected = centered @ (directions * signs).T  # so the largest weight is positive
    return np.pad(projected, [(0, 0), (0, 2 - projected.shape[1])])


def mixture(
    samples: Mapping[str, tuple[np.ndarray, np.ndarray]], names: Sequence[str]
) -> Figure:
    """Draw labeled samples on their first two principal components (Figure 8).

    `samples` has inputs `[N, D]` and class indices `[N]` by the title of their panel;
    inputs of one dimension are drawn against their class.
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
            style = {"s": 6, "alpha": 0.6, "linewidths": 0, "label": plain(name)}
            axis.scatter(own[:, 0], height, **style, **_style(c))
        axis.set_title(plain(title), fontsize=9)
        axis.set_xlabel("x" if single else "first component", fontsize=8)
        axis.set_ylabel("class" if single else "second component", fontsize=8)
        axis.tick_params(labelsize=7)
    place = {"loc": "outside lower center", "ncols": len(names), "fontsize": 8}
    figure.legend(*axes[0].get_legend_handles_labels(), **place)
    return figure


def curves(
    panels: Mapping[str, Mapping[str, Any]], x: Sequence[float], xlabel: str
) -> Figure:
    """Draw estimates at positions `[X]` against the truth, a panel for each setting.

    A panel, by its title, has curves by name: values `[S, X]` of S seeds, drawn as
    their mean and range. The curve "truth" is drawn as a line.
    """
    figure, axes = _panels(panels, 4.2, 3.6)
    for axis, lines in zip(axes, panels.values(), strict=True):
        for index, (name, values) in enumerate(lines.items()):
            values = np.atleast_2d(values)
            mean = values.mean(0)
            if name == "truth":
                axis.plot(x, mean, color="black", linewidth=1, label=name, zorder=1)
                continue
            error = np.abs(np.stack([values.min(0), values.max(0)]) - mean)
            style = {"markersize": 5, "label": name, **_style(index)}
            axis.errorbar(x, mean, error, **_ERROR_BARS, **style)
        axis.set(xlabel=xlabel, ylabel="mutual information, nats")
        axis.legend(loc="best", fontsize=8)
    return figure


def reliability(bins: Sequence[Bin], title: str) -> Figure:
    """Draw the observed against the claimed PMI of at least one bin."""
    figure, (axis,) = _panels([title], 5.6, 4.2)
    values = np.array([dataclasses.astuple(row) for row in bins])
    claimed, observed, errors, _, labels = values.T
    ends = [min([*claimed, *observed]), max([*claimed, *observed])]
    axis.plot(ends, ends, color="black", linewidth=1, label="as claimed", zorder=1)
    style = {"color": COLORS[0], "label": "± two standard errors"}
    axis.errorbar(claimed, observed, 2 * errors, **_ERROR_BARS, **style)
    style = {"zorder": 3, "label": "observed; larger: more labels", **_style(0)}
    axis.scatter(claimed, observed, 12 + 120 * labels / labels.sum(), **style)
    axis.set_xlabel("pointwise mutual information claimed by the net, nats")
    axis.set_ylabel("observed, nats")
    axis.legend(loc="best", fontsize=8)
    return figure


def recall_by_frequency(
    frequencies: Sequence[float],
    recall: Mapping[str, np.ndarray],
    names: Sequence[str],
    title: str,
) -> Figure:
    """Draw recalls `[M]` by rule, NaN if unknown, against shares of training labels.

    Of more than 12 classes, only the three highest and lowest recalls get their name.
    """
    figure, (axis,) = _panels([title], 5.6, 4.2)
    x, first = 100 * np.asarray(frequencies), np.asarray(next(iter(recall.values())))
    low, high = x.min(), x.max()
    axis.set(xlabel="share of the training labels, %")
    order = np.argsort(-first, kind="stable")  # NaN comes last
    if high < 1.01 * low:  # equal frequencies: order the classes by recall instead
        x = np.argsort(order)
        axis.set(xlabel=f"classes by recall, each {low:.3g}% of the training labels")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    elif low > 0 and high > 3 * low:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.set_xlim(0, 1.2 * high)
    for index, (name, values) in enumerate(recall.items()):
        color, marker = COLORS[index], MARKERS[index]
        face = "none" if index else color  # shows both where equal
        style = {"s": 22, "facecolors": face, "edgecolors": color, "marker": marker}
        label = f"{name}, mean {100 * np.nanmean(values):.2f}"
        axis.scatter(x, 100 * np.asarray(values, np.float64), label=label, **style)
    order = order[np.isfinite(first[order])]
    named = order if len(order) <= _MOST_NAMED else [*order[:3], *order[-3:]]
    points = [(x[i], 100 * first[i]) for i in named]
    _name_points(axis, [_short(names[i]) for i in named], points)
    axis.set_ylabel("recall on the test split, %")
    axis.legend(loc="best", fontsize=8)
    return figure


def threshold_curves(
    accuracies: Mapping[str, np.ndarray], thresholds: Sequence[float], title: str
) -> Figure:
    """Draw the localization accuracy `[T]` of each map, by title, over thresholds."""
    figure, (axis,) = _panels([title], 5.6, 4.2)
    for index, (name, values) in enumerate(accuracies.items()):
        best = int(np.argmax(values))
        label = f"{name}: {100 * values[best]:.1f}% at {thresholds[best]:.2f}"
        style = {"markevery": [best], "markersize": 7, **_style(index)}
        axis.plot(thresholds, 100 * values, label=label, **style)
    axis.set_xlabel("threshold, share of the map's maximum")
    axis.set_ylabel("boxes with IoU 0.5 or more with a true box, %")
    axis.legend(loc="best", fontsize=8)
    return figure


def training_curves(rows: Sequence[Mapping[str, float]], epoch: int) -> Figure:
    """Draw losses, accuracies and bound from metrics.jsonl, and mark the best epoch.

    The accuracy on training batches, "train_accuracy" in [0, 1], is drawn if known.
    """
    panels = {
        "loss, nats": ("loss", 1),
        "accuracy, %": ("accuracy", 100),
        "bound on the mutual information, nats": ("mutual_information", 1),
    }
    figure, axes = _panels(panels, 4, 3.4)
    x = [row["epoch"] for row in rows]
    marker = "o" if len(x) < 30 else ""
    for axis, (name, scale) in zip(axes, panels.values(), strict=True):
        for index, split in enumerate(("train", "validation")):
            values = np.array([row.get(f"{split}_{name}") for row in rows], np.float64)
            if np.isfinite(values).any():
                style = {"color": COLORS[index], "marker": marker, "markersize": 3}
                label = {"train": "training"}.get(split, split)
                axis.plot(x, scale * values, label=label, **style)
        axis.axvline(epoch, color="0.5", linestyle="dotted", linewidth=1)
        axis.set_xlabel(f"epoch; dotted: the best, {epoch}")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc="best", fontsize=8)
    return figure


def _panels(
    titles: Collection[str], width: float, height: float
) -> tuple[Figure, np.ndarray]:
    """Return a figure with a panel for each title, of a size in inches, in a row."""
    figure = Figure(figsize=(width * len(titles), height), layout="constrained")
    axes = figure.subplots(1, len(titles), squeeze=False)[0]
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(plain(title), fontsize=10)
        axis.grid(alpha=0.3)
    return figure, axes


def _short(name: str) -> str:
    return plain(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}...")


def _name_points(
    axis: Axes, names: Sequence[str], points: Sequence[tuple[float, float]]
) -> None:
    """Write a name beside each point, moved up or down where it would hide another."""
    axis.margins(0.08)
    axis.figure.draw_without_rendering()  # fixes where everything is
    middle = axis.bbox.x0 + axis.bbox.width / 2
    taken = []
    for name, point in zip(names, points, strict=True):
        side = -1 if axis.transData.transform(point)[0] > middle else 1
        style = {"ha": "left" if side > 0 else "right", "va": "center", "fontsize": 7}
        note = axis.annotate(name, point, (0, 0), textcoords="offset points", **style)
        for step in range(2 * _MOST_NAMED):
            # Try the point's own height first, then below it, above it, and so on.
            lines = (step + 1) // 2 * (-1 if step % 2 else 1)
            note.set_position((6 * side, 9 * lines))
            with _all_scripts():
                box = note.get_window_extent()
            free = not any(box.overlaps(other) for other in taken)
            if free and axis.bbox.y0 < box.y0 and box.y1 < axis.bbox.y1:
                break
        taken.append(box)


def _style(index: int) -> dict[str, str]:
    index %= len(COLORS)
    return {"color": COLORS[index], "marker": MARKERS[index]}
