"""The share of examples whose features are all 0."""

import numpy as np

from mi_classifier.evaluation.evaluators.activity import create
from tests.evaluation.evaluators.on_arrays import priors_of, run, subject_of


def test_an_example_is_silent_only_if_all_of_its_features_are_zero():
    features = np.zeros((4, 2, 3, 5), np.float32)
    features[0, 1, 2, 4] = 1e-6
    features[2] = np.nan  # a broken net is not silent
    logits, labels = np.zeros((4, 2), np.float32), np.zeros(4, int)
    priors = priors_of(np.array([0.5, 0.5]))
    evaluator = create(subject_of("softmax"))
    result = run(evaluator, {"label": labels}, logits, priors, features)
    assert result.silent == 1 / 2
    rows = run(evaluator, {"label": labels}, logits, priors, features[:, 0, 0])
    assert rows.silent == 3 / 4
