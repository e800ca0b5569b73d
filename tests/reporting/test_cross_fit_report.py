"""The report of a cross-fit shows its numbers, and takes no text of a table as code."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mi_classifier.estimate import MutualInformation
from mi_classifier.reporting import cross_fit_figures, cross_fit_report
from mi_classifier.reporting.cross_fit_results import (
    Column,
    ConfidenceBin,
    CrossFitResults,
    SurprisingRow,
    calibrate,
    columns_table,
    find_surprising,
    shown,
    surprising_table,
    with_values,
)
from mi_classifier.reporting.table import print_table
from mi_classifier.storage.files import to_json
from mi_classifier.text import guarded, printable
from tests.conftest import MARKUP

NASTY = (MARKUP, "$x^{", "new\nline", "\x1b[31mred", "\u202eback", "\ud800", "=1+1")


def estimate(**changes):
    found = MutualInformation(
        nats=0.25,
        bits=0.36,
        standard_error=0.01,
        confidence_interval=(0.23, 0.27),
        label_entropy=0.7,
        accuracy=0.8,
        majority=0.5,
        num_examples=1_000,
        num_classes=2,
        warnings=("rows come in blocks",),
    )
    return dataclasses.replace(found, **changes)


def results(names=("a", "b"), **changes):
    columns = [Column(n, 0.2 / (i + 1), 0.01, 0.1, 0.02) for i, n in enumerate(names)]
    rows = [SurprisingRow(7, names[0], names[-1], -2.5, dict.fromkeys(names[:4], "1"))]
    bins = [ConfidenceBin(0.62, 0.6, (0.5, 0.7), 90)]
    found = CrossFitResults(estimate(), rows, columns, bins, ("2 empty rows left out",))
    return dataclasses.replace(found, **changes)


class Page(HTMLParser):
    """The tags of a page, and its text without style and script."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.links = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [v for k, v in attributes if k in ("src", "href")]
        self.links += [k for k, _ in attributes if k.startswith("on")]

    def handle_data(self, data):
        self.text.append(data)


def write(folder, found):
    pmi = np.append(np.random.default_rng(0).normal(0.3, 0.2, 500), -2.5)
    path = cross_fit_report.write(folder, "t.csv", found, pmi)
    return Page(path.read_text("utf-8"))


def test_the_report_shows_everything_and_loads_nothing(tmp_path):
    page = write(tmp_path, results())
    text = " ".join(" ".join(page.text).split())
    for words in (
        "I(X; Y) ≥ 0.2500 ± 0.0100",
        "Warning: rows come in blocks",
        "2 empty rows left out",
        "0.2000 ± 0.0100",
        "-2.500",
        "Calibration",
    ):
        assert words in text
    assert text.count("rows come in blocks") == 1
    assert page.tags.count("img") == 3
    assert all(link.startswith("data:") for link in page.links)
    names = ["calibration.png", "columns.png", "pmi.png"]
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == names


def test_a_report_without_ranking_and_surprises_has_two_figures(tmp_path):
    found = CrossFitResults(estimate(nats=0.0, warnings=()), [])
    found = dataclasses.replace(found, calibration=results().calibration)
    page = cross_fit_report.write(tmp_path, "t.csv", found, np.zeros(60))
    page = Page(page.read_text("utf-8"))
    assert page.tags.count("img") == 2 and "table" not in page.tags


@pytest.mark.parametrize("name", NASTY)
def test_text_of_a_table_is_no_markup_and_no_formula(tmp_path, capsys, name):
    warned = estimate(warnings=(f"column {printable(name)} counts rows",))
    found = results((name, "b"), estimate=warned, notes=(f"left out {name}",))
    page = write(tmp_path, found)
    assert page.tags.count("img") == 3 and "script" not in page.tags
    assert all(link.startswith("data:") for link in page.links)
    assert shown(name) in "".join(page.text)
    for table in found.tables():
        print_table(table)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "\u202e" not in printed
    again = json.loads(to_json(dataclasses.asdict(found)))
    assert CrossFitResults.from_dict(again).columns[0].name == name


def test_results_survive_json_and_those_of_version_0_2_are_read():
    found = results()
    again = CrossFitResults.from_dict(json.loads(to_json(dataclasses.asdict(found))))
    assert again.estimate == found.estimate
    assert [list(t.rows) for t in again.tables()] == [
        list(t.rows) for t in found.tables()
    ]
    row = {"row": 3, "label": "a", "predicted": "b", "pmi_nats": -1.0}
    old = {"estimate": dataclasses.asdict(estimate()), "most_surprising": [row]}
    del old["estimate"]["warnings"]
    (table,) = CrossFitResults.from_dict(old).tables()
    assert table.rows == [("3", "a", "b", "-1.000")]


def test_numbers_that_nobody_knows_survive_json():
    unknown = estimate(standard_error=np.nan, confidence_interval=(np.nan, np.nan))
    found = results(estimate=unknown, columns=[Column("a", 0.1, np.nan, 0.0, 0.1)])
    again = CrossFitResults.from_dict(json.loads(to_json(dataclasses.asdict(found))))
    assert "± nan nats (95%: nan to nan)" in str(again.estimate)
    assert again.tables()[0].rows[0][1] == "0.1000 ± nan"


def test_tables_say_how_much_they_leave_out():
    columns = [Column(f"c{i}", 0.1, 0.01, 0.0, 0.01) for i in range(45)]
    table = columns_table(columns)
    assert len(table.rows) == 30 and table.rows[0][0] == "c0"
    assert table.notes[-1] == "15 more columns are in metrics.json"
    assert not columns_table(()).rows and not surprising_table(()).rows


def test_surprising_rows_are_the_lowest_and_below_zero():
    pmi = np.array([0.5, -0.1, -3.0, 0.0, -0.1])
    labels = np.array(list("abcde"))
    found = find_surprising(pmi, labels, labels[::-1])
    assert [(r.row, r.label, r.predicted) for r in found] == [
        (2, "c", "c"),
        (1, "b", "d"),
        (4, "e", "a"),
    ]
    assert surprising_table(found).rows[0][0] == "2"
    found = find_surprising(pmi, labels, labels, 10 + np.arange(5))
    table = surprising_table(found)
    assert table.columns[0] == "line" and table.rows[0][0] == "12"
    assert len(find_surprising(-np.ones(99), np.zeros(99), np.zeros(99))) == 10


def test_values_are_those_of_the_most_telling_columns_as_the_user_knows_them():
    x = pd.DataFrame(
        {
            "n": [1.0, 20_000_000.0],
            "f": [0.123456789, 2.5],
            "color": pd.Categorical(["red", None]),
            "when": pd.to_datetime(["2020-01-02 00:00", "2020-01-02 03:04"]),
            "flag": pd.array([True, None], dtype="boolean"),
            "count": [3, 4],
        }
    )
    rows = [SurprisingRow(r, "a", "b", -1.0) for r in (0, 1)]
    columns = [Column(n, 0.0, 0.0, 0.0, 0.0) for n in ("color", "n", "when", "flag")]
    found = with_values(rows, x, columns)
    assert list(found[0].values.values()) == ["red", "1", "2020-01-02", "True"]
    late = ["missing", "20000000", "2020-01-02 03:04:00", "missing"]
    assert list(found[1].values.values()) == late
    heads = surprising_table(found).columns
    assert heads[3:] == ("PMI, nats", "color", "n", "when", "flag")
    (first, _) = with_values(rows, x, ())
    assert list(first.values.items())[:2] == [("n", "1"), ("f", "0.123457")]
    assert len(first.values) == 4
    (first, _) = with_values(rows, np.array([[1, 2], [3, 4]]), columns)
    assert first.values == {"0": "1", "1": "2"}


def test_calibration_counts_right_predictions_and_groups_once():
    generator = np.random.default_rng(0)
    probability = generator.uniform(0.5, 1, 20_000)
    is_right = generator.random(20_000) < probability
    bins = calibrate(probability, is_right, np.arange(20_000))
    counts = np.histogram(probability, 10, (0, 1))[0]
    assert [b.rows for b in bins] == counts[5:].tolist()
    covered = [b.interval[0] <= b.probability <= b.interval[1] for b in bins]
    assert sum(covered) >= 4
    for each in bins:
        assert abs(each.observed - each.probability) < 0.03
        low, high = each.interval
        margin = 1.96 * np.sqrt(each.observed * (1 - each.observed) / each.rows)
        assert (high - low) / 2 == pytest.approx(margin, rel=0.02)
    (copied,) = calibrate(np.full(40, 0.75), np.arange(40) < 30, np.arange(40) // 4)
    z, p, n = stats.norm.ppf(0.975), 0.8, 10  # 7.5 of 10 is rounded
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert copied.interval == pytest.approx((middle - half, middle + half))
    assert calibrate(np.ones(5), np.ones(5, bool), np.arange(5))[0].observed == 1


def test_figures_have_a_bar_for_each_column_and_each_bin():
    found = results(("a", "b", "c"))
    (axis,) = cross_fit_figures.columns_by_information(found.columns).axes
    assert [t.get_text() for t in axis.get_yticklabels()] == ["a", "b", "c"]
    alone, lost = (bars for bars in axis.containers if hasattr(bars, "patches"))
    widths = [bar.get_width() for bar in alone.patches]
    assert widths == pytest.approx([0.2, 0.1, 0.2 / 3])
    assert [bar.get_width() for bar in lost.patches] == pytest.approx([0.1] * 3)
    (segment, *_) = alone.errorbar.lines[2][0].get_segments()
    assert segment[:, 0] == pytest.approx([0.2 - 0.0196, 0.2 + 0.0196])
    assert axis.get_ylim()[0] > axis.get_ylim()[1]  # the best on top

    pmi = np.array([-2.0, 0.5, 0.5, 1.0])
    (axis,) = cross_fit_figures.rows_by_pmi(pmi, [-2.0]).axes
    assert sum(bar.get_height() for bar in axis.patches) == 4
    labels = axis.get_legend_handles_labels()[1]
    assert labels == ["mean 0.0000", "listed below"]

    above, below = cross_fit_figures.calibration(found.calibration).axes
    assert [bar.get_height() for bar in below.patches] == [90]
    assert "90" in [text.get_text() for text in below.texts]
    (segment,) = above.containers[0].lines[2][0].get_segments()
    assert segment[:, 1] == pytest.approx([0.5, 0.7])


@pytest.mark.parametrize("number", ["-1", "+1", "-1e5", "-inf", "1"])
def test_numbers_are_no_formulas(number):
    assert guarded(number) == number


@pytest.mark.parametrize("text", ["=A1", "+cmd", "-x", "@sum", "\ufeff=1", "\0 =1"])
def test_formulas_are_guarded(text):
    assert guarded(text) == f"'{text}"


@pytest.mark.parametrize("mark", ["\t", "\r", "\n", ";", "|"])
def test_formulas_behind_what_may_separate_cells_are_guarded(mark):
    assert guarded(f"a{mark}=1") == f"a{mark}'=1"
    assert guarded(f"{mark}=1{mark}2") == f"{mark}'=1{mark}2"


def test_shown_text_has_one_line_and_an_end():
    assert shown("نمی\u200cخواهم") == "نمی\u200cخواهم"
    assert len(shown("\n" * 1_000)) == 40
    assert re.fullmatch(r"[ -~]+", printable("\x00\u2028\x9b"))
