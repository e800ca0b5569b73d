"""Double digits follow the paper: probabilities, boxes, and disjoint splits."""

import chex
import jax
import numpy as np
import pytest

from mi_classifier.data import double_mnist, load_dataset
from mi_classifier.errors import UserError


def load(archive, tmp_path, seed=0):
    return load_dataset(
        {
            "name": "double_mnist",
            "seed": seed,
            "archive_dir": str(archive),
            "data_dir": str(tmp_path),
        }
    )


@pytest.fixture
def dataset(archive, tmp_path):
    return load(archive, tmp_path)


def pool_of(per_digit=20, digits=10):
    """Returns digits whose ink, a rectangle, tells the digit and the image."""
    images = np.zeros((digits * per_digit, 28, 28, 1), np.uint8)
    for i, image in enumerate(images):
        image[3 : 5 + i // per_digit, 4 : 20 + i % 7] = 1 + i
    return {"image": images}, (per_digit,) * digits + (0,) * (10 - digits)


def test_sides_and_digits_follow_the_paper():
    pool, counts = pool_of()
    keys = jax.random.split(jax.random.key(0), 20_000)
    one = jax.vmap(lambda key: double_mnist.compose(counts, key, pool)["box_label"])
    labels = np.asarray(jax.jit(one)(keys))
    present = labels >= 0
    assert present.any(1).all()
    chex.assert_trees_all_close(present.mean(0), np.full(2, 0.7 / 0.91), atol=0.015)
    np.testing.assert_allclose(present.all(1).mean(), 0.49 / 0.91, atol=0.015)
    shares = np.bincount(labels[present], minlength=10) / present.sum()
    np.testing.assert_allclose(shares, 0.1, atol=0.01)
    both = labels[present.all(1)]
    np.testing.assert_allclose((both[:, 0] == both[:, 1]).mean(), 0.1, atol=0.015)


def test_the_prior_is_that_of_augmented_examples(dataset):
    pool = dataset.splits["train"]
    keys = jax.random.split(jax.random.key(1), 20_000)
    labels = jax.jit(jax.vmap(lambda key: dataset.augment(key, pool, 0)["label"]))
    np.testing.assert_allclose(
        np.exp(dataset.log_prior()), labels(keys).mean(0), atol=0.01
    )
    np.testing.assert_allclose(
        np.exp(dataset.log_prior()), (1 - 0.93**2) / 0.91, rtol=1e-6
    )
    chex.assert_trees_all_close(
        np.exp(dataset.log_prior("test")),
        dataset.splits["test"]["label"].mean(0),
        rtol=1e-6,
    )


def test_images_hold_the_digits_of_their_labels():
    pool, counts = pool_of()
    for i in range(50):
        example = double_mnist.compose(counts, jax.random.key(i), pool)
        chex.assert_shape(example["image"], (28, 56, 1))
        for side, digit in enumerate(np.asarray(example["box_label"])):
            cell = np.asarray(example["image"])[:, 28 * side : 28 * side + 28]
            if digit < 0:
                assert not cell.any()
            else:
                source = pool["image"][cell.max() - 1]
                np.testing.assert_array_equal(cell, source)
                assert (cell.max() - 1) // 20 == digit
        named = {int(d) for d in example["box_label"] if d >= 0}
        assert {int(d) for d in np.flatnonzero(example["label"])} == named


def test_every_image_of_a_digit_is_used():
    pool, counts = pool_of(per_digit=5)
    keys = jax.random.split(jax.random.key(0), 2_000)
    images = jax.vmap(lambda key: double_mnist.compose(counts, key, pool)["image"])
    found = np.asarray(jax.jit(images)(keys))
    assert set(np.unique(found)) == set(range(51))


@pytest.mark.slow
def test_a_digit_that_the_pool_lacks_never_comes():
    pool, counts = pool_of(digits=3)
    keys = jax.random.split(jax.random.key(0), 500)
    one = jax.vmap(lambda key: double_mnist.compose(counts, key, pool)["box_label"])
    assert set(np.unique(one(keys))) == {-1, 0, 1, 2}


def test_boxes_are_tight_and_cells_are_halves(dataset):
    split = dataset.splits["test"]
    assert 0 < len(split["label"]) <= 100
    chex.assert_shape(split["boxes"], (len(split["label"]), 2, 4))
    for i, count in enumerate(split["num_boxes"]):
        image = split["image"][i, ..., 0]
        expected = []
        for side in range(2):
            rows, columns = np.nonzero(image[:, 28 * side : 28 * side + 28])
            if len(rows):
                box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                expected.append((side, np.add(box, (28 * side, 0, 28 * side, 0))))
        assert len(expected) == count
        for k, (side, box) in enumerate(expected):
            np.testing.assert_array_equal(split["boxes"][i, k], box)
            cell = (28 * side, 0, 28 * side + 28, 28)
            np.testing.assert_array_equal(split["cells"][i, k], cell)
        assert (split["box_label"][i, count:] == -1).all()
        assert not split["boxes"][i, count:].any()
        named = set(split["box_label"][i, :count].tolist())
        assert set(np.flatnonzero(split["label"][i]).tolist()) == named


def test_splits_share_no_digit(dataset):
    def halves(images):
        return {
            half.tobytes()
            for image in images
            for half in (image[:, :28], image[:, 28:])
            if half.any()
        }

    train = {image.tobytes() for image in dataset.splits["train"]["image"]}
    validation = halves(dataset.splits["validation"]["image"])
    test = halves(dataset.splits["test"]["image"])
    assert train and validation and test
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_the_seed_decides_validation_and_test(archive, tmp_path, dataset):
    again, other = load(archive, tmp_path), load(archive, tmp_path, seed=1)
    assert again.fingerprints() == dataset.fingerprints()
    for name in ("validation", "test"):
        assert other.fingerprints()[name] != dataset.fingerprints()[name]
    with pytest.raises(UserError, match=r"data\.seed: "):
        load(archive, tmp_path, seed=-1)


def test_the_data_set_is_multi_label(dataset):
    assert dataset.multi_label
    assert dataset.num_classes == 10
    chex.assert_shape(dataset.example_input(), (1, 28, 56, 1))
    assert np.isfinite(dataset.log_prior()).all()
