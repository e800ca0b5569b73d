"""Boxes of every part of a map, held against a search of its own."""

import numpy as np
import pytest
from scipy import ndimage

from mi_classifier import localization
from mi_classifier.components import components_from_maps

SIZE = (40, 60)


@pytest.fixture(scope="module")
def maps():
    return np.random.default_rng(0).random((6, 7, 9))


def test_the_first_box_is_that_of_the_library(maps):
    maps[4] = 1.0  # flat
    maps[5, 0, 0] = np.nan
    for threshold in (0.0, 0.5, 0.8):
        found = components_from_maps(maps, SIZE, threshold, 0.0)
        expected = localization.boxes_from_maps(maps, SIZE, threshold)
        np.testing.assert_array_equal([boxes[0] for boxes in found], expected)
        assert found[4].tolist() == [[0, 0, 60, 40]]
        assert found[5].tolist() == [[0, 0, 0, 0]]


def test_boxes_are_those_of_scipy_by_size(maps):
    several = 0
    for smallest in (0.0, 0.02, 0.9):
        scores = localization.score_maps(maps[:4], SIZE)
        found = components_from_maps(maps[:4], SIZE, 0.7, smallest)
        for score, boxes in zip(scores, found, strict=True):
            labels, count = ndimage.label(score > 0.7, np.ones((3, 3)))
            areas = ndimage.sum_labels(score > 0.7, labels, range(1, count + 1))
            slices = ndimage.find_objects(labels)
            order = np.argsort(-areas, kind="stable")
            kept = [
                i for n, i in enumerate(order) if not n or areas[i] >= 2400 * smallest
            ]
            expected = [
                (x.start, y.start, x.stop, y.stop) for y, x in (slices[i] for i in kept)
            ]
            np.testing.assert_array_equal(boxes, expected)
            several += len(kept) > 1
            if smallest == 0.9:
                assert len(boxes) == 1  # the largest is kept, however small
    assert several > 4


@pytest.mark.parametrize("smallest", [-0.1, 1.1, np.nan, np.inf])
def test_a_share_outside_of_0_to_1_is_refused(smallest):
    with pytest.raises(ValueError, match=r"smallest must be in \[0, 1\]"):
        components_from_maps(np.eye(3)[None], SIZE, 0.5, smallest)


def test_parts_that_touch_at_a_corner_are_one():
    maps = np.array([[[9, 0, 0, 0], [0, 9, 0, 0], [0, 0, 0, 8]]])
    (boxes,) = components_from_maps(maps, (3, 4), 0.5, 0.0)
    assert boxes.tolist() == [[0, 0, 2, 2], [3, 2, 4, 3]]
