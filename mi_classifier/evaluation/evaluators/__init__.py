"""Evaluators: small plug-ins over one pass through a split.

A new one is a file here, with a class by the contract of `base.Evaluator` and a `create`
that returns one, or None where it does not apply; a line below; and its name in
`config.evaluators`. Its result shows in the table, in metrics.json and in the report by
itself.
"""

from collections.abc import Callable, Sequence

from mi_classifier.errors import UserError, choose
from mi_classifier.evaluation.evaluators import (
    ablation,
    accuracy,
    activity,
    calibration,
    information,
    localization,
    truth,
)
from mi_classifier.evaluation.evaluators.base import (
    RULES,
    Evaluator,
    Inference,
    Priors,
    Subject,
)

__all__ = [
    "DEFAULT",
    "EVALUATORS",
    "RULES",
    "Evaluator",
    "Inference",
    "Priors",
    "Subject",
    "create_evaluators",
]

EVALUATORS: dict[str, Callable[[Subject], Evaluator | None]] = {
    "information": information.create,
    "truth": truth.create,
    "calibration": calibration.create,
    "accuracy": accuracy.create,
    "activity": activity.create,
    "localization": localization.create,
    "ablation": ablation.create,
}
# Of a config that names none. The order is that of the tables.
DEFAULT = (
    "information",
    "truth",
    "calibration",
    "accuracy",
    "activity",
    "localization",
)
# The validation after each epoch, and the summary of every report, are made of these.
ALWAYS = ("information", "accuracy", "activity")


def create_evaluators(names: Sequence[str], subject: Subject) -> dict[str, Evaluator]:
    """Creates those evaluators that apply, by name.

    Args:
      names: among `EVALUATORS`.
      subject: what is to be evaluated.

    Raises:
      UserError: an unknown name.
    """
    created = {
        name: EVALUATORS[choose(name, EVALUATORS, "evaluators")](subject)
        for name in names
    }
    return {name: each for name, each in created.items() if each is not None}


def check_names(names: Sequence[str]) -> None:
    """Checks the names of a config's evaluators.

    Raises:
      UserError: an unknown name, or one that every report needs is missing.
    """
    for name in names:
        choose(name, EVALUATORS, "evaluators")
    if names and (missing := [name for name in ALWAYS if name not in names]):
        raise UserError(f"evaluators: {missing[0]} is missing; every report shows it")
