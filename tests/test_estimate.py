"""The estimate is near known truths, its error bar holds, and odd data is refused.

It must not depend on units, kinds of arrays, copies of rows, constant columns or
outliers, and no net may have seen the labels that it scores.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import mi_classifier as mi
from mi_classifier import estimate
from mi_classifier.cross_fitting.batches import Task
from mi_classifier.cross_fitting.folds import deal
from mi_classifier.cross_fitting.inputs import make_inputs
from mi_classifier.cross_fitting.nets import train
from mi_classifier.cross_fitting.plan import default_model, make_plan
from mi_classifier.data import gaussian_mixture
from mi_classifier.data.containers import as_rows
from mi_classifier.errors import UserError

pytestmark = pytest.mark.usefixtures("long_runs")


def mixture(rows, dim=2, seed=0):
    """Samples the paper's mixture, with the true pointwise mutual information."""
    generator = np.random.default_rng(seed)
    split = gaussian_mixture.sample(generator.integers(0, 5, rows), dim, generator)
    log_density = gaussian_mixture.log_density(jnp.asarray(split["image"]))
    uniform = np.full(5, -np.log(5))
    pmi = mi.pointwise_mutual_information(log_density, split["label"], uniform)
    return split["image"], split["label"], np.asarray(pmi)


def plan_of(x, num_classes, own_model=False, **changes):
    """The plan of some rows, by default with a tenth of the usual steps."""
    plan = make_plan(
        make_inputs(as_rows(np.asarray(x))), num_classes, len(x), own_model
    )
    return dataclasses.replace(plan, **({"steps": 5, "cycles": 1} | changes))


@pytest.fixture(scope="module")
def small():
    """A cross-fit of 300 rows, which several tests share."""
    x, y, truth = mixture(300)
    return x, y, truth, mi.cross_fit(x, y)


@pytest.mark.slow
def test_estimate_of_the_mixture_is_near_the_truth():
    x, y, truth = mixture(1_500)
    found = mi.estimate_mutual_information(x, y)
    assert abs(found.nats - truth.mean()) < 0.03
    assert found.bits == pytest.approx(found.nats / np.log(2))
    low, high = found.confidence_interval
    assert low < found.nats < high
    # Four degrees of freedom of five frequencies: see `error_bar`.
    known = found.nats / found.label_entropy
    center = found.nats + (2 * known - 1) * 4 / 3_000
    # With thousands of rows, Student's quantile is the normal one.
    margin = 1.9615 * found.standard_error
    assert center - low == pytest.approx(margin, rel=1e-3)
    assert margin < high - center < 1.02 * margin  # one more row of the rarest label
    assert found.standard_error == pytest.approx(truth.std() / np.sqrt(1_500), rel=0.3)
    counts = np.bincount(y) / len(y)
    assert found.label_entropy == pytest.approx(-(counts * np.log(counts)).sum())
    assert found.majority == pytest.approx(counts.max())
    assert abs(found.accuracy - 0.873) < 0.02  # RECIPES: Bayes 87.5%, +- sampling
    assert (found.num_examples, found.num_classes) == (1_500, 5)
    for text in (f"{found.nats:.4f}", "nats", "95%", "bits", "accuracy", "1,500 rows"):
        assert text in str(found)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.nats = 0


@pytest.mark.slow
def test_exclusive_or_is_found_among_irrelevant_columns():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((5_000, 12))
    y = (x[:, 3] > 0) ^ (x[:, 7] > 0) ^ (generator.random(5_000) < 0.1)
    found = mi.estimate_mutual_information(x, y)
    right = (x[:, 3] > 0) ^ (x[:, 7] > 0) == y
    truth = np.log(2) + np.where(right, np.log(0.9), np.log(0.1)).mean()
    assert truth - 0.06 < found.nats < truth + 0.005


@pytest.mark.slow
def test_interval_contains_zero_if_inputs_are_irrelevant():
    for seed in range(3):
        generator = np.random.default_rng(seed)
        x, y = generator.standard_normal((300, 2)), generator.integers(0, 5, 300)
        low, high = mi.estimate_mutual_information(x, y, seed=seed).confidence_interval
        assert low <= 0 <= high


def test_copies_of_rows_share_a_fold_so_that_memorizing_them_does_not_help():
    generator = np.random.default_rng(0)
    x = np.repeat(generator.standard_normal((75, 2)), 4, axis=0)
    y = np.repeat(generator.integers(0, 5, 75), 4)
    found = mi.cross_fit(x, y)
    chex.assert_trees_all_equal(found.fold[::4], found.fold[1::4], found.fold[3::4])
    low, high = found.summary().confidence_interval
    assert low <= 0 <= high and found.summary().nats < 0.02


def test_copies_count_once_in_the_standard_error(small):
    *_, fit = small
    repeated = {
        field: np.repeat(getattr(fit, field), 3)
        for field in ("pmi", "predictions", "label", "fold", "group")
    }
    thrice = dataclasses.replace(fit, **repeated).summary()
    assert thrice.standard_error == pytest.approx(fit.summary().standard_error)
    assert thrice.nats == pytest.approx(fit.summary().nats)


def test_rows_with_a_frequent_value_are_not_copies():
    generator = np.random.default_rng(0)
    value = generator.integers(0, 5, 300)
    y = np.where(generator.random(300) < 0.2, generator.integers(0, 5, 300), value)
    fit = mi.cross_fit(np.stack([value, value], 1), y)
    assert all(len(set(fit.fold[value == v])) == 5 for v in range(5))
    prior = np.bincount(y)[y] / 300
    truth = (np.log(np.where(value == y, 0.84, 0.04)) - np.log(prior)).mean()
    assert fit.summary().nats == pytest.approx(truth, abs=0.05)


def test_all_kinds_of_arrays_and_labels_give_the_same_estimate(small, tmp_path):
    x, y, *_ = small
    plan = plan_of(x, 5)
    expected = mi.cross_fit(x, y, plan=plan).summary()
    names = np.array(["ape", "bee", "cat", "dog", "eel"])
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", x.dtype, x.shape)
    mapped[:] = x
    for inputs, labels in (
        (jnp.asarray(x), jnp.asarray(y)),
        (x.tolist(), names[y].tolist()),
        (mapped, names[y].astype(object)),
        (np.asfortranarray(x), y.astype(np.float64)),
    ):
        assert mi.cross_fit(inputs, labels, plan=plan).summary() == expected


def test_the_public_functions_agree(small):
    x, y, _, fit = small
    found = mi.estimate_mutual_information(x, y)
    assert found == fit.summary()
    chex.assert_trees_all_equal(mi.pointwise_mutual_information_of(x, y), fit.pmi)
    assert fit.pmi.mean() == pytest.approx(found.nats)
    assert (fit.pmi <= -np.log(np.bincount(y)[y] / len(y)) + 1e-5).all()


def test_scale_and_constant_columns_do_not_matter(small):
    x, y, _, fit = small
    other = np.concatenate([np.ones((300, 1)), 1e6 + 1e3 * x.astype(np.float64)], 1)
    found = mi.estimate_mutual_information(other, y)
    assert found.nats == pytest.approx(fit.summary().nats, abs=0.02)
    huge = mi.estimate_mutual_information(x.astype(np.float64) * 1e300, y)
    assert huge.nats == pytest.approx(fit.summary().nats, abs=0.02)


def test_far_outliers_do_not_matter(small):
    x, y, _, fit = small
    x = x.astype(np.float64)
    x[0] = 1e12
    found = mi.estimate_mutual_information(x, y)
    assert found.nats == pytest.approx(
        fit.summary().nats, abs=0.05
    )  # its error is 0.04


@pytest.mark.parametrize("kind", ["constant", "one label"])
def test_estimate_is_exactly_zero_if_inputs_or_labels_are_constant(kind):
    x = np.ones((60, 2)) if kind == "constant" else np.arange(60.0)
    y = np.arange(60) % 3 if kind == "constant" else np.full(60, "only")
    fit = mi.cross_fit(x, y)
    found = fit.summary()
    assert (found.nats, found.standard_error) == (0, 0)
    assert found.confidence_interval == (0, 0)
    assert found.accuracy == pytest.approx(1 if kind == "one label" else 1 / 3)
    assert found.label_entropy == pytest.approx(0 if kind == "one label" else np.log(3))
    assert str(found)
    assert str(dataclasses.replace(found, warnings=("odd",))).endswith("\nwarning: odd")
    chex.assert_trees_all_equal(fit.score(x[:4], y[:4]), np.zeros((5, 4)))


def test_rows_with_a_label_that_no_net_saw_have_no_information(small):
    x, y, *_ = small
    y = np.minimum(y, 2)
    y[0], y[1:3] = 3, 4  # one row has label 3, two have label 4
    fit = mi.cross_fit(x, y, plan=plan_of(x, 5))
    assert fit.pmi[0] == 0
    assert np.isfinite(fit.pmi).all()
    assert fit.fold[1] != fit.fold[2]
    # Two nets score each row; at least one of them has trained on the other row.
    assert (fit.pmi[1:3] != 0).any()
    assert fit.summary().num_classes == 5


def test_each_fold_is_scored_by_nets_that_never_saw_its_labels(small):
    x, y, *_ = small
    inputs = make_inputs(as_rows(x))
    fold, stops = deal(np.arange(300), y, np.random.default_rng(0))
    plan = plan_of(x, 5, steps=2, scales=(), nets=2, rounds=2)
    model = default_model(inputs, 5, plan)
    shuffled = y.copy()
    own = np.flatnonzero(fold == 2)
    shuffled[own] = np.random.default_rng(1).permutation(y[own])
    a, b = (
        train(Task(inputs, label, fold, stops, 5, 5), model, plan, 0)
        for label in (y, shuffled)
    )
    for net in range(10):
        one, other = (jax.tree.map(lambda p, n=net: p[n], f.params) for f in (a, b))
        if net // 2 == 2:
            chex.assert_trees_all_equal(one, other)
        else:
            with pytest.raises(AssertionError):
                chex.assert_trees_all_equal(one, other)


def test_the_seed_decides_the_result(small):
    x, y, *_ = small
    plan = plan_of(x, 5)
    first, same, other = (mi.cross_fit(x, y, seed=s, plan=plan) for s in (4, 4, 1))
    chex.assert_trees_all_equal(same.pmi, first.pmi)
    assert not np.array_equal(other.pmi, first.pmi)


def test_the_interval_contains_the_mean_score_of_fresh_rows(small):
    *_, fit = small
    x, y, _ = mixture(20_000, seed=1)
    scores = fit.score(x, y)
    chex.assert_shape(scores, (5, 20_000))
    low, high = fit.summary().confidence_interval
    assert low < scores.mean() < high
    # The nets of a fold score its rows as the fit did.
    x, y, *_ = small
    own = fit.fold == 3
    chex.assert_trees_all_close(fit.score(x, y)[3, own], fit.pmi[own], atol=1e-5)
    with pytest.raises(UserError, match="label 9 is not among"):
        fit.score(x[:1], [9])
    with pytest.raises(UserError, match="as in the fit"):
        fit.score(x[:, :1], y)


@pytest.mark.slow
def test_training_on_one_block_at_a_time_is_as_good():
    x, y, truth = mixture(2_000)
    plain = {"scales": (), "nets": 2, "local": False}
    plan = plan_of(x, 5, steps=50, num_blocks=4, stopping_rows=100, **plain)
    found = mi.cross_fit(x, y, plan=plan).summary()
    assert abs(found.nats - truth.mean()) < 0.04


@pytest.mark.slow
def test_images_go_through_a_convolutional_net():
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 100)
    images = generator.integers(0, 50, (100, 16, 16, 1)).astype(np.uint8)
    # A bright spot is anywhere on the left or right half; no single pixel tells which.
    row, column = generator.integers(4, 12, 100), generator.integers(2, 6, 100)
    images[np.arange(100), row, column + 8 * y] = 255
    names = np.array(["left", "right"])[y]
    plan = plan_of(images, 2, rounds=8, batch_size=16, learning_rate=3e-3)
    found = mi.cross_fit(images, names, plan=plan).summary()
    assert found.nats > 0.5 and found.accuracy > 0.9


def test_the_user_can_give_a_model(small):
    x, y, *_ = small
    model = mi.create_model("mlp", 5, hidden=(8,))
    plan = plan_of(x, 5, own_model=True, steps=20)
    assert mi.cross_fit(x, y, model=model, plan=plan).summary().nats > 1
    with pytest.raises(UserError, match="gives 6 logits, but y has 5"):
        mi.estimate_mutual_information(x, y, model=mi.create_model("mlp", 6))


def test_a_plan_with_a_lasso_needs_a_model_with_a_first_dense_layer(small):
    x, y, *_ = small
    model = mi.create_model("mlp", 5, hidden=())
    with pytest.raises(UserError, match=r"plan\.lasso: .* 'hidden0'.* lasso=0"):
        mi.cross_fit(x, y, model=model, plan=plan_of(x, 5))


ROWS = np.random.default_rng(0).standard_normal((60, 2))
LABELS = np.arange(60) % 2
MISSING = np.where(np.arange(120).reshape(60, 2) == 35, np.nan, ROWS)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (MISSING, LABELS, ["x: nan", "row 17", "column 1"]),
        (np.where(np.isnan(MISSING), -np.inf, ROWS), LABELS, ["-inf in row 17"]),
        (ROWS, np.where(LABELS, 1.0, np.nan), ["y: nan", "row 0"]),
        (ROWS[:20], LABELS[:20], ["20 rows", "at least 50"]),
        (ROWS, LABELS[:59], ["(60, 2)", "(59,)"]),
        (ROWS, LABELS[:, None], ["(60, 1)", "y.ravel()"]),
        (ROWS, ROWS[:, 0], ["60 different labels", "continuous"]),
        (ROWS * 1j, LABELS, ["x: must be numbers"]),
        (ROWS, np.array([None, "a"] * 30, object), ["y: missing in row 0", "29 more"]),
        (1.0, LABELS, ["x and y"]),
        (np.zeros((60, 0)), LABELS, ["(60, 0)"]),
        (np.zeros((60, 9, 9, 0)), LABELS, ["(60, 9, 9, 0)"]),
    ],
)
def test_data_without_an_estimate_are_refused(x, y, words):
    x = np.random.default_rng(0).random(x.shape) if np.ndim(x) == 4 else x
    with pytest.raises(UserError) as error:
        mi.estimate_mutual_information(x, y)
    for word in words:
        assert word in str(error.value)


@pytest.mark.slow
def test_many_labels_and_narrow_floats():
    generator = np.random.default_rng(0)
    y = np.repeat(np.arange(60), 5)
    x = jnp.asarray(np.stack([y % 10, y // 10], 1) + generator.random((300, 2)))
    plan = plan_of(x, 60, rounds=10, steps=20)
    found = mi.cross_fit(x.astype(jnp.bfloat16), y, plan=plan).summary()
    assert found.label_entropy == pytest.approx(np.log(60))
    assert 1 < found.nats <= np.log(60)


def test_a_negative_seed_is_refused():
    with pytest.raises(UserError, match="seed"):
        estimate.cross_fit(ROWS, LABELS, seed=-1)


@pytest.mark.slow
def test_categories_say_the_same_however_they_are_coded():
    generator = np.random.default_rng(0)
    code = generator.integers(0, 30, 900)
    number = generator.standard_normal(900)
    label = (generator.permutation(30) % 2)[code]
    names = np.array([f"town {c}" for c in range(30)])
    tables = {
        "words": pd.DataFrame({"town": pd.Categorical(names[code]), "number": number}),
        "integers": np.stack([code, number], 1),
        "0/1": np.column_stack([np.eye(30)[code], number]),
    }
    found = {
        kind: mi.estimate_mutual_information(x, label) for kind, x in tables.items()
    }
    for kind, one in found.items():
        assert one.nats == pytest.approx(one.label_entropy, abs=0.02), kind
        told = ["has one label" in warning for warning in one.warnings]
        assert told == [True] * (kind != "0/1")


def test_groups_share_a_fold_and_count_once():
    generator = np.random.default_rng(0)
    subject = np.repeat(np.arange(40), 10)
    x = generator.standard_normal((40, 3))[subject]
    x = x + 0.1 * generator.standard_normal(x.shape)
    y = generator.integers(0, 2, 40)[subject]
    fit = mi.cross_fit(x, y, groups=[f"subject {s}" for s in subject])
    assert all(len(set(fit.fold[subject == s])) == 1 for s in range(40))
    found = fit.summary()
    assert found.num_groups == 40 and "in 40 groups" in str(found)
    assert found.confidence_interval[0] <= 0 <= found.confidence_interval[1]
    assert found.warnings == ()
    without = mi.cross_fit(x, y)
    assert without.summary().nats > 0.4 and without.warnings


def test_missing_values_are_kept_as_information():
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 300)
    x = generator.standard_normal((300, 2))
    x[y == 1, 1] = np.nan
    with pytest.raises(UserError, match=r"row [0-3], column 1; .*missing='keep'"):
        mi.estimate_mutual_information(x, y)
    fit = mi.cross_fit(x, y, missing="keep")
    assert fit.summary().nats > 0.6
    np.testing.assert_allclose(fit.probabilities(x[:9]).argmax(1), y[:9])
    with pytest.raises(UserError, match="missing: unknown value 'drop'"):
        mi.estimate_mutual_information(x, y, missing="drop")


def test_no_bound_on_fresh_rows_exceeds_the_entropy_and_intervals_hold_it():
    generator = np.random.default_rng(0)

    def draw(rows):
        y = generator.integers(0, 10, rows)
        return 8 * np.eye(10)[y] + generator.standard_normal((rows, 10)), y

    fit = mi.cross_fit(*draw(300))
    target = fit.score(*draw(20_000)).mean()
    assert target <= np.log(10)
    low, high = fit.summary().confidence_interval
    assert low <= target <= high <= np.log(10)
    # What a few rows are scored by are the frequencies of the fit.
    x, y = draw(5)
    shift = fit.score(x, y) - np.log(fit.probabilities(x)[np.arange(5), y])
    np.testing.assert_allclose(shift.mean(0), np.log(10), atol=0.3)


def test_probabilities_sum_to_one_and_do_not_depend_on_other_rows(small):
    x, *_, fit = small
    every = fit.probabilities(x)
    np.testing.assert_allclose(every.sum(1), 1)
    chex.assert_trees_all_equal(fit.probabilities(x[7:8]), every[7:8])
    kept = fit.without_rows()
    assert len(kept.rows.values) == 0
    chex.assert_trees_all_equal(kept.probabilities(x[:3]), every[:3])
    own = every[np.arange(300), every.argmax(1)]
    assert fit.confidence.mean() == pytest.approx(own.mean(), abs=0.05)


def test_few_rows_are_not_trained_on_and_say_so():
    fit = mi.cross_fit(ROWS[:8], LABELS[:8])
    assert fit.summary().nats == 0 and "too few to learn" in fit.warnings[0]
    chex.assert_trees_all_equal(fit.probabilities(ROWS[:2]), np.full((2, 2), 0.5))


@pytest.mark.parametrize("seed", [None, True, 1.5, np.random.RandomState(0)])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(UserError, match="seed: must be a whole number"):
        mi.estimate_mutual_information(ROWS, LABELS, seed=seed)


@pytest.mark.slow
def test_few_groups_of_many_rows_do_not_learn_their_noise():
    """100 rows of noise, 20 times each: more rows than groups may not mislead."""
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((100, 2)), generator.integers(2, size=100)
    copy = generator.permutation(np.repeat(np.arange(100), 20))
    found = mi.estimate_mutual_information(x[copy], y[copy], groups=copy)
    assert -0.06 < found.nats < 0.06
    assert found.confidence_interval[0] <= 0


@pytest.mark.slow
def test_a_sparse_matrix_says_what_the_array_says():
    """Also by its missing values, which are among the stored ones."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 300)
    x = np.c_[np.where(y == 0, np.nan, 1.0), generator.integers(0, 2, 300)]
    dense, sparse = (
        mi.estimate_mutual_information(table, y, missing="keep")
        for table in (x, scipy.sparse.csr_matrix(x))
    )
    assert dense.nats > 0.5
    assert sparse == dense


def test_empty_words_and_names_for_labels_are_refused():
    empty = pd.DataFrame({"a": pd.Series([], dtype=object)})
    with pytest.raises(UserError, match="hold no rows"):
        mi.estimate_mutual_information(empty, [])
    with pytest.raises(UserError, match=r"y: is the word 'kind'; give the labels"):
        mi.estimate_mutual_information(ROWS, "kind")


def test_whole_numbers_that_floats_cannot_tell_apart_are_refused():
    ids = np.c_[10**18 + np.arange(60) % 3, np.arange(60)]
    for table in (ids, pd.DataFrame(ids, columns=["user", "row"])):
        with pytest.raises(UserError, match=r"column (0|'user') has whole .* beyond"):
            mi.estimate_mutual_information(table, np.arange(60) % 3)
