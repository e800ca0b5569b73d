"""Gradient-boosted trees as a mutual-information estimator, cross-fitted as ours is."""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

_ITERATIONS = 300  # at most; the stopping fold chooses how many count


def boosted_trees(
    x: np.ndarray, label: np.ndarray, fold: np.ndarray, seed: int = 0
) -> float:
    """Return H(Y) minus the log loss on folds that the trees never saw, nats.

    Labels are integers in [0, M). The next fold chooses the number of iterations. As in
    ours, P(y|x) is mixed with one part in N of P(y).
    """
    prior = np.bincount(label) / len(label)
    pmi = np.zeros(len(label))
    for k in range(fold.max() + 1):
        scored, stopping = fold == k, fold == (k + 1) % (fold.max() + 1)
        trees = HistGradientBoostingClassifier(
            max_iter=_ITERATIONS, early_stopping=False, random_state=seed
        )
        trees.fit(x[~scored & ~stopping], label[~scored & ~stopping])

        def ratios(
            rows: np.ndarray, trees: HistGradientBoostingClassifier = trees
        ) -> np.ndarray:
            """Return log P(y|x) / P(y) after each iteration, `[iterations, N]`."""
            found = []
            for p in trees.staged_predict_proba(x[rows]):
                of_labels = np.zeros((len(p), len(prior)))
                of_labels[:, trees.classes_] = p
                ratio = of_labels[np.arange(len(p)), label[rows]] / prior[label[rows]]
                found.append(np.log(ratio + (1 - ratio) / len(label)))
            return np.stack(found)

        best = ratios(stopping).mean(1).argmax()
        pmi[scored] = ratios(scored)[best]
    return float(pmi.mean())
