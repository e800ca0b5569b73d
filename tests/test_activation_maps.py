"""CAM, infoCAM and infoCAM+ against the authors' maps, their sums and symmetries."""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mi_classifier import activation_maps, information
from mi_classifier.activation_maps import (
    MAPS,
    class_activation_map,
    info_cam,
    info_cam_plus,
)

REFERENCE = Path(__file__).parent / "reference" / "activation_maps.npz"
B, H, W, K, M = 3, 4, 6, 5, 7


@pytest.fixture
def example():
    """Features `[B, H, W, K]`, a kernel `[K, M]` and labels `[B]`."""
    generator = np.random.default_rng(0)
    features = np.maximum(generator.normal(size=(B, H, W, K)), 0).astype(np.float32)
    kernel = generator.normal(size=(K, M)).astype(np.float32)
    return features, kernel, generator.integers(0, M, B)


def by_hand(name, features, kernel, labels, region, rival="region"):
    """Eqs. 12, 14 and 15 with loops over images, regions and classes, in float64."""
    features, kernel = features.astype(np.float64), kernel.astype(np.float64)
    height, width = features.shape[1:3]
    r = region - 1
    maps = np.zeros((len(features), height + r, width + r))
    for b, label in enumerate(labels):
        logits = features[b].mean((0, 1)) @ kernel
        for i in range(height + r):
            for j in range(width + r):
                cells = features[b, max(i - r, 0) : i + 1, max(j - r, 0) : j + 1]
                scores = cells.sum((0, 1)) @ kernel
                others = np.delete(scores, label)
                maps[b, i, j] = (
                    scores[label]
                    - {
                        "cam": 0,
                        "info_cam": others.mean(),
                        "info_cam_plus": scores.min()
                        if rival == "region"
                        else scores[logits.argmin()],
                    }[name]
                )
    return maps


@pytest.mark.parametrize(
    ("key", "name", "options"),
    [
        ("cam", "cam", {}),
        ("infocam_no_region", "info_cam", {}),
        ("cam_region4", "cam", {"region": 4}),
        ("infocam_region4", "info_cam", {"region": 4}),
        ("infocam_plus_region4", "info_cam_plus", {"region": 4, "rival": "image"}),
    ],
)
def test_the_authors_maps(key, name, options):
    with np.load(REFERENCE) as file:
        inputs = file["features"], file["head_kernel"], file["labels"]
        maps, logits = file[key], file["logits"]
    ours = MAPS[name](*inputs, **options)
    chex.assert_shape(ours, maps.shape)
    np.testing.assert_allclose(ours, maps, rtol=1e-4, atol=1e-5 * np.abs(maps).max())
    if options.get("rival"):
        again = MAPS[name](*inputs, **options, logits=logits)
        chex.assert_trees_all_equal(again, ours)


@pytest.mark.parametrize("region", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("name", MAPS)
def test_the_equations(example, name, region):
    ours = MAPS[name](*example, region=region)
    theirs = by_hand(name, *example, region)
    chex.assert_shape(ours, (B, H + region - 1, W + region - 1))
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_the_rival_of_the_image(example):
    ours = info_cam_plus(*example, region=3, rival="image")
    theirs = by_hand("info_cam_plus", *example, 3, "image")
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_the_rival_follows_the_logits_given(example):
    features, kernel, labels = example
    logits = np.zeros((B, M))
    logits[:, 2] = -1  # a bias of the head may decide
    ours = info_cam_plus(features, kernel, labels, rival="image", logits=logits)
    pair = info_cam(features, kernel[:, [0, 2]], np.zeros(B, int))
    own = class_activation_map(features, kernel, labels)
    first = class_activation_map(features, kernel, np.zeros(B, int))
    chex.assert_trees_all_close(ours, own - first + pair, atol=1e-5)


def test_info_cam_sums_to_the_difference_of_pmi(example):
    # Eq. 14: with the bias, which no cell adds.
    features, kernel, labels = example
    bias = np.linspace(-1, 1, M).astype(np.float32)
    logits = features.mean((1, 2)) @ kernel + bias
    log_prior = np.log(np.arange(1, M + 1) / np.arange(1, M + 1).sum())
    pmi = np.stack(
        [
            information.pointwise_mutual_information(logits, np.full(B, y), log_prior)
            for y in range(M)
        ],
        -1,
    )
    own = pmi[np.arange(B), labels]
    difference = own - (pmi.sum(-1) - own) / (M - 1)
    of_bias = bias[labels] - (bias.sum() - bias[labels]) / (M - 1)
    maps = info_cam(features, kernel, labels)
    np.testing.assert_allclose(
        maps.mean((1, 2)) + of_bias, difference, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("padding", activation_maps.PADDINGS)
@pytest.mark.parametrize("name", MAPS)
def test_a_region_of_one_cell_is_none(example, name, padding):
    chex.assert_trees_all_equal(
        MAPS[name](*example, region=1, padding=padding), MAPS[name](*example)
    )


@pytest.mark.parametrize("region", [2, 3, 4])
@pytest.mark.parametrize("name", MAPS)
def test_same_padding_is_the_middle_of_full(example, name, region):
    full = MAPS[name](*example, region=region)
    same = MAPS[name](*example, region=region, padding="same")
    start = region // 2
    chex.assert_trees_all_close(
        same, full[:, start : start + H, start : start + W], atol=1e-5
    )


@pytest.mark.parametrize("options", [{}, {"rival": "image"}])
@pytest.mark.parametrize("scale", [1, 100])
def test_one_vector_for_all_classes_changes_nothing(example, options, scale):
    features, kernel, labels = example
    vector = np.random.default_rng(1).normal(size=(K, 1)).astype(np.float32)
    moved = kernel + scale * vector
    for name in ("info_cam", "info_cam_plus"):
        chosen = options if name == "info_cam_plus" else {}
        chex.assert_trees_all_close(
            MAPS[name](features, moved, labels, 3, **chosen),
            MAPS[name](features, kernel, labels, 3, **chosen),
            atol=1e-4 * scale,
        )


@pytest.mark.parametrize("region", [1, 2, 3])
@pytest.mark.parametrize("name", MAPS)
def test_a_flipped_image_gives_a_flipped_map(example, name, region):
    features, kernel, labels = example
    for axis in (1, 2):
        chex.assert_trees_all_close(
            MAPS[name](np.flip(features, axis), kernel, labels, region),
            jnp.flip(MAPS[name](features, kernel, labels, region), axis),
            atol=1e-5,
        )


@pytest.mark.parametrize("options", [{}, {"rival": "image"}])
@pytest.mark.parametrize("name", MAPS)
def test_several_labels_of_an_image(example, name, options):
    features, kernel, labels = example
    options = options if name == "info_cam_plus" else {}
    pairs = np.stack([labels, (labels + 1) % M], 1)
    maps = MAPS[name](features, kernel, pairs, 2, **options)
    chex.assert_shape(maps, (B, 2, H + 1, W + 1))
    for column in range(2):
        alone = MAPS[name](features, kernel, pairs[:, column], 2, **options)
        chex.assert_trees_all_close(maps[:, column], alone, atol=1e-5)


def test_against_the_least_likely_class_nothing_is_negative(example):
    assert info_cam_plus(*example, region=2).min() >= 0


def test_without_another_class_info_cam_is_cam(example):
    features, kernel, _ = example
    labels = np.zeros(B, int)
    chex.assert_trees_all_equal(
        info_cam(features, kernel[:, :1], labels),
        class_activation_map(features, kernel[:, :1], labels),
    )


@pytest.mark.parametrize("name", MAPS)
def test_low_precision_features_give_float32_maps(example, name):
    features, kernel, labels = example
    low = jnp.asarray(features, jnp.bfloat16)
    maps = MAPS[name](low, kernel, labels)
    chex.assert_type(maps, jnp.float32)
    exact = MAPS[name](np.asarray(low, np.float32), kernel, labels)
    chex.assert_trees_all_close(maps, exact, atol=1e-5)


@pytest.mark.parametrize("label", [-1, M, 100])
@pytest.mark.parametrize("name", MAPS)
def test_a_label_out_of_range_gives_nan(example, name, label):
    features, kernel, labels = example
    labels = np.array([label, *labels[1:]])
    maps = MAPS[name](features, kernel, labels, 2)
    assert np.isnan(maps[0]).all()
    assert np.isfinite(maps[1:]).all()


@pytest.mark.parametrize("name", MAPS)
def test_it_compiles_within_a_program(example, name):
    traced = jax.jit(lambda *inputs: MAPS[name](*inputs, region=3))
    chex.assert_trees_all_close(
        traced(*example), MAPS[name](*example, region=3), atol=1e-5
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros((B, K))}, "features"),
        ({"features": np.zeros((B, 0, 2, K))}, "features"),
        ({"head_kernel": np.zeros((K, 0))}, "head_kernel"),
        ({"head_kernel": np.zeros((K + 1, M))}, "differ in K"),
        ({"labels": np.zeros(B + 1, int)}, "labels"),
        ({"region": 0}, "region"),
        ({"padding": "valid"}, "padding"),
    ],
)
@pytest.mark.parametrize("name", MAPS)
def test_what_does_not_fit_is_refused(example, name, change, message):
    inputs = dict(zip(("features", "head_kernel", "labels"), example, strict=True))
    with pytest.raises(ValueError, match=message):
        MAPS[name](**inputs | change)


def test_unknown_rivals_and_logits_are_refused(example):
    with pytest.raises(ValueError, match="rival"):
        info_cam_plus(*example, rival="lowest")
    with pytest.raises(ValueError, match="logits"):
        info_cam_plus(*example, rival="image", logits=np.zeros((B, M + 1)))
    features, kernel, labels = example
    with pytest.raises(TypeError, match="integers"):
        info_cam(features, kernel, labels.astype(float))


@pytest.mark.parametrize("classes", [31, 32, 33, 64, 100])
def test_many_classes_are_compared_some_at_a_time(classes, monkeypatch):
    """Whatever the parts, the last of them overlapping or not."""
    monkeypatch.setattr(activation_maps, "_CLASS_BYTES", 1)  # no other test's shapes
    generator = np.random.default_rng(classes)
    features = generator.random((3, 4, 5, 6)).astype(np.float32)
    kernel = generator.standard_normal((6, classes)).astype(np.float32)
    labels = np.array([[0, classes - 1], [classes // 2, 7], [classes, -1]])
    maps = activation_maps.info_cam_plus(features, kernel, labels, 2)
    every = np.einsum("bhwk,km->bmhw", features, kernel)
    every = np.pad(every, [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(every, (2, 2), (2, 3))
    summed = windows.sum((-2, -1))
    for image in range(2):
        expected = summed[image, labels[image]] - summed[image].min(0)
        np.testing.assert_allclose(maps[image], expected, atol=1e-5)
    assert np.isnan(maps[2]).all()
    assert (np.asarray(maps[:2]) >= 0).all()


def test_the_mean_of_a_kernel_is_computed_once_and_forgotten_with_it():
    features, labels = np.ones((1, 2, 2, 3), np.float32), np.array([0])
    before = len(activation_maps._means)
    kernel = jnp.arange(12.0).reshape(3, 4)
    first = activation_maps.info_cam(features, kernel, labels)
    assert len(activation_maps._means) == before + 1
    chex.assert_trees_all_equal(
        activation_maps.info_cam(features, kernel, labels), first
    )
    jitted = jax.jit(activation_maps.info_cam)(features, kernel, labels)
    chex.assert_trees_all_close(jitted, first, rtol=1e-6)
    closed = jax.jit(lambda f, k=2 * kernel: activation_maps.info_cam(f, k, labels))
    chex.assert_trees_all_close(closed(features), 2 * first, rtol=1e-6)
    del closed
    other = activation_maps.info_cam(features, 2 * kernel, labels)
    chex.assert_trees_all_close(other, 2 * first, rtol=1e-6)
    del kernel
    assert len(activation_maps._means) == before


@pytest.mark.parametrize("name", activation_maps.MAPS)
def test_no_image_gives_no_map(name):
    maps = activation_maps.MAPS[name](
        np.zeros((0, 3, 3, 4)), np.zeros((4, 5)), np.zeros(0, int), 2
    )
    assert maps.shape == (0, 4, 4)


def test_a_kernel_that_a_program_closes_over_is_usable_afterwards():
    features, labels = np.ones((1, 2, 2, 3), np.float32), np.array([0])
    kernel = jnp.arange(12.0).reshape(3, 4)
    make = lambda f: activation_maps.info_cam(f, kernel, labels)  # noqa: E731
    compiled = jax.jit(make)(features)
    chex.assert_trees_all_close(make(features), compiled, rtol=1e-6)
    chex.assert_trees_all_close(jax.jit(lambda f: make(f))(features), compiled)
