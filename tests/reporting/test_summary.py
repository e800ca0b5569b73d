"""The tables of results that are made by hand."""

import numpy as np
import pytest

from mi_classifier.activation_maps import MAPS, Map, class_activation_map
from mi_classifier.evaluation import Results
from mi_classifier.evaluation.evaluators.ablation import AblationResult, SettingAccuracy
from mi_classifier.evaluation.evaluators.accuracy import Accuracy, AccuracyResult
from mi_classifier.evaluation.evaluators.information import InformationResult
from mi_classifier.evaluation.evaluators.localization import (
    LocalizationResult,
    MapAccuracy,
    Setting,
)
from mi_classifier.evaluation.results import Estimate, Row, SplitResults
from mi_classifier.evaluation.trivial import TrivialAccuracy
from mi_classifier.reporting import summary
from mi_classifier.reporting.summary import Published

PUBLISHED = Published(
    classification=(73.97, 91.83),
    maps={"cam": (42.49, 31.38)},
    ablation={"neither": (42.49, 31.38), "subtraction": (47.59, 35.01)},
)


def results_of(per_class, nats=1.0, name="test", **found):
    """Results of one split, with the same accuracy by both rules."""
    accuracy = Accuracy(0.5, 0.25, np.asarray(per_class, float))
    found = {
        "information": InformationResult(Estimate(nats, 2.0, 0.1), 1.5, 1.0, 1.0),
        "accuracy": AccuracyResult(accuracy, accuracy, "prior"),
        **found,
    }
    names = [f"class{i}" for i in range(len(per_class))]
    shares = np.full(len(names), 1 / len(names))
    splits = {name: SplitResults(1_000, found)}
    return Results("set", "softmax", names, shares, 3, None, splits)


def cells(table):
    return {row[0]: tuple(row[1:]) for row in table.rows}


def map_accuracy(gt_known, title="CAM"):
    curve = np.zeros((3, 5))
    return MapAccuracy(title, gt_known, 0.25, 0.5, 0.4, 0.6, 0.5, curve, top5=0.5)


TRIVIAL = {
    "whole_image": TrivialAccuracy(
        "whole image", [0, 0, 9, 9], 0.5, 0.25, 0.375, None, 0.4, 0.5, 0.625
    ),
    "centered_square": TrivialAccuracy(
        "centered square", [2, 2, 7, 7], 0.75, 0.5, 0.625, None, 0.5, 0.75, 0.5
    ),
    "centered_gaussian": TrivialAccuracy(
        "centered Gaussian", max_box_accuracy=0.8125, max_box_accuracy_v2=0.75
    ),
    "middle": TrivialAccuracy("middle", pointing=0.9375),
}


def test_the_summary_has_a_column_for_each_split():
    table, _ = summary.evaluation_tables(results_of([0.5, 1.0]))
    assert table.title == "set: softmax, epoch 3"
    assert table.columns == ("", "test\n1,000")
    shown = cells(table)
    assert shown["mutual information, nats"] == ("1.0000 ± 0.1000",)
    assert shown["label entropy H(Y), nats"] == ("1.5000",)
    assert shown["accuracy, micro/macro %"] == ("",)
    assert shown["  prior rule *"] == shown["  balanced rule"] == ("50.00 / 25.00",)


def test_a_negative_bound_has_a_note_that_says_what_to_do():
    table, _ = summary.evaluation_tables(results_of([1.0]))
    assert len(table.notes) == 1
    table, _ = summary.evaluation_tables(results_of([1.0], nats=-0.1))
    assert "learning_rate" in table.notes[1]


def test_a_table_of_many_classes_shows_the_lowest():
    per_class = np.append(np.linspace(0, 1, 29), np.nan)
    _, by_class = summary.evaluation_tables(results_of(per_class))
    assert [row[0] for row in by_class.rows] == [f"class{i}" for i in range(20)]
    assert "the 20 lowest of 30" in by_class.title
    _, by_class = summary.evaluation_tables(results_of([np.nan, 0.5]))
    assert cells(by_class) == {"class0": ("", ""), "class1": ("50.00", "50.00")}


def test_a_new_map_is_shown_beside_the_results_of_the_paper(monkeypatch):
    monkeypatch.setitem(MAPS, "fourth", Map(class_activation_map, "fourth map"))
    accuracies = {"cam": map_accuracy(0.75), "fourth": map_accuracy(0.5, "fourth map")}
    found = LocalizationResult(
        8, 8, 0.2, {"top1": 0.375, "top5": 1.0}, dict(accuracies)
    )
    results = results_of([1.0], localization=found)
    table = summary.evaluation_tables(results, PUBLISHED)[2]
    heads = ("map", "GT-known", "Top-1", "Top-5", "pointing", "MaxBox", "V2")
    assert table.columns == heads
    assert [row[0] for row in table.rows] == ["CAM", "  paper's", "fourth map"]
    assert table.rows[1][1:] == ("42.49", "31.38", "", "", "", "")
    assert table.rows[2][1:4] == ("50.00", "25.00", "50.00")
    assert "37.50 / 100.00, paper's 73.97 / 91.83" in table.notes[0]
    table = summary.evaluation_tables(results)[2]
    assert [row[0] for row in table.rows] == ["CAM", "fourth map"]
    assert "paper" not in table.notes[0]


def test_the_title_says_if_some_images_have_no_true_box():
    for num_images, title in (
        (8, "test localization of 8 labels, %"),
        (9, "test localization of 8 of 9 images, %"),
    ):
        maps = {"cam": map_accuracy(0.5)}
        found = LocalizationResult(8, num_images, 0.2, {"top1": 0.5}, maps)
        results = results_of([1.0], localization=found)
        assert summary.evaluation_tables(results)[2].title == title


def test_trivial_boxes_stand_below_the_maps_with_sentences_about_them():
    maps = {"cam": map_accuracy(0.5), "info_cam_plus": map_accuracy(0.6, "plus, rival")}
    shares = {"top1": 0.5, "top5": 0.75}
    found = LocalizationResult(
        8, 8, 0.2, shares, maps, TRIVIAL, ["This region.", "CAM."]
    )
    table = summary.evaluation_tables(results_of([1.0], localization=found), PUBLISHED)[
        2
    ]
    rows = [row[0] for row in table.rows]
    assert rows[:3] == ["CAM", "  paper's", "plus, rival"]
    assert rows[3:] == ["whole image", "centered square", "centered Gaussian", "middle"]
    shown = cells(table)
    assert shown["centered square"] == ("75.00", "50.00", "62.50", "", "75.00", "50.00")
    assert shown["centered Gaussian"] == ("", "", "", "", "81.25", "75.00")
    assert shown["middle"] == ("", "", "", "93.75", "", "")
    assert "the square of 5 px is the best on validation" in table.notes[1]
    assert table.notes[2:] == ["This region.", "CAM."]


def test_a_comparison_has_rows_of_trivial_boxes():
    maps = {"cam": map_accuracy(0.5)}
    found = LocalizationResult(8, 8, 0.2, {"top1": 0.5}, maps, TRIVIAL)
    rows = summary.compared_rows(results_of([1.0], localization=found))
    by_title = {row.title: row.value for row in rows}
    assert by_title["CAM, GT-known %"] == 0.5
    assert by_title["centered square, GT-known %"] == 0.75
    assert by_title["centered Gaussian, MaxBox %"] == 0.8125
    titles = [row.title for row in rows]
    assert "middle, GT-known %" not in titles
    assert "centered Gaussian, GT-known %" not in titles


def ablation():
    def accuracy(name, region, gt_known):
        setting = Setting(name, {"region": region, "padding": "full"})
        return SettingAccuracy(setting, gt_known, [0.1, 0.125], 0.5)

    settings = [
        accuracy("cam", 1, [0.5, 0.25]),
        accuracy("cam", 4, [0.5, 0.375]),
        accuracy("info_cam", 1, [0.5, 0.75]),
        accuracy("info_cam", 4, [0.75, 0.75]),
    ]
    by_title = {str(each.setting): each for each in settings}
    return AblationResult([0.1, 0.2], 0.2, 4, by_title, TRIVIAL, ["It loses."])


def test_an_ablation_stars_the_best_threshold_of_each_setting():
    results = results_of([1.0], name="validation", ablation=ablation())
    table, _ = summary.ablation_tables(results)
    assert table.columns == ("threshold", "0.1", "0.2", "peak")
    assert cells(table) == {
        "CAM": ("50.0*", "25.0 ", "50.0"),
        "CAM, R=4 full": ("50.0*", "37.5 ", "50.0"),
        "infoCAM": ("50.0 ", "75.0*", "50.0"),
        "infoCAM, R=4 full": ("75.0*", "75.0*", "50.0"),
        "whole image": ("50.0 ", "50.0 ", ""),
        "centered square": ("75.0 ", "75.0 ", ""),
        "middle": ("", "", "93.8"),
    }
    assert table.notes[-1] == "It loses."


def test_table_8_takes_the_threshold_and_the_region_of_the_config():
    found = summary.ablation_cells(ablation())
    theirs = found.pop("centered_square")
    assert theirs == {"gt_known": 0.75, "top1": 0.5}
    assert found.pop("whole_image")
    assert {name: cell["gt_known"] for name, cell in found.items()} == {
        "neither": 0.25,
        "subtraction": 0.75,
        "region": 0.375,
        "both": 0.75,
    }
    assert found["both"]["top1"] == 0.125
    results = results_of([1.0], name="validation", ablation=ablation())
    _, table = summary.ablation_tables(results, PUBLISHED)
    assert table.rows[1] == ["1", "yes", "75.00", "12.50", "47.59", "35.01"]
    assert table.rows[3] == ["4", "yes", "75.00", "12.50", "", ""]
    assert table.rows[5] == ["centered square", "", "75.00", "50.00", "", ""]
    _, table = summary.ablation_tables(results)
    assert table.columns == ("R", "subtraction", "GT-known", "Top-1")
    assert table.rows[1] == ["1", "yes", "75.00", "12.50"]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (Row("", 1.30791, 0.00781), "1.3079 ± 0.0078"),
        (Row("", [0.878, 0.8775], unit="percent"), "87.80 / 87.75"),
        (Row("", 1234, unit="count"), "1,234"),
        (Row("", None), ""),
        (Row("", float("nan"), unit="percent"), ""),
    ],
)
def test_the_text_of_a_value(row, text):
    assert summary.show(row) == text
