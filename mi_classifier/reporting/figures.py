"""Figures: colors that the color-blind tell apart, titles, units, readable in print."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from mi_classifier.evaluation.evaluators.calibration import Bin
from mi_classifier.storage.files import write_with

# Okabe & Ito (2008), told apart by the color-blind and in gray; and a marker for each.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, whole or not at all.

    Raises:
      UserError: the folder cannot be written to.
    """
    with warnings.catch_warnings():
        # Names may be in any script; what the font lacks becomes a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        write_with(path, lambda p: figure.savefig(p, format="png", dpi=150))


def plain(text: str) -> str:
    """Returns text that Matplotlib shows as it is: no formulas, nothing but Unicode."""
    return text.encode("utf-8", "replace").decode().replace("$", r"\$")


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


def reliability(bins: Sequence[Bin], title: str) -> Figure:
    """Draws claimed against observed pointwise mutual information.

    Args:
      bins: of `calibration.reliability`.
      title: above it.
    """
    figure, axis = _single(title)
    claimed, observed, errors, labels = (
        np.array([getattr(row, name) for row in bins])
        for name in ("claimed", "observed", "standard_error", "labels")
    )
    ends = [min([*claimed, *observed]), max([*claimed, *observed])]
    axis.plot(ends, ends, color="black", linewidth=1, label="as claimed", zorder=1)
    axis.errorbar(
        claimed,
        observed,
        2 * errors,
        linestyle="none",
        color=COLORS[0],
        capsize=3,
        linewidth=1,
        label="± two standard errors",
    )
    axis.scatter(
        claimed,
        observed,
        s=12 + 120 * labels / labels.sum(),
        color=COLORS[0],
        label="observed; larger: more labels",
        zorder=3,
    )
    axis.set_xlabel("pointwise mutual information, claimed, nats")
    axis.set_ylabel("observed, nats")
    axis.legend(fontsize=8)
    return figure


def recall_by_frequency(
    frequencies: Sequence[float], recall: Mapping[str, np.ndarray], title: str
) -> Figure:
    """Draws the recall of each class against how frequent it is in training.

    Args:
      frequencies: `[M]`, shares of the training labels.
      recall: by decision rule, `[M]`; NaN for a class without examples.
      title: above it.
    """
    figure, axis = _single(title)
    x = 100 * np.asarray(frequencies)
    low, high = x.min(), x.max()
    axis.set_xlabel("share of the training labels, %")
    if high < 1.01 * low:  # all alike: nothing to be seen against it
        x = np.argsort(np.argsort(-next(iter(recall.values())), kind="stable"))
        axis.set_xlabel(f"class, of {low:.3g}% of the training labels, by recall")
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
            facecolors="none" if index else COLORS[index],  # both are seen where equal
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
      accuracies: by map, `[T]`.
      thresholds: `[T]`.
      title: above it.
    """
    figure, axis = _single(title)
    for index, (name, values) in enumerate(accuracies.items()):
        best = int(np.argmax(values))
        style = {"color": COLORS[index], "marker": MARKERS[index]}
        label = f"{name}: {100 * values[best]:.1f}% at {thresholds[best]:.2f}"
        axis.plot(
            thresholds,
            100 * values,
            markevery=[best],
            markersize=7,
            label=label,
            **style,
        )
    axis.set_xlabel("threshold, share of the map's maximum")
    axis.set_ylabel("boxes that meet a true one at IoU 0.5, %")
    axis.legend(fontsize=8)
    return figure


def training_curves(rows: Sequence[Mapping[str, float]], epoch: int) -> Figure:
    """Draws loss, bound and accuracy over epochs.

    Args:
      rows: of metrics.jsonl, one at least.
      epoch: the best, which is marked.
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
        few = "o" if len(x) < 30 else ""
        axis.plot(x, values, color=COLORS[index], marker=few, markersize=3)
        axis.axvline(epoch, color="0.5", linestyle="dotted", linewidth=1)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(f"epoch; dotted: {epoch}, the best")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    return figure


def _single(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.set_title(plain(title), fontsize=10)
    axis.grid(alpha=0.3)
    return figure, axis


@dataclasses.dataclass(frozen=True)
class Localized:
    """An image, and where a label of it is said to be.

    Attributes:
      image: uint8 `[H, W, C]`, C 1 or 3.
      title: what is looked for.
      true_boxes: `[G, 4]`.
      found: by the map's title, the map in [0, 1] `[H, W]` and its box `[4]`.
    """

    image: np.ndarray
    title: str
    true_boxes: np.ndarray
    found: Mapping[str, tuple[np.ndarray, np.ndarray]]


def localization(rows: Sequence[Localized], title: str) -> Figure:
    """Draws images with true and found boxes, brighter where a map is higher.

    Args:
      rows: at least one; the same maps in each.
      title: above all.
    """
    columns = 1 + len(rows[0].found)
    height, width = rows[0].image.shape[:2]
    row_height = max(2.2 * height / width, 1.1)
    figure = Figure(
        figsize=(2.2 * columns, row_height * len(rows) + 0.9), layout="constrained"
    )
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, line in zip(rows, axes, strict=True):
        gray = row.image[..., 0] if row.image.shape[-1] == 1 else row.image
        style = {"cmap": "gray", "vmin": 0, "vmax": 255}
        line[0].imshow(gray, **style)
        line[0].set_ylabel(plain(row.title), fontsize=8)
        line[0].set_title("image", fontsize=9)
        _draw_boxes(line[0], row.true_boxes, COLORS[1], "true box", "dashed")
        for axis, (name, (scores, box)) in zip(
            line[1:], row.found.items(), strict=True
        ):
            axis.imshow(gray, **style)
            axis.imshow(scores, cmap="viridis", vmin=0, vmax=1, alpha=0.55)
            axis.set_title(plain(name), fontsize=9)
            _draw_boxes(axis, row.true_boxes, COLORS[1], "true box", "dashed")
            _draw_boxes(axis, box[None], "white", "found box", "solid")
        for axis in line:
            axis.set(xticks=[], yticks=[])
    handles, labels = axes[0, -1].get_legend_handles_labels()
    by_name = dict(zip(labels, handles, strict=True))
    figure.legend(
        by_name.values(),
        by_name.keys(),
        loc="outside lower center",
        ncols=2,
        fontsize=8,
        facecolor="0.6",
    )
    figure.suptitle(plain(title), fontsize=10)
    return figure


def _draw_boxes(
    axis: Axes, boxes: np.ndarray, color: str, label: str, line: str
) -> None:
    for x0, y0, x1, y1 in boxes:
        corner = (x0 - 0.5, y0 - 0.5)  # a pixel is drawn around its number
        axis.add_patch(
            Rectangle(
                corner,
                x1 - x0,
                y1 - y0,
                fill=False,
                edgecolor=color,
                linewidth=1.5,
                linestyle=line,
                label=label,
                clip_on=False,  # a box of the whole image is seen, too
            )
        )
