"""Pictures show each image with its maps, its true boxes and its found boxes."""

import numpy as np
import pytest

from mi_classifier import localization
from mi_classifier.reporting import pictures


def corners_of(patch):
    x, y = np.array(patch.get_xy()) + 0.5
    return x, y, x + patch.get_width(), y + patch.get_height()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_for_each_image_and_a_column_for_each_map(channels):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (2, 20, 30, channels), np.uint8)
    maps = {name: generator.random((2, 5, 7)) for name in ("CAM", "infoCAM $")}
    true_boxes = [np.array([[1, 2, 8, 9], [3, 3, 5, 5]]), np.zeros((0, 4))]
    figure = pictures.draw(images, ["a", "b"], true_boxes, maps, 0.2, "title")
    axes = np.reshape(figure.axes, (2, 3))
    assert [axis.get_title() for axis in axes[0]] == ["image", "CAM", r"infoCAM \$"]
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["a", "b"]
    assert [len(axis.patches) for axis in axes.ravel()] == [2, 3, 3, 0, 1, 1]
    expected = localization.boxes_from_maps(maps["CAM"], (20, 30), 0.2)
    for axis, box in zip(axes[:, 1], expected, strict=True):
        np.testing.assert_allclose(corners_of(axis.patches[0]), box, atol=0.3)
    image, score = axes[0, 1].get_images()
    np.testing.assert_array_equal(np.squeeze(image.get_array()), np.squeeze(images[0]))
    expected = localization.score_maps(maps["CAM"], (20, 30))[0]
    np.testing.assert_allclose(score.get_array(), expected)


def test_an_image_without_maps_is_drawn_alone():
    image = np.zeros((4, 4, 1), np.uint8)
    figure = pictures.draw([image], ["a"], [np.array([[0, 0, 4, 4]])], {}, 0.2, "t")
    assert len(figure.axes) == 1 and len(figure.axes[0].patches) == 1


def test_lines_at_the_border_are_inside_the_image_and_others_stay():
    image, maps = np.zeros((100, 200, 3), np.uint8), {"CAM": np.ones((1, 3, 4))}
    truth = np.array([[0, 10, 120, 100], [3, 4, 5, 6]])
    axis = pictures.draw([image], ["a"], [truth], maps, 0.2, "title").axes[1]
    found, *true_ones = axis.patches  # the dashes of true boxes are on top
    np.testing.assert_allclose(corners_of(found), [2, 2, 198, 98])
    np.testing.assert_allclose(corners_of(true_ones[0]), [2, 10, 120, 98])
    np.testing.assert_allclose(corners_of(true_ones[1]), truth[1])
