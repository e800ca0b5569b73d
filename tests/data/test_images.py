"""Crops, flips and the boxes that follow; and the generated set made with them."""

import chex
import jax
import numpy as np
import pytest

from mi_classifier.data import load_dataset
from mi_classifier.data.images import (
    center_crop,
    center_crop_boxes,
    random_crop_and_flip,
)
from mi_classifier.errors import UserError

SMALL = {
    "name": "generated",
    "num_classes": 12,
    "num_images": 24,
    "stored_side": 40,
    "side": 32,
    "normalization": "imagenet",
    "seed": 0,
}


def test_every_crop_and_both_directions_are_drawn():
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
    drawn = [windows[np.asarray(crop).tobytes()] for crop in crops]
    assert len(set(drawn)) == 24
    assert abs(np.mean([flipped for *_, flipped in drawn]) - 0.5) < 0.1


@pytest.mark.parametrize("size", [(10, 10), (11, 14)])
def test_boxes_follow_the_center_crop(size):
    """What a box bounds before, it bounds after, as far as it is still there."""
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


def test_generated_images_hold_what_their_boxes_bound():
    dataset = load_dataset(SMALL)
    test = dataset.splits["test"]
    chex.assert_shape(test["image"], (24, 32, 32, 3))
    chex.assert_shape(dataset.splits["train"]["image"], (24, 40, 40, 3))
    chex.assert_shape(test["boxes"], (24, 1, 4))
    chex.assert_shape(dataset.example_input(), (1, 32, 32, 3))
    assert set(test["label"]) == set(range(12))
    sides = test["boxes"][..., 2:] - test["boxes"][..., :2]
    assert (sides >= 8).all() and (sides <= 26).all()
    # The texture varies more than the clutter does.
    x0, y0, x1, y1 = test["boxes"][:, 0].astype(int).T
    for i, image in enumerate(test["image"].astype(float)):
        y, x = (y0[i] + y1[i]) // 2, (x0[i] + x1[i]) // 2
        inside = image[y - 4 : y + 4, x - 4 : x + 4].std((0, 1)).mean()
        assert inside > 20
    keys = jax.random.split(jax.random.key(0), 3)
    drawn = jax.vmap(lambda key: dataset.draw(key, dataset.splits["train"], 5))(keys)
    chex.assert_shape(drawn["image"], (3, 32, 32, 3))
    assert (drawn["label"] == 5).all()


def test_the_seed_decides_what_is_generated():
    one, again = load_dataset(SMALL), load_dataset(SMALL)
    assert one.fingerprints() == again.fingerprints()
    other = load_dataset(SMALL | {"seed": 1})
    assert one.fingerprints()["test"] != other.fingerprints()["test"]


@pytest.mark.parametrize(
    ("name", "black", "white"),
    [
        ("imagenet", (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225), None),
        ("inception", (-1, -1, -1), (1, 1, 1)),
    ],
)
def test_pixels_reach_nets_as_those_were_trained(name, black, white):
    dataset = load_dataset(SMALL | {"normalization": name})
    images = np.stack(
        [np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)]
    )
    zero, full = np.asarray(dataset.preprocess(images))[:, 0, 0]
    np.testing.assert_allclose(zero, black, rtol=1e-6)
    if white:
        np.testing.assert_allclose(full, white, rtol=1e-6)


@pytest.mark.parametrize(
    "change",
    [{"side": 64}, {"side": 8}, {"num_classes": 1}, {"normalization": "cifar"}],
)
def test_numbers_out_of_range_are_refused(change):
    with pytest.raises(UserError, match="data"):
        load_dataset(SMALL | change)
