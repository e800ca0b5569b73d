"""Evaluators: small plug-ins, each of which asks one question about a net.

To add one, write a file here with a class that follows `base.Evaluator` and a function
`create` that returns an instance, or None if the evaluator does not apply; add a line
to `EVALUATORS`; and name it in `config.evaluators`. The table, metrics.json and the
report then show its result.
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
# The evaluators of a config that names none, in the order of the tables.
DEFAULT = (
    "information",
    "truth",
    "calibration",
    "accuracy",
    "activity",
    "localization",
)
# Every report shows the results of these, and so does the log of every epoch.
ALWAYS = ("information", "accuracy", "activity")


def create_evaluators(names: Sequence[str], subject: Subject) -> dict[str, Evaluator]:
    """Creates the named evaluators, without those that do not apply.

    Args:
      names: keys of `EVALUATORS`.
      subject: the net and the data to be evaluated.

    Returns:
      The evaluators by name, in the order of the names.

    Raises:
      UserError: a name is unknown.
    """
    created = {
        name: EVALUATORS[choose(name, EVALUATORS, "evaluators")](subject)
        for name in names
    }
    return {name: each for name, each in created.items() if each is not None}


def check_names(names: Sequence[str]) -> None:
    """Checks the names of a config's evaluators.

    Raises:
      UserError: a name is unknown, or one that every report needs is missing.
    """
    for name in names:
        choose(name, EVALUATORS, "evaluators")
    if names and (missing := [name for name in ALWAYS if name not in names]):
        raise UserError(
            f"evaluators: {missing[0]} is missing; add it, every report shows it"
        )
