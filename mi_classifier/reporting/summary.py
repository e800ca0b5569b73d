"""The tables of an evaluation, for the terminal and for the report."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from mi_classifier.activation_maps import MAPS
from mi_classifier.evaluation.evaluators.ablation import AblationResult, SettingAccuracy
from mi_classifier.evaluation.evaluators.localization import LocalizationResult
from mi_classifier.evaluation.results import Results, Row
from mi_classifier.reporting.table import Table, percent

_MOST_CLASSES = 20  # classes that get a row
# The rows of Table 8: the map, and whether it uses the region.
TABLE_8 = {
    "neither": ("cam", False),
    "subtraction": ("info_cam", False),
    "region": ("cam", True),
    "both": ("info_cam", True),
}
# Columns of the localization table: fields of a `MapAccuracy`, and their headings.
_LOCALIZATION = {
    "gt_known": "GT-known",
    "top1": "Top-1",
    "top5": "Top-5",
    "cell": "cell",
    "pointing": "pointing",
    "max_box_accuracy": "MaxBox",
    "max_box_accuracy_v2": "V2",
}
_COMPARED = ("gt_known", "top1", "max_box_accuracy")


@dataclasses.dataclass(frozen=True)
class Published:
    """The results that the paper reports for an experiment, in percent.

    Attributes:
      classification: top-1 and top-5 accuracy.
      maps: GT-known and Top-1 localization, by the map's name; a map may be missing.
      ablation: GT-known and Top-1 localization, by the row of `TABLE_8`; a row may be
        missing.
    """

    classification: tuple[float, float]
    maps: Mapping[str, tuple[float, float]]
    ablation: Mapping[str, tuple[float, float]]


def evaluation_tables(
    results: Results, published: Published | None = None
) -> list[Table]:
    """Return the tables of an evaluation.

    Args:
      results: the results on every split.
      published: the paper's results, shown beside ours; None if there are none.

    Returns:
      A table with a column for each split; a table of the test split by class; and, if
      there are true boxes, a table of how well each map finds them.
    """
    located = [_localization(found, published) for found in _located(results)]
    return [_summary(results), _classes(results), *located]


def ablation_tables(
    results: Results, published: Published | None = None
) -> list[Table]:
    """Return the accuracy of each setting at each threshold, and Table 8."""
    ablation: AblationResult = results.splits["validation"]["ablation"]
    rows = []
    for name, row in ablation.settings.items():
        best = max(row.gt_known)
        cells = [f"{100 * v:.1f}{'*' if v == best else ' '}" for v in row.gt_known]
        rows.append((name, *cells, f"{100 * row.pointing:.1f}"))
    table = Table(
        f"{results.dataset}: GT-known localization on validation, IoU 0.5, %",
        ("threshold", *(f"{t:g}" for t in ablation.thresholds), "peak"),
        rows,
        ("* the best threshold of a row; peak: the map's peak is in a true box",),
    )
    return [table, _table_8(ablation, published.ablation if published else {})]


def ablation_cells(ablation: AblationResult) -> dict[str, dict[str, float]]:
    """Return GT-known and Top-1 localization in [0, 1] for each row of `TABLE_8`."""
    column = list(ablation.thresholds).index(ablation.threshold)
    rows: dict[tuple[str, int], SettingAccuracy] = {}
    for row in ablation.settings.values():  # the config's own setting comes first
        rows.setdefault((row.setting.map, row.setting.options.get("region")), row)
    cells = {}
    for key, (map_name, has_region) in TABLE_8.items():
        row = rows[map_name, ablation.region if has_region else 1]
        cells[key] = {"gt_known": row.gt_known[column], "top1": row.top1[column]}
    return cells


def compared_rows(results: Results) -> list[Row]:
    """Return the rows that a comparison of runs shows: those of the test split."""
    test = results.splits["test"]
    rows = [
        Row("examples", test.num_examples, unit="count"),
        Row("epoch", results.epoch, unit="count"),
        *test.rows(),
    ]
    for found in _located(results):
        for name, accuracy in found.maps.items():
            for field in _COMPARED:
                title = f"{MAPS[name].title}, {_LOCALIZATION[field]} %"
                rows.append(Row(title, getattr(accuracy, field), unit="percent"))
    return rows


def show(row: Row) -> str:
    """Return the text of a row's value: "1.3079 ± 0.0078", "87.80 / 87.75"."""
    if row.value is None:
        return ""
    if isinstance(row.value, (tuple, list)):
        return " / ".join(show(Row("", each, unit=row.unit)) for each in row.value)
    if row.unit == "percent":
        return percent(row.value)
    if row.unit == "count":
        return f"{row.value:,}"
    return f"{row.value:.4f}" + ("" if row.error is None else f" ± {row.error:.4f}")


def _located(results: Results) -> list[LocalizationResult]:
    """Return what the test split says of maps, if it has true boxes."""
    found = results.splits["test"].found.values()
    return [r for r in found if isinstance(r, LocalizationResult) and r.maps]


def _summary(results: Results) -> Table:
    notes = ["± one standard error; * argmax of the net's logits, as in the paper"]
    bound = results.splits["test"]["information"].mutual_information
    if bound.nats < 0:
        notes.append(
            "The bound is negative: this net predicts worse than class frequencies "
            "alone; train it longer, with a lower optimizer.learning_rate, or from "
            "pretrained weights."
        )
    splits = results.splits
    heads = [f"{name}\n{split.num_examples:,}" for name, split in splits.items()]
    rows = [
        (f"{row[0].title}{' *' if row[0].starred else ''}", *map(show, row))
        for row in zip(*(split.rows() for split in splits.values()), strict=True)
    ]
    title = f"{results.dataset}: {results.loss}, epoch {results.epoch}"
    return Table(title, ("", *heads), rows, notes)


def _classes(results: Results) -> Table:
    columns, names = results.splits["test"].by_class(), results.class_names
    shown = np.arange(len(names))
    title = "test accuracy by class, %"
    if len(names) > _MOST_CLASSES:
        shares = [column.values for column in columns if column.unit == "percent"]
        lowest = np.stack(shares, -1).min(-1)
        shown = np.argsort(lowest, kind="stable")[:_MOST_CLASSES]
        title += f", the {_MOST_CLASSES} lowest of {len(names)}"
    cells = [[names[i] for i in shown]]
    for c in columns:
        errors = [None] * len(names) if c.errors is None else c.errors
        cells.append([show(Row("", c.values[i], errors[i], c.unit)) for i in shown])
    heads = ("class", *(column.title for column in columns))
    return Table(title, heads, list(zip(*cells, strict=True)))


def _localization(found: LocalizationResult, published: Published | None) -> Table:
    """Return the rows of Tables 4, 6 and 7, with further measures beside them."""
    first = next(iter(found.maps.values()))
    known = [name for name in _LOCALIZATION if getattr(first, name) is not None]
    notes = [f"boxes at threshold {found.threshold:g}; found if IoU is 0.5 or more"]
    if "cell" in known:
        notes.append("cell: the digit's half of the image, at the best threshold")
    if "top5" in found.classification:
        ours = " / ".join(map(percent, found.classification.values()))
        notes.append(f"classification, top-1 / top-5: {ours}")
        if published:
            notes[-1] += ", paper's {:.2f} / {:.2f}".format(*published.classification)
    rows = []
    for name, accuracy in found.maps.items():
        cells = (percent(getattr(accuracy, field)) for field in known)
        rows.append((MAPS[name].title, *cells))
        if published and name in published.maps:  # GT-known and Top-1
            theirs = [f"{value:.2f}" for value in published.maps[name]]
            blank = [""] * (len(known) - len(theirs))
            rows.append(("  paper's", *theirs, *blank))
    counted = "labels"
    if found.num_labels < found.num_images:  # some images have no true box
        counted = f"of {found.num_images:,} images"
    title = f"test localization of {found.num_labels:,} {counted}, %"
    heads = ("map", *(_LOCALIZATION[name] for name in known))
    return Table(title, heads, rows, ("; ".join(notes),))


def _table_8(
    ablation: AblationResult, theirs: Mapping[str, tuple[float, float]]
) -> Table:
    """Return what the region and the subtraction add, alone and together."""
    rows = []
    for key, cells in ablation_cells(ablation).items():
        map_name, has_region = TABLE_8[key]
        row = [str(ablation.region if has_region else 1)]
        row += ["no" if map_name == "cam" else "yes", *map(percent, cells.values())]
        if theirs:  # Table 8 has no row for both
            row += [f"{value:.2f}" for value in theirs.get(key, ())] or ["", ""]
        rows.append(row)
    heads = ("R", "subtraction", "GT-known", "Top-1", "paper's GT-known", "Top-1")
    title = f"region R and subtraction, boxes at threshold {ablation.threshold:g}, %"
    return Table(title, heads if theirs else heads[:4], rows)
