"""Several evaluated workdirs side by side."""

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier.evaluation.results import Row
from mi_classifier.reporting.summary import show
from mi_classifier.reporting.table import Table

_FEW = 8  # differing fields that get a row
_FIRST = (  # fields that are shown before others
    "data.name",
    "loss",
    "model.name",
    "pretrained",
    "num_epochs",
    "batch_size",
    "optimizer.learning_rate",
    "seed",
)


class Compared(NamedTuple):
    """A run in a comparison."""

    workdir: Path
    config: ConfigDict  # of its training
    rows: Sequence[Row]  # of its results


def comparison(runs: Sequence[Compared]) -> Table:
    """Return a table of how runs differ, and of their results.

    Args:
      runs: the runs to compare, at least one; each has a column.

    Returns:
      A row for each of the first eight fields of the config that differ, and then for
      each result of any run. A note names further fields that differ.
    """
    flat = [configs.flatten(run.config) for run in runs]
    others = {field for values in flat for field in values} - {*_FIRST}
    fields = {
        field: [values.get(field, "") for values in flat]
        for field in (*_FIRST, *sorted(others))
    }
    differing = [k for k, values in fields.items() if len({*map(repr, values)}) > 1]
    rows = [(field, *map(str, fields[field])) for field in differing[:_FEW]]
    columns = [by_path(run.rows) for run in runs]
    order = {path: n for n, path in enumerate(dict.fromkeys(itertools.chain(*columns)))}
    # A row of one run alone still stands below the row that it details.
    paths = sorted(order, key=lambda p: [order[p[:n]] for n in range(1, len(p) + 1)])
    rows += [
        (path[-1], *(column.get(path, "") for column in columns)) for path in paths
    ]
    notes = ["test split; ± one standard error; boxes count from an IoU of 0.5"]
    if len(differing) > _FEW:
        notes.append(f"The runs also differ in {', '.join(differing[_FEW:])}.")
    folders = [run.workdir.absolute() for run in runs]
    parent = Path(os.path.commonpath([folder.parent for folder in folders]))
    heads = [str(folder.relative_to(parent)) for folder in folders]
    return Table(f"runs in {parent}", ("", *heads), rows, notes)


def by_path(rows: Sequence[Row]) -> Mapping[tuple[str, ...], str]:
    """Return the text of each row, by its title after those of the rows it details."""
    texts, path = {}, ()
    for row in rows:
        depth = (len(row.title) - len(row.title.lstrip())) // 2
        path = (*path[:depth], row.title)
        texts[path] = show(row)
    return texts
