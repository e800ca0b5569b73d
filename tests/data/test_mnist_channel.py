"""The noisy labels of MNIST have the information that the closed form says."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mi_classifier import information
from mi_classifier.data import mnist_channel
from mi_classifier.errors import UserError


def load(archive, tmp_path, **options):
    options = {"flip_probability": 0.3, "balanced": True, "seed": 0} | options
    folders = {"archive_dir": str(archive), "data_dir": str(tmp_path)}
    return mnist_channel.load(**options, **folders)


@pytest.mark.parametrize("flip", [0, 0.1, 0.3, 0.9, 1])
@pytest.mark.parametrize("prior", [np.full(10, 0.1), np.arange(10) / 45])
def test_information_equals_that_of_the_joint_table(flip, prior):
    channel = mnist_channel.log_channel(flip)
    assert np.exp(channel).sum(1) == pytest.approx(np.ones(10))
    joint = prior[:, None] * np.exp(channel)
    product = prior[:, None] * joint.sum(0)
    seen = joint > 0
    expected = (joint[seen] * np.log(joint[seen] / product[seen])).sum()
    with np.errstate(divide="ignore"):
        found = mnist_channel.mutual_information(np.log(prior), channel)
    assert found == pytest.approx(expected, abs=1e-6)
    if flip == 0.9:  # all labels are equally likely for every digit
        assert abs(found) < 1e-6


def test_labels_are_flipped_as_often_as_asked(archive, tmp_path):
    dataset = load(archive, tmp_path)
    test = dataset.splits["test"]
    assert len(test["label"]) == 2_000  # 100 images, twenty times each
    chex.assert_trees_all_equal(np.bincount(test["group"]), np.full(100, 20))
    chex.assert_trees_all_equal(test["image"][:100], test["image"][300:400])
    assert abs((test["label"] != test["digit"]).mean() - 0.3) < 0.06
    flipped = test["label"][test["label"] != test["digit"]]
    assert np.bincount(flipped, minlength=10).min() > 10
    train = dataset.splits["train"]
    assert len(np.unique(train["group"])) == len(train["label"]) == 550
    again = load(archive, tmp_path)
    chex.assert_trees_all_equal(test, again.splits["test"])
    other = load(archive, tmp_path, seed=1).splits["test"]
    assert (other["label"] != test["label"]).any()


def test_without_noise_labels_are_digits(archive, tmp_path):
    dataset = load(archive, tmp_path, flip_probability=0.0)
    for split in dataset.splits.values():
        chex.assert_trees_all_equal(split["label"], split["digit"])
    entropy = float(information.label_entropy(dataset.log_prior()))
    assert dataset.mutual_information == pytest.approx(entropy, abs=1e-5)


def test_density_gives_the_closed_form(archive, tmp_path):
    dataset = load(archive, tmp_path)
    split = dataset.splits["train"]
    digits = jnp.asarray(split["digit"])
    density = np.asarray(dataset.log_density({"digit": digits}), np.float64)
    log_prior = information.log_label_prior(split["digit"], 10)
    channel = np.exp(mnist_channel.log_channel(0.3))
    label_prior = np.exp(log_prior) @ channel
    pmi = information.pointwise_mutual_information(
        jnp.repeat(density, 10, axis=0),
        jnp.tile(jnp.arange(10), len(digits)),
        np.log(label_prior),
    ).reshape(-1, 10)
    expected = (pmi * channel[split["digit"]]).sum(1).mean()
    assert dataset.mutual_information == pytest.approx(float(expected), abs=1e-4)


def test_unbalanced_keeps_a_tenth_of_the_even_digits(archive, tmp_path):
    whole = load(archive, tmp_path).splits["train"]["digit"]
    digits = load(archive, tmp_path, balanced=False).splits["train"]["digit"]
    most = 550 // 10
    for digit in range(10):
        limit = most if digit % 2 else most // 10
        assert (digits == digit).sum() == min((whole == digit).sum(), limit)


def test_training_images_move_by_at_most_two_pixels(archive, tmp_path):
    dataset = load(archive, tmp_path)
    split = {name: jnp.asarray(a) for name, a in dataset.splits["train"].items()}
    image = split["image"][0]
    padded = np.pad(np.asarray(image)[..., 0], 2)
    windows = {
        padded[i : i + 28, j : j + 28].tobytes(): (i, j)
        for i in range(5)
        for j in range(5)
    }
    keys = jax.random.split(jax.random.key(0), 200)
    augmented = jax.vmap(lambda key: dataset.augment(key, split, 0))(keys)
    moved = np.asarray(augmented["image"])
    assert moved.dtype == np.uint8
    assert (augmented["label"] == split["label"][0]).all()
    assert len({windows[m[..., 0].tobytes()] for m in moved}) == 25


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"flip_probability": 1.5}, "flip_probability"),
        ({"flip_probability": -0.1}, "flip_probability"),
        ({"flip_probability": float("nan")}, "flip_probability"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_options_are_named(archive, tmp_path, options, field):
    with pytest.raises(UserError, match=f"data.{field}: "):
        load(archive, tmp_path, **options)
