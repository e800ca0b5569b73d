"""Learners that look at the rows nearby: neighbors, trees, and rows of one category.

They find fine structure that nets smooth over. Each gives P(y|x); a mixture with the
nets decides how much it counts, see `mixture`.
"""

import dataclasses

import numpy as np
from scipy import spatial
from sklearn.ensemble import RandomForestClassifier

from mi_classifier.cross_fitting.batches import Task
from mi_classifier.cross_fitting.inputs import Inputs, dense

_NEIGHBORS = (5, 10, 20, 40, 80)
_SAMPLE = 2_000  # rows that tell whether there are enough different places
_LEAVES = (3, 10)  # rows in a leaf, at least
_TREES = 100
_TREE_ROWS = 50_000  # that a forest is trained on, at most
_TREE_CLASSES = 50  # with more labels, forests take too long
_TREE_COLUMNS = 20
_THREADED_ROWS = 1_000  # with fewer, threads cost more than they save
_DIGITS = 12  # of a forest's P(y|x); threads add up trees in any order
_CATEGORY_DOUBTS = (1.0, 10.0)  # rows of P(y) that are added to those of a category


@dataclasses.dataclass(frozen=True)
class Local:
    """The learners of one fold. `prior` is P(y), `[M]`."""

    prior: np.ndarray
    tree: spatial.KDTree | None
    labels: np.ndarray  # of the rows in the tree
    forests: tuple[RandomForestClassifier, ...]
    counts: tuple[tuple[int, np.ndarray], ...]  # column, and labels by code `[L, M]`

    def probabilities(self, inputs: Inputs, rows: np.ndarray) -> np.ndarray:
        """Compute P(y|x) by each learner, float64 `[E, B, M]`."""
        parts = []
        if self.tree is not None:
            parts += self._of_neighbors(inputs, rows)
        if self.forests:
            x = _tree_inputs(inputs, rows)
            parts += [self._of_forest(forest, x) for forest in self.forests]
        x = dense(inputs.values, rows) if self.counts else None
        for column, counts in self.counts:
            code = x[:, column]
            known = np.isfinite(code) & (code >= 0)
            own = counts[np.where(known, code, 0).astype(int)] * known[:, None]
            parts += [self._smoothed(own, doubt) for doubt in _CATEGORY_DOUBTS]
        return np.stack(parts)

    @property
    def of_forests(self) -> slice:
        """The places of the forests, if these learners are the last ones."""
        after = len(self.counts) * len(_CATEGORY_DOUBTS)
        return slice(-after - len(self.forests), -after or None)

    def grown(self, task: Task, rows: np.ndarray, seed: int, forests: bool) -> "Local":
        """Return the same learners, fitted to other rows.

        `forests` says whether the forests are, too: they take longest, and may count
        little.
        """
        grown = dataclasses.replace(self, counts=_counts(task, rows))
        if forests:
            grown = dataclasses.replace(grown, forests=_forests(task, rows, seed))
        if self.tree is None:  # no weight has been found for neighbors
            return grown
        tree, labels = _neighbors(task, rows)
        return dataclasses.replace(grown, tree=tree, labels=labels)

    def _smoothed(self, counts: np.ndarray, doubt: float) -> np.ndarray:
        total = counts.sum(1, keepdims=True)
        return (counts + doubt * self.prior) / (total + doubt)

    def _of_neighbors(self, inputs: Inputs, rows: np.ndarray) -> list[np.ndarray]:
        place = _place(inputs, rows)
        _, near = self.tree.query(place, k=max(_NEIGHBORS), workers=-1)
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
        result[:, forest.classes_] = forest.predict_proba(x).round(_DIGITS)
        return result


def _place(inputs: Inputs, rows: np.ndarray) -> np.ndarray:
    return inputs.of_numbers(dense(inputs.values, rows)).astype(np.float32)


def _tree_inputs(inputs: Inputs, rows: np.ndarray) -> np.ndarray:
    """Return columns as float32, numbers as nets see them, so that no digit is lost."""
    x = np.array(dense(inputs.values, rows))
    missing = np.isnan(x[:, inputs.numbers])
    x[:, inputs.numbers] = np.where(missing, np.nan, inputs.of_numbers(x))
    return x[:, np.unique(inputs.origin)].astype(np.float32)


def fit(task: Task, rows: np.ndarray, seed: int) -> Local:
    """Fit the learners to some rows."""
    prior = np.bincount(task.label, minlength=task.num_classes) / len(task.label)
    forests = _forests(task, rows, seed)
    return Local(prior, *_neighbors(task, rows), forests, _counts(task, rows))


def _forests(
    task: Task, rows: np.ndarray, seed: int
) -> tuple[RandomForestClassifier, ...]:
    few = len(np.unique(task.inputs.origin)) <= _TREE_COLUMNS
    if not few or task.num_classes > _TREE_CLASSES or not len(rows):
        return ()
    some = np.random.default_rng([seed, 2]).permutation(rows)[:_TREE_ROWS]
    x = _tree_inputs(task.inputs, some)
    return tuple(
        RandomForestClassifier(
            _TREES,
            min_samples_leaf=leaf,
            max_features=None if x.shape[1] <= 3 else 2 / 3,
            n_jobs=-1 if len(some) > _THREADED_ROWS else 1,
            random_state=seed % 2**31,
        ).fit(x, task.label[some])
        for leaf in _LEAVES
    )


def _neighbors(
    task: Task, rows: np.ndarray
) -> tuple[spatial.KDTree | None, np.ndarray]:
    if len(rows) < max(_NEIGHBORS) or not _many_places(task.inputs):
        return None, rows[:0]
    return spatial.KDTree(_place(task.inputs, rows)), task.label[rows]


def _many_places(inputs: Inputs) -> bool:
    """Return whether few rows share a place; a tree looks at all that do."""
    if not len(inputs.numbers):
        return False
    sample = np.arange(0, len(inputs), -(-len(inputs) // _SAMPLE))
    places = len(np.unique(_place(inputs, sample), axis=0))
    return places * max(_NEIGHBORS) >= len(sample)


def _counts(task: Task, rows: np.ndarray) -> tuple[tuple[int, np.ndarray], ...]:
    """Count the labels of each category, in columns of many categories."""
    result = []
    if not task.inputs.bins:
        return ()
    x, label = dense(task.inputs.values, rows), task.label[rows]
    for column, bin_of in task.inputs.bins[::2]:
        counts = np.zeros((len(bin_of), task.num_classes))
        known = x[:, column] >= 0
        np.add.at(counts, (x[known, column].astype(int), label[known]), 1)
        result.append((column, counts))
    return tuple(result)
