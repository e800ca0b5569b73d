"""CAM, infoCAM and infoCAM+ equal the authors' maps and the paper's equations.

They also have the symmetries of these, and refuse inputs that do not fit.
"""

import dataclasses
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mi_classifier import information
from mi_classifier.activation_maps import (
    MAPS,
    PADDINGS,
    Map,
    class_activation_map,
    info_cam,
    info_cam_plus,
    region_warning,
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
                        "cam_region": 0,
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
def test_maps_equal_the_authors(key, name, options):
    with np.load(REFERENCE) as file:
        inputs = file["features"], file["head_kernel"], file["labels"]
        maps, logits = file[key], file["logits"]
    ours = MAPS[name].function(*inputs, **options)
    chex.assert_shape(ours, maps.shape)
    np.testing.assert_allclose(ours, maps, rtol=1e-4, atol=1e-5 * np.abs(maps).max())
    if options.get("rival"):
        again = MAPS[name].function(*inputs, **options, logits=logits)
        chex.assert_trees_all_equal(again, ours)


@pytest.mark.parametrize("region", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("name", MAPS)
def test_maps_equal_their_equations(example, name, region):
    ours = MAPS[name].function(*example, region=region)
    theirs = by_hand(name, *example, region)
    chex.assert_shape(ours, (B, H + region - 1, W + region - 1))
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_rival_image_subtracts_the_class_of_the_lowest_logit(example):
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


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("name", MAPS)
def test_a_region_of_one_cell_changes_nothing(example, name, padding):
    chex.assert_trees_all_equal(
        MAPS[name].function(*example, region=1, padding=padding),
        MAPS[name].function(*example),
    )


@pytest.mark.parametrize("region", [2, 3, 4])
@pytest.mark.parametrize("name", MAPS)
def test_same_padding_gives_the_middle_of_full_padding(example, name, region):
    full = MAPS[name].function(*example, region=region)
    same = MAPS[name].function(*example, region=region, padding="same")
    start = region // 2
    chex.assert_trees_all_close(
        same, full[:, start : start + H, start : start + W], atol=1e-5
    )


@pytest.mark.parametrize("options", [{}, {"rival": "image"}])
@pytest.mark.parametrize("scale", [1, 100])
def test_adding_one_vector_to_all_classes_changes_nothing(example, options, scale):
    features, kernel, labels = example
    vector = np.random.default_rng(1).normal(size=(K, 1)).astype(np.float32)
    moved = kernel + scale * vector
    for name in ("info_cam", "info_cam_plus"):
        chosen = options if name == "info_cam_plus" else {}
        chex.assert_trees_all_close(
            MAPS[name].function(features, moved, labels, 3, **chosen),
            MAPS[name].function(features, kernel, labels, 3, **chosen),
            atol=1e-4 * scale,
        )


@pytest.mark.parametrize("region", [1, 2, 3])
@pytest.mark.parametrize("name", MAPS)
def test_a_flipped_image_gives_a_flipped_map(example, name, region):
    features, kernel, labels = example
    for axis in (1, 2):
        chex.assert_trees_all_close(
            MAPS[name].function(np.flip(features, axis), kernel, labels, region),
            jnp.flip(MAPS[name].function(features, kernel, labels, region), axis),
            atol=1e-5,
        )


@pytest.mark.parametrize("options", [{}, {"rival": "image"}])
@pytest.mark.parametrize("name", MAPS)
def test_several_labels_of_an_image_give_several_maps(example, name, options):
    features, kernel, labels = example
    options = options if name == "info_cam_plus" else {}
    pairs = np.stack([labels, (labels + 1) % M], 1)
    maps = MAPS[name].function(features, kernel, pairs, 2, **options)
    chex.assert_shape(maps, (B, 2, H + 1, W + 1))
    for column in range(2):
        alone = MAPS[name].function(features, kernel, pairs[:, column], 2, **options)
        chex.assert_trees_all_close(maps[:, column], alone, atol=1e-5)


def test_info_cam_plus_is_never_negative(example):
    assert info_cam_plus(*example, region=2).min() >= 0


def test_info_cam_of_one_class_is_cam(example):
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
    maps = MAPS[name].function(low, kernel, labels)
    chex.assert_type(maps, jnp.float32)
    exact = MAPS[name].function(np.asarray(low, np.float32), kernel, labels)
    chex.assert_trees_all_close(maps, exact, atol=1e-5)


@pytest.mark.parametrize("label", [-1, M, 100])
@pytest.mark.parametrize("name", MAPS)
def test_a_label_out_of_range_gives_nan(example, name, label):
    features, kernel, labels = example
    labels = np.array([label, *labels[1:]])
    maps = MAPS[name].function(features, kernel, labels, 2)
    assert np.isnan(maps[0]).all()
    assert np.isfinite(maps[1:]).all()


@pytest.mark.parametrize("name", MAPS)
def test_a_map_compiles_inside_another_program(example, name):
    traced = jax.jit(lambda *inputs: MAPS[name].function(*inputs, region=3))
    chex.assert_trees_all_close(
        traced(*example), MAPS[name].function(*example, region=3), atol=1e-5
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
def test_wrong_shapes_and_options_are_refused(example, name, change, message):
    inputs = dict(zip(("features", "head_kernel", "labels"), example, strict=True))
    with pytest.raises(ValueError, match=message):
        MAPS[name].function(**inputs | change)


def test_wrong_rivals_logits_and_labels_are_refused(example):
    with pytest.raises(ValueError, match="rival"):
        info_cam_plus(*example, rival="lowest")
    with pytest.raises(ValueError, match="logits"):
        info_cam_plus(*example, rival="image", logits=np.zeros((B, M + 1)))
    features, kernel, labels = example
    with pytest.raises(TypeError, match="integers"):
        info_cam(features, kernel, labels.astype(float))


@pytest.mark.parametrize("classes", [31, 32, 33, 64, 100])
def test_many_classes_on_large_maps_are_compared_in_parts(classes):
    """The maps are so large that 32 classes are compared at once."""
    generator = np.random.default_rng(classes)
    features = generator.random((3, 80, 90, 6)).astype(np.float32)
    kernel = generator.standard_normal((6, classes)).astype(np.float32)
    labels = np.array([[0, classes - 1], [classes // 2, 7], [classes, -1]])
    maps = info_cam_plus(features, kernel, labels, 2)
    every = np.einsum("bhwk,km->bmhw", features, kernel)
    every = np.pad(every, [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(every, (2, 2), (2, 3))
    summed = windows.sum((-2, -1))
    for image in range(2):
        expected = summed[image, labels[image]] - summed[image].min(0)
        np.testing.assert_allclose(maps[image], expected, atol=1e-5)
    assert np.isnan(maps[2]).all()
    assert (np.asarray(maps[:2]) >= 0).all()


@pytest.mark.parametrize("name", MAPS)
def test_an_empty_batch_gives_no_maps(name):
    maps = MAPS[name].function(
        np.zeros((0, 3, 3, 4)), np.zeros((4, 5)), np.zeros(0, int), 2
    )
    assert maps.shape == (0, 4, 4)


def test_a_kernel_that_a_program_closes_over_stays_usable():
    features, labels = np.ones((1, 2, 2, 3), np.float32), np.array([0])
    kernel = jnp.arange(12.0).reshape(3, 4)

    def make(f):
        return info_cam(f, kernel, labels)

    compiled = jax.jit(make)(features)
    chex.assert_trees_all_close(make(features), compiled, rtol=1e-6)
    chex.assert_trees_all_close(jax.jit(lambda f: make(f))(features), compiled)


def test_a_map_takes_its_options_from_the_settings():
    settings = {"region": 3, "padding": "same", "rival": "image", "threshold": 0.2}
    assert MAPS["cam"].options(settings) == {"region": 1, "padding": "same"}
    assert MAPS["cam_region"].options(settings) == {"region": 3, "padding": "same"}
    assert MAPS["info_cam"].options(settings) == {"region": 3, "padding": "same"}
    plus = {"region": 3, "padding": "same", "rival": "image"}
    assert MAPS["info_cam_plus"].options(settings) == plus


def test_a_new_map_owns_its_options():
    def power_cam(features, head_kernel, labels, power=1):
        return class_activation_map(features, head_kernel, labels) ** power

    power = Map(power_cam, "power CAM")
    assert power.options({"power": 2, "region": 3}) == {"power": 2}
    assert power.options({"region": 3}) == {}


def test_plain_cam_with_the_region_stands_between_cam_and_infocam(example):
    """It has all of infoCAM but the subtraction, so the two can be told apart."""
    assert list(MAPS) == ["cam", "cam_region", "info_cam", "info_cam_plus"]
    features, kernel, labels = example
    settings = {"region": 3, "padding": "full", "rival": "region"}

    def of(name, kernel):
        entry = MAPS[name]
        return entry.function(features, kernel, labels, **entry.options(settings))

    # Kernels whose classes sum to zero at each channel: the mean of the others is
    # -w_y / (M - 1), and subtracting it only scales the map.
    centered = kernel - kernel.mean(1, keepdims=True)
    scale = M / (M - 1)
    np.testing.assert_allclose(
        of("info_cam", centered), scale * of("cam_region", centered), atol=1e-4
    )
    assert np.abs(of("info_cam", kernel) - scale * of("cam_region", kernel)).max() > 0.1


def test_the_title_names_the_rival_by_the_setting():
    settings = {"region": 3, "padding": "full", "threshold": 0.2}
    plus = MAPS["info_cam_plus"]
    for rival, title in (
        ("region", "infoCAM+, rival by region"),
        ("image", "infoCAM+, rival of the image"),
    ):
        assert plus.title_with(settings | {"rival": rival}) == title
    renamed = dataclasses.replace(plus, title="other")
    assert renamed.title_with({"rival": "image"}) == "other, rival of the image"
    assert plus.title_with(settings) == "infoCAM+"  # the config leaves it open
    titles = [MAPS[n].title_with(settings | {"rival": "image"}) for n in list(MAPS)[:3]]
    assert titles == ["CAM", "CAM, region", "infoCAM"]


@pytest.mark.parametrize(
    ("region", "cells", "remedy"),
    [
        (1, (1, 1), ""),
        (2, (6, 9), ""),
        (2, (4, 4), "R = 1, or a finer map"),
        (3, (8, 14), "R = 2 or less, or a finer map"),
        (4, (14, 14), ""),
        (5, (14, 14), "R = 4 or less, or a finer map"),
        (9, (4, 4), "R = 9 covers 4 of the map's 4 cells"),
    ],
)
def test_a_region_of_more_than_a_third_of_the_side_is_told(region, cells, remedy):
    warning = region_warning(region, cells)
    assert remedy in warning and bool(warning) == bool(remedy)
