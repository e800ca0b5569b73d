"""Evaluators: small plug-ins, each of which measures one thing about a net.

To add one, write a file here with a function `create` from a `base.Subject` to a
`base.Evaluator`, or to None if it does not apply; add a line to `EVALUATORS`; and name
it in `config.evaluators`. The table, metrics.json and the report then show its result.
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
from mi_classifier.evaluation.evaluators.base import (  # noqa: F401, offered here
    RULES,
    Evaluator,
    Inference,
    Priors,
    Subject,
)

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
DEFAULT = tuple(name for name in EVALUATORS if name != "ablation")
# Every report shows the results of these, and so does the log of every epoch.
ALWAYS = ("information", "accuracy", "activity")


def create_evaluators(names: Sequence[str], subject: Subject) -> dict[str, Evaluator]:
    """Create the named evaluators, without those that do not apply.

    Args:
      names: keys of `EVALUATORS`.
      subject: the net and the data to be evaluated.

    Returns:
      The evaluators by name, in the order of the names.

    Raises:
      UserError: a name is unknown.
    """
    creates = {n: EVALUATORS[choose(n, EVALUATORS, "evaluators")] for n in names}
    created = {name: create(subject) for name, create in creates.items()}
    return {name: each for name, each in created.items() if each is not None}


def check_names(names: Sequence[str]) -> None:
    """Check that a config's evaluators exist, and include those of every report."""
    for name in names:
        choose(name, EVALUATORS, "evaluators")
    if names and (missing := [name for name in ALWAYS if name not in names]):
        raise UserError(
            f"evaluators: {missing[0]} is missing; add it, every report shows it"
        )
