"""Crops, flips and normalization are right, and boxes follow the crops."""

import chex
import jax
import numpy as np
import pytest

from mi_classifier.data.images import (
    Images,
    blank_dataset,
    center_crop,
    center_crop_boxes,
    image_dataset,
    random_crop_and_flip,
)
from mi_classifier.errors import UserError
from tests.data.generated import CONFIGS


def test_every_crop_and_both_directions_occur():
    image = np.arange(5 * 6, dtype=np.uint8).reshape(5, 6, 1)
    windows = {}
    for i in range(3):
        for j in range(4):
            window = image[i : i + 3, j : j + 3]
            windows[window.tobytes()] = (i, j, False)
            windows[window[:, ::-1].tobytes()] = (i, j, True)
    keys = jax.random.split(jax.random.key(0), 500)
    crops = jax.vmap(lambda key: random_crop_and_flip(key, image, 3))(keys)
    chex.assert_shape(crops, (500, 3, 3, 1))
    seen = [windows[np.asarray(crop).tobytes()] for crop in crops]
    assert len(set(seen)) == 24
    assert abs(np.mean([flipped for *_, flipped in seen]) - 0.5) < 0.1


def test_padding_moves_an_image_and_mirrors_it_at_its_edges():
    image = np.arange(6 * 6, dtype=np.uint8).reshape(6, 6, 1)
    padded = np.pad(image, [(2, 2), (2, 2), (0, 0)], "reflect")
    windows = set()
    for i in range(5):
        for j in range(5):
            window = padded[i : i + 6, j : j + 6]
            windows |= {window.tobytes(), window[:, ::-1].tobytes()}
    keys = jax.random.split(jax.random.key(0), 600)
    crops = jax.vmap(lambda key: random_crop_and_flip(key, image, 6, pad=2))(keys)
    chex.assert_shape(crops, (600, 6, 6, 1))
    assert {np.asarray(crop).tobytes() for crop in crops} == windows


def test_a_negative_pad_is_refused_before_data_is_read():
    with pytest.raises(UserError, match=r"data.pad: must be at least 0, not -1"):
        blank_dataset(16, "imagenet", pad=-1)


@pytest.mark.parametrize("layout", CONFIGS)
def test_every_set_of_large_images_takes_a_pad(loaded, layout):
    with pytest.raises(UserError, match=r"data.pad: must be at least 0, not -1"):
        loaded(layout, pad=-1)


def test_only_training_images_are_padded():
    image = np.arange(16 * 16, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    split = {"image": image, "label": np.zeros(1, np.int32)}
    images = Images({"train": split, "test": split}, ["a"])
    padded = image_dataset("set", images, 16, "imagenet", pad=3)
    np.testing.assert_array_equal(padded.splits["test"]["image"], image)
    augmented = [
        padded.augment(key, padded.splits["train"], 0)["image"]
        for key in jax.random.split(jax.random.key(0), 4)
    ]
    chex.assert_shape(augmented, (16, 16, 3))
    stored = {image[0].tobytes(), image[0, :, ::-1].tobytes()}
    assert {np.asarray(each).tobytes() for each in augmented} - stored


@pytest.mark.parametrize("size", [(10, 10), (11, 14)])
def test_boxes_follow_the_center_crop(size):
    """A box bounds the same pixels before and after the crop."""
    generator = np.random.default_rng(0)
    for _ in range(30):
        y0, y1 = np.sort(generator.choice(size[0] + 1, 2, replace=False))
        x0, x1 = np.sort(generator.choice(size[1] + 1, 2, replace=False))
        image = np.zeros((*size, 1), np.uint8)
        image[y0:y1, x0:x1] = 1
        x0, y0, x1, y1 = center_crop_boxes(np.array([x0, y0, x1, y1]), size, 8)
        cropped = np.zeros((8, 8, 1), np.uint8)
        cropped[y0:y1, x0:x1] = 1
        np.testing.assert_array_equal(center_crop(image, 8), cropped)


def dataset(normalization="imagenet"):
    generator = np.random.default_rng(0)
    split = {
        "image": generator.integers(0, 256, (4, 20, 20, 3), np.uint8),
        "label": np.arange(4, dtype=np.int32),
        "boxes": np.array([[[0, 0, 20, 20]]] * 4, np.float32),
        "num_boxes": np.ones(4, np.int32),
    }
    images = Images({"train": split, "test": split}, list("abcd"))
    return image_dataset("set", images, 16, normalization)


def test_training_images_are_cropped_by_augment_and_others_in_advance():
    images = dataset()
    chex.assert_shape(images.splits["train"]["image"], (4, 20, 20, 3))
    chex.assert_shape(images.splits["test"]["image"], (4, 16, 16, 3))
    chex.assert_shape(images.example_input(), (1, 16, 16, 3))
    np.testing.assert_array_equal(
        images.splits["test"]["boxes"], [[[0, 0, 16, 16]]] * 4
    )
    keys = jax.random.split(jax.random.key(0), 3)
    augmented = jax.vmap(lambda key: images.augment(key, images.splits["train"], 2))(
        keys
    )
    chex.assert_shape(augmented["image"], (3, 16, 16, 3))
    assert (augmented["label"] == 2).all()


@pytest.mark.parametrize(
    ("name", "black", "white"),
    [
        ("imagenet", (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225), None),
        ("inception", (-1, -1, -1), (1, 1, 1)),
    ],
)
def test_pixels_are_normalized_as_pretrained_nets_expect(name, black, white):
    images = np.stack([np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, "u1")])
    zero, full = np.asarray(dataset(name).preprocess(images))[:, 0, 0]
    np.testing.assert_allclose(zero, black, rtol=1e-6)
    if white:
        np.testing.assert_allclose(full, white, rtol=1e-6)


def test_an_unknown_normalization_is_refused():
    with pytest.raises(UserError, match=r"data.normalization: .*imagenet"):
        dataset("cifar")


def test_boxes_outside_of_the_crop_do_not_count():
    split = {
        "image": np.zeros((1, 20, 20, 3), np.uint8),
        "label": np.zeros(1, np.int32),
        "boxes": np.array([[[0, 0, 2, 9], [4, 4, 20, 20], [0, 0, 0, 0]]], np.float32),
        "num_boxes": np.array([2], np.int32),
    }
    cropped = image_dataset("", Images({"test": split}, ["a"]), 16, "imagenet").splits[
        "test"
    ]
    np.testing.assert_array_equal(cropped["num_boxes"], [1])
    np.testing.assert_array_equal(cropped["boxes"][0, 0], [2, 2, 16, 16])


def test_images_that_lose_their_box_to_the_crop_are_counted(capsys):
    corner, middle = [0, 0, 2, 9], [4, 4, 20, 20]
    split = {
        "image": np.zeros((3, 20, 20, 3), np.uint8),
        "label": np.zeros(3, np.int32),
        "boxes": np.array([[corner, middle], [corner, [0] * 4], [[0] * 4] * 2], "f4"),
        "num_boxes": np.array([2, 1, 0], np.int32),
    }
    splits = {"train": split, "test": split}
    image_dataset("", Images(splits, ["a"]), 16, "imagenet")
    assert "so that they have no box: test 1;" in capsys.readouterr().out
    image_dataset("", Images(splits, ["a"]), 20, "imagenet")
    assert not capsys.readouterr().out
