"""The tables of an evaluation, for the terminal and for the report."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mi_classifier.activation_maps import MAPS
from mi_classifier.evaluation.evaluators.ablation import AblationResult, SettingAccuracy
from mi_classifier.evaluation.evaluators.localization import LocalizationResult
from mi_classifier.evaluation.results import Results, Row
from mi_classifier.evaluation.trivial import TrivialAccuracy
from mi_classifier.reporting.confusion import confusion_tables
from mi_classifier.reporting.table import Table, percent

_MOST_CLASSES = 20  # classes that get a row


class Parts(NamedTuple):
    """A row of Table 8: a map, and which parts of infoCAM it has."""

    map: str  # a key of `activation_maps.MAPS`
    region: bool
    subtraction: bool

    @property
    def title(self) -> str:
        """The name of the map; infoCAM by itself has the region."""
        alone = self.subtraction and not self.region
        return f"{MAPS[self.map].title}{', R = 1' if alone else ''}"


TABLE_8 = {
    "neither": Parts("cam", region=False, subtraction=False),
    "subtraction": Parts("info_cam", region=False, subtraction=True),
    "region": Parts("cam_region", region=True, subtraction=False),
    "both": Parts("info_cam", region=True, subtraction=True),
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
    protocol: str = ""  # how the paper's results were measured differently


def evaluation_tables(
    results: Results, published: Published | None = None
) -> list[Table]:
    """Return the tables of an evaluation.

    Args:
      results: the results on every split.
      published: the paper's results, shown beside ours; None if there are none.

    Returns:
      A table with a column for each split; a table of the test split by class; if there
      are errors, a table of the classes confused most; and, if there are true boxes, a
      table of how well each map finds them.
    """
    located = [_localization(found, published) for found in _located(results)]
    confused = confusion_tables(results)
    return [_summary(results), _classes(results), *confused, *located]


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
    trivial = {  # without what has only a curve
        name: each
        for name, each in ablation.trivial.items()
        if each.gt_known is not None or each.pointing is not None
    }
    for each in trivial.values():
        values = each.gt_known, each.pointing
        box, peak = ("" if v is None else f"{100 * v:.1f}" for v in values)
        cells = [f"{box} " if box else ""] * len(ablation.thresholds)
        rows.append((each.title, *cells, peak))
    table = Table(
        f"{results.dataset}: GT-known localization on validation, IoU 0.5, %",
        ("threshold", *(f"{t:g}" for t in ablation.thresholds), "peak"),
        rows,
        [
            "* the best threshold of a row; peak: the map's peak is in a true box",
            *_trivial_note(trivial),
            *ablation.warnings,
        ],
    )
    return [table, _table_8(ablation, published.ablation if published else {})]


def ablation_cells(ablation: AblationResult) -> dict[str, dict[str, float]]:
    """Return GT-known and Top-1 localization in [0, 1] for each row of `TABLE_8`.

    Rows of the trivial boxes follow, by their name.
    """
    column = list(ablation.thresholds).index(ablation.threshold)
    rows: dict[tuple[Any, int], SettingAccuracy] = {}
    for row in ablation.settings.values():  # the config's own setting comes first
        function = MAPS[row.setting.map].function
        rows.setdefault((function, row.setting.options.get("region")), row)
    cells = {}
    for key, parts in TABLE_8.items():
        row = rows[MAPS[parts.map].function, ablation.region if parts.region else 1]
        cells[key] = {"gt_known": row.gt_known[column], "top1": row.top1[column]}
    for name, each in ablation.trivial.items():
        if each.gt_known is not None:
            cells[name] = {"gt_known": each.gt_known, "top1": each.top1}
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
        for each in (*found.maps.values(), *found.trivial.values()):
            for field in _COMPARED:
                if (value := getattr(each, field)) is not None:
                    title = f"{each.title}, {_LOCALIZATION[field]} %"
                    rows.append(Row(title, value, unit="percent"))
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


def _advice(results: Results) -> str:
    """Return what to do about a negative bound; only trained nets have an epoch."""
    if results.epoch:
        return (
            "train it longer, with a lower optimizer.learning_rate, or from pretrained "
            "weights"
        )
    return (
        "check that features are those after the last activation, that head_bias and "
        "log_prior are given, and that labels count the columns of head_kernel"
    )


def _summary(results: Results) -> Table:
    notes = ["± one standard error; * argmax of the net's logits, as in the paper"]
    bound = results.splits["test"]["information"].mutual_information
    if bound.nats < 0:
        worse = "this net predicts worse than class frequencies alone"
        notes.append(f"The bound is negative: {worse}; {_advice(results)}.")
    splits = results.splits
    for found in splits["test"].found.values():
        notes += found.notes()
    heads = [f"{name}\n{split.num_examples:,}" for name, split in splits.items()]
    rows = [
        (f"{row[0].title}{' *' if row[0].starred else ''}", *map(show, row))
        for row in zip(*(split.rows() for split in splits.values()), strict=True)
    ]
    title = f"{results.dataset}: {results.loss}"
    if results.epoch:
        title += f", epoch {results.epoch}"
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
        rows.append((accuracy.title, *cells))
        if published and name in published.maps:  # GT-known and Top-1
            theirs = [f"{value:.2f}" for value in published.maps[name]]
            blank = [""] * (len(known) - len(theirs))
            rows.append(("  paper's", *theirs, *blank))
    for each in found.trivial.values():
        rows.append((each.title, *(percent(getattr(each, field)) for field in known)))
    counted = "labels"
    if found.num_labels < found.num_images:  # some images have no true box
        counted = f"of {found.num_images:,} images"
    title = f"test localization of {found.num_labels:,} {counted}, %"
    heads = ("map", *(_LOCALIZATION[name] for name in known))
    lines = ["; ".join(notes), *_trivial_note(found.trivial), *found.warnings]
    if published and published.protocol:
        lines.append(published.protocol)
    return Table(title, heads, rows, lines)


def _trivial_note(trivial: Mapping[str, TrivialAccuracy]) -> list[str]:
    """Return a line about the last rows of a table, if it has them."""
    if not trivial:
        return []
    titles = ", ".join(each.title for each in trivial.values())
    text = f"{titles}: these are the same in every image"
    if square := trivial.get("centered_square"):
        x0, _, x1, _ = square.box
        text += f"; the square of {x1 - x0:g} px is the best on validation"
    return [text]


def _table_8(
    ablation: AblationResult, theirs: Mapping[str, tuple[float, float]]
) -> Table:
    """Return what the region and the subtraction add, alone and together."""
    rows = []
    for key, cells in ablation_cells(ablation).items():
        if parts := TABLE_8.get(key):
            row = [str(ablation.region if parts.region else 1)]
            row.append("yes" if parts.subtraction else "no")
        else:
            row = [ablation.trivial[key].title, ""]
        row += map(percent, cells.values())
        if theirs:  # Table 8 has no row for both
            row += [f"{value:.2f}" for value in theirs.get(key, ())] or ["", ""]
        rows.append(row)
    heads = ("R", "subtraction", "GT-known", "Top-1", "paper's GT-known", "Top-1")
    title = f"region R and subtraction, boxes at threshold {ablation.threshold:g}, %"
    return Table(title, heads if theirs else heads[:4], rows)
