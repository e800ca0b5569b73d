"""Mutual information of real images with labels of known noise; not in the paper."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mi_classifier.reporting.table import Table, column, mean_deviation
from mi_classifier.tables import reruns

FLIPS = (0.0, 0.1, 0.3, 0.5, 0.7)


def table_channel(options: reruns.Options) -> tuple[list[Table], dict[str, Any]]:
    """Mutual information of MNIST images and labels of known noise."""
    from mi_classifier.reporting import figures

    configs_of = {}
    for seed in range(options.seeds):
        for flip in FLIPS:
            config = reruns.config("mnist_channel", seed, options)
            config.data.update(flip_probability=flip, seed=seed)
            configs_of[options.root / f"flip{flip:g}" / f"seed{seed}"] = config
    cells: dict[str, Any] = {}
    for flip, of_flip in reruns.gather(configs_of, _name_of, options).items():
        for run in of_flip:
            test = run.results["splits"]["test"]["information"]
            cells.setdefault(flip, []).append(
                {
                    "truth": run.results["true_mutual_information"],
                    "label_entropy": test["label_entropy"],
                    **test["mutual_information"],
                }
            )
    rows = []
    for flip, runs in cells.items():
        truth, ours = column(runs, "truth"), column(runs, "nats")
        entropy, error = column(runs, "label_entropy"), column(runs, "standard_error")
        row = [flip, f"{entropy.mean():.4f}", f"{truth.mean():.4f}"]
        row += [mean_deviation(ours, ".4f"), f"{error.mean():.4f}"]
        rows.append([*row, f"{(ours - truth).mean():+.4f}"])
    seeds = min(map(len, cells.values()))
    values = {
        name: np.stack([column(runs, key)[:seeds] for runs in cells.values()], 1)
        for name, key in (("truth", "truth"), ("ours", "nats"))
    }
    flips = [float(flip) for flip in cells]
    figure = figures.curves({"MNIST through a noise channel": values}, flips, "P(flip)")
    figures.save(figure, options.root.with_name("channel.png"))
    columns = (
        "P(flip)",
        "H(Y')",
        "closed form",
        "ours",
        "standard error",
        "difference",
    )
    title = "MNIST labels through a symmetric channel: I(X; Y') in nats, test set"
    return [Table(title, columns, rows)], cells


def _name_of(config: ConfigDict) -> str:
    return f"{config.data.flip_probability:g}"
