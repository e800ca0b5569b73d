"""Split groups of rows into folds, and each net's rows into training and stopping."""

import numpy as np

FOLDS = 5
_MANY_GROUPS = 2_000
_FEW, _MANY = (
    4,
    8,
)  # one group in so many stops nets; no multiple of 5, as folds go


def deal(
    group: np.ndarray, label: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Split the rows into folds, label by label; no group is in two folds.

    The label of a group's last row decides for the group.

    Args:
      group: integers from 0 on, `[N]`; the rows of a group stay together.
      label: integers, `[N]`.
      generator: decides which groups come together.

    Returns:
      The fold of each row, `[N]` in [0, 5), and whether it stops the nets that score
      another fold, bool `[N]`. The other rows train these nets.
    """
    label_of = np.zeros(group.max() + 1, np.int32)
    label_of[group] = label
    order = np.lexsort((generator.random(len(label_of)), label_of))
    place = np.empty(len(label_of), np.int64)
    place[order] = np.arange(len(order))
    period = _MANY if len(label_of) >= _MANY_GROUPS else _FEW
    fold, stops = place % FOLDS, place % period == period - 1
    return fold[group], stops[group]
