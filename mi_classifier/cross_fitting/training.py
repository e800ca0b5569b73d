"""Training of a cross-fit: the nets of all folds at once, under `vmap`."""

import functools
from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special

from mi_classifier import optimization
from mi_classifier.cross_fitting.inputs import FOLDS, Inputs
from mi_classifier.cross_fitting.plan import Plan
from mi_classifier.cross_fitting.scoring import SCALES, Nets, stopping_bounds
from mi_classifier.errors import UserError
from mi_classifier.losses import pc_softmax_cross_entropy
from mi_classifier.progress import tracked

Array = jax.Array


def train(
    inputs: Inputs,
    label: np.ndarray,
    fold: np.ndarray,
    model: nn.Module,
    plan: Plan,
    seed: int,
) -> Nets:
    """Train the nets of every fold, all at once.

    Each net stops where its bound is best on its stopping fold, which it neither trains
    on nor scores.

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
    trained_on = (fold != scored[:, None]) & (fold != stopping[:, None])
    training_prior, log_prior = _log_priors(label, trained_on)
    log_doubt = np.float32(-np.log(len(label)))
    stopping_sets = _stopping_sets(inputs, label, fold, plan, generator)

    key = jax.random.key(seed)
    net_keys = jax.random.split(key, len(scored))
    params, opt_state = _init(model, plan, net_keys, inputs[np.arange(1)])
    state = (params, opt_state, ())
    # Parameters, bound and scale of each net; copied, because the state is donated.
    unscored = np.full(len(scored), -np.inf, np.float32)
    best = (jax.tree.map(jnp.copy, params), unscored, np.zeros_like(unscored))
    rounds = _rounds(inputs, label, trained_on, plan, generator)
    for data, indices, steps in tracked(rounds, "cross-fitting", plan.rounds):
        batches = (indices, jax.vmap(jax.random.fold_in, (None, 0))(key, steps))
        state = _train_steps(model, plan, state, data, batches, training_prior)
        bounds = stopping_bounds(
            model, state[0], stopping_sets, stopping, log_prior, log_doubt
        )
        best = _keep_better(best, state[0], bounds)
    params, bound, scale = best
    if not np.isfinite(bound).all():
        raise UserError(
            "model: its loss is never finite; check its outputs and initialization"
        )
    return Nets(model, params, scale, log_prior, log_doubt, plan)


def _log_priors(
    label: np.ndarray, trained_on: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log P(y) among each net's training rows and among all rows, `[nets, M]`.

    Both are -inf for a label that the net does not train on.
    """
    everywhere = np.bincount(label)
    own = [np.bincount(label[t], minlength=len(everywhere)) for t in trained_on]
    both = np.stack([own, np.where(own, everywhere, 0)])
    with np.errstate(divide="ignore"):
        return tuple(special.log_softmax(np.log(both), axis=-1).astype(np.float32))


def _stopping_sets(
    inputs: Inputs,
    label: np.ndarray,
    fold: np.ndarray,
    plan: Plan,
    generator: np.random.Generator,
) -> tuple[Array, Array, Array]:
    """Inputs, labels and mask of stopping rows, `[folds, chunks, chunk, ...]`."""
    picked = [
        generator.permutation(np.flatnonzero(fold == k))[: plan.stopping_rows]
        for k in range(FOLDS)
    ]
    longest = max(map(len, picked))
    chunk = min(plan.chunk, longest)
    size = -(-longest // chunk) * chunk
    mask = np.stack([np.arange(size) < len(rows) for rows in picked])
    rows = np.concatenate([np.resize(rows, size) for rows in picked])
    return tuple(
        jnp.asarray(a.reshape(FOLDS, size // chunk, chunk, *a.shape[1:]))
        for a in (inputs[rows], label[rows], mask.reshape(-1))
    )


def _rounds(
    inputs: Inputs,
    label: np.ndarray,
    trained_on: np.ndarray,
    plan: Plan,
    generator: np.random.Generator,
) -> Iterator[tuple[tuple[Array, Array], np.ndarray, np.ndarray]]:
    """Yields what each round trains on; blocks of rows take turns.

    Yields:
      Inputs and labels of a block; the indices in it of each net's examples,
      `[S, nets, B]`, each as often as any other; and the numbers of the steps, `[S]`.
    """
    block_of = generator.permutation(len(label)) % plan.num_blocks
    blocks = [np.flatnonzero(block_of == b) for b in range(plan.num_blocks)]
    shape = (plan.steps, plan.batch_size)
    nets = range(len(trained_on))
    queues = {(b, n): np.zeros(0, np.int32) for b in range(len(blocks)) for n in nets}

    def next_examples(block: int, net: int) -> np.ndarray:
        queue, own = queues[block, net], np.flatnonzero(trained_on[net, blocks[block]])
        while len(queue) < plan.steps * plan.batch_size:
            queue = np.concatenate([queue, generator.permutation(own.astype(np.int32))])
        examples, queues[block, net] = np.split(queue, [plan.steps * plan.batch_size])
        return examples.reshape(shape)

    loaded, data = -1, ()
    for r in range(plan.rounds):
        if loaded != (loaded := r % plan.num_blocks):
            rows = blocks[loaded]
            data = (jnp.asarray(inputs[rows]), jnp.asarray(label[rows]))
        indices = np.stack([next_examples(loaded, net) for net in nets], 1)
        yield data, indices, np.arange(r * plan.steps, (r + 1) * plan.steps)


def _optimizer(plan: Plan) -> optax.GradientTransformation:
    total = plan.rounds * plan.steps
    rate = optax.cosine_decay_schedule(plan.learning_rate, total)
    if not plan.lasso:
        return optax.adam(rate)
    # Inputs are left out during the first two thirds of the steps.
    lasso = optimization.group_lasso(
        "hidden0", lambda step: plan.lasso * rate(step), -(-2 * total // 3)
    )
    return optax.chain(optax.adam(rate), lasso)


@functools.partial(jax.jit, static_argnames=("model", "plan"))
def _init(
    model: nn.Module, plan: Plan, keys: Array, example: Array
) -> tuple[optax.Params, optax.OptState]:
    """Initial state of every net; the head is 0, so that a net says nothing."""
    params = jax.vmap(lambda key: model.init(key, example)["params"])(keys)
    params = {**params, "head": jax.tree.map(jnp.zeros_like, params["head"])}
    return params, jax.vmap(_optimizer(plan).init)(params)


@functools.partial(
    jax.jit, static_argnames=("model", "plan"), donate_argnames=("state",)
)
def _train_steps(
    model: nn.Module,
    plan: Plan,
    state: optimization.State,
    data: tuple[Array, Array],
    batches: tuple[Array, Array],
    log_prior: Array,
) -> optimization.State:
    """Takes S steps with every net.

    `data` are inputs and labels of a block, `batches` the indices in it of each net's
    examples, `[S, nets, B]`, and a key of each step for dropout, `[S]`.
    """
    x, label = data
    indices, keys = batches

    def net(
        state: optimization.State, indices: Array, log_prior: Array
    ) -> optimization.State:
        def loss(
            params: optax.Params, memory: tuple[()], batch: tuple[Array, Array]
        ) -> tuple[Array, tuple[()]]:
            rows, key = batch
            rngs = {"dropout": key}
            output = model.apply({"params": params}, x[rows], train=True, rngs=rngs)
            losses = pc_softmax_cross_entropy(output.logits, label[rows], log_prior)
            return losses.mean(), memory

        return optimization.descend(loss, _optimizer(plan), state, (indices, keys))[0]

    return jax.vmap(net, in_axes=(0, 1, 0))(state, indices, log_prior)


@jax.jit
def _keep_better(
    best: tuple[optax.Params, Array, Array], params: optax.Params, bounds: Array
) -> tuple[optax.Params, Array, Array]:
    """Returns parameters, bound and scale of each net where its bound is best."""
    now = (params, bounds.max(1), jnp.asarray(SCALES)[bounds.argmax(1)])
    better = now[1] > best[1]
    choose = jax.vmap(lambda better, a, b: jnp.where(better, a, b))
    return jax.tree.map(lambda a, b: choose(better, a, b), now, best)
