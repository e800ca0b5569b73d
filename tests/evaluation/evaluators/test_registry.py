"""Evaluators are created by name; unknown and missing names are refused."""

import pytest

from mi_classifier.data import load_dataset
from mi_classifier.errors import UserError
from mi_classifier.evaluation.evaluators import (
    ALWAYS,
    DEFAULT,
    EVALUATORS,
    Subject,
    check_names,
    create_evaluators,
)
from mi_classifier.losses import LOSSES


def test_evaluators_that_do_not_apply_are_left_out():
    options = {"dim": 1, "balanced": True, "seed": 0, "fresh": False}
    dataset = load_dataset({"name": "gaussian_mixture", **options})
    subject = Subject(dataset, LOSSES["softmax"])
    created = create_evaluators(DEFAULT, subject)
    assert list(created) == [name for name in DEFAULT if name != "localization"]
    assert create_evaluators(["ablation", "localization"], subject) == {}
    assert list(create_evaluators(["activity", "accuracy"], subject)) == [
        "activity",
        "accuracy",
    ]


def test_names_are_checked():
    check_names(())
    check_names(ALWAYS)
    check_names(EVALUATORS)
    with pytest.raises(UserError, match=r"evaluators.*acuracy"):
        check_names([*ALWAYS, "acuracy"])
    with pytest.raises(UserError, match="information is missing; add it"):
        check_names(["accuracy", "activity"])
