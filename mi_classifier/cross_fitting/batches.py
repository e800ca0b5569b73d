"""What the nets learn from: the rows of each net, in batches and in blocks."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier.cross_fitting.inputs import Inputs
from mi_classifier.cross_fitting.plan import Plan
from mi_classifier.errors import UserError

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Task:
    """What the nets learn: the label of each row, and which rows are for what."""

    inputs: Inputs
    label: np.ndarray  # [N]
    fold: np.ndarray  # [N]
    stops: np.ndarray  # whether a row stops the nets of other folds, bool [N]
    num_classes: int
    num_outputs: int  # of a net: `num_classes`, or more that stand for nothing
    evidence: float = 1.0  # independent groups per row


def trained_on(task: Task, scored: np.ndarray) -> np.ndarray:
    """Return which rows train the nets that score some folds, bool `[nets, N]`."""
    return (task.fold != scored[:, None]) & ~task.stops


def stopping_rows(
    task: Task, plan: Plan, generator: np.random.Generator
) -> tuple[Array, ...]:
    """Load inputs, labels and folds of the stopping rows, `[chunks, chunk, ...]`."""
    picked = generator.permutation(np.flatnonzero(task.stops))[: plan.stopping_rows]
    chunk = min(plan.chunk, power_of_two(len(picked)))
    size = -(-len(picked) // chunk) * chunk
    rows = np.resize(picked, size)
    fold = np.where(np.arange(size) < len(picked), task.fold[rows], -1)  # -1 pads
    return tuple(
        jnp.asarray(a.reshape(-1, chunk, *a.shape[1:]))
        for a in (task.inputs[rows], task.label[rows], fold)
    )


def power_of_two(size: int) -> int:
    """Return the least power of two that is not below a size, so that shapes recur."""
    return 1 << max(size - 1, 31).bit_length()


def batches_of(
    task: Task,
    trained_on: np.ndarray,
    plan: Plan,
    rounds: int,
    generator: np.random.Generator,
) -> Iterator[tuple[tuple[Array, Array], np.ndarray]]:
    """Yield what each round trains on; blocks of rows take turns.

    That is inputs and labels of a block; and the indices in it of each net's examples,
    `[S, nets, B]`, each as often as any other.
    """
    block_of = np.random.default_rng(0).permutation(len(task.label)) % plan.num_blocks
    blocks = [np.flatnonzero(block_of == b) for b in range(plan.num_blocks)]
    count = plan.steps * plan.batch_size

    def examples(own: np.ndarray) -> Iterator[np.ndarray]:
        rows, queue = np.flatnonzero(own).astype(np.int32), np.zeros(0, np.int32)
        if not len(rows):
            raise UserError(
                "groups: too few rows are outside of the largest group; give smaller "
                "groups"
            )
        while True:
            again = -(-max(count - len(queue), 0) // len(rows))
            more = [generator.permutation(rows) for _ in range(again)]
            queue = np.concatenate([queue, *more])
            yield queue[:count].reshape(plan.steps, plan.batch_size)
            queue = queue[count:]

    queues = [[examples(own[rows]) for own in trained_on] for rows in blocks]
    for number in range(rounds):
        block = number % plan.num_blocks
        if number == 0 or plan.num_blocks > 1:
            rows = np.resize(blocks[block], power_of_two(len(blocks[block])))
            data = (jnp.asarray(task.inputs[rows]), jnp.asarray(task.label[rows]))
        yield data, np.stack([next(queue) for queue in queues[block]], 1)
