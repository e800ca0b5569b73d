"""Say in one sentence how a training went, from its losses by epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Losses are in nats: 0.01 nats more is a label's probability that is 1% lower.
_LEAST = 0.01
# Of four numbers in random order, one order in 24 rises throughout. Of three, it is
# one in six, so three epochs cannot show a rise at a level of 0.05.
_FEWEST = 4
_LEVEL = 0.05


def judge(rows: Sequence[Mapping[str, Any]], best_epoch: int) -> str:
    """Return whether a net was still improving, overfitting, or neither.

    The rule compares the losses of `metrics.jsonl`. Epochs where a loss is missing or
    not finite do not count. A trend counts if Kendall's rank correlation with the epoch
    has p < 0.05, one-sided, and if it changes the loss by more than 0.01 nats.

    * Still improving: the lowest validation loss is in the last epoch, or if there are
      ten or more, in the last tenth; it is lower than any loss before these epochs; and
      the last half of the epochs, or the last five if these are more, show a falling
      trend. Fewer than five epochs need no trend.
    * Overfitting: after the lowest validation loss there are at least four epochs, in
      which it shows a rising trend, while the training loss falls below its value at
      that epoch.
    * Too few epochs: neither, and there are fewer than five.

    Args:
      rows: the rows of metrics.jsonl, with "epoch", "train_loss" and "validation_loss".
      best_epoch: the epoch whose parameters are evaluated.

    Returns:
      One sentence; "" without rows.

    Examples:
      >>> losses = [2.0, 1.5, 1.2, 1.0, 0.9]
      >>> judge([{"epoch": n + 1, "train_loss": v, "validation_loss": v}
      ...        for n, v in enumerate(losses)], best_epoch=5)
      'still improving: validation loss was lowest in the last epoch; train longer'
    """
    if not rows:
        return ""
    names = ("epoch", "train_loss", "validation_loss")
    table = np.array([[row.get(name) for name in names] for row in rows], np.float64)
    epochs, training, validation = table[np.isfinite(table).all(1)].T
    lowest = int(validation.argmin()) if len(validation) else 0
    if _improves(validation, lowest):
        when = f"in epoch {epochs[lowest]:.0f} of {epochs[-1]:.0f}"
        when = "in the last epoch" if lowest == len(epochs) - 1 else when
        return f"still improving: validation loss was lowest {when}; train longer"
    if _overfits(training[lowest:], validation[lowest:]):
        return (
            f"overfitting since epoch {epochs[lowest]:.0f}: validation loss rises "
            f"while training loss falls; the best epoch, {best_epoch}, is used"
        )
    if len(epochs) <= _FEWEST:
        return "too few epochs to see whether the net overfits; train longer"
    return "fine: validation loss neither still falls nor rises again"


def _improves(losses: np.ndarray, lowest: int) -> bool:
    count = len(losses)
    before = losses[: count - max(count // 10, 1)]
    if lowest < len(before) or not len(before):
        return False
    falls = losses[lowest] < before.min() - _LEAST
    return falls and (count <= _FEWEST or _trend(-losses[-max(count // 2, 5) :]))


def _overfits(training: np.ndarray, validation: np.ndarray) -> bool:
    """Return whether losses from the lowest validation loss on show overfitting."""
    after = validation[1:]
    if len(after) < _FEWEST or np.median(training[1:]) >= training[0]:
        return False
    return np.median(after[-3:]) > validation[0] + _LEAST and _trend(after)


def _trend(values: np.ndarray) -> bool:
    """Return whether values rise by more than chance would make them."""
    order = np.arange(len(values))
    from scipy import stats  # a quarter of a second, which no other command needs

    return stats.kendalltau(order, values, alternative="greater").pvalue < _LEVEL
