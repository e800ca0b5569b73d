"""The classifier keeps scikit-learn's rules, and tells the same estimate as ours."""

import copy
import dataclasses
import pickle
import warnings

import matplotlib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import sparse, special, stats
from sklearn.base import clone
from sklearn.calibration import CalibrationDisplay
from sklearn.compose import make_column_transformer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import mi_classifier as mi
from mi_classifier import MutualInformationClassifier, mutual_information_score
from mi_classifier.cross_fitting import fitting
from mi_classifier.cross_fitting.plan import make_plan

WORDS = np.array(["bad", "good"])


def two_classes(rows=200, seed=0):
    """Rows of class 0 around (-1, 0), of class 1 around (1, 0); P(1|x) is known."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 2, rows)
    x = generator.standard_normal((rows, 2))
    x[:, 0] += 2 * y - 1
    return x, y, special.expit(2 * x[:, 0])


@pytest.fixture(scope="module")
def fitted():
    """A classifier of 200 rows with words as labels, which several tests share."""
    x, y, _ = two_classes()
    frame = pd.DataFrame(x, columns=["told", "idle"])
    return frame, WORDS[y], MutualInformationClassifier().fit(frame, WORDS[y])


@pytest.mark.slow
@pytest.mark.proof
def test_scikit_learn_finds_no_fault(monkeypatch):
    """To save time, the nets of the 75 fits are small, and train for a short while."""

    def short_plan(*arguments, **options):
        plan = make_plan(*arguments, **options)
        return dataclasses.replace(plan, nets=1, rounds=2, cycles=1)

    def small_net(inputs, num_classes, plan):
        return mi.create_model("mlp", num_classes, hidden=(16,))

    monkeypatch.setattr(fitting, "make_plan", short_plan)
    monkeypatch.setattr(fitting, "default_model", small_net)
    with warnings.catch_warnings():
        # One check needs SCIPY_ARRAY_API=1 before SciPy is imported.
        warnings.simplefilter("ignore", sklearn.exceptions.SkipTestWarning)
        check_estimator(MutualInformationClassifier())


def test_the_estimate_is_ours(fitted):
    x, y, classifier = fitted
    assert classifier.mutual_information_ == mi.estimate_mutual_information(x, y)
    assert classifier.pmi_.mean() == pytest.approx(classifier.mutual_information_.nats)
    assert classifier.classes_.tolist() == ["bad", "good"]
    assert classifier.n_features_in_ == 2
    assert classifier.feature_names_in_.tolist() == ["told", "idle"]


def test_probabilities_of_new_rows_are_near_the_truth(fitted):
    *_, classifier = fitted
    x, y, truth = two_classes(2_000, seed=1)
    x = pd.DataFrame(x, columns=["told", "idle"])
    found = classifier.predict_proba(x)
    assert found.shape == (2_000, 2)
    assert found.sum(1) == pytest.approx(1)
    assert abs(found[:, 1] - truth).mean() < 0.07  # 200 rows cannot tell much better
    best = ((truth > 0.5) == y).mean()
    assert classifier.score(x, WORDS[y]) > best - 0.03
    assert (classifier.predict(x) == WORDS[found.argmax(1)]).all()


def test_other_columns_are_refused(fitted):
    x, _, classifier = fitted
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict(x.rename(columns={"told": "other"}))
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict(x[["told"]])


def test_a_row_gets_the_same_probabilities_beside_any_others(fitted):
    x, _, classifier = fitted
    together = classifier.predict_proba(x)
    for rows in ([7], [3, 150], range(0, 200, 3)):
        some = x.iloc[list(rows)]
        assert (classifier.predict_proba(some) == together[list(rows)]).all()


def test_copies_answer_alike(fitted):
    x, _, classifier = fitted
    expected = classifier.predict_proba(x[:9])
    for again in (copy.deepcopy(classifier), pickle.loads(pickle.dumps(classifier))):
        assert (again.predict_proba(x[:9]) == expected).all()
        assert again.mutual_information_ == classifier.mutual_information_


def test_the_classifier_forgets_the_rows():
    x, y, _ = two_classes()
    x = np.hstack([x, np.ones((200, 5_000))])  # 8 MB; constant columns train nothing
    classifier = MutualInformationClassifier().fit(x, y)
    saved = pickle.dumps(classifier)
    assert len(saved) < 1e6
    expected = classifier.predict_proba(x[:3])
    assert (pickle.loads(saved).predict_proba(x[:3]) == expected).all()


def test_a_seed_repeats_the_fit_and_none_does_not():
    x, y, _ = two_classes()

    def nats(random_state):
        classifier = MutualInformationClassifier(random_state)
        return classifier.fit(x, y).mutual_information_.nats

    assert nats(3) == nats(np.int64(3)) != nats(4)
    assert nats(np.random.RandomState(3)) == nats(np.random.RandomState(3))
    assert nats(None) != nats(None)
    with pytest.raises(ValueError, match="seed"):
        nats("three")


def test_words_and_missing_values_are_columns_too():
    x, y, _ = two_classes()
    color = np.array(["blue", "red"])[y]
    frame = pd.DataFrame({"told": x[:, 0], "color": color})
    frame.loc[::7, "told"] = np.nan
    with pytest.raises(ValueError, match=r"row 0, column 'told'"):
        MutualInformationClassifier().fit(frame, y)
    keeps = MutualInformationClassifier(missing="keep")
    for table in (frame, pl.from_pandas(frame)):
        classifier = clone(keeps).fit(table, y)
        assert classifier.feature_names_in_.tolist() == ["told", "color"]
        assert classifier.score(table, y) == 1
    words = frame[["color"]].to_numpy()  # an object array, as SimpleImputer returns it
    assert clone(keeps).fit(words, y).score(words, y) == 1
    unseen = classifier.predict_proba(frame[:2].assign(color="green"))
    assert np.isfinite(unseen).all()


@pytest.mark.parametrize("labels", [[False, True], ["no", "yes"], [-1, 1], [2.0, 5.0]])
def test_labels_are_given_back_as_they_came(labels):
    x, y, _ = two_classes(60)
    y = np.array(labels)[y]
    classifier = MutualInformationClassifier().fit(x, y)
    assert classifier.classes_.tolist() == labels
    assert classifier.predict(x).dtype == y.dtype
    assert classifier.score(x, y) > 0.7


def test_a_column_transformer_passes_words_or_encodes_them():
    x, y, _ = two_classes()
    frame = pd.DataFrame({"told": x[:, 0], "word": np.where(x[:, 1] > 0, "a", "b")})
    for of_words in ("passthrough", OneHotEncoder(sparse_output=False)):
        prepare = make_column_transformer(
            (StandardScaler(), ["told"]), (of_words, ["word"])
        )
        for output in ("default", "pandas"):
            prepare.set_output(transform=output)
            pipeline = make_pipeline(clone(prepare), MutualInformationClassifier())
            assert pipeline.fit(frame, y).score(frame, y) > 0.8


def test_a_sparse_matrix_gives_what_its_array_gives():
    x, y, _ = two_classes()
    x = np.where(abs(x) < 1, 0, x)
    dense = MutualInformationClassifier().fit(x, y)
    for kind in (sparse.csr_array, sparse.coo_array):
        found = MutualInformationClassifier().fit(kind(x), y)
        nats = found.mutual_information_.nats
        assert nats == pytest.approx(dense.mutual_information_.nats, abs=0.02)
        assert (found.predict(kind(x)) == dense.predict(x)).mean() > 0.97


@pytest.mark.parametrize(
    ("rows", "labels", "expected"), [(6, [0, 0, 0, 0, 1, 1], 2 / 3), (9, [5] * 9, 1)]
)
def test_too_few_rows_or_one_label_give_the_frequencies(rows, labels, expected):
    x = np.arange(2.0 * rows).reshape(rows, 2)
    classifier = MutualInformationClassifier().fit(x, labels)
    assert classifier.predict_proba(x[:1])[0, 0] == pytest.approx(expected)
    assert classifier.predict(x).tolist() == [labels[0]] * rows
    assert classifier.mutual_information_.nats == 0
    if len(set(labels)) > 1:
        assert "too few" in " ".join(classifier.mutual_information_.warnings)


def test_twenty_rows_train_nets():
    y = np.arange(20) % 2
    x = np.random.default_rng(0).standard_normal((20, 1)) + 8 * y[:, None]
    assert MutualInformationClassifier().fit(x, y).score(x, y) == 1


def test_groups_stay_in_one_fold_of_ours_and_of_scikit_learn():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 5)
    x = generator.standard_normal((40, 2))[groups]
    x += 0.01 * generator.standard_normal(x.shape)
    y = generator.integers(0, 2, 40)[groups]  # nothing to learn but which group it is
    alone = MutualInformationClassifier().fit(x, y).mutual_information_
    grouped = MutualInformationClassifier().fit(x, y, groups=groups)
    assert alone.nats > 0.2
    low, high = grouped.mutual_information_.confidence_interval
    assert low <= 0 <= high
    scores = cross_val_score(
        MutualInformationClassifier(),
        x,
        y,
        groups=groups,
        cv=GroupKFold(2),
        params={"groups": groups},
    )
    assert scores.mean() < 0.7


def test_pipelines_and_searches_take_the_classifier(fitted):
    x, y, _ = fitted
    pipeline = make_pipeline(
        SimpleImputer(add_indicator=True),
        StandardScaler(),
        MutualInformationClassifier(),
    ).set_output(transform="pandas")
    assert cross_val_score(pipeline, x, y, cv=2).mean() > 0.75
    grid = {"mutualinformationclassifier__random_state": [0, 1]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(x, y)
    best = search.best_estimator_[-1]
    assert best.feature_names_in_.tolist() == ["told", "idle"]
    assert clone(best).get_params() == best.get_params()


def test_a_calibration_display_can_be_drawn(fitted):
    matplotlib.use("Agg")
    x, y, classifier = fitted
    display = CalibrationDisplay.from_estimator(classifier, x, y == "good", n_bins=5)
    assert len(display.prob_true) >= 3


def test_scores_select_the_column_that_tells_something():
    x, y, _ = two_classes()
    x = np.hstack([x[:, ::-1], np.ones((200, 1))])  # idle, told, constant
    scores, p_values = mutual_information_score(x, y)
    told = mi.estimate_mutual_information(x[:, 1], y)
    assert scores[1] == pytest.approx(told.nats, abs=0.02)
    expected = stats.t.sf(told.nats / told.standard_error, 195)
    assert p_values[1] == pytest.approx(expected, abs=1e-4)
    assert p_values[1] < 1e-6 and p_values[0] > 0.1 and p_values[2] == 1
    select = SelectKBest(mutual_information_score, k=1)
    pipeline = make_pipeline(select, MutualInformationClassifier()).fit(x, y)
    assert pipeline[0].get_support().tolist() == [False, True, False]
