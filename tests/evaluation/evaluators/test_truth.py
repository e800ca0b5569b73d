"""The true densities give the true mutual information and the best accuracies."""

import numpy as np
import pytest
from scipy.special import logsumexp

from mi_classifier.data import Dataset
from mi_classifier.evaluation.evaluators.truth import create
from tests.evaluation.evaluators.on_arrays import priors_of, run, subject_of

MEANS = np.array([0.0, 2.0, -2.0])
PRIOR = np.array([0.5, 0.3, 0.2])


def log_density(batch):
    return -0.5 * (batch["image"][:, None] - MEANS) ** 2


@pytest.fixture(scope="module")
def split():
    generator = np.random.default_rng(0)
    labels = generator.choice(3, 4_000, p=PRIOR)
    x = (generator.standard_normal(4_000) + MEANS[labels]).astype(np.float32)
    return {"image": x, "label": labels}


def truth_of(loss, closed_form):
    known = {"log_density": log_density, "mutual_information": closed_form}
    return create(subject_of(loss, Dataset("", {}, (), None, **known)))


def expected_pmi(split, logits):
    rows = np.arange(len(split["label"]))
    return logits[rows, split["label"]] - logsumexp(logits, axis=-1, b=PRIOR)


@pytest.mark.parametrize("loss", ["softmax", "pc_softmax"])
def test_the_truth_and_the_error_of_the_net_equal_those_of_numpy(split, loss):
    density = np.float64(log_density(split))
    logits = 0.5 * density  # a net that is not sure enough
    given = logits + np.log(PRIOR) if loss == "softmax" else logits
    truth = truth_of(loss, closed_form=0.7)
    result = run(truth, split, given.astype(np.float32), priors_of(PRIOR))
    true = expected_pmi(split, density)
    assert result.mutual_information.nats == pytest.approx(true.mean(), rel=1e-4)
    error = expected_pmi(split, logits) - true
    assert result.error.nats == pytest.approx(error.mean(), abs=1e-5)
    deviation = error.std(ddof=1) / np.sqrt(len(error))
    assert result.error.standard_error == pytest.approx(deviation, rel=1e-3)
    prior, balanced = density + np.log(PRIOR), density
    for found, scores in ((result.prior, prior), (result.balanced, balanced)):
        assert found.micro == (scores.argmax(-1) == split["label"]).mean()


def test_rows_stand_below_those_of_the_net(split):
    given = np.float32(log_density(split))
    for closed_form in (0.7, None):
        truth = truth_of("pc_softmax", closed_form)
        rows = run(truth, split, given, priors_of(PRIOR)).rows()
        assert all(row.below for row in rows)
        shown = [row.value for row in rows if row.title == "  closed-form truth"]
        assert shown == ([] if closed_form is None else [0.7])
        below = [row.below for row in rows if row.title == "    true densities"]
        assert below == ["  prior rule", "  balanced rule"]


def test_one_row_stands_below_two_rules_that_are_equal(split):
    given = np.float32(log_density(split))
    truth, uniform = truth_of("softmax", None), np.full(3, 1 / 3)
    rows = run(truth, split, given, priors_of(uniform)).rows()
    below = [row.below for row in rows if row.title == "    true densities"]
    assert below == ["  both rules"]
