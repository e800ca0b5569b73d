"""The nets of a cross-fit: all folds and seeds train at once, under `vmap`."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.progress import track
from scipy import special

from mi_classifier import information
from mi_classifier.cross_fitting.inputs import BLOCK_BYTES, FOLDS, Inputs
from mi_classifier.errors import UserError
from mi_classifier.losses import pc_softmax_cross_entropy
from mi_classifier.models import create_model

Array = jax.Array
Params = Any

_ROUNDS = 40  # at the end of each, every net is scored on its stopping fold
_MOST_STOPPING_ROWS = 20_000  # of them, for each net
# Of the logits; one is chosen for each net on its stopping fold.
_SCALES = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0], np.float32)
_MOST_LOGITS = 1 << 19  # of a net at a time, where they are scored
_IMAGE_SIDES = range(16, 65)  # of images that the convolutional net is made for


@dataclasses.dataclass(frozen=True)
class Plan:
    """How nets are trained on N rows.

    Attributes:
      seeds: nets a fold, each with a stopping fold of its own.
      batch_size: examples a step.
      steps: in all.
      learning_rate: at the first step; it falls to 0 along a cosine.
      lasso: shrinks the first layer's weights of each input by this many learning
        rates a step, during the first two thirds; those at 0 by then stay there.
      chunk: rows that are scored in one go.
    """

    seeds: int
    batch_size: int
    steps: int
    learning_rate: float
    lasso: float
    chunk: int


@dataclasses.dataclass(frozen=True)
class Nets:
    """Trained nets; those that score fold k are `seeds * k` and after.

    Attributes:
      model: of all of them.
      params: stacked, `[nets, ...]`.
      scale: of each net's logits, by its stopping fold, `[nets]`.
      log_prior: log P(y) of all rows among the labels that the net was trained on,
        -inf for the others, `[nets, M]`.
      log_doubt: log 1 / N, see `_log_ratio`.
      plan: how they were trained.
    """

    model: nn.Module
    params: Params
    scale: np.ndarray
    log_prior: np.ndarray
    log_doubt: np.float32
    plan: Plan


def default_model(inputs: Inputs, num_classes: int) -> nn.Module:
    if not inputs.images:
        hidden = (100, 100, 100) if len(inputs.x) >= 500 else (32, 32)
        return create_model("mlp", num_classes, hidden=hidden)
    height, width = inputs.x.shape[1:3]
    if height in _IMAGE_SIDES and width in _IMAGE_SIDES:
        return create_model("mnist_cnn", num_classes)
    raise UserError(
        f"x: images of {height} x {width} pixels; resize them to sides of 16 to 64, "
        "give features of a pretrained net [N, D], or a model of your own"
    )


def check_model(model: nn.Module, inputs: Inputs, num_classes: int) -> None:
    """Checks that a model fits the data and the contract of `create_model`.

    Raises:
      UserError: another number of logits, or variables besides its parameters.
    """

    def logits(x: Array) -> tuple[Any, Array]:
        variables = model.init(jax.random.key(0), x)
        return variables, model.apply(variables, x, train=False).logits

    variables, output = jax.eval_shape(logits, inputs[np.arange(1)])
    if output.shape != (1, num_classes):
        raise UserError(
            f"model: gives {output.shape[-1]} logits, but y has {num_classes} labels"
        )
    if set(variables) != {"params"} or "head" not in variables["params"]:
        raise UserError(
            "model: must have parameters only, the last layer's named 'head'"
        )


def make_plan(rows: int, num_classes: int, images: bool, selects: bool) -> Plan:
    """Chooses how to train.

    Args:
      rows: N.
      num_classes: M.
      images: whether the net is convolutional.
      selects: whether it has a first layer to leave out columns in, "hidden0".
    """
    chunk = int(np.clip(_MOST_LOGITS // num_classes, 16, 256 if images else 4_096))
    if images:
        return Plan(1, 64, max(500, 5 * rows // 64), 1e-3, 0.0, chunk)
    size = int(np.clip(rows // 80, 32, 1_000))
    lasso = 3.0 if selects else 0.0
    return Plan(2, size, max(2_000, 5 * rows // size), 3e-3, lasso, chunk)


def train(
    inputs: Inputs,
    label: np.ndarray,
    fold: np.ndarray,
    model: nn.Module,
    plan: Plan,
    seed: int,
) -> Nets:
    """Trains the nets of every fold, all at once.

    Args:
      inputs: of all N rows.
      label: `[N]` in [0, M), each of them present.
      fold: `[N]` in [0, FOLDS).
      model: the module of every net.
      plan: how to train it.
      seed: decides everything.

    Raises:
      UserError: a net whose loss is never finite.
    """
    generator = np.random.default_rng([seed, 1])
    scored = np.repeat(np.arange(FOLDS), plan.seeds)
    stopping = (scored + 1 + np.tile(np.arange(plan.seeds), FOLDS)) % FOLDS
    trains_on = (fold != scored[:, None]) & (fold != stopping[:, None])
    num_classes = label.max() + 1
    counts = np.stack([np.bincount(label[t], minlength=num_classes) for t in trains_on])
    everywhere = np.bincount(label, minlength=num_classes)
    with np.errstate(divide="ignore"):
        log_training = _normalized(np.log(counts))
        log_prior = _normalized(np.where(counts > 0, np.log(everywhere), -np.inf))

    stop_sets = _stop_sets(inputs, label, fold, plan.chunk, generator)
    num_blocks = -(-len(label) * inputs.row_bytes // BLOCK_BYTES)
    rounds = max(_ROUNDS, 5 * num_blocks)
    steps = -(-plan.steps // rounds)
    block_of = generator.permutation(len(label)) % num_blocks
    blocks = [np.flatnonzero(block_of == b) for b in range(num_blocks)]
    queues: dict[tuple[int, int], np.ndarray] = {}

    def draw(block: int, net: int) -> np.ndarray:
        """The next examples of a block, each as often as any other, for one net."""
        queue = queues.get((block, net), np.zeros(0, np.int32))
        own = np.flatnonzero(trains_on[net, blocks[block]]).astype(np.int32)
        while len(queue) < steps * plan.batch_size:
            queue = np.concatenate([queue, generator.permutation(own)])
        queues[block, net] = queue[steps * plan.batch_size :]
        return queue[: steps * plan.batch_size].reshape(steps, plan.batch_size)

    key = jax.random.key(seed)
    params = _init(model, jax.random.split(key, len(scored)), inputs[np.arange(1)])
    state = (params, jax.vmap(_ADAM.init)(params))
    best = jax.tree.map(jnp.copy, params)  # the others are donated
    best_bound = np.full(len(scored), -np.inf)
    best_scale = np.zeros(len(scored), np.float32)
    log_doubt = np.float32(-np.log(len(label)))
    loaded, data = -1, ()
    for r in _progress(rounds):
        if loaded != (loaded := r % num_blocks):
            rows = blocks[loaded]
            data = (jnp.asarray(inputs[rows]), jnp.asarray(label[rows]))
        indices = np.stack([draw(loaded, net) for net in range(len(scored))], 1)
        time = (np.arange(r * steps, (r + 1) * steps) / (rounds * steps)).astype("f4")
        state = _train_steps(model, plan, state, data, indices, time, log_training, key)
        bounds = np.asarray(
            _validate(model, state[0], stop_sets, stopping, log_prior, log_doubt)
        )
        better = bounds.max(1) > best_bound
        best = _select(better, state[0], best)
        best_bound = np.where(better, bounds.max(1), best_bound)
        best_scale = np.where(better, _SCALES[bounds.argmax(1)], best_scale)
    if not np.isfinite(best_bound).all():
        raise UserError(
            "model: its loss is never finite; check its outputs and initialization"
        )
    return Nets(model, best, best_scale, log_prior, log_doubt, plan)


def _normalized(log_weights: np.ndarray) -> np.ndarray:
    total = special.logsumexp(log_weights, axis=-1, keepdims=True)
    return (log_weights - total).astype(np.float32)


def _stop_sets(
    inputs: Inputs,
    label: np.ndarray,
    fold: np.ndarray,
    chunk: int,
    generator: np.random.Generator,
) -> tuple[Array, Array, Array]:
    """The rows that nets are stopped on: of each fold, up to 20,000.

    Returns:
      Inputs, labels and mask, `[folds, chunks, chunk, ...]`.
    """
    most = min(_MOST_STOPPING_ROWS, BLOCK_BYTES // FOLDS // inputs.row_bytes + 1)
    picked = [
        generator.permutation(np.flatnonzero(fold == k))[:most] for k in range(FOLDS)
    ]
    longest = max(map(len, picked))
    chunk = min(chunk, longest)
    size = -(-longest // chunk) * chunk
    mask = np.stack([np.arange(size) < len(rows) for rows in picked])
    rows = np.concatenate([np.resize(rows, size) for rows in picked])
    shape = (FOLDS, size // chunk, chunk)
    x = inputs[rows]
    return (
        jnp.asarray(x.reshape(*shape, *x.shape[1:])),
        jnp.asarray(label[rows].reshape(shape)),
        jnp.asarray(mask.reshape(shape)),
    )


_ADAM = optax.scale_by_adam()


@functools.partial(jax.jit, static_argnames="model")
def _init(model: nn.Module, keys: Array, example: Array) -> Params:
    """Initial weights of every net, the head's at 0: a net that knows nothing."""
    params = jax.vmap(lambda key: model.init(key, example)["params"])(keys)
    return {**params, "head": jax.tree.map(jnp.zeros_like, params["head"])}


@functools.partial(
    jax.jit, static_argnames=("model", "plan"), donate_argnames=("state",)
)
def _train_steps(
    model: nn.Module,
    plan: Plan,
    state: tuple[Params, optax.OptState],
    data: tuple[Array, Array],
    indices: Array,
    time: Array,
    log_prior: Array,
    key: Array,
) -> tuple[Params, optax.OptState]:
    """Takes S steps with every net.

    Args:
      model: of the nets.
      plan: how to train.
      state: parameters and the optimizer's state, `[nets, ...]`.
      data: inputs and labels of a block.
      indices: of each net's examples in it, `[S, nets, B]`.
      time: share of the training that is over, `[S]`.
      log_prior: log P(y) of each net's training rows, `[nets, M]`.
      key: for dropout; a step's own is `fold_in(key, step)`.
    """
    x, label = data
    rate = plan.learning_rate * (1 + jnp.cos(jnp.pi * time)) / 2
    selecting = time < 2 / 3

    def step(
        params: Params,
        adam: optax.OptState,
        rows: Array,
        log_prior: Array,
        rate: Array,
        selecting: Array,
    ) -> tuple[Params, optax.OptState]:
        rngs = {"dropout": jax.random.fold_in(key, adam.count)}

        def loss(params: Params) -> Array:
            output = model.apply({"params": params}, x[rows], train=True, rngs=rngs)
            return pc_softmax_cross_entropy(
                output.logits, label[rows], log_prior
            ).mean()

        updates, adam = _ADAM.update(jax.grad(loss)(params), adam)
        new = jax.tree.map(lambda p, u: p - rate * u, params, updates)
        if plan.lasso:
            old, kernel = params["hidden0"]["kernel"], new["hidden0"]["kernel"]
            kernel = _group_lasso(old, kernel, plan.lasso * rate, selecting)
            new = {**new, "hidden0": {**new["hidden0"], "kernel": kernel}}
        return new, adam

    def steps(
        state: tuple[Params, optax.OptState], now: tuple[Array, Array, Array]
    ) -> tuple[tuple[Params, optax.OptState], None]:
        axes = (0, 0, 0, 0, None, None)
        rows, rate, selecting = now
        return jax.vmap(step, axes)(*state, rows, log_prior, rate, selecting), None

    return jax.lax.scan(steps, state, (indices, rate, selecting))[0]


def _group_lasso(old: Array, new: Array, threshold: Array, selecting: Array) -> Array:
    """Proximal step of the group lasso (Yuan & Lin 2006), a group for each input.

    Args:
      old: kernel `[D, units]` before the gradient step.
      new: after it.
      threshold: by which the norm of each row falls.
      selecting: else rows keep their norm, and those at 0 stay there.
    """
    norm = jnp.sqrt((new**2).sum(1, keepdims=True))
    shrunk = new * jnp.maximum(1 - threshold / jnp.maximum(norm, threshold), 0)
    kept = jnp.where((old == 0).all(1, keepdims=True), 0, new)
    return jnp.where(selecting, shrunk, kept)


def _log_ratio(logits: Array, log_prior: Array, log_doubt: Array) -> Array:
    """Log P(y|x) / P(y) by a net, `[..., M]`; 0 for a label that it never saw.

    P(y|x) is mixed with one part in N of P(y), for no row can be surer than all N rows
    together allow: one outlier can then cost log(N) / N nats, not hundreds.

    Args:
      logits: `[..., M]`.
      log_prior: log P(y) among the labels that the net saw, `[M]`.
      log_doubt: log 1 / N.
    """
    ratio = information.log_pc_softmax(logits, log_prior)
    ratio = jnp.logaddexp(ratio + jnp.log1p(-jnp.exp(log_doubt)), log_doubt)
    return jnp.where(jnp.isneginf(log_prior), 0, ratio)


@functools.partial(jax.jit, static_argnames="model")
def _validate(
    model: nn.Module,
    params: Params,
    stop_sets: tuple[Array, Array, Array],
    stopping: Array,
    log_prior: Array,
    log_doubt: Array,
) -> Array:
    """Each net's bound on its stopping fold, at each scale of its logits.

    Returns:
      `[nets, scales]` nats.
    """

    def net(params: Params, fold: Array, log_prior: Array) -> Array:
        def chunk(rows: tuple[Array, Array, Array]) -> Array:
            x, label, mask = rows
            logits = model.apply({"params": params}, x, train=False).logits
            ratios = [_log_ratio(s * logits, log_prior, log_doubt) for s in _SCALES]
            pmi = information.select_label(
                jnp.stack(ratios), jnp.broadcast_to(label, (len(_SCALES), len(label)))
            )
            return jnp.where(mask, pmi, 0).sum(1)

        sums = jax.lax.map(chunk, jax.tree.map(lambda a: a[fold], stop_sets))
        return sums.sum(0) / stop_sets[2][fold].sum()

    return jax.vmap(net)(params, stopping, log_prior)


@jax.jit
def _select(better: Array, new: Params, old: Params) -> Params:
    """Takes the nets that are better from `new`, the others from `old`."""

    def leaf(a: Array, b: Array) -> Array:
        return jnp.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(leaf, new, old)


@functools.partial(jax.jit, static_argnames="model")
def _score(
    model: nn.Module,
    params: Params,
    scale: Array,
    log_prior: Array,
    log_doubt: Array,
    x: Array,
) -> Array:
    """Log P(y|x) / P(y), `[B, M]`, with P(y|x) the mean of several nets'."""

    def net(params: Params, scale: Array, log_prior: Array) -> Array:
        logits = model.apply({"params": params}, x, train=False).logits
        return _log_ratio(scale * logits, log_prior, log_doubt)

    ratios = jax.vmap(net)(params, scale, log_prior)
    return jax.nn.logsumexp(ratios, axis=0) - jnp.log(len(ratios))


def log_ratios(
    nets: Nets, inputs: Inputs, rows: np.ndarray, fold: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields rows and their log P(y|x) / P(y) `[..., M]` by the nets of a fold."""
    own = slice(fold * nets.plan.seeds, (fold + 1) * nets.plan.seeds)
    params = jax.tree.map(lambda leaf: leaf[own], nets.params)
    size = max(min(nets.plan.chunk, len(rows)), 1)
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        x = inputs[np.resize(part, size)]
        ratios = _score(
            *(nets.model, params, nets.scale[own], nets.log_prior[own]),
            *(nets.log_doubt, x),
        )
        yield part, np.asarray(ratios, np.float64)[: len(part)]


def _progress(rounds: int) -> Iterable[int]:
    console = Console(stderr=True)
    return track(
        range(rounds),
        description="cross-fitting",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
