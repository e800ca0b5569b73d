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
_REGRESSION_VALUES = 1 << 24  # rows times inputs times labels, at most
_PRODUCTS = 1 << 29  # rows or inputs, times inputs squared, at most
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
        if not len(self.kernels):
            return np.zeros((0, len(rows), self.biases.shape[1]))
        x = np.asarray(inputs[rows][:, : inputs.width], np.float64)
        # No matrix product: its rounding of a row depends on the rows beside it.
        parts = [np.einsum("bd,dm->bm", x, kernel) for kernel in self.kernels]
        return special.softmax(np.stack(parts) + self.biases[:, None], 2)


def fit(task: Task, rows: np.ndarray) -> Linear:
    """Fit the learners to some rows; in large tables, only those that take no minutes.

    The whole table decides which ones, so that they are the same for any part of it.
    One that cannot be fitted to the rows says P(y).
    """
    size, width, num_classes = len(task.label), task.inputs.width, task.num_classes
    models = []
    if size * width * num_classes <= _REGRESSION_VALUES:
        models.append(LogisticRegression(max_iter=_STEPS))
    if size * width <= _VALUES and max(size, width) * width**2 <= _PRODUCTS:
        models.append(LinearDiscriminantAnalysis("lsqr", shrinkage="auto"))
    label = task.label[rows]
    seen, counts = np.unique(label, return_counts=True)
    kernels = np.zeros((len(models), width, num_classes))
    biases = np.full((len(models), num_classes), -np.inf)
    biases[:, seen] = np.log(counts / counts.sum())
    if not models or len(seen) < 2 or len(rows) <= len(seen):
        return Linear(kernels, biases)
    x = np.asarray(task.inputs[rows][:, :width], np.float64)
    # Of two labels, scikit-learn gives the log odds of the second one.
    of_labels = seen if len(seen) > 2 else seen[1:]
    for kernel, bias, model in zip(kernels, biases, models, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of few steps, or a label of one row
            model.fit(x, label)
        if np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all():
            bias[seen] = 0
            kernel[:, of_labels], bias[of_labels] = model.coef_.T, model.intercept_
    return Linear(kernels, biases)
