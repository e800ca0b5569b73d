"""The table of the classes that a net confuses most."""

from mi_classifier.evaluation.evaluators.accuracy import AccuracyResult
from mi_classifier.evaluation.results import Results
from mi_classifier.reporting.table import Table, percent


def confusion_tables(results: Results) -> list[Table]:
    """Return the table of the most confused pairs of classes in the test split.

    The decisions are those of the paper's rule. There is no table if an example may
    have several labels, or if every decision is right.
    """
    accuracy: AccuracyResult = results.splits["test"]["accuracy"]
    if not accuracy.confused:
        return []
    names = results.class_names
    rows = [
        (f"{names[p.label]} -> {names[p.decided]}", f"{p.count:,}", percent(p.share))
        for p in accuracy.confused
    ]
    heads = ("true -> decided", "examples", "% of true class")
    return [Table("classes of the test split that are confused most", heads, rows)]
