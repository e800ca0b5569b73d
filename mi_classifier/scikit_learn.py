"""The estimate as a scikit-learn classifier, and as a score that selects columns."""

import numbers
from typing import Any, Self

import flax.linen as nn
import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from jax.typing import ArrayLike
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from mi_classifier import estimate, ranking
from mi_classifier.data.labels import as_labels


class MutualInformationClassifier(ClassifierMixin, BaseEstimator):
    """Classify rows, and tell how many nats they carry about the labels.

    The classifier is the ensemble of learners that `cross_fit` trains. P(y|x) of a new
    row is the mean over all folds. Each training row is scored only by learners that
    never saw its label: `mutual_information_` and `pmi_` need no further split.

    `X` is what scikit-learn takes, `[N, D]`: an array, a sparse matrix, a DataFrame.
    Columns of a DataFrame, or of an object array, may hold words and categories.
    `X` of 10 rows or more trains nets. With fewer, every row gets the frequencies of
    the labels, and `mutual_information_.warnings` says so.

    Args:
      random_state: decides folds, initial weights and the order of the rows. An
        integer is the `seed` of `estimate_mutual_information`, which then returns the
        same estimate. `None` and a `RandomState` give another seed at each fit.
      missing: "error" refuses missing values of `X`. "keep" fills them, and tells the
        nets which were missing; infinite values are refused.
      model: a Flax module as in `estimate_mutual_information`; by default one that
        fits the data.

    Attributes:
      mutual_information_: the estimate of I(X; Y), a `MutualInformation`.
      pmi_: pointwise mutual information of each training row, nats `[N]`.
      classes_: the M different labels, sorted.
      n_features_in_: the number of columns D.
      feature_names_in_: the names of the columns, `[D]`, if `X` had names.

    Examples:
      >>> from sklearn.datasets import load_iris
      >>> x, y = load_iris(return_X_y=True, as_frame=True)
      >>> classifier = MutualInformationClassifier().fit(x, y)
      >>> classifier.predict(x[:2])
      array([0, 0])
      >>> 0.8 < classifier.mutual_information_.nats < float(np.log(3))
      True
    """

    def __init__(
        self,
        random_state: int | np.random.RandomState | None = 0,
        missing: str = "error",
        model: nn.Module | None = None,
    ) -> None:
        self.random_state = random_state
        self.missing = missing
        self.model = model

    def fit(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Train learners, and score every row by those that never saw its label.

        Args:
          X: rows `[N, D]`, N of 2 or more.
          y: labels `[N]`: integers, strings, booleans.
          groups: `[N]`; rows of one group are not independent of each other. They
            share a fold, and count once in the standard error.

        Returns:
          The classifier itself.

        Raises:
          ValueError: if X or y is not as above; the message says where.
        """
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None"
            )
        x = self._check(X, reset=True)
        if isinstance(y, pd.Index | pd.api.extensions.ExtensionArray):
            y = pd.Series(y)
        y = y if nw.dependencies.is_into_series(y) else column_or_1d(y, warn=True)
        check_consistent_length(x, y)
        labels = as_labels(y, len(y))[0]
        if labels.dtype.kind != "O":  # scikit-learn knows no intervals, for instance
            check_classification_targets(labels)
        fit = estimate.cross_fit(
            x,
            y,
            groups=groups,
            missing=self.missing,
            seed=_seed(self.random_state),
            model=self.model,
        )
        self.classes_, self.pmi_ = fit.labels, fit.pmi
        self.mutual_information_ = fit.summary()
        self._cross_fit = fit.without_rows()
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Compute P(y|x) of rows, float64 `[N, M]`, columns in the order of `classes_`.

        These rows must be new. For the rows of the fit, most nets know the label.
        """
        check_is_fitted(self)
        return self._cross_fit.probabilities(self._check(X, reset=False))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable label of each row, `[N]`."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def _check(self, x: Any, reset: bool) -> Any:
        """Check rows as scikit-learn does; a DataFrame's cells are the core's task."""
        if nw.dependencies.is_into_dataframe(x):
            return validate_data(self, x, reset=reset, skip_check_array=True)
        return validate_data(
            self,
            x,
            reset=reset,
            accept_sparse="csr",
            dtype=None,
            ensure_all_finite="allow-nan" if self.missing == "keep" else True,
            ensure_min_samples=2 if reset else 1,
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        # Categories are welcome, too. But if `categorical` is set, a check of
        # scikit-learn 1.6 subtracts a mean from integers in place, and fails by itself.
        tags.input_tags.string = True
        tags.input_tags.allow_nan = self.missing == "keep"
        return tags


def mutual_information_score(
    X: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    missing: str = "error",
    random_state: int | np.random.RandomState | None = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Score each column by the nats that it alone carries about the labels.

    This is a `score_func` for `SelectKBest` and its relatives. The scores are `alone`
    of `rank_columns`; no net is trained.

    The p-value is of the hypothesis that the column carries nothing. The estimate is
    then at most 0 in expectation, so p is the upper tail of Student's t at the estimate
    divided by its standard error. There are N - 5 degrees of freedom if rows are
    independent; otherwise groups take the place of rows. Columns are tested one by one:
    for many columns, use `SelectFdr` or `SelectFwe`. A column that says something only
    together with others has a score near 0.

    Args:
      X: rows `[N, D]`, N of 50 or more.
      y: labels `[N]`.
      groups: as in `estimate_mutual_information`, `[N]`.
      missing: as in `estimate_mutual_information`; set it by `functools.partial`.
      random_state: as in `MutualInformationClassifier`.

    Returns:
      The scores in nats and the p-values, float64 `[D]` each.

    Raises:
      UserError: as `estimate_mutual_information`.

    Examples:
      >>> from sklearn.datasets import load_iris
      >>> from sklearn.feature_selection import SelectKBest
      >>> x, y = load_iris(return_X_y=True, as_frame=True)
      >>> select = SelectKBest(mutual_information_score, k=2).fit(x, y)
      >>> [name.removesuffix(" (cm)") for name in select.get_feature_names_out()]
      ['petal length', 'petal width']
    """
    seed = _seed(random_state)
    nats, errors, freedom = ranking.information_of_columns(
        X, y, groups=groups, missing=missing, seed=seed
    )
    # No error means that no learner said anything; then nothing speaks against 0.
    t = np.divide(nats, errors, out=np.zeros_like(nats), where=errors > 0)
    p_values = stats.t.sf(t, freedom)
    return nats, np.where(errors > 0, p_values, 1.0)


def _seed(random_state: int | np.random.RandomState | None) -> int:
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
