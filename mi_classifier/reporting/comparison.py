"""Several evaluated workdirs side by side."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier.evaluation.results import Row
from mi_classifier.reporting.summary import show
from mi_classifier.reporting.table import Table

_FEW = 8  # differing fields that are shown
_FIRST = (  # before others
    "data.name",
    "loss",
    "model.name",
    "pretrained",
    "num_epochs",
    "batch_size",
    "optimizer.learning_rate",
    "seed",
)


@dataclasses.dataclass(frozen=True)
class Compared:
    """A run in a comparison.

    Attributes:
      workdir: that holds it.
      config: it was trained by.
      rows: what is shown of it.
    """

    workdir: Path
    config: ConfigDict
    rows: Sequence[Row]


def comparison(runs: Sequence[Compared]) -> Table:
    """Returns a table with a column for each run: how they differ, and their results."""
    flat = [configs.flatten(run.config) for run in runs]
    fields = {field for values in flat for field in values}
    differing = [
        field
        for field in [*_FIRST, *sorted(fields - {*_FIRST})]
        if len({repr(values.get(field, "")) for values in flat}) > 1
    ]
    rows = [
        (field, *(str(values.get(field, "")) for values in flat))
        for field in differing[:_FEW]
    ]
    columns = [_by_title(run.rows) for run in runs]
    titles = {title: None for column in columns for title in column}  # in their order
    rows += [
        (title, *(column.get(title, "") for column in columns)) for title in titles
    ]
    notes = ["test split; ± one standard error"]
    if any("GT-known" in title for title in titles):
        notes[0] += "; boxes meet a true one at IoU 0.5"
    if len(differing) > _FEW:
        notes.append(f"they also differ in {', '.join(differing[_FEW:])}")
    folders = [run.workdir.absolute() for run in runs]
    parent = Path(os.path.commonpath([folder.parent for folder in folders]))
    heads = [str(folder.relative_to(parent)) for folder in folders]
    return Table(f"runs in {parent}", ("", *heads), rows, notes)


def _by_title(rows: Sequence[Row]) -> Mapping[str, str]:
    """Returns the texts of rows, each by its title and that of the row it details."""
    texts, above = {}, ""
    for row in rows:
        if not row.title.startswith("    "):
            above = row.title
            title = row.title
        else:
            title = f"{above}, {row.title.strip()}"
        texts[title] = show(row)
    return texts
