"""Mutual-information estimators that ours is compared with, each as in its paper.

`BASELINES` lists those that tables run. A new one is a function and an entry there; if
it trains a critic, it passes an `Objective` to `train_critic`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from scipy import spatial, special

from mi_classifier import information
from mi_classifier.models import create_model
from mi_classifier.optimization import State, descend
from mi_classifier.rules import with_usual_results

Array = jax.Array
Samples = tuple[ArrayLike, ArrayLike]  # inputs [N, D] and labels [N]


def monte_carlo(
    log_density: ArrayLike, labels: ArrayLike, log_prior: ArrayLike
) -> tuple[float, float]:
    """Estimate mutual information by Monte Carlo from known densities, Eq. 11.

    Args:
      log_density: log p(x|y) of each class, `[N, M]` nats; any function of x alone may
        be added.
      labels: integers in [0, M), shape `[N]`.
      log_prior: log P(y) of the distribution, `[M]`.

    Returns:
      The estimate and its standard error, in nats.

    Raises:
      ValueError: shapes do not fit.
      TypeError: labels are not integers.
    """
    pmi = information.pointwise_mutual_information(log_density, labels, log_prior)
    pmi = np.asarray(pmi, np.float64)
    return float(pmi.mean()), float(pmi.std(ddof=1) / np.sqrt(len(pmi)))


def nearest_neighbors(x: ArrayLike, labels: ArrayLike, k: int = 3) -> float:
    """Estimate mutual information by the k nearest neighbors of each example.

    `psi(N) + psi(k) - <psi(N_y)> - <psi(m)>`, where m is the number of examples of any
    label up to the k-th neighbor of the same label. Columns are divided by their
    standard deviations, and distances are Euclidean. A label with one example is left
    out; if it has k or fewer, all others of the label are neighbors.

    B. C. Ross, "Mutual Information between Discrete and Continuous Data Sets", PLoS
    ONE 9(2), 2014, e87357.

    Args:
      x: `[N]` or `[N, D]`, finite.
      labels: `[N]`, of any kind that can be sorted.
      k: neighbors, at least 1.

    Returns:
      The estimate in nats; it can be below 0 by chance.

    Raises:
      ValueError: shapes do not fit, k below 1, or no label of two examples.
    """
    x, labels = np.asarray(x, np.float64), np.asarray(labels)
    if x.ndim not in (1, 2) or labels.shape != x.shape[:1]:
        raise ValueError(
            f"x and labels must be [N, D] and [N], not {x.shape} and {labels.shape}"
        )
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    _, labels, counts = np.unique(labels, return_inverse=True, return_counts=True)
    kept = counts[labels] > 1
    if not kept.any():
        raise ValueError("labels: at least one must have two examples")
    x, labels = x.reshape(len(x), -1)[kept], labels[kept]
    deviation = x.std(0)
    x = x / np.where(deviation > 0, deviation, 1)
    radius, neighbors = np.empty(len(x)), np.empty(len(x))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        neighbors[rows] = own = min(k, len(rows) - 1)
        # The nearest is the example itself, so ask for one more.
        distance, _ = spatial.KDTree(x[rows]).query(x[rows], k=[own + 1], workers=-1)
        radius[rows] = distance[:, 0]
    # m counts the k-th neighbor and not the example itself; this counts the reverse.
    nearby = spatial.KDTree(x).query_ball_point(
        x, np.nextafter(radius, 0), workers=-1, return_length=True
    )
    return float(
        special.digamma(len(x))
        + special.digamma(neighbors).mean()
        - special.digamma(counts[labels]).mean()
        - special.digamma(nearby).mean()
    )


_BATCH, _EPOCHS, _LEARNING_RATE = 1_000, 30, 3e-3
_AVERAGE_RATE = 0.01  # of the moving average in MINE's gradient
_NEIGHBORS_EXAMPLES = 20_000  # of the test split, at most, in tables


@flax.struct.dataclass
class Critic:
    """A net T(x, y) of an input and a label, one of `num_classes`."""

    params: optax.Params
    num_classes: int = flax.struct.field(pytree_node=False)
    net = create_model("mlp", 1, hidden=(100, 100, 100))

    def __call__(self, x: Array, y: Array) -> Array:
        """Compute T(x, y) of each pair, `[N]`, from `[N, D]` and `[N]`."""
        pairs = jnp.concatenate([x, jax.nn.one_hot(y, self.num_classes)], -1)
        return self.net.apply({"params": self.params}, pairs).logits[:, 0]

    def of_each_label(self, x: Array) -> Array:
        """Compute T(x, y) of each input with each label, `[M, N]`."""
        labels = jnp.arange(self.num_classes)
        return jax.lax.map(lambda y: self(x, jnp.full(len(x), y)), labels)


class Objective(NamedTuple):
    """What a critic is trained to maximize.

    `loss(critic, x, y, key, memory)` returns a batch's loss and the memory for the next
    batch, and `bounds(critic, x, y, key)` estimates in nats, of which the last chooses
    the epoch. `memory` is for the first batch, for instance of a moving average.
    """

    loss: Callable[[Critic, Array, Array, Array, Any], tuple[Array, Any]]
    bounds: Callable[[Critic, Array, Array, Array], tuple[Array, ...]]
    memory: Any = ()


@with_usual_results
def train_critic(
    objective: Objective, train: Samples, validation: Samples, test: Samples, seed: int
) -> list[float]:
    """Train a critic, and return the objective's bounds on the test samples, in nats.

    Samples are finite inputs `[N, D]` and labels, integers in [0, M), `[N]`. The net,
    batch size, epochs and learning rate are those of our classifier. The validation
    samples choose the epoch that is scored.
    """
    for x, y in (train, validation, test):
        if np.ndim(x) != 2 or np.shape(y) != np.shape(x)[:1]:
            raise ValueError(
                f"samples must be [N, D] and [N], not {np.shape(x)} and {np.shape(y)}"
            )
    mean, deviation = np.mean(train[0], 0), np.std(train[0], 0)
    deviation = np.where(deviation > 0, deviation, 1)
    train, validation, test = (
        (jnp.asarray((x - mean) / deviation, jnp.float32), jnp.asarray(y, jnp.int32))
        for x, y in (train, validation, test)
    )
    num_classes = max(int(y.max()) for _, y in (train, validation, test)) + 1
    key = jax.random.key(seed)
    example = jnp.zeros((1, len(mean) + num_classes))
    best = Critic(Critic.net.init(key, example)["params"], num_classes)
    state = (best, _optimizer(1).init(best), objective.memory)
    bounds, best_bound = jax.jit(objective.bounds), -np.inf
    for epoch in range(_EPOCHS):
        epoch_key = jax.random.fold_in(key, epoch)
        state = _train_epoch(objective.loss, state, train, epoch_key)
        if (bound := bounds(state[0], *validation, key)[-1]) > best_bound:
            best, best_bound = state[0], bound
    return [float(bound) for bound in bounds(best, *test, key)]


def _optimizer(num_steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, num_steps))


@functools.partial(jax.jit, static_argnames="objective")
def _train_epoch(
    objective: Callable[..., Any], state: State, samples: Samples, key: Array
) -> State:
    x, y = samples
    batch_size = min(_BATCH, len(y))
    steps = len(y) // batch_size
    order_key, step_key = jax.random.split(key)
    order = jax.random.permutation(order_key, len(y))[: steps * batch_size]
    batches = (order.reshape(steps, batch_size), jax.random.split(step_key, steps))

    def loss(critic: Critic, memory: Any, batch: tuple[Array, Array]) -> Any:
        rows, key = batch
        return objective(critic, x[rows], y[rows], key, memory)

    return descend(loss, _optimizer(_EPOCHS * steps), state, batches)[0]


class DonskerVaradhan(NamedTuple):
    """The bound `E_p(x,y) T - log E_p(x)p(y) e^T` on samples, in nats.

    Attributes:
      shuffled: with the second expectation over shuffled labels, as published; on so
        few pairs it is noisy, and no bound.
      all_pairs: over all pairs of an input and a label, which discrete labels allow.
    """

    shuffled: float
    all_pairs: float


def mine(
    train: Samples, validation: Samples, test: Samples, seed: int = 0
) -> DonskerVaradhan:
    """Estimate mutual information by MINE, the mutual information neural estimator.

    A critic T(x, y) maximizes `E_p(x,y) T - log E_p(x)p(y) e^T`, the Donsker-Varadhan
    bound; pairs of the product come from shuffled labels. The denominator of the second
    term's gradient is an exponential moving average over steps, which corrects the bias
    of small batches (Section 3.2). The bound over all pairs chooses the epoch. The net
    and its training are those of our classifier.

    Belghazi et al., "Mutual Information Neural Estimation", ICML 2018.

    Args:
      train: inputs `[N, D]`, finite, and labels, integers in [0, M), `[N]`.
      validation: the same of other examples, by which the epoch is chosen.
      test: the same of others again, on which the bound is taken.
      seed: decides initial weights, batches and shuffles.

    Returns:
      The bound on the test samples, in nats.

    Raises:
      ValueError: shapes do not fit.
    """
    objective = Objective(_mine_loss, _mine_bounds, np.float32(-np.inf))
    return DonskerVaradhan(*train_critic(objective, train, validation, test, seed))


def _mine_loss(
    critic: Critic, x: Array, y: Array, key: Array, log_average: Array
) -> tuple[Array, Array]:
    log_mean = _log_mean_exp(critic(x, jax.random.permutation(key, y)))
    moved = jnp.logaddexp(
        jnp.log1p(-_AVERAGE_RATE) + log_average, jnp.log(_AVERAGE_RATE) + log_mean
    )
    # -inf means that there is no average yet.
    started = ~jnp.isneginf(log_average)
    moved = jax.lax.stop_gradient(jnp.where(started, moved, log_mean))
    # The gradient is that of log_mean, with the average for denominator.
    return jnp.exp(log_mean - moved) - critic(x, y).mean(), moved


def _mine_bounds(critic: Critic, x: Array, y: Array, key: Array) -> tuple[Array, Array]:
    joint = critic(x, y).mean()
    shuffled = _log_mean_exp(critic(x, jax.random.permutation(key, y)))
    log_means = jax.vmap(_log_mean_exp)(critic.of_each_label(x))
    frequency = jnp.bincount(y, length=critic.num_classes) / len(y)
    return joint - shuffled, joint - jax.nn.logsumexp(log_means, b=frequency)


def _log_mean_exp(values: Array) -> Array:
    return jax.nn.logsumexp(values) - jnp.log(len(values))


class Baseline(NamedTuple):
    """An estimator that tables compare with ours.

    Attributes:
      titles: the column heading of each of its values, by the value's name.
      estimate: called with training, validation and test samples and `seed=`; returns
        the values in nats, in the order of the titles.
      trains: whether it trains a net, which can take minutes.
    """

    titles: dict[str, str]
    estimate: Callable[..., Sequence[float]]
    trains: bool = True


def _test_neighbors(*samples: Samples, seed: int) -> list[float]:
    x, y = samples[2]
    return [nearest_neighbors(x[:_NEIGHBORS_EXAMPLES], y[:_NEIGHBORS_EXAMPLES])]


BASELINES = {
    "mine": Baseline({"mine": "MINE", "mine_all_pairs": "MINE, all pairs"}, mine),
    "nearest_neighbors": Baseline(
        {"nearest_neighbors": "nearest neighbors"}, _test_neighbors, trains=False
    ),
}
