"""Figures of a cross-fit: columns by information, rows by PMI, and calibration."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mi_classifier.reporting.cross_fit_results import Column, ConfidenceBin
from mi_classifier.reporting.figures import COLORS, plain
from mi_classifier.text import shown

_MOST_COLUMNS = 30  # that get a bar
_MARGIN = 1.96  # standard errors on each side of a 95% confidence interval


def columns_by_information(columns: Sequence[Column]) -> Figure:
    """Draw what each column tells alone, and what is lost without it, as bars."""
    drawn = columns[:_MOST_COLUMNS]
    figure, axis = _panel(8.0, 1.2 + 0.34 * len(drawn))
    places = np.arange(len(drawn))
    bars = (
        ("alone", [c.alone for c in drawn], [c.alone_error for c in drawn]),
        ("lost without it", [c.lost for c in drawn], [c.lost_error for c in drawn]),
    )
    for index, (label, nats, errors) in enumerate(bars):
        style = {"color": COLORS[index], "error_kw": {"linewidth": 1, "capsize": 2}}
        axis.barh(
            places + 0.38 * index - 0.19,
            nats,
            0.36,
            xerr=_MARGIN * np.asarray(errors),
            label=label,
            **style,
        )
    axis.set_yticks(places, [plain(shown(c.name)) for c in drawn], fontsize=8)
    axis.set_ylim(len(drawn) - 0.5, -0.5)  # the most telling on top
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_xlabel("mutual information with the label, nats; 95% intervals")
    axis.legend(fontsize=8, loc="lower right")
    if more := len(columns) - len(drawn):
        axis.set_title(f"the first {len(drawn)} columns of {len(drawn) + more:,}")
    return figure


def rows_by_pmi(pmi: np.ndarray, listed: Sequence[float]) -> Figure:
    """Draw a histogram of `pmi` `[N]`, and mark its mean and some listed values."""
    figure, axis = _panel(8.0, 3.6)
    low, high = float(pmi.min()), float(pmi.max())
    if high - low < 1e-9:  # all equal, as where nothing is to be learned
        low, high = low - 0.5, high + 0.5
    axis.hist(pmi, 60, range=(low, high), color=COLORS[0])
    axis.set_yscale("log")
    axis.axvline(0, color="black", linewidth=0.8)
    mean = float(pmi.mean())
    style = {"color": COLORS[1], "linestyle": "dashed", "label": f"mean {mean:.4f}"}
    axis.axvline(mean, **style)
    if len(listed):
        foot = axis.get_xaxis_transform()  # heights are shares of the axis
        style = {"color": COLORS[3], "marker": "^", "linestyle": "none"}
        style |= {"markeredgecolor": "black", "markersize": 7}
        heights = np.full(len(listed), 0.03)
        axis.plot(listed, heights, transform=foot, label="listed below", **style)
    axis.set_xlabel("pointwise mutual information of a row, nats")
    axis.set_ylabel("rows")
    axis.legend(loc="upper left", fontsize=8)
    return figure


def calibration(bins: Sequence[ConfidenceBin]) -> Figure:
    """Draw the share of right predictions against their probability, above counts."""
    figure = Figure(figsize=(5.6, 5.0), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color="black", linewidth=1, label="as predicted")
    x = np.array([row.probability for row in bins])
    y = np.array([row.observed for row in bins])
    margins = np.abs(np.array([row.interval for row in bins]).T - y)
    style = {"color": COLORS[0], "marker": "o", "linestyle": "none", "capsize": 3}
    above.errorbar(x, y, margins, label="observed, 95% interval", **style)
    above.set_ylabel("share of right predictions")
    above.set_ylim(-0.03, 1.03)
    above.grid(alpha=0.3)
    above.legend(loc="upper left", fontsize=8)
    counts = [row.rows for row in bins]
    bars = below.bar((np.floor(x * 10).clip(max=9) + 0.5) / 10, counts, 0.09)
    below.bar_label(bars, [f"{count:,}" for count in counts], fontsize=7, padding=1)
    below.margins(y=0.25)
    below.set(ylabel="rows", xlabel="probability of the predicted label", xlim=(0, 1))
    return figure


def _panel(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axis = figure.subplots()
    axis.grid(alpha=0.3)
    axis.set_axisbelow(True)
    return figure, axis
