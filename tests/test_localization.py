"""Boxes and peaks of maps, and the accuracies made of them.

They equal the authors' boxes, SciPy's components and values worked out by hand.
"""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from mi_classifier import localization, wsol_protocol
from mi_classifier.localization import (
    best_iou,
    boxes_from_maps,
    iou,
    localization_accuracy,
    peaks_from_maps,
    pointing_accuracy,
    score_maps,
)

REFERENCE = Path(__file__).parent / "reference"
KEYS = (
    "cam",
    "infocam_no_region",
    "cam_region4",
    "infocam_region4",
    "infocam_plus_region4",
)


def blobs(count, size, seed=0):
    """Smooth random maps `[count, size, size]`."""
    noise = np.random.default_rng(seed).normal(size=(count, size, size))
    return ndimage.gaussian_filter(noise, (0, 2, 2)).astype(np.float32)


def one_box(*box):
    """A true box for a single image, padded to two, and its count."""
    return np.array([[box, (0, 0, 0, 0)]], np.float32), np.array([1])


@pytest.mark.parametrize("key", KEYS)
def test_boxes_equal_those_of_the_authors(key):
    with np.load(REFERENCE / "activation_maps.npz") as file:
        maps, boxes, truth = file[key], file[f"{key}_boxes"], file["gt_boxes"]
        theirs = file[f"{key}_iou"]
    ours = boxes_from_maps(maps, 224)
    assert iou(ours, boxes.astype(np.float32)).mean() >= 0.97
    assert ((iou(ours, truth) >= 0.5) != (theirs >= 0.5)).sum() <= 1


@pytest.mark.parametrize("size", [40, 64])
def test_boxes_bound_the_largest_component(size):
    maps = blobs(70, 40)  # more than are resized at once
    boxes = boxes_from_maps(maps, size, threshold=0.5)
    chex.assert_shape(boxes, (70, 4))
    for m, box in zip(maps, boxes, strict=True):
        large = np.asarray(jax.image.resize(m, (size, size), "cubic"))
        large = (large - large.min()) / (large.max() - large.min())
        labels, _ = ndimage.label(large > 0.5, np.ones((3, 3)))
        largest = np.bincount(labels.ravel())[1:].argmax()
        rows, columns = ndimage.find_objects(labels)[largest]
        expected = (columns.start, rows.start, columns.stop, rows.stop)
        np.testing.assert_array_equal(box, expected)


def test_a_component_within_the_hole_of_another_is_its_own():
    m = np.zeros((1, 20, 20), np.float32)
    m[0, 1:19, 1:19] = 1
    m[0, 2:18, 2:18] = 0  # a ring of 68 pixels
    m[0, 4:16, 4:16] = 1  # and 144 within
    np.testing.assert_array_equal(
        boxes_from_maps(m, 20, method="nearest"), [[4, 4, 16, 16]]
    )


def test_pixels_that_touch_at_a_corner_are_connected():
    m = np.eye(8, dtype=np.float32)[None]
    np.testing.assert_array_equal(
        boxes_from_maps(m, 8, method="nearest"), [[0, 0, 8, 8]]
    )


def test_an_image_need_not_be_square():
    m = np.zeros((1, 2, 4))
    m[0, 0, 3] = 1
    np.testing.assert_array_equal(
        boxes_from_maps(m, (20, 80), method="nearest"), [[60, 0, 80, 10]]
    )
    np.testing.assert_array_equal(
        peaks_from_maps(m, (20, 80), method="nearest"), [[60.5, 0.5]]
    )


def test_scale_and_offset_of_a_map_do_not_matter():
    maps = blobs(6, 14)
    boxes = boxes_from_maps(maps, 56)
    for scale, offset in ((1e30, 0), (1e-30, 0), (4, 100), (1, -100)):
        moved = boxes_from_maps(scale * maps + np.float32(offset), 56)
        assert iou(moved, boxes).min() > 0.9
    large = np.float32(3e38) * np.sign(maps)  # whose difference overflows
    assert np.isfinite(boxes_from_maps(large, 56)).all()


def test_a_higher_threshold_keeps_less():
    m = blobs(5, 14)
    sizes = []
    for threshold in (0.2, 0.5, 0.9):
        boxes = boxes_from_maps(m, 56, threshold)
        sizes.append((boxes[:, 2:] - boxes[:, :2]).prod(-1))
    assert (np.diff(sizes, axis=0) <= 0).all()
    assert (sizes[0] > sizes[2]).all()


@pytest.mark.parametrize("value", [0.0, 7.0, -3e5, 1e-30])
@pytest.mark.parametrize("shape", [(14, 14), (1, 1), (3, 5)])
def test_a_flat_map_gives_the_whole_image_and_its_middle(shape, value):
    m = np.full((2, *shape), value, np.float32)
    m[0] += np.spacing(m[0]) * (np.arange(m[0].size).reshape(shape) % 2)  # rounding
    np.testing.assert_array_equal(boxes_from_maps(m, (20, 30)), [[0, 0, 30, 20]] * 2)
    np.testing.assert_array_equal(peaks_from_maps(m, (20, 30)), [[15, 10]] * 2)
    assert not score_maps(m, (20, 30)).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_a_miss(value):
    maps = blobs(2, 14)
    maps[0, 3, 3] = value
    boxes, peaks = boxes_from_maps(maps, 28), peaks_from_maps(maps, 28)
    np.testing.assert_array_equal(boxes[0], 0)
    assert np.isnan(peaks[0]).all()
    assert np.isfinite(peaks[1]).all()
    truth = np.array([[[0, 0, 28, 28]]] * 2, np.float32)
    assert localization_accuracy(boxes[:1], truth[:1], np.ones(1)) == 0
    assert pointing_accuracy(peaks, truth, np.ones(2)) == 0.5
    assert not score_maps(maps, 28)[0].any()


def test_a_map_of_one_pixel_on_an_image_of_one_pixel():
    m = np.ones((1, 1, 1))
    np.testing.assert_array_equal(boxes_from_maps(m, 1), [[0, 0, 1, 1]])


def test_an_empty_batch():
    none = np.zeros((0, 4, 4))
    chex.assert_shape(boxes_from_maps(none, 8), (0, 4))
    chex.assert_shape(peaks_from_maps(none, 8), (0, 2))
    chex.assert_shape(score_maps(none, 8), (0, 8, 8))
    assert np.isnan(
        localization_accuracy(np.zeros((0, 4)), np.zeros((0, 1, 4)), np.zeros(0))
    )


@pytest.mark.parametrize("array", [np.array, jnp.array])
def test_localization_accuracy_by_hand(array):
    boxes = array([[0.0, 0, 4, 4]] * 4)
    truth = array(
        [
            [[0.0, 0, 4, 8], [0, 0, 0, 0]],  # 16 / 32, just met
            [[0, 0, 4, 9], [0, 0, 0, 0]],  # not met
            [[8, 8, 9, 9], [0, 0, 4, 4]],  # the second is
            [[8, 8, 9, 9], [0, 0, 4, 4]],  # but is padding here
        ]
    )
    counts = array([1, 1, 2, 1])
    assert localization_accuracy(boxes, truth, counts) == 0.5
    correct = array([True, True, False, True])
    assert localization_accuracy(boxes, truth, counts, correct) == 0.25
    assert localization_accuracy(boxes, truth, counts, None, 0.4) == 0.75
    np.testing.assert_allclose(
        best_iou(boxes, truth, counts), [0.5, 4 / 9, 1, 0], rtol=1e-6
    )


def test_an_image_without_a_true_box_is_a_miss():
    boxes = np.array([[0, 0, 4, 4]])
    truth = np.array([[[0, 0, 4, 4]]])
    zero = np.zeros(1, int)
    assert localization_accuracy(boxes, truth, zero, iou_threshold=0.0) == 0
    assert localization_accuracy(boxes, np.zeros((1, 0, 4)), zero) == 0
    assert pointing_accuracy(np.array([[2, 2]]), truth, zero) == 0


def test_a_true_box_beyond_the_image_counts_as_given():
    boxes = np.array([[0, 0, 4, 4]])
    truth, count = one_box(-4, 0, 4, 4)  # of which the image shows half
    assert best_iou(boxes, truth, count) == 0.5
    truth, count = one_box(100, 100, 120, 120)
    assert localization_accuracy(boxes, truth, count) == 0


def test_the_pointing_game_by_hand():
    truth, count = one_box(2, 2, 4, 4)
    inside = {(2, 2): 1, (3.5, 3.5): 1, (4, 3): 0, (3, 4): 0, (1.9, 3): 0}
    for point, expected in inside.items():
        assert pointing_accuracy(np.array([point]), truth, count) == expected
    assert pointing_accuracy(np.array([[0.0, 0.0]]), truth, count) == 0  # of padding


def test_peaks_are_the_highest_pixels():
    maps = blobs(5, 9)
    peaks = peaks_from_maps(maps, 27, method="linear")
    for m, (x, y) in zip(maps, peaks, strict=True):
        large = np.asarray(jax.image.resize(m, (27, 27), "linear"))
        row, column = np.unravel_index(large.argmax(), large.shape)
        assert (x, y) == (column + 0.5, row + 0.5)


def test_score_maps_fill_the_range():
    maps = score_maps(blobs(3, 9), (18, 27))
    chex.assert_shape(maps, (3, 18, 27))
    np.testing.assert_array_equal(maps.min((1, 2)), 0)
    assert maps.max() <= 1
    np.testing.assert_allclose(maps.max((1, 2)), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: boxes_from_maps(np.zeros((4, 4)), 8), "maps must be"),
        (lambda: boxes_from_maps(np.zeros((1, 0, 4)), 8), "maps must be"),
        (lambda: boxes_from_maps(np.zeros((1, 4, 4)), (8, 8, 3)), "image_size"),
        (lambda: boxes_from_maps(np.zeros((1, 4, 4)), 0), "image_size"),
        (lambda: boxes_from_maps(np.zeros((1, 4, 4)), 8, 1.0), "threshold"),
        (lambda: boxes_from_maps(np.zeros((1, 4, 4)), 8, np.nan), "threshold"),
        (lambda: boxes_from_maps(np.zeros((1, 4, 4)), 8, method="area"), "method"),
        (
            lambda: localization_accuracy(np.zeros((2, 4)), *one_box(0, 0, 1, 1)),
            "gt_boxes",
        ),
        (
            lambda: localization_accuracy(
                np.zeros((1, 4)), np.zeros((1, 1, 4)), np.zeros(2)
            ),
            "num_boxes",
        ),
        (
            lambda: localization_accuracy(
                np.zeros((1, 4)), *one_box(0, 0, 1, 1), np.zeros(3)
            ),
            "correct",
        ),
        (lambda: pointing_accuracy(np.zeros(2), *one_box(0, 0, 1, 1)), "points"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_public_evaluation_is_also_offered_here():
    for name in ("box_accuracy_curve", "boxes_at_thresholds", "protocol_accuracy"):
        assert getattr(localization, name) is getattr(wsol_protocol, name)
    assert localization.THRESHOLDS is wsol_protocol.THRESHOLDS
    assert localization.IOUS is wsol_protocol.IOUS
