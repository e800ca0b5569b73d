"""The table of confused classes shows names, counts and shares."""

import dataclasses

from mi_classifier.evaluation.evaluators.accuracy import Confusion
from mi_classifier.evaluation.results import SplitResults
from mi_classifier.reporting import summary
from mi_classifier.reporting.confusion import confusion_tables
from tests.reporting.test_summary import results_of


def confused_results(confused):
    results = results_of([0.5, 1.0, 0.25])
    found = dict(results.splits["test"].found)
    found["accuracy"] = dataclasses.replace(found["accuracy"], confused=confused)
    return dataclasses.replace(results, splits={"test": SplitResults(1_000, found)})


def test_a_row_for_each_pair():
    pairs = [Confusion(2, 0, 1_234, 0.5), Confusion(0, 1, 3, 0.0125)]
    (table,) = confusion_tables(confused_results(pairs))
    assert table.columns == ("true -> decided", "examples", "% of true class")
    assert table.rows == [
        ("class2 -> class0", "1,234", "50.00"),
        ("class0 -> class1", "3", "1.25"),
    ]
    assert table in summary.evaluation_tables(confused_results(pairs))


def test_no_table_without_errors_or_with_several_labels():
    for confused in ([], None):
        assert confusion_tables(confused_results(confused)) == []
        assert len(summary.evaluation_tables(confused_results(confused))) == 2
