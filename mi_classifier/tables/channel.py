"""Mutual information of real images with labels of known noise; not in the paper."""

from typing import Any

import numpy as np

from mi_classifier.reporting.table import Table, mean_deviation
from mi_classifier.tables.reruns import Cell, Options, gather, numbers

FLIPS = (0.0, 0.1, 0.3, 0.5, 0.7)


def table_channel(options: Options) -> tuple[list[Table], dict[str, Any]]:
    """Return the mutual information of MNIST images and labels of known noise."""
    from mi_classifier.reporting import figures

    wanted = {
        f"flip{flip:g}": Cell("mnist_channel", {"data.flip_probability": flip}, True)
        for flip in FLIPS
    }
    cells, rows = {}, []
    found = gather(wanted, lambda config: f"{config.data.flip_probability:g}", options)
    for flip, runs in found.items():
        cells[flip] = [
            {
                "truth": run.results["true_mutual_information"],
                "label_entropy": run.test["information"]["label_entropy"],
                **run.test["information"]["mutual_information"],
            }
            for run in runs
        ]
        truth, ours, entropy, error = (
            numbers(cells[flip], name)
            for name in ("truth", "nats", "label_entropy", "standard_error")
        )
        row = [flip, f"{entropy.mean():.4f}", f"{truth.mean():.4f}"]
        row += [mean_deviation(ours, ".4f"), f"{error.mean():.4f}"]
        rows.append([*row, f"{(ours - truth).mean():+.4f}"])
    seeds = min(map(len, cells.values()))
    values = {
        title: np.stack([numbers(runs, name)[:seeds] for runs in cells.values()], 1)
        for title, name in (("truth", "truth"), ("ours", "nats"))
    }
    flips = [float(flip) for flip in cells]
    with figures.in_default_style():
        panels = {"MNIST through a noise channel": values}
        figure = figures.curves(panels, flips, "P(flip)")
        figures.save(figure, options.root.with_name("channel.png"))
    title = "MNIST labels through a symmetric channel: I(X; Y') in nats, test set"
    heads = ("P(flip)", "H(Y')", "closed form", "ours", "standard error", "difference")
    return [Table(title, heads, rows)], cells
