"""Decisions by both rules, and their accuracies, equal those of NumPy and of hand."""

import numpy as np
import pytest

from mi_classifier.evaluation.evaluators import RULES
from mi_classifier.evaluation.evaluators.accuracy import (
    Confusion,
    accuracy,
    create,
    decide,
    equal_rules,
    most_confused,
    multi_label_accuracy,
)
from mi_classifier.losses import LOSSES
from tests.evaluation.evaluators.on_arrays import measure, priors_of, run, subject_of

PRIOR = np.array([0.6, 0.3, 0.1])


@pytest.fixture
def one_label():
    """Logits `[100, 3]` and labels of the frequencies `PRIOR`."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    logits = generator.standard_normal((100, 3)).astype(np.float32)
    logits[np.arange(100), labels] += 1
    return logits, labels


@pytest.fixture
def many_labels():
    """Noisy log-odds of the labels, the labels `[400, 3]`, and their prior."""
    generator = np.random.default_rng(0)
    prior = np.array([0.1, 0.5, 0.8])
    labels = (generator.random((400, 3)) < prior).astype(np.float32)
    odds = np.log(prior / (1 - prior))
    logits = odds + 2 * (2 * labels - 1) + generator.normal(size=labels.shape)
    return logits.astype(np.float32), labels, prior


def of_loss(name, logits, labels, prior):
    evaluator = create(subject_of(name))
    return run(evaluator, {"label": labels}, logits, priors_of(prior))


def test_accuracy_of_one_label_by_hand():
    labels = np.array([0, 0, 0, 1, 3])
    predictions = np.array([0, 0, 1, 1, 0])
    found = accuracy(predictions, labels, 4)
    assert found.micro == 3 / 5
    np.testing.assert_allclose(found.per_class, [2 / 3, 1, np.nan, 0])
    np.testing.assert_allclose(found.macro, (2 / 3 + 1 + 0) / 3)


def test_accuracy_of_many_labels_by_hand():
    present = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], bool)
    decisions = np.array([[1, 0], [0, 0], [0, 1], [0, 0]], bool)
    found = multi_label_accuracy(decisions, present)
    np.testing.assert_allclose(found.per_class, [3 / 4, 3 / 4])
    np.testing.assert_allclose(found.recall, [1 / 2, np.nan])
    np.testing.assert_allclose(found.specificity, [1, 3 / 4])
    assert found.micro == 3 / 4
    assert found.macro == pytest.approx((1 / 2 + 1 + 3 / 4) / 3)
    assert found.exact == 2 / 4


def test_the_rules_are_argmax_with_and_without_the_prior(one_label):
    logits, labels = one_label
    result = of_loss("pc_softmax", logits, labels, PRIOR)
    balanced = (logits.argmax(-1) == labels).mean()
    prior = ((logits + np.log(PRIOR)).argmax(-1) == labels).mean()
    assert result.balanced.micro == pytest.approx(balanced)
    assert result.prior.micro == pytest.approx(prior)
    assert prior > balanced


def test_both_losses_agree_if_their_logits_differ_by_the_log_prior(one_label):
    logits, labels = one_label
    softmax = of_loss("softmax", logits, labels, PRIOR)
    shifted = (logits - np.log(PRIOR)).astype(np.float32)
    corrected = of_loss("pc_softmax", shifted, labels, PRIOR)
    for rule in RULES:
        found, expected = corrected.by_rule(rule), softmax.by_rule(rule)
        assert found.shares == expected.shares
        np.testing.assert_array_equal(found.per_class, expected.per_class)
    assert (softmax.paper_rule, corrected.paper_rule) == ("prior", "balanced")
    assert softmax.by_rule("paper") is softmax.prior
    assert corrected.by_rule("paper") is corrected.balanced


@pytest.mark.parametrize("loss", ["softmax", "pc_softmax"])
def test_no_rule_decides_for_a_class_missing_from_training(loss):
    labels, logits = np.array([0, 1, 2, 2]), np.zeros((4, 3), np.float32)
    logits[:, 2] = 50
    result = of_loss(loss, logits, labels, np.array([0.5, 0.5, 0.0]))
    for rule in RULES:
        assert result.by_rule(rule).per_class[2] == 0


def test_no_rule_decides_for_a_label_missing_from_training():
    logits = np.full((2, 2), 50.0)
    decided = decide(logits, LOSSES["pc_sigmoid"], np.array([-np.inf, 0.0]))
    for rule in RULES:
        np.testing.assert_array_equal(decided[rule], [[False, True]] * 2)


def test_the_rules_of_both_sigmoid_losses_agree(many_labels):
    logits, _, prior = many_labels
    odds = np.log(prior / (1 - prior))
    plain = decide(logits, LOSSES["sigmoid"], np.log(prior))
    corrected = decide(logits - odds, LOSSES["pc_sigmoid"], np.log(prior))
    np.testing.assert_array_equal(plain["prior"], logits > 0)
    np.testing.assert_array_equal(corrected["balanced"], logits - odds > 0)
    for rule in RULES:
        # Logits within rounding of the threshold may differ.
        assert (np.asarray(plain[rule]) == corrected[rule]).mean() > 0.995


@pytest.mark.parametrize(
    ("loss", "rule"), [("sigmoid", "prior"), ("pc_sigmoid", "balanced")]
)
def test_the_paper_decides_by_the_sign_of_the_logit(many_labels, loss, rule):
    logits, labels, prior = many_labels
    result = of_loss(loss, logits, labels, prior)
    assert result.paper_rule == rule
    expected = ((logits > 0) == (labels > 0)).mean(0)
    np.testing.assert_allclose(result.by_rule("paper").per_class, expected)


def test_rows_star_the_rule_of_the_paper(one_label, many_labels):
    logits, labels = one_label
    rows = of_loss("pc_softmax", logits, labels, PRIOR).rows()
    titles = [(row.title, row.starred) for row in rows]
    assert titles == [
        ("accuracy, micro/macro %", False),
        ("  prior rule", False),
        ("  balanced rule", True),
    ]
    rows = of_loss("sigmoid", *many_labels).rows()
    assert [row.title for row in rows].count("    all labels right") == 2
    assert rows[1].starred and not rows[3].starred


def test_predictions_show_names_by_the_rule_of_the_paper_and_by_each(many_labels):
    split = {"label": np.array([0, 1])}
    logits = np.log(np.array([[0.5, 0.4, 0.1], [0.05, 0.15, 0.8]], np.float32))
    evaluator = create(subject_of("softmax"))
    measured = measure(evaluator, split, logits, priors_of(PRIOR))
    columns = evaluator.columns(measured, split, ("a", "b", "c"))
    assert list(columns) == ["prediction", "prior_prediction", "balanced_prediction"]
    assert list(columns["prediction"]) == list(columns["prior_prediction"])
    assert list(columns["prior_prediction"]) == ["a", "c"]
    assert list(columns["balanced_prediction"]) == ["b", "c"]
    logits, labels, prior = many_labels
    evaluator = create(subject_of("sigmoid"))
    measured = measure(evaluator, {"label": labels}, logits, priors_of(prior))
    names = evaluator.columns(measured, {"label": labels}, ("a", "b", "c"))
    for text, row in zip(names["prediction"], logits > 0, strict=True):
        assert text.split() == [n for n, d in zip("abc", row, strict=True) if d]


def test_classes_that_are_equally_frequent_have_one_rule(one_label, many_labels):
    logits, labels = one_label
    for loss in ("softmax", "pc_softmax"):
        result = of_loss(loss, logits, labels, np.full(3, 1 / 3))
        assert result.equal_rules and result.prior.shares == result.balanced.shares
        heading, row = result.rows()
        assert heading.value is None and row.value == result.prior.shares
        assert row.title == "  both rules" and row.starred
        (column,) = result.by_class()
        assert column.title == "both rules"
    result = of_loss("sigmoid", many_labels[0], many_labels[1], np.full(3, 0.5))
    assert [row.title for row in result.rows()][1:] == [
        "  both rules",
        "    all labels right",
    ]
    log = np.log(np.float32([50, 50, 49]) / 149)
    assert not equal_rules(LOSSES["softmax"], log)  # not quite equally frequent
    assert not equal_rules(LOSSES["sigmoid"], np.log([0.5, 0.4]))
    with np.errstate(divide="ignore"):  # a missing class is another matter
        assert not equal_rules(LOSSES["softmax"], np.log([0.5, 0.5, 0.0]))


def test_the_most_confused_pairs_are_those_of_a_loop():
    generator = np.random.default_rng(0)
    labels, predictions = generator.integers(0, 6, (2, 300))
    found = most_confused(predictions, labels)
    counts = {}
    for label, decided in zip(labels.tolist(), predictions.tolist(), strict=True):
        if label != decided:
            counts[label, decided] = counts.get((label, decided), 0) + 1
    assert len(found) == 10 and len(counts) > 10
    assert [pair.count for pair in found] == sorted(counts.values())[:-11:-1]
    for pair in found:
        assert counts[pair.label, pair.decided] == pair.count
        assert pair.share == pair.count / np.sum(labels == pair.label)
    # Of as many examples, the larger share comes first.
    labels, predictions = np.array([0, 0, 1]), np.array([1, 0, 0])
    assert most_confused(predictions, labels) == [
        Confusion(1, 0, 1, 1.0),
        Confusion(0, 1, 1, 0.5),
    ]
    assert most_confused(labels, labels) == []


def test_confusions_are_of_the_rule_of_the_paper(one_label, many_labels):
    logits, labels = one_label
    for loss in ("softmax", "pc_softmax"):
        result = of_loss(loss, logits, labels, PRIOR)
        assert result.confused == most_confused(logits.argmax(-1), labels)
    assert of_loss("sigmoid", *many_labels).confused is None
