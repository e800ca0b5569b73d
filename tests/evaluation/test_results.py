"""Results are frozen, know their place in the tables, and become JSON."""

import dataclasses

import numpy as np
import pytest

from mi_classifier.evaluation.results import (
    ClassColumn,
    Estimate,
    Result,
    Results,
    Row,
    SplitResults,
)


@dataclasses.dataclass(frozen=True)
class Found(Result):
    """A result of given rows and columns."""

    shown: tuple
    columns: tuple = ()
    share: float | None = None

    def rows(self):
        return self.shown

    def by_class(self):
        return self.columns


def titles(*results):
    rows = SplitResults(9, dict(enumerate(map(Found, results)))).rows()
    return [row.title for row in rows]


def test_rows_keep_the_order_of_the_evaluators():
    first, second = [Row("a", 1), Row("  b", 2)], [Row("c", 3)]
    assert titles(first, second) == ["a", "  b", "c"]


def test_a_row_is_shown_below_the_row_that_it_names():
    first = [Row("a", 1), Row("  b", 2), Row("c", 3)]
    second = [Row("  d", 4, below="a"), Row("  e", 5, below="a"), Row("f", 6)]
    assert titles(first, second) == ["a", "  d", "  e", "  b", "c", "f"]
    # The evaluator that is named may also come later.
    assert titles(second, first) == ["f", "a", "  d", "  e", "  b", "c"]


def test_a_row_that_names_a_missing_row_keeps_its_own_place():
    first = [Row("a", 1), Row("  b", 2, below="missing"), Row("c", 3)]
    assert titles(first, [Row("d", 4, below="  b")]) == ["a", "  b", "c", "d"]


def test_no_row_is_lost_or_doubled_if_titles_repeat():
    first = [Row("a", 1), Row("  b", 2), Row("c", 3), Row("  b", 4)]
    second = [Row("    d", 5, below="  b"), Row("    d", 6, below="  b")]
    assert titles(first, second) == ["a", "  b", "    d", "    d", "c", "  b"]


def test_columns_in_percent_come_first():
    nats = Found((), (ClassColumn("nats", [1.0]),))
    shares = Found((), (ClassColumn("share", [0.5], unit="percent"),))
    columns = SplitResults(9, {"a": nats, "b": shares}).by_class()
    assert [column.title for column in columns] == ["share", "nats"]


def test_an_estimate_by_hand():
    estimate = Estimate.of(np.array([1, 2, 3, 6], np.float32), {})
    assert estimate.nats == 3
    np.testing.assert_allclose(estimate.bits, 3 / np.log(2))
    np.testing.assert_allclose(estimate.standard_error, np.sqrt(14 / 3 / 4))
    assert np.isnan(Estimate.of(np.ones(1), {}).standard_error)


def test_rows_of_one_group_count_once_in_the_standard_error():
    values, group = np.array([0, 0, 4, 4, 5, 5.0]), np.array([0, 0, 1, 1, 2, 2])
    grouped = Estimate.of(values, {"group": group})
    independent = Estimate.of(np.array([0, 4, 5.0]), {})
    assert grouped.nats == independent.nats == 3
    assert grouped.standard_error == pytest.approx(independent.standard_error)


def test_json_has_the_fields_of_each_result_without_those_that_are_none():
    split = SplitResults(9, {"a": Found((), share=0.5), "b": Found(())})
    results = Results("set", "softmax", ("x",), np.ones(1), 2, None, {"test": split})
    content = results.to_dict()
    assert content["true_mutual_information"] is None and content["epoch"] == 2
    assert content["splits"] == {
        "test": {
            "num_examples": 9,
            "a": {"shown": [], "columns": [], "share": 0.5},
            "b": {"shown": [], "columns": []},
        }
    }


def test_results_are_frozen():
    split = SplitResults(9, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.num_examples = 10
    with pytest.raises(dataclasses.FrozenInstanceError):
        Estimate(1.0, 1.4, 0.1).nats = 2.0
