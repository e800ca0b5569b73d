"""Runs are compared side by side: how they differ, and what came of it."""

import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from mi_classifier.commands.classifier import compared
from mi_classifier.evaluation.results import Row
from mi_classifier.reporting.comparison import Compared, comparison


def of(name, config, *rows):
    return Compared(Path("runs") / name, ConfigDict(config), rows)


def shown(table):
    return {row[0]: tuple(row[1:]) for row in table.rows}


@pytest.mark.slow
def test_trained_runs_show_the_numbers_of_their_metrics(trained_images, trained_digits):
    table = comparison([compared(trained_images), compared(trained_digits)])
    cells = shown(table)
    for column, workdir in enumerate((trained_images, trained_digits)):
        text = (workdir / "evaluation" / "metrics.json").read_text()
        test = json.loads(text)["splits"]["test"]
        bound = test["information"]["mutual_information"]
        expected = f"{bound['nats']:.4f} ± {bound['standard_error']:.4f}"
        each = " a label" if column else ""
        assert cells[f"mutual information{each}, nats"][column] == expected
        prior = test["accuracy"]["prior"]
        expected = f"{100 * prior['micro']:.2f} / {100 * prior['macro']:.2f}"
        rule = "both rules" if test["accuracy"]["equal_rules"] else "prior rule"
        assert cells[f"  {rule}"][column] == expected
        known = 100 * test["localization"]["maps"]["info_cam"]["gt_known"]
        assert cells["infoCAM, GT-known %"][column] == f"{known:.2f}"
        assert cells["examples"][column] == f"{test['num_examples']}"
    assert cells["data.name"] == ("image_folder", "double_mnist")
    assert list(cells)[:3] == ["data.name", "loss", "num_epochs"]
    assert "evaluation_batch_size" in table.notes[-1]


def test_only_fields_that_differ_are_shown_and_at_most_eight():
    config = {"loss": "softmax", "seed": 0, "data": {"name": "mnist"}}
    many = {f"field{i}": 1 for i in range(9)}
    table = comparison([of("a", config), of("b", config | {"seed": 1} | many)])
    fields = [row[0] for row in table.rows]
    assert fields == ["seed", *(f"field{i}" for i in range(7))]
    assert table.notes[-1] == "The runs also differ in field7, field8."
    assert table.columns == ("", "a", "b") and table.title.endswith("runs")
    assert len(comparison([of("a", config)]).notes) == 1


def test_a_row_that_one_run_lacks_stands_below_the_row_that_it_details():
    first = of("a", {}, Row("bound", 1.0), Row("  in bits", 1.4), Row("other", 2))
    rows = [Row("bound of labels", 3.0), Row("  in bits", 4.0), Row("other", 2)]
    second = of("b", {}, *rows)
    third = of("c", {}, Row("bound", 5.0), Row("  truth", 6.0), Row("    error", 7.0))
    table = comparison([first, second, third])
    assert [tuple(row) for row in table.rows] == [
        ("bound", "1.0000", "", "5.0000"),
        ("  in bits", "1.4000", "", ""),
        ("  truth", "", "", "6.0000"),
        ("    error", "", "", "7.0000"),
        ("other", "2.0000", "2.0000", ""),
        ("bound of labels", "", "3.0000", ""),
        ("  in bits", "", "4.0000", ""),
    ]
