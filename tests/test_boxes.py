"""IoU of boxes equals values worked out by hand, and counts of pixels."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mi_classifier.boxes import iou


@pytest.mark.parametrize("array", [np.array, jnp.array])
def test_iou_by_hand(array):
    a = array([[0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 1, 1], [2, 2, 6, 6]])
    b = array([[2, 0, 6, 4], [4, 4, 8, 8], [0, 0, 1, 1], [0, 0, 8, 4]])
    expected = np.array([8 / 24, 0, 1, 8 / 40])
    result = iou(a, b)
    assert isinstance(result, np.ndarray) == (array is np.array)
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    np.testing.assert_allclose(iou(b, a), expected, rtol=1e-6)
    table = iou(a[:, None], b[None])
    chex.assert_shape(table, (4, 4))
    np.testing.assert_allclose(np.diagonal(table), expected, rtol=1e-6)


def test_iou_counts_pixels():
    generator = np.random.default_rng(0)
    corners = np.sort(generator.integers(0, 12, (2, 40, 2, 2)), axis=2)
    a, b = corners.transpose(0, 1, 2, 3).reshape(2, 40, 4)
    for one, two in zip(a, b, strict=True):
        canvas = np.zeros((2, 12, 12), bool)
        for layer, (x0, y0, x1, y1) in zip(canvas, (one, two), strict=True):
            layer[y0:y1, x0:x1] = True
        union = (canvas[0] | canvas[1]).sum()
        expected = (canvas[0] & canvas[1]).sum() / max(union, 1)
        assert iou(one, two) == pytest.approx(expected)


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 0), (3, 3, 3, 9), (6, 6, 2, 2), (6, 0, 2, 8)]
)
def test_a_box_without_area_overlaps_nothing(box):
    box = np.array(box, np.float32)
    for other in (box, np.array([0, 0, 10, 10], np.float32)):
        assert iou(box, other) == 0


def test_iou_can_be_compiled():
    a, b = np.array([[0, 0, 4, 4.0]]), np.array([[2, 0, 6, 4.0]])
    np.testing.assert_allclose(jax.jit(iou)(a, b), [1 / 3], rtol=1e-6)


def test_boxes_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="boxes_a"):
        iou(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="boxes_b"):
        iou(np.zeros(4), np.zeros(()))
