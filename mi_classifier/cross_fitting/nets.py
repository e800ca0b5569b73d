"""Plan and train the nets of a cross-fit, all at once under `vmap`, and score rows."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special

from mi_classifier import information
from mi_classifier.cross_fitting.inputs import BLOCK_BYTES, FOLDS, Inputs
from mi_classifier.errors import UserError
from mi_classifier.losses import pc_softmax_cross_entropy
from mi_classifier.models import create_model
from mi_classifier.optimization import State, descend, group_lasso
from mi_classifier.progress import tracked

Array = jax.Array
# Factors of the logits; each net gets the one that is best on its stopping fold.
_SCALES = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0], np.float32)
_ROUNDS = 40  # at least; each net is scored on its stopping fold after each
_BLOCK_ROUNDS = 5  # at least, for each block of rows
_STOPPING_ROWS = 20_000  # of each fold, at most
_LOGITS = 1 << 19  # of a net at a time, at most, when it is scored
_IMAGE_SIDES = range(16, 65)  # pixels; "mnist_cnn" is made for 28


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to train the nets."""

    seeds: int  # nets for each fold, each with a stopping fold of its own
    batch_size: int
    rounds: int  # after each, every net is scored on its stopping fold
    steps: int  # in each round
    learning_rate: float  # at the first step; it falls to 0 along a cosine
    lasso: float  # of the layer "hidden0", in learning rates a step; 0 for none
    num_blocks: int  # of rows; the device holds one of them at a time
    stopping_rows: int  # of each stopping fold, at most
    chunk: int  # rows that are scored at once


def make_plan(inputs: Inputs, num_classes: int, selects: bool) -> Plan:
    """Choose how to train, by the size of the data.

    `selects` says that the model has a dense layer "hidden0" that can leave out inputs.
    """
    rows, images = len(inputs.x), inputs.images
    row_bytes = 4 * (inputs.x[0].size if images else len(inputs.columns))  # on device
    size = 64 if images else int(np.clip(rows // 80, 32, 1_000))
    steps = max(500 if images else 2_000, 5 * rows // size)
    num_blocks = -(-rows * row_bytes // BLOCK_BYTES)
    rounds = max(_ROUNDS, _BLOCK_ROUNDS * num_blocks)
    return Plan(
        seeds=1 if images else 2,
        batch_size=size,
        rounds=rounds,
        steps=-(-steps // rounds),
        learning_rate=1e-3 if images else 3e-3,
        lasso=3.0 if selects and not images else 0.0,
        num_blocks=num_blocks,
        stopping_rows=min(_STOPPING_ROWS, BLOCK_BYTES // FOLDS // row_bytes + 1),
        chunk=int(np.clip(_LOGITS // num_classes, 16, 256 if images else 4_096)),
    )


def default_model(inputs: Inputs, num_classes: int) -> nn.Module:
    """Create the net that fits the inputs: dense, or convolutional for images."""
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


@flax.struct.dataclass
class Nets:
    """Nets of all folds, stacked on the first axis: first those that score fold 0."""

    model: nn.Module = flax.struct.field(pytree_node=False)
    chunk: int = flax.struct.field(pytree_node=False)  # rows that are scored at once
    params: optax.Params  # [nets, ...]
    scale: Array  # factor of the logits, [nets]
    bound: Array  # on the stopping fold, nats, [nets]
    log_prior: Array  # of all rows, but -inf for labels not trained on, [nets, M]
    log_doubt: Array  # log 1 / N, see `log_ratio`, [nets]


def log_ratio(logits: Array, log_prior: Array, log_doubt: Array) -> Array:
    """Compute log P(y|x) / P(y) by a net, `[..., M]`; 0 for a label it never saw.

    P(y|x) is mixed with one part in N of P(y), because N rows cannot make a net surer
    than that. One outlier then costs at most log(N) / N nats, not hundreds.
    """
    ratio = information.log_pc_softmax(logits, log_prior)
    ratio = jnp.logaddexp(ratio + jnp.log1p(-jnp.exp(log_doubt)), log_doubt)
    return jnp.where(jnp.isneginf(log_prior), 0, ratio)


def score(
    nets: Nets, inputs: Inputs, label: np.ndarray, fold: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score each row by the nets of its fold, whose mean is P(y|x), in chunks.

    Return the pointwise mutual information, float64 `[N]`, the predicted labels, `[N]`,
    and the mean over rows of P(y|x) / P(y), float64 `[M]`.
    """
    log_prior = information.log_label_prior(label, nets.log_prior.shape[1])
    pmi, predicted = np.zeros(len(label)), np.zeros(len(label), np.int64)
    ratio_sum = np.zeros(len(log_prior))
    of_folds = jax.tree.map(lambda a: a.reshape(FOLDS, -1, *a.shape[1:]), nets)
    for k in range(FOLDS):
        members = jax.tree.map(lambda a, k=k: a[k], of_folds)
        own = np.flatnonzero(fold == k)
        size = max(min(nets.chunk, len(own)), 1)
        for start in range(0, len(own), size):
            rows = own[start : start + size]
            ratios = _mean_log_ratio(members, inputs[np.resize(rows, size)])
            ratios = np.asarray(ratios, np.float64)[: len(rows)]
            pmi[rows] = ratios[np.arange(len(rows)), label[rows]]
            predicted[rows] = (ratios + log_prior).argmax(1)
            ratio_sum += np.exp(ratios).sum(0)
    return pmi, predicted, ratio_sum / len(label)


@jax.jit
def _mean_log_ratio(nets: Nets, x: Array) -> Array:
    ratios = jax.vmap(lambda net: _scaled_log_ratio(net, net.scale, x))(nets)
    return jax.nn.logsumexp(ratios, axis=0) - jnp.log(len(ratios))


def _scaled_log_ratio(net: Nets, scale: Array, x: Array) -> Array:
    logits = net.model.apply({"params": net.params}, x, train=False).logits
    return log_ratio(scale * logits, net.log_prior, net.log_doubt)


def train(
    inputs: Inputs,
    label: np.ndarray,
    fold: np.ndarray,
    model: nn.Module,
    plan: Plan,
    seed: int,
) -> Nets:
    """Train the nets of every fold, given each row's label and fold, `[N]`."""
    generator = np.random.default_rng([seed, 1])
    scored = np.repeat(np.arange(FOLDS), plan.seeds)
    stopping = (scored + 1 + np.tile(np.arange(plan.seeds), FOLDS)) % FOLDS
    trained_on = (fold != scored[:, None]) & (fold != stopping[:, None])
    # log P(y) among each net's own rows and among all; -inf for labels it never sees.
    counts = np.bincount(label)
    own = [np.bincount(label[rows], minlength=len(counts)) for rows in trained_on]
    with np.errstate(divide="ignore"):
        log_counts = np.log([own, np.where(own, counts, 0)])
    own_prior, log_prior = special.log_softmax(log_counts, axis=-1).astype(np.float32)
    log_doubt = np.full(len(scored), -np.log(len(label)), np.float32)
    shuffled = [generator.permutation(np.flatnonzero(fold == k)) for k in range(FOLDS)]
    picked = [rows[: plan.stopping_rows] for rows in shuffled]
    stopping_sets = _stopping_sets(inputs, label, picked, plan.chunk)

    key = jax.random.key(seed)
    state = _init(model, plan, jax.random.split(key, len(scored)), inputs[np.arange(1)])
    # The nets where they were best; copied, because the state is donated.
    params, bound = jax.tree.map(jnp.copy, state[0]), np.full_like(log_doubt, -np.inf)
    scale = np.zeros_like(bound)
    best = Nets(model, plan.chunk, params, scale, bound, log_prior, log_doubt)
    rounds = _rounds(inputs, label, trained_on, plan, generator)
    for data, indices, steps in tracked(rounds, "cross-fitting", plan.rounds):
        batches = (indices, jax.vmap(jax.random.fold_in, (None, 0))(key, steps))
        state = _train_steps(model, plan, state, data, batches, own_prior)
        best = _keep_better(best, state[0], stopping_sets, stopping)
    if not np.isfinite(best.bound).all():
        raise UserError(
            "model: its loss is never finite; check its outputs and initializers"
        )
    return best


def _stopping_sets(
    inputs: Inputs, label: np.ndarray, picked: list[np.ndarray], chunk: int
) -> tuple[Array, ...]:
    """Load inputs, labels and mask of picked rows, `[folds, chunks, chunk, ...]`."""
    chunk = min(chunk, max(map(len, picked)))
    size = -(-max(map(len, picked)) // chunk) * chunk
    mask = np.stack([np.arange(size) < len(rows) for rows in picked])
    rows = np.concatenate([np.resize(rows, size) for rows in picked])
    return tuple(
        jnp.asarray(a.reshape(FOLDS, -1, chunk, *a.shape[1:]))
        for a in (inputs[rows], label[rows], mask.ravel())
    )


def _rounds(
    inputs: Inputs,
    label: np.ndarray,
    trained_on: np.ndarray,
    plan: Plan,
    generator: np.random.Generator,
) -> Iterator[tuple[tuple[Array, Array], np.ndarray, np.ndarray]]:
    """Yield what each round trains on; blocks of rows take turns.

    That is inputs and labels of a block; the indices in it of each net's examples,
    `[S, nets, B]`, each as often as any other; and the numbers of the steps, `[S]`.
    """
    block_of = generator.permutation(len(label)) % plan.num_blocks
    blocks = [np.flatnonzero(block_of == b) for b in range(plan.num_blocks)]
    count = plan.steps * plan.batch_size

    def examples(own: np.ndarray) -> Iterator[np.ndarray]:
        queue = np.zeros(0, np.int32)
        while True:
            while len(queue) < count:
                again = generator.permutation(np.flatnonzero(own).astype(np.int32))
                queue = np.concatenate([queue, again])
            yield queue[:count].reshape(plan.steps, plan.batch_size)
            queue = queue[count:]

    queues = [[examples(own[rows]) for own in trained_on] for rows in blocks]
    for r in range(plan.rounds):
        block = r % plan.num_blocks
        if r == 0 or plan.num_blocks > 1:
            rows = blocks[block]
            data = (jnp.asarray(inputs[rows]), jnp.asarray(label[rows]))
        indices = np.stack([next(queue) for queue in queues[block]], 1)
        yield data, indices, np.arange(r * plan.steps, (r + 1) * plan.steps)


def _optimizer(plan: Plan) -> optax.GradientTransformation:
    total = plan.rounds * plan.steps
    rate = optax.cosine_decay_schedule(plan.learning_rate, total)
    if not plan.lasso:
        return optax.adam(rate)
    # Inputs are left out during the first two thirds of the steps.
    steps = -(-2 * total // 3)
    lasso = group_lasso("hidden0", lambda step: plan.lasso * rate(step), steps)
    return optax.chain(optax.adam(rate), lasso)


@functools.partial(jax.jit, static_argnames=("model", "plan"))
def _init(model: nn.Module, plan: Plan, keys: Array, example: Array) -> State:
    """Initialize every net; its head is 0, so that it says nothing yet."""
    params = jax.vmap(lambda key: model.init(key, example, train=False)["params"])(keys)
    params = {**params, "head": jax.tree.map(jnp.zeros_like, params["head"])}
    return params, jax.vmap(_optimizer(plan).init)(params), ()


@functools.partial(jax.jit, static_argnames=("model", "plan"), donate_argnames="state")
def _train_steps(
    model: nn.Module,
    plan: Plan,
    state: State,
    data: tuple[Array, Array],
    batches: tuple[Array, Array],
    log_prior: Array,
) -> State:
    """Take S steps with every net.

    `data` are inputs and labels of a block, `batches` the indices in it of each net's
    examples, `[S, nets, B]`, and a key of each step for dropout, `[S]`.
    """
    x, label = data
    indices, keys = batches

    def net(state: Any, indices: Array, log_prior: Array) -> State:
        def loss(params: Any, memory: tuple[()], batch: Any) -> tuple[Array, tuple[()]]:
            rows, key = batch
            rngs = {"dropout": key}
            output = model.apply({"params": params}, x[rows], train=True, rngs=rngs)
            losses = pc_softmax_cross_entropy(output.logits, label[rows], log_prior)
            return losses.mean(), memory

        return descend(loss, _optimizer(plan), state, (indices, keys))[0]

    return jax.vmap(net, in_axes=(0, 1, 0))(state, indices, log_prior)


@jax.jit
def _keep_better(
    best: Nets, params: optax.Params, stopping_sets: tuple[Array, ...], stopping: Array
) -> Nets:
    """Keep a net's new parameters, at their best scale, where they raise its bound."""

    def bounds(net: Nets, fold: Array) -> Array:
        def chunk(rows: tuple[Array, Array, Array]) -> Array:
            x, label, mask = rows
            ratios = _scaled_log_ratio(net, _SCALES[:, None, None], x)
            return jnp.where(mask, ratios[:, jnp.arange(len(label)), label], 0).sum(1)

        sets = jax.tree.map(lambda a: a[fold], stopping_sets)
        return jax.lax.map(chunk, sets).sum(0) / sets[2].sum()

    def better(new: Nets, old: Nets) -> Nets:
        raised = new.bound > old.bound
        return jax.tree.map(lambda a, b: jnp.where(raised, a, b), new, old)

    new = best.replace(params=params)
    of_scales = jax.vmap(bounds)(new, stopping)
    scale = jnp.asarray(_SCALES)[of_scales.argmax(1)]
    return jax.vmap(better)(new.replace(scale=scale, bound=of_scales.max(1)), best)
