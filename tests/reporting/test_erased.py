"""Figure 4 keeps of an image what the box of each map holds, and erases the rest."""

import numpy as np

from mi_classifier import activation_maps
from mi_classifier.data.dataset import Dataset
from mi_classifier.reporting import erased

SETTINGS = {"region": 2, "rival": "image", "threshold": 0.5}


def digits():
    """Two images: the first has labels 1 and 0, side by side, the second label 1."""
    test = {
        "image": np.full((2, 8, 16, 1), 200, np.uint8),
        "label": np.array([[1, 1], [0, 1]]),
        "boxes": np.array([[[0, 0, 8, 8], [8, 0, 16, 8]], [[8, 0, 16, 8], [0] * 4]]),
        "box_label": np.array([[1, 0], [1, -1]]),
        "num_boxes": np.array([2, 1]),
    }
    return Dataset("digits", {"test": test}, ("0", "1"), lambda images: images)


def test_a_row_for_each_label_and_a_column_for_each_map():
    maps = np.zeros((2, 2, 8, 16))
    maps[0, 0, 2:4, 1:5] = maps[0, 1, 5:7, 9:12] = maps[1, 0, 0:8, 8:16] = 1
    names = ("cam", "cam_region", "info_cam_plus")
    figure = erased.draw_test_images(digits(), dict.fromkeys(names, maps), SETTINGS)
    axes = np.reshape(figure.axes, (3, 4))
    assert [axis.get_ylabel() for axis in axes[:, 0]] == [
        f"label {i}" for i in (1, 0, 1)
    ]
    assert [axis.get_title() for axis in axes[0]] == [
        "image",
        "CAM",
        "infoCAM of the label alone",
        "infoCAM+, rival of the image",
    ]
    for row, (image, column) in enumerate([(0, 0), (0, 1), (1, 0)]):
        whole, kept = (axes[row, i].get_images()[0].get_array() for i in (0, 1))
        assert (whole == 200).all()
        np.testing.assert_array_equal(kept == 200, maps[image, column] == 1)
        assert ((kept == 200) | (kept == 96)).all()


def test_infocam_of_one_label_is_cam_with_regions():
    """Of a binary classification whose classes have the logits n and 0."""
    generator = np.random.default_rng(0)
    features = generator.random((2, 5, 6, 7))
    kernel = generator.normal(size=(7, 3))
    labels = np.array([2, 0])
    options = {"region": 3, "padding": "full"}
    entry = activation_maps.MAPS["cam_region"]
    ours = entry.function(features, kernel, labels, **options)
    for i, label in enumerate(labels):
        binary = np.stack([np.zeros(7), kernel[:, label]], 1)  # absent, present
        one = activation_maps.info_cam(features[[i]], binary, np.array([1]), **options)
        np.testing.assert_allclose(ours[i : i + 1], one, rtol=1e-5, atol=1e-5)


def test_titles_are_of_known_maps():
    assert set(erased.TITLES) <= set(activation_maps.MAPS)
