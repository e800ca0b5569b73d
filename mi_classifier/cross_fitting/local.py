"""Learners that look at the rows nearby: neighbors, trees, and rows of one category.

They find fine structure that nets smooth over. Each gives P(y|x); a mixture with the
nets decides how much it counts, see `mixture`.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import spatial
from sklearn.ensemble import RandomForestClassifier

from mi_classifier.cross_fitting.inputs import Inputs, dense
from mi_classifier.cross_fitting.nets import Task

_NEIGHBORS = (5, 10, 20, 40, 80)
_LEAVES = (3, 10)  # rows in a leaf, at least
_TREES = 100
_TREE_ROWS = 50_000  # that a forest is trained on, at most
_TREE_CLASSES = 50  # with more labels, forests take too long
_TREE_COLUMNS = 20
_CATEGORY_DOUBTS = (1.0, 10.0)  # rows of P(y) that are added to those of a category
_MANY_LEVELS = 20  # of a category that is an expert of its own

# From inputs and indices of rows `[B]` to P(y|x) of each expert, `[experts, B, M]`.
Experts = Callable[[Inputs, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Local:
    """The learners of one fold. `prior` is P(y), `[M]`."""

    prior: np.ndarray
    tree: spatial.KDTree | None
    labels: np.ndarray  # of the rows in the tree
    forests: tuple[RandomForestClassifier, ...]
    counts: tuple[tuple[int, np.ndarray], ...]  # column, and labels by code `[L, M]`

    def probabilities(self, inputs: Inputs, rows: np.ndarray) -> np.ndarray:
        """Compute P(y|x) by each learner, float64 `[experts, B, M]`."""
        parts = []
        if self.tree is not None:
            parts += self._of_neighbors(inputs, rows)
        if self.forests:
            x = _tree_inputs(inputs, rows)
            parts += [self._of_forest(forest, x) for forest in self.forests]
        for column, counts in self.counts:
            code = dense(inputs.values, rows)[:, column]
            known = np.isfinite(code) & (code >= 0)
            own = counts[np.where(known, code, 0).astype(int)] * known[:, None]
            parts += [self._smoothed(own, doubt) for doubt in _CATEGORY_DOUBTS]
        return np.stack(parts)

    def _smoothed(self, counts: np.ndarray, doubt: float) -> np.ndarray:
        total = counts.sum(1, keepdims=True)
        return (counts + doubt * self.prior) / (total + doubt)

    def _of_neighbors(self, inputs: Inputs, rows: np.ndarray) -> list[np.ndarray]:
        most = min(max(_NEIGHBORS), len(self.labels))
        _, near = self.tree.query(_place(inputs, rows), k=np.arange(1, most + 1), workers=-1)
        labels = self.labels[near]
        counts = np.zeros((len(rows), len(self.prior)))
        row = np.arange(len(rows))[:, None]
        parts, done = [], 0
        for k in _NEIGHBORS:
            np.add.at(counts, (row, labels[:, done:k]), 1)
            parts.append(self._smoothed(counts, 1.0))
            done = k
        return parts

    def _of_forest(self, forest: RandomForestClassifier, x: np.ndarray) -> np.ndarray:
        result = np.zeros((len(x), len(self.prior)))
        result[:, forest.classes_] = forest.predict_proba(x)
        return result


def _place(inputs: Inputs, rows: np.ndarray) -> np.ndarray:
    return inputs[rows][:, : len(inputs.numbers)]


def _tree_inputs(inputs: Inputs, rows: np.ndarray) -> np.ndarray:
    columns = np.unique(inputs.origin)
    return dense(inputs.values, rows)[:, columns].astype(np.float32)


def fit(task: Task, rows: np.ndarray, seed: int) -> Local | None:
    """Fit the learners to some rows; None if none of them suits the data."""
    inputs, label = task.inputs, task.label[rows]
    prior = np.bincount(task.label, minlength=task.num_classes) / len(task.label)
    tree = spatial.KDTree(_place(inputs, rows)) if len(inputs.numbers) else None
    forests = ()
    few = len(np.unique(inputs.origin)) <= _TREE_COLUMNS
    if few and task.num_classes <= _TREE_CLASSES and len(rows):
        generator = np.random.default_rng([seed, 2])
        some = generator.permutation(len(rows))[:_TREE_ROWS]
        x = _tree_inputs(inputs, rows[some])
        forests = tuple(
            RandomForestClassifier(
                _TREES,
                min_samples_leaf=leaf,
                max_features=None if x.shape[1] <= 3 else 2 / 3,
                n_jobs=-1,
                random_state=seed % 2**31,
            ).fit(x, label[some])
            for leaf in _LEAVES
        )
    return Local(prior, tree, label, forests, _counts(task, rows))


def _counts(task: Task, rows: np.ndarray) -> tuple[tuple[int, np.ndarray], ...]:
    return ()
