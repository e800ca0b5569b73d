"""Write columns as CSV, such as predictions.csv with a row for each example."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mi_classifier.text import guarded


def to_csv(columns: Mapping[str, Sequence[Any]]) -> str:
    r"""Return columns as CSV; float32 numbers read back as the same bits.

    Examples:
      >>> to_csv({"row": [0, 1], "pmi_nats": [0.5, None]})
      'row,pmi_nats\n0,0.5\n1,\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(guarded, columns))
    for row in zip(*columns.values(), strict=True):
        writer.writerow(map(_cell, row))
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return f"{value:.9g}"
    if value is None:
        return ""
    return guarded(value) if isinstance(value, str) else value
