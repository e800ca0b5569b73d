"""Linear learners, which need fewer rows of a label than nets do.

Each gives P(y|x); a mixture with the nets decides how much it counts, see `mixture`.
"""

import dataclasses
import warnings

import numpy as np
from scipy import special
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from mi_classifier.cross_fitting.batches import Task
from mi_classifier.cross_fitting.inputs import Inputs

_VALUES = 1 << 24  # rows times inputs, at most
_REGRESSION_VALUES = 1 << 23  # rows times inputs times labels, at most
_PRODUCTS = 1 << 29  # rows times inputs times inputs, at most
_STEPS = 100  # of the logistic regression, which need not converge


@dataclasses.dataclass(frozen=True)
class Linear:
    """The learners of one fold.

    Attributes:
      kernels: `[E, inputs, M]`.
      biases: `[E, M]`; -inf for a label that no row had.
    """

    kernels: np.ndarray
    biases: np.ndarray

    def probabilities(self, inputs: Inputs, rows: np.ndarray) -> np.ndarray:
        """Compute P(y|x) by each learner, float64 `[E, B, M]`."""
        x = np.asarray(inputs[rows], np.float64)
        # No matrix product: its rounding of a row depends on the rows beside it.
        parts = [np.einsum("bd,dm->bm", x, kernel) for kernel in self.kernels]
        logits = np.reshape(parts, (-1, len(rows), self.biases.shape[1]))
        return special.softmax(logits + self.biases[:, None], 2)


def fit(task: Task, rows: np.ndarray) -> Linear:
    """Fit the learners to some rows; none to too many values."""
    width, num_classes = task.inputs[np.arange(1)].size, task.num_classes
    label, values = task.label[rows], len(rows) * width
    seen = np.unique(label)
    models = []
    if len(seen) > 1 and values <= _VALUES:
        if values * num_classes <= _REGRESSION_VALUES:
            models.append(LogisticRegression(max_iter=_STEPS))
        if values * width <= _PRODUCTS and len(rows) > len(seen):
            models.append(LinearDiscriminantAnalysis("lsqr", shrinkage="auto"))
    kernels = np.zeros((len(models), width, num_classes))
    biases = np.full((len(models), num_classes), -np.inf)
    x = np.asarray(task.inputs[rows], np.float64) if models else None
    for kernel, bias, model in zip(kernels, biases, models, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of few steps, or a label of one row
            model.fit(x, label)
        # Of two labels, scikit-learn gives the log odds of the second one.
        of_labels = seen if len(seen) > 2 else seen[1:]
        bias[seen] = 0
        kernel[:, of_labels], bias[of_labels] = model.coef_.T, model.intercept_
    return Linear(kernels, biases)
