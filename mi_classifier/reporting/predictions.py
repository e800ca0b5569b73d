"""predictions.csv: what the net says of each example."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mi_classifier.data import Dataset
from mi_classifier.evaluation.evaluators import Evaluator
from mi_classifier.evaluation.multi_label import join_names


def collect(
    dataset: Dataset,
    evaluators: Sequence[Evaluator],
    name: str,
    measures: Mapping[str, Any],
) -> dict[str, Sequence[Any]]:
    """Returns the columns of a split's table, N values each.

    First the row, counted from 0, the name of its "image" where it has one, and its
    "label"; then what each evaluator says. None is what is not known.
    """
    split = dataset.splits[name]
    labels = split["label"]
    columns: dict[str, Sequence[Any]] = {"row": range(len(labels))}
    if name in dataset.image_names:
        columns["image"] = dataset.image_names[name]
    if dataset.multi_label:
        columns["label"] = join_names(labels, dataset.class_names)
    else:
        columns["label"] = np.asarray(dataset.class_names)[labels]
    for evaluator in evaluators:
        columns |= evaluator.columns(
            measures[evaluator.name], split, dataset.class_names
        )
    return columns


def to_csv(columns: Mapping[str, Sequence[Any]]) -> str:
    """Returns columns as CSV; numbers can be read back to float32's last bit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(map(_cell, row))
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return f"{value:.9g}"
    return "" if value is None else value
