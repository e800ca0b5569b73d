"""Figures show what they are given, and are written whole or not at all."""

import numpy as np
import pytest
from PIL import Image

from mi_classifier.errors import UserError
from mi_classifier.evaluation.evaluators.calibration import Bin
from mi_classifier.reporting import figures


def texts_of(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


def curves_of(axis):
    handles, names = axis.get_legend_handles_labels()
    values = [list(handle.get_ydata()) for handle in handles]
    return dict(zip(names, values, strict=True))


def test_a_figure_is_written_whole_or_an_error_says_so(tmp_path):
    values = {"truth": np.ones(3), "ours": np.random.default_rng(0).random((4, 3))}
    figure = figures.curves({"title": values}, (1, 2, 5), "dimension")
    figures.save(figure, tmp_path / "deep" / "a.png")
    assert Image.open(tmp_path / "deep" / "a.png").format == "PNG"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.png"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        figures.save(figure, tmp_path / "file" / "a.png")
    axis = figure.axes[0]
    assert axis.get_xlabel() == "dimension" and "nats" in axis.get_ylabel()
    line = next(line for line in axis.get_lines() if line.get_label() == "truth")
    assert line.get_ydata().tolist() == [1, 1, 1]


def test_principal_components_are_those_of_the_covariance():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((500, 4)) @ generator.standard_normal((4, 4)) + 7
    values, vectors = np.linalg.eigh(np.cov(x.T))
    points = figures.principal_components(x)
    assert points.var(0, ddof=1) == pytest.approx(values[::-1][:2])
    for i in range(2):
        expected = (x - x.mean(0)) @ vectors[:, -1 - i]
        assert np.abs(points[:, i]) == pytest.approx(np.abs(expected))
    assert figures.principal_components(x[:, :1]).shape == (500, 2)


def test_the_mixture_has_a_panel_for_each_set_of_samples():
    y = np.array([0, 1, 1])
    samples = {"D = 1": (np.eye(3)[:, :1], y), "D = 3": (np.eye(3), y)}
    figure = figures.mixture(samples, ["a", "$b"])
    one, three = figure.axes
    assert (one.get_xlabel(), one.get_ylabel()) == ("x", "class")
    assert three.get_ylabel() == "second component"
    assert len(one.collections) == len(three.collections) == 2


def test_the_reliability_figure_shows_each_bin():
    bins = [Bin(-1.0, -0.9, 0.1, 50, 10), Bin(1.0, 0.5, 0.2, 30, 20)]
    axis = figures.reliability(bins, "title").axes[0]
    points = axis.collections[-1].get_offsets()
    np.testing.assert_allclose(points, [[-1, -0.9], [1, 0.5]])
    assert axis.get_title() == "title" and "nats" in axis.get_xlabel()


@pytest.mark.parametrize(
    ("frequencies", "scale", "label"),
    [
        ([0.5, 0.5], "linear", "each 50%"),
        ([0.4, 0.6], "linear", "share of the training labels"),
        ([0.01, 0.99], "log", "share of the training labels"),
    ],
)
def test_the_axis_of_recall_suits_the_frequencies(frequencies, scale, label):
    recall = {
        "prior rule": np.array([0.5, 1.0]),
        "balanced rule": np.array([1, np.nan]),
    }
    axis = figures.recall_by_frequency(frequencies, recall, "ab", "title").axes[0]
    assert axis.get_xscale() == scale and label in axis.get_xlabel()
    assert texts_of(axis) == ["prior rule, mean 75.00", "balanced rule, mean 100.00"]
    assert {text.get_text(): text.xy[1] for text in axis.texts} == {"a": 50, "b": 100}


def test_few_classes_get_their_names_and_of_many_the_extremes():
    names = [f"class{i}" for i in range(30)]
    for count in (12, 13, 30):
        recall = {"both rules": np.linspace(1, 0.5, count)}
        args = (np.full(count, 1 / count), recall, names[:count], "title")
        axis = figures.recall_by_frequency(*args).axes[0]
        shown = [text.get_text() for text in axis.texts]
        expected = names[:3] + names[count - 3 : count] if count > 12 else names[:12]
        assert shown == expected


def test_names_of_equal_points_do_not_hide_each_other():
    names = [f"{'a long $ name ' * 3}{i}" for i in range(8)]
    recall = {"prior rule": np.array([1.0] * 7 + [np.nan])}
    axis = figures.recall_by_frequency([0.125] * 8, recall, names, "title").axes[0]
    assert len(axis.texts) == 7  # the last class has no examples
    boxes = [text.get_window_extent() for text in axis.texts]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
    assert all(text.get_text().endswith("...") for text in axis.texts)


def test_the_legend_of_thresholds_names_the_best_one():
    curves = {"CAM": np.array([0.25, 0.5, 0.0]), "infoCAM": np.array([0.0, 0.0, 1.0])}
    axis = figures.threshold_curves(curves, [0.0, 0.5, 0.9], "title").axes[0]
    assert texts_of(axis) == ["CAM: 50.0% at 0.50", "infoCAM: 100.0% at 0.90"]


def test_training_curves_leave_out_values_that_are_missing():
    rows = [{"epoch": 1, "train_loss": 2.0, "validation_accuracy": 0.5}]
    rows.append({"epoch": 2, "train_loss": 1.0, "validation_accuracy": None})
    figure = figures.training_curves(rows, epoch=2)
    loss, accuracy, bound = (curves_of(axis) for axis in figure.axes)
    assert loss == {"training": [2, 1]}
    np.testing.assert_array_equal(accuracy["validation"], [50, np.nan])
    assert list(accuracy) == ["validation"] and bound == {}


def test_training_and_validation_share_a_panel():
    rows = [
        {
            "epoch": n,
            "train_loss": 1 / n,
            "validation_loss": 2 / n,
            "train_accuracy": 0.25 * n,
            "validation_accuracy": 0.125 * n,
        }
        for n in (1, 2)
    ]
    loss, accuracy, _ = figures.training_curves(rows, epoch=2).axes
    assert curves_of(loss) == {"training": [1, 0.5], "validation": [2, 1]}
    assert curves_of(accuracy) == {"training": [25, 50], "validation": [12.5, 25]}
    assert texts_of(loss) == ["training", "validation"]


def test_names_in_any_script_are_drawn_without_a_warning(tmp_path, recwarn):
    recall = {"rule": np.array([1.0, 0.5])}
    figure = figures.recall_by_frequency([0.5, 0.5], recall, ["鳥", "cat"], "title")
    figures.save(figure, tmp_path / "figure.png")
    assert not recwarn.list
