"""MaxBoxAcc by the public WSOL evaluation equals its own program's, box by box."""

from pathlib import Path

import chex
import numpy as np
import pytest
from scipy import ndimage

from mi_classifier import processes
from mi_classifier.localization import score_maps
from mi_classifier.wsol_protocol import (
    THRESHOLDS,
    box_accuracy_curve,
    boxes_at_thresholds,
)

REFERENCE = Path(__file__).parent / "reference"


def test_boxes_and_curves_equal_those_of_the_public_evaluation():
    with np.load(REFERENCE / "wsol_metrics.npz") as file:
        maps, truth = file["score_maps"], file["gt_boxes"]
        thresholds, boxes = file["thresholds"], file["boxes"]
        curves = [file[f"box_accuracy_iou{n}"] for n in (30, 50, 70)]
    np.testing.assert_array_equal(boxes_at_thresholds(maps, thresholds), boxes)
    ones = np.ones(len(maps), int)
    curve = box_accuracy_curve(maps, truth[:, None], ones, thresholds)
    np.testing.assert_allclose(100 * curve, curves, atol=1e-10)
    np.testing.assert_array_equal(thresholds, THRESHOLDS)


def test_scores_may_leave_their_range_by_rounding():
    noise = np.random.default_rng(0).normal(size=(2, 9, 9))
    m = score_maps(ndimage.gaussian_filter(noise, (0, 2, 2)).astype(np.float32), 18)
    wider = np.where(m == 1, np.float32(1 + 1e-6), np.where(m == 0, -1e-6, m))
    np.testing.assert_array_equal(boxes_at_thresholds(wider), boxes_at_thresholds(m))


def test_the_curve_counts_several_true_boxes():
    m = np.zeros((2, 10, 10))
    m[:, 2:5, 2:5] = 1
    truth = np.array([[[8, 8, 9, 9], [2, 2, 4, 4]], [[8, 8, 9, 9], [2, 2, 4, 4]]])
    curve = box_accuracy_curve(m, truth, np.array([2, 1]), [0.5], (0.3,))
    np.testing.assert_array_equal(curve, [[0.5]])


def test_a_map_with_nan_or_without_scores_has_an_empty_box():
    scores = np.ones((2, 8, 8))
    scores[0, 2, 2] = np.nan
    scores[1] = 0
    np.testing.assert_array_equal(boxes_at_thresholds(scores), 0)


def test_a_map_of_one_pixel():
    boxes = boxes_at_thresholds(np.ones((1, 1, 1)), [0.0, 0.5])
    np.testing.assert_array_equal(boxes, [[[0] * 4] * 2])


def test_an_empty_batch_has_a_curve_of_nan():
    none = np.zeros((0, 4, 4))
    curve = box_accuracy_curve(none, np.zeros((0, 1, 4)), np.zeros(0), [0.1, 0.2])
    chex.assert_shape(curve, (3, 2))
    assert np.isnan(curve).all()


def test_an_image_without_a_true_box_is_a_miss():
    truth, none = np.array([[[0, 0, 4, 4]]]), np.zeros(1, int)
    curve = box_accuracy_curve(np.zeros((1, 4, 4)), truth, none, iou_thresholds=(0.0,))
    assert not curve.any()


def test_a_true_box_beyond_the_image_is_never_met():
    truth = np.array([[[100, 100, 120, 120]]])
    assert box_accuracy_curve(np.ones((1, 9, 9)), truth, np.ones(1, int)).max() == 0


@pytest.mark.parametrize(
    ("maps", "thresholds", "message"),
    [
        (np.full((1, 4, 4), 2.0), [0.5], "score_maps"),
        (np.full((1, 4, 4), -1.0), [0.5], "score_maps"),
        (np.zeros((4, 4)), [0.5], "score maps must be"),
        (np.zeros((1, 4, 4)), [2.0], "thresholds"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(maps, thresholds, message):
    with pytest.raises(ValueError, match=message):
        boxes_at_thresholds(maps, thresholds)


def test_processes_give_the_same_boxes(monkeypatch):
    maps = np.random.default_rng(0).random((23, 9, 7))
    expected = boxes_at_thresholds(maps)
    monkeypatch.setattr(processes, "_LEAST", 1)
    monkeypatch.setattr(processes, "count", lambda: 2)
    np.testing.assert_array_equal(boxes_at_thresholds(maps), expected)
    assert boxes_at_thresholds(maps[:0]).shape == (0, 100, 4)
