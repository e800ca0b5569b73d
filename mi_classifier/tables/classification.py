"""The MNIST half of Table 3: classification by softmax and PC-softmax."""

from typing import Any

import numpy as np

from mi_classifier.evaluation.table import Table, mean_deviation
from mi_classifier.tables import reruns

# Table 3: micro and macro accuracy in percent; softmax, PC-softmax.
PAPER_3 = {
    "balanced": {"micro": (97.95, 97.91), "macro": (97.95, 97.91)},
    "unbalanced": {"micro": (96.81, 96.86), "macro": (95.05, 96.30)},
}
LOSSES = ("softmax", "pc_softmax")
NAMES = {"softmax": "softmax", "pc_softmax": "PC-softmax"}


def table_3(options: reruns.Options) -> tuple[list[Table], dict[str, Any]]:
    """Accuracy on balanced and unbalanced MNIST, softmax against PC-softmax."""
    keys = {
        options.root / classes / loss / f"seed{seed}": (classes, loss)
        for seed in range(options.seeds)
        for classes in PAPER_3
        for loss in LOSSES
    }
    figures = reruns.figures(
        {
            workdir: reruns.config(
                f"mnist.py:{classes},{loss}", reruns.seed_of(workdir), options
            )
            for workdir, (classes, loss) in keys.items()
        },
        options,
    )
    cells: dict[str, Any] = {}
    for workdir, (classes, loss) in keys.items():
        for split in ("authors_test", "test"):
            accuracy = figures[workdir]["splits"][split]["accuracy"]
            cells.setdefault(f"{classes},{loss},{split}", []).append(accuracy)
    rules = ("paper", "prior", "balanced")
    return [_classification_table(cells, rule) for rule in rules], cells


def _classification_table(cells: dict[str, Any], rule: str) -> Table:
    from scipy import stats

    titles = {
        "paper": "argmax n(x), the paper's rule",
        "prior": "the prior rule for both losses",
        "balanced": "the balanced rule for both losses",
    }
    rows = []
    for classes, paper in PAPER_3.items():
        for split, title in {"authors_test": "authors'", "test": "standard"}.items():
            for kind in ("micro", "macro"):
                values = [
                    np.array([100 * _by_rule(run, rule)[kind] for run in runs])
                    for runs in (cells[f"{classes},{loss},{split}"] for loss in LOSSES)
                ]
                p = stats.mannwhitneyu(*values, alternative="two-sided").pvalue
                row = [classes, title, kind]
                row += [mean_deviation(v, ".2f") for v in values]
                row.append(f"{p:.4f}{'*' if p < 0.05 else ' '}")
                shown = rule == "paper" and split == "authors_test"
                published = "/".join(f"{v:.2f}" for v in paper[kind])
                rows.append([*row, published if shown else ""])
    note = (
        f"{len(values[0])} seeds; ± the standard deviation over seeds; p of the "
        "two-sided Mann-Whitney U test between the losses, * below 0.05."
    )
    return Table(
        f"Table 3, MNIST: accuracy in percent by {titles[rule]}",
        ("classes", "test set", "", "softmax", "PC-softmax", "p", "paper's"),
        rows,
        (note,),
    )


def _by_rule(accuracy: dict[str, Any], rule: str) -> dict[str, float]:
    return accuracy[accuracy["paper_rule"] if rule == "paper" else rule]
