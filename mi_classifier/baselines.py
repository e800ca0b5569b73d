"""Mutual-information estimators that ours is compared with, each to its paper."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from scipy import spatial, special

from mi_classifier import information
from mi_classifier.models import create_model

Array = jax.Array
Samples = tuple[ArrayLike, ArrayLike]  # inputs [N, D] and labels [N]


def monte_carlo(
    log_density: ArrayLike, labels: ArrayLike, log_prior: ArrayLike
) -> tuple[float, float]:
    """Monte-Carlo estimate with known densities, Eq. 11.

    Args:
      log_density: log p(x|y) of each class, `[N, M]` nats; a term of x alone does not
        matter.
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
    """The k-nearest-neighbor estimator of Ross (2014), in nats.

    `psi(N) + psi(k) - <psi(N_y)> - <psi(m)>`, where m is the number of examples of any
    label up to the k-th neighbor of the same label. Columns are divided by their
    standard deviations, and distances are Euclidean. A label of one example is left
    out; one of few has all of its others for neighbors.

    B. C. Ross, "Mutual Information between Discrete and Continuous Data Sets", PLoS
    ONE 9(2), 2014, e87357.

    Args:
      x: `[N]` or `[N, D]`, finite.
      labels: `[N]`, of any kind that sorts.
      k: neighbors, at least 1.

    Returns:
      The estimate; chance can bring it below 0.

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
        # The nearest of all is the example itself.
        distance, _ = spatial.KDTree(x[rows]).query(x[rows], k=[own + 1], workers=-1)
        radius[rows] = distance[:, 0]
    # Those strictly nearer and the example itself are as many as those up to the k-th.
    nearby = spatial.KDTree(x).query_ball_point(
        x, np.nextafter(radius, 0), workers=-1, return_length=True
    )
    return float(
        special.digamma(len(x))
        + special.digamma(neighbors).mean()
        - special.digamma(counts[labels]).mean()
        - special.digamma(nearby).mean()
    )


_HIDDEN = (100, 100, 100)
_BATCH, _EPOCHS, _LEARNING_RATE = 1_000, 30, 3e-3
_AVERAGE_RATE = 0.01  # of the moving average in MINE's gradient


class DonskerVaradhan(NamedTuple):
    """The bound `E_p(x,y) T - log E_p(x)p(y) e^T` on samples, in nats.

    Attributes:
      shuffled: with the second expectation over shuffled labels, as published; it is
        no bound on so few pairs, and noisy.
      all_pairs: over all pairs of an input and a label, which discrete labels allow.
    """

    shuffled: float
    all_pairs: float


def mine(
    train: Samples, validation: Samples, test: Samples, seed: int = 0
) -> DonskerVaradhan:
    """The mutual information neural estimator, MINE, in nats.

    A net T(x, y), with the label one-hot at its input, maximizes the Donsker-Varadhan
    bound `E_p(x,y) T - log E_p(x)p(y) e^T`; pairs of the product come from shuffled
    labels. The denominator of the second term's gradient is an exponential moving
    average over steps, which corrects the bias of small batches (Section 3.2). The
    epoch with the best bound on validation samples (over all pairs) is scored on the
    test samples.

    The net is ours but for its input and its single output (three hidden layers of
    100), and so are batches, epochs and learning rates.

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
    for x, y in (train, validation, test):
        if np.ndim(x) != 2 or np.shape(y) != np.shape(x)[:1]:
            raise ValueError(
                f"samples must be [N, D] and [N], not {np.shape(x)} and {np.shape(y)}"
            )
    mean, deviation = np.mean(train[0], 0), np.std(train[0], 0)
    deviation = np.where(deviation > 0, deviation, 1)
    splits = [
        (jnp.asarray((x - mean) / deviation, jnp.float32), jnp.asarray(y, jnp.int32))
        for x, y in (train, validation, test)
    ]
    num_classes = max(int(np.max(y)) for _, y in (train, validation, test)) + 1
    net = create_model("mlp", 1, hidden=_HIDDEN)
    key = jax.random.key(seed)
    example = _pairs(splits[0][0][:1], splits[0][1][:1], num_classes)
    params = net.init(key, example)["params"]
    count = len(splits[0][1])
    batch_size = min(_BATCH, count)
    steps = count // batch_size
    state = (params, _ADAM.init(params), jnp.zeros(()))
    best, best_bound = params, -np.inf
    for epoch in range(_EPOCHS):
        time = (epoch + np.arange(steps, dtype=np.float32) / steps) / _EPOCHS
        state = _mine_epoch(
            num_classes,
            batch_size,
            state,
            splits[0],
            jax.random.fold_in(key, epoch),
            time,
        )
        bound = _bounds(num_classes, state[0], splits[1], key)[1]
        if bound > best_bound:
            best, best_bound = state[0], bound
    shuffled, all_pairs = _bounds(num_classes, best, splits[2], key)
    return DonskerVaradhan(float(shuffled), float(all_pairs))


_ADAM = optax.scale_by_adam()


def _pairs(x: Array, y: Array, num_classes: int) -> Array:
    return jnp.concatenate([x, jax.nn.one_hot(y, num_classes)], -1)


def _statistic(params: optax.Params, x: Array, y: Array, num_classes: int) -> Array:
    """T(x, y) of Belghazi et al., `[B]`."""
    net = create_model("mlp", 1, hidden=_HIDDEN)
    return net.apply({"params": params}, _pairs(x, y, num_classes)).logits[:, 0]


@functools.partial(jax.jit, static_argnames=("num_classes", "batch_size"))
def _mine_epoch(
    num_classes: int,
    batch_size: int,
    state: tuple[optax.Params, optax.OptState, Array],
    samples: tuple[Array, Array],
    key: Array,
    time: Array,
) -> tuple[optax.Params, optax.OptState, Array]:
    """One pass over the training samples; the state ends with the log average."""
    x, y = samples
    order_key, shuffle_key = jax.random.split(key)
    order = jax.random.permutation(order_key, len(y))[: len(time) * batch_size]
    rates = _LEARNING_RATE * (1 + jnp.cos(jnp.pi * time)) / 2
    keys = jax.random.split(shuffle_key, len(time))

    def step(
        state: tuple[optax.Params, optax.OptState, Array],
        now: tuple[Array, Array, Array],
    ) -> tuple[tuple[optax.Params, optax.OptState, Array], None]:
        params, adam, log_average = state
        rows, rate, key = now
        shuffled = jax.random.permutation(key, y[rows])

        def loss(params: optax.Params) -> tuple[Array, Array]:
            joint = _statistic(params, x[rows], y[rows], num_classes)
            product = _statistic(params, x[rows], shuffled, num_classes)
            log_mean = jax.nn.logsumexp(product) - jnp.log(batch_size)
            moved = jnp.logaddexp(
                jnp.log1p(-_AVERAGE_RATE) + log_average,
                jnp.log(_AVERAGE_RATE) + log_mean,
            )
            moved = jax.lax.stop_gradient(jnp.where(adam.count == 0, log_mean, moved))
            # The gradient is that of log_mean, with the average for denominator.
            return jnp.exp(log_mean - moved) - joint.mean(), moved

        gradient, log_average = jax.grad(loss, has_aux=True)(params)
        updates, adam = _ADAM.update(gradient, adam)
        params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
        return (params, adam, log_average), None

    batches = order.reshape(len(time), batch_size)
    return jax.lax.scan(step, state, (batches, rates, keys))[0]


@functools.partial(jax.jit, static_argnames="num_classes")
def _bounds(
    num_classes: int, params: optax.Params, samples: tuple[Array, Array], key: Array
) -> tuple[Array, Array]:
    """The bound on samples: with shuffled labels, and over all pairs."""
    x, y = samples

    def log_mean(y: Array) -> Array:
        t = _statistic(params, x, y, num_classes)
        return jax.nn.logsumexp(t) - jnp.log(len(x))

    joint = _statistic(params, x, y, num_classes).mean()
    log_means = jax.lax.map(
        lambda c: log_mean(jnp.full_like(y, c)), jnp.arange(num_classes)
    )
    frequency = jnp.bincount(y, length=num_classes) / len(y)
    shuffled = log_mean(jax.random.permutation(key, y))
    return joint - shuffled, joint - jax.nn.logsumexp(log_means, b=frequency)
