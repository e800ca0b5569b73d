"""Train the nets of a cross-fit, all at once under `vmap`.

Each net stops where it does best on rows that it neither trains on nor scores. Training
goes in cycles, each twice as long as the one before, while they still help. Where few
columns are numbers, nets with Fourier features of several scales compete in the first
cycle, and the best go on.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special

from mi_classifier import information
from mi_classifier.cross_fitting.folds import FOLDS
from mi_classifier.cross_fitting.inputs import Inputs
from mi_classifier.cross_fitting.plan import Plan
from mi_classifier.errors import UserError
from mi_classifier.losses import pc_softmax_cross_entropy
from mi_classifier.optimization import State, descend, group_lasso

Array = jax.Array
# Factors of the logits; each net gets the one that is best on its stopping rows.
_SCALES = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0], np.float32)
_ENOUGH = 0.003  # nats: train no longer if the last cycle has raised the bound by less


@flax.struct.dataclass
class Nets:
    """Nets of all folds, stacked on the first axis, those of a fold side by side."""

    model: nn.Module = flax.struct.field(pytree_node=False)
    params: optax.Params  # [nets, ...]
    fold: Array  # that a net scores, [nets]
    scale: Array  # factor of the logits, [nets]
    bound: Array  # on the stopping rows, nats, [nets]
    log_prior: Array  # of all rows, but -inf for labels not trained on, [nets, M]
    log_doubt: Array  # log 1 / N, see `log_ratio`, [nets]


@dataclasses.dataclass(frozen=True)
class Task:
    """What the nets learn: the label of each row, and which rows are for what."""

    inputs: Inputs
    label: np.ndarray  # [N]
    fold: np.ndarray  # [N]
    stops: np.ndarray  # whether a row stops the nets of other folds, bool [N]
    num_classes: int


def log_ratio(logits: Array, log_prior: Array, log_doubt: Array) -> Array:
    """Compute log P(y|x) / P(y) by a net, `[..., M]`; 0 for a label it never saw.

    P(y|x) is mixed with one part in N of P(y), because N rows cannot make a net surer
    than that. One outlier then costs at most log(N) / N nats, not hundreds.
    """
    ratio = information.log_pc_softmax(logits, log_prior)
    ratio = jnp.logaddexp(ratio + jnp.log1p(-jnp.exp(log_doubt)), log_doubt)
    return jnp.where(jnp.isneginf(log_prior), 0, ratio)


@jax.jit
def log_ratios(nets: Nets, x: Array) -> Array:
    """Compute log P(y|x) / P(y) of inputs by each net, `[nets, B, M]`."""
    return jax.vmap(lambda net: _scaled_log_ratio(net, net.scale, x))(nets)


def _scaled_log_ratio(net: Nets, scale: Array, x: Array) -> Array:
    logits = net.model.apply({"params": net.params}, x, train=False).logits
    return log_ratio(scale * logits, net.log_prior, net.log_doubt)


def train(
    task: Task,
    model: nn.Module,
    plan: Plan,
    seed: int,
    advance: Callable[[float], None] = lambda steps: None,
) -> Nets:
    """Train nets for every fold; `advance` is told of each net's steps."""
    generator = np.random.default_rng([seed, 1])
    scored = np.repeat(np.arange(FOLDS), len(plan.candidates))
    best, own_prior = _new_nets(task, model, plan, scored, seed)
    stopping = _stopping_rows(task, plan, generator)
    before = np.full(len(scored), 0.0)
    for cycle in range(plan.cycles):
        best = _train_cycle(
            best, own_prior, task, plan, (cycle, seed), stopping, generator, advance
        )
        bound = np.asarray(best.bound)
        if not np.isfinite(bound).all():
            raise UserError(
                "model: its loss is never finite; check its outputs and initializers"
            )
        if cycle == 0 and len(plan.candidates) > plan.kept:
            chosen = _best_of_folds(bound, plan.kept)
            best, own_prior = jax.tree.map(lambda a: a[chosen], (best, own_prior))
            bound = bound[chosen]
        elif cycle and (bound - before).mean() < _ENOUGH:
            break
        entropy = -(np.exp(best.log_prior) * np.maximum(best.log_prior, -99)).sum(1)
        if (entropy - bound).mean() < _ENOUGH:
            break
        before = bound
    return best


def _best_of_folds(bound: np.ndarray, kept: int) -> np.ndarray:
    """Return the indices of the best nets of each fold, fold by fold."""
    order = np.argsort(-bound.reshape(FOLDS, -1), 1, kind="stable")[:, :kept]
    return (order + np.arange(FOLDS)[:, None] * (len(bound) // FOLDS)).ravel()


def _new_nets(
    task: Task, model: nn.Module, plan: Plan, scored: np.ndarray, seed: int
) -> tuple[Nets, Array]:
    """Return nets that say nothing yet, and log P(y) among each one's rows."""
    trained_on = _trained_on(task, scored)
    counts = np.bincount(task.label, minlength=task.num_classes)
    own = np.stack(
        [np.bincount(task.label[rows], minlength=len(counts)) for rows in trained_on]
    )
    with np.errstate(divide="ignore"):
        log_counts = np.log([own, np.where(own, counts, 0)])
    own_prior, log_prior = special.log_softmax(log_counts, axis=-1).astype(np.float32)
    keys = jax.random.split(jax.random.key(seed), len(scored))
    factors = jnp.asarray(np.tile(plan.candidates, FOLDS), jnp.float32)
    params = _init(model, keys, factors, task.inputs[np.arange(1)])
    nets = Nets(
        model=model,
        params=params,
        fold=jnp.asarray(scored),
        scale=jnp.zeros(len(scored)),
        bound=jnp.full(len(scored), -jnp.inf),
        log_prior=jnp.asarray(log_prior),
        log_doubt=jnp.full(len(scored), -np.log(len(task.label)), jnp.float32),
    )
    return nets, jnp.asarray(own_prior)


def _trained_on(task: Task, scored: np.ndarray) -> np.ndarray:
    return (task.fold != scored[:, None]) & ~task.stops


@functools.partial(jax.jit, static_argnames="model")
def _init(model: nn.Module, keys: Array, factors: Array, example: Array) -> Array:
    """Initialize every net; its head is 0, so that it says nothing yet."""
    params = jax.vmap(lambda key: model.init(key, example, train=False)["params"])(keys)
    params = {**params, "head": jax.tree.map(jnp.zeros_like, params["head"])}
    if "fourier" in params:
        kernel = params["fourier"]["kernel"] * factors[:, None, None]
        params = {**params, "fourier": {**params["fourier"], "kernel": kernel}}
    return params


def _stopping_rows(
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


def _train_cycle(
    best: Nets,
    own_prior: Array,
    task: Task,
    plan: Plan,
    numbers: tuple[int, int],
    stopping: tuple[Array, ...],
    generator: np.random.Generator,
    advance: Callable[[float], None],
) -> Nets:
    """Train from the best parameters on, while the learning rate falls to 0."""
    cycle, seed = numbers
    rounds = plan.rounds << cycle
    length = rounds * plan.steps
    lasso_steps = 2 * length // 3 if cycle < 2 else 0
    key = jax.random.fold_in(jax.random.key(seed), cycle)
    # A copy, because the state is donated.
    state = _start(plan, jax.tree.map(jnp.copy, best.params))
    trained_on = _trained_on(task, np.asarray(best.fold))
    batches = _batches(task, trained_on, plan, rounds, generator)
    for number, (data, indices) in enumerate(batches):
        steps = np.arange(number * plan.steps, (number + 1) * plan.steps)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, steps)
        state = _train_steps(
            best.model, plan, state, data, (indices, keys), own_prior, length, lasso_steps
        )
        best = _keep_better(best, state[0], stopping)
        best.bound.block_until_ready()
        advance(plan.steps * len(best.fold))
    return best


def _batches(
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
        queue = np.zeros(0, np.int32)
        while True:
            while len(queue) < count:
                again = generator.permutation(np.flatnonzero(own).astype(np.int32))
                queue = np.concatenate([queue, again])
            yield queue[:count].reshape(plan.steps, plan.batch_size)
            queue = queue[count:]

    queues = [[examples(own[rows]) for own in trained_on] for rows in blocks]
    for number in range(rounds):
        block = number % plan.num_blocks
        if number == 0 or plan.num_blocks > 1:
            rows = np.resize(blocks[block], power_of_two(len(blocks[block])))
            data = (jnp.asarray(task.inputs[rows]), jnp.asarray(task.label[rows]))
        yield data, np.stack([next(queue) for queue in queues[block]], 1)


def _optimizer(plan: Plan, length: Array, lasso_steps: Array) -> optax.GradientTransformation:
    def rate(step: Array) -> Array:
        return plan.learning_rate * (1 + jnp.cos(jnp.pi * step / length)) / 2

    if not plan.lasso:
        return optax.adam(rate)
    lasso = group_lasso("hidden0", lambda step: plan.lasso * rate(step), lasso_steps)
    return optax.chain(optax.adam(rate), lasso)


@functools.partial(jax.jit, static_argnames="plan")
def _start(plan: Plan, params: optax.Params) -> State:
    return params, jax.vmap(_optimizer(plan, 1, 1).init)(params), ()


@functools.partial(jax.jit, static_argnames=("model", "plan"), donate_argnames="state")
def _train_steps(
    model: nn.Module,
    plan: Plan,
    state: State,
    data: tuple[Array, Array],
    batches: tuple[Array, Array],
    log_prior: Array,
    length: Array,
    lasso_steps: Array,
) -> State:
    """Take S steps with every net.

    `data` are inputs and labels of a block, `batches` the indices in it of each net's
    examples, `[S, nets, B]`, and a key of each step for dropout, `[S]`. The cycle has
    `length` steps, and the lasso leaves out inputs in the first `lasso_steps` of them.
    """
    x, label = data
    indices, keys = batches
    optimizer = _optimizer(plan, length, lasso_steps)

    def net(state: State, indices: Array, log_prior: Array) -> State:
        def loss(
            params: optax.Params, memory: tuple[()], batch: tuple[Array, Array]
        ) -> tuple[Array, tuple[()]]:
            rows, key = batch
            rngs = {"dropout": key}
            output = model.apply({"params": params}, x[rows], train=True, rngs=rngs)
            losses = pc_softmax_cross_entropy(output.logits, label[rows], log_prior)
            return losses.mean(), memory

        return descend(loss, optimizer, state, (indices, keys))[0]

    return jax.vmap(net, in_axes=(0, 1, 0))(state, indices, log_prior)


@jax.jit
def _keep_better(
    best: Nets, params: optax.Params, stopping: tuple[Array, ...]
) -> Nets:
    """Keep a net's new parameters, at their best scale, where they raise its bound."""

    def bounds(net: Nets) -> Array:
        def chunk(rows: tuple[Array, Array, Array]) -> Array:
            x, label, fold = rows
            ratios = _scaled_log_ratio(net, _SCALES[:, None, None], x)
            own = (fold >= 0) & (fold != net.fold)
            return jnp.where(own, ratios[:, jnp.arange(len(label)), label], 0).sum(1)

        own = (stopping[2] >= 0) & (stopping[2] != net.fold)
        return jax.lax.map(chunk, stopping).sum(0) / jnp.maximum(own.sum(), 1)

    def better(new: Nets, old: Nets) -> Nets:
        raised = new.bound > old.bound
        return jax.tree.map(lambda a, b: jnp.where(raised, a, b), new, old)

    new = best.replace(params=params)
    of_scales = jax.vmap(bounds)(new)
    scale = jnp.asarray(_SCALES)[of_scales.argmax(1)]
    return jax.vmap(better)(new.replace(scale=scale, bound=of_scales.max(1)), best)
