"""Split groups of rows into folds, and each net's rows into training and stopping."""

import numpy as np

FOLDS = 5
_SLOTS = 16  # parts of a fold, of which one, two or four stop nets
_FEW_GROUPS, _MANY_GROUPS = 2_000, 4_000  # with fewer four, with more one


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
    slots = min(_SLOTS, max(len(label_of) // FOLDS, 1))
    fold, slot = place % FOLDS, place // FOLDS % slots
    count = len(label_of)
    sixteenths = 2 if count >= _MANY_GROUPS else 2 if count >= _FEW_GROUPS else 4
    stops = slot < max(slots * sixteenths // _SLOTS, 1)
    return fold[group], stops[group]
