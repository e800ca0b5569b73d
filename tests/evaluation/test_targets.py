"""Which labels of which images are targets, and which boxes each target has."""

import numpy as np

from mi_classifier.evaluation.targets import find_targets, target_names
from tests.evaluation.evaluators.digits import split_of_three


def test_each_label_of_an_image_is_one_target():
    split = split_of_three()
    targets = find_targets(split)
    pairs = list(zip(targets.rows.tolist(), targets.columns.tolist(), strict=True))
    assert pairs == [(0, 0), (0, 1), (1, 0), (2, 0)]
    np.testing.assert_array_equal(targets.num_boxes, [1, 1, 2, 1])
    boxes = targets.truths["boxes"]
    np.testing.assert_array_equal(boxes[0, 0], (1, 2, 5, 6))
    np.testing.assert_array_equal(boxes[1, 0], (10, 2, 14, 6))
    np.testing.assert_array_equal(boxes[2], [(1, 2, 5, 6), (10, 2, 14, 6)])
    np.testing.assert_array_equal(targets.truths["cells"][1, 0], (8, 0, 16, 8))
    np.testing.assert_array_equal(targets.of(split["box_label"]), [1, 0, 2, 2])
    assert target_names(targets, split, ("a", "b", "c")) == ["b", "a", "c", "c"]


def test_an_image_without_a_digit_has_no_target():
    split = split_of_three()
    split["box_label"][0], split["num_boxes"][0] = -1, 0
    for all_images in (False, True):
        np.testing.assert_array_equal(find_targets(split, all_images).rows, [1, 2])


def test_with_one_label_every_image_with_a_box_is_a_target():
    split = {
        "label": np.array([2, 0, 1]),
        "boxes": np.arange(3)[:, None, None] * np.ones((3, 3, 4)),
        "num_boxes": np.array([3, 0, 1]),
    }
    targets = find_targets(split)
    np.testing.assert_array_equal(targets.rows, [0, 2])
    np.testing.assert_array_equal(targets.num_boxes, [3, 1])
    np.testing.assert_array_equal(targets.truths["boxes"][:, 0, 0], [0, 2])
    assert targets.truths.keys() == {"boxes"}
    np.testing.assert_array_equal(find_targets(split, all_images=True).rows, [0, 1, 2])


def test_without_boxes_every_image_is_a_target_only_if_all_are_asked_for():
    split = {"label": np.array([2, 0, 1])}
    assert len(find_targets(split).rows) == 0
    targets = find_targets(split, all_images=True)
    assert target_names(targets, split, ("a", "b", "c")) == ["c", "a", "b"]
    boxes, num_boxes = targets.boxes
    assert boxes.shape == (3, 1, 4) and not num_boxes.any()
