"""Train the nets of a cross-fit, all at once under `vmap`.

Each net stops where it does best on rows that it neither trains on nor scores. Training
goes in cycles, each twice as long as the one before, while they still help. Where few
columns are numbers, nets with Fourier features of several scales compete first. The
best of them stay, and new nets of the best scales are trained for longer.
"""

import functools
from collections.abc import Callable

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special

from mi_classifier import information
from mi_classifier.cross_fitting.batches import (
    Task,
    batches_of,
    stopping_rows,
    trained_on,
)
from mi_classifier.cross_fitting.folds import FOLDS
from mi_classifier.cross_fitting.plan import Plan
from mi_classifier.errors import UserError
from mi_classifier.losses import pc_softmax_cross_entropy
from mi_classifier.optimization import State, descend, group_lasso

Array = jax.Array
# Factors of the logits; each net gets the one that is best on its stopping rows.
_SCALES = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0], np.float32)
_ENOUGH = 0.05  # nats: if the second half of a cycle gains less, do not go on
_AS_GOOD_AS_ALL = 0.003  # nats below H(Y) that are not worth another cycle


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


def most_steps(plan: Plan) -> int:
    """Return the steps of all nets together, if no cycle is left out."""
    rounds = plan.nets * plan.rounds * ((1 << plan.cycles) - 1)
    return FOLDS * plan.steps * (len(plan.scales) * plan.search_rounds + rounds)


def train(
    task: Task,
    model: nn.Module,
    plan: Plan,
    seed: int,
    advance: Callable[[float], None] = lambda steps: None,
) -> Nets:
    """Train nets for every fold; `advance` is told of each net's steps."""
    trainer = _Trainer(task, model, plan, seed, advance)
    scales, early = np.zeros((FOLDS, plan.nets)), None
    for start in range(0, len(plan.scales), plan.nets):
        # As many nets at a time as later, so that the same programs serve.
        some = np.tile(plan.scales[start : start + plan.nets], (FOLDS, 1))
        nets, _ = trainer.cycle(
            trainer.new_nets(some, 2 + start), 0, plan.search_rounds
        )
        early = nets if early is None else _side_by_side(early, nets)
    if early is not None:
        early, scales = _selected(early, plan)
    nets = trainer.new_nets(scales, 1)
    for cycle in range(plan.cycles):
        nets, gain = trainer.cycle(nets, cycle + 1, plan.rounds << cycle)
        left = special.entr(np.exp(nets.log_prior[0])).sum() - np.mean(nets.bound)
        if gain < _ENOUGH or left < _AS_GOOD_AS_ALL:
            break
    return nets if early is None else _side_by_side(early, nets)


def of(nets: Nets, which: slice | np.ndarray) -> Nets:
    """Return some of the nets, as NumPy arrays: nothing is compiled for them."""
    return jax.tree.map(lambda a: a[which], jax.device_get(nets))


def tune(
    task: Task,
    nets: Nets,
    plan: Plan,
    seed: int,
    advance: Callable[[float], None] = lambda steps: None,
) -> Nets:
    """Train nets for one more cycle. The nets of a fold see the same batches."""
    trainer = _Trainer(task, nets.model, plan, seed, advance)
    return trainer.cycle(nets, 1, plan.rounds, shared=True)[0]


def _selected(early: Nets, plan: Plan) -> tuple[Nets, np.ndarray]:
    """Return each fold's best net and its neighbors, and the scales to train longer.

    Small scales take longer to train, and are often the better ones in the end.
    """
    bound = np.asarray(early.bound).reshape(FOLDS, -1)
    best = bound.argmax(1)
    chosen = np.stack([np.maximum(best - 1, 0), best], 1)
    scales = np.asarray(plan.scales)[np.repeat(chosen, plan.nets // 2, 1)]
    around = np.arange(-1, 2) + best.clip(1, bound.shape[1] - 2)[:, None]
    kept = around + np.arange(FOLDS)[:, None] * bound.shape[1]
    return of(early, kept.ravel()), scales


def _side_by_side(a: Nets, b: Nets) -> Nets:
    """Join nets, so that those of a fold stay side by side."""

    def join(*arrays: np.ndarray) -> np.ndarray:
        split = [x.reshape(FOLDS, -1, *x.shape[1:]) for x in arrays]
        joined = np.concatenate(split, 1)
        return joined.reshape(-1, *joined.shape[2:])

    return jax.tree.map(join, *jax.device_get((a, b)))


class _Trainer:
    """Trains nets on one task by one plan."""

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        plan: Plan,
        seed: int,
        advance: Callable[[float], None],
    ) -> None:
        self._task, self._model, self._plan, self._seed = task, model, plan, seed
        self._advance = advance
        self._generator = np.random.default_rng([seed, 1])
        self._stopping = stopping_rows(task, plan, self._generator)
        fold = np.arange(FOLDS)
        counts = np.bincount(task.label, minlength=task.num_outputs)
        own = [
            np.bincount(task.label[rows], minlength=len(counts))
            for rows in trained_on(task, fold)
        ]
        with np.errstate(divide="ignore"):
            log_counts = np.log([own, np.where(own, counts, 0)])
        priors = special.log_softmax(log_counts, axis=-1).astype(np.float32)
        # log P(y) among a fold's training rows and among all; -inf if it has no row.
        self._own_prior, self._log_prior = priors

    def new_nets(self, scales: np.ndarray, number: int) -> Nets:
        """Return nets that say nothing yet, by their scales, `[folds, n]`."""
        fold = np.repeat(np.arange(FOLDS), scales.shape[1])
        key = jax.random.fold_in(jax.random.key(self._seed), number)
        keys = jax.random.split(key, len(fold))
        factors = scales.ravel().astype(np.float32)
        example = self._task.inputs[np.arange(1)]
        padding = np.float32(self._task.inputs.padding)
        log_doubt = -np.log(len(self._task.label))
        return Nets(
            model=self._model,
            params=_init(self._model, keys, factors, example, padding),
            fold=fold,
            scale=np.zeros(len(fold), np.float32),
            bound=np.full(len(fold), -np.inf, np.float32),
            log_prior=self._log_prior[fold],
            log_doubt=np.full(len(fold), log_doubt, np.float32),
        )

    def cycle(
        self, best: Nets, number: int, rounds: int, shared: bool = False
    ) -> tuple[Nets, float]:
        """Train from the best parameters on, while the learning rate falls to 0.

        Return the nets where they were best, and by how many nats their mean bound has
        risen in the second half. `shared`: the nets of a fold see the same batches.
        """
        plan, fold = self._plan, np.asarray(best.fold)
        length = rounds * plan.steps
        lasso_steps = 2 * length // 3 if number < 2 else 0
        key = jax.random.fold_in(jax.random.key(self._seed), number)
        # A copy, because the state is donated.
        state = _start(plan, jax.tree.map(jnp.copy, best.params))
        own = trained_on(self._task, np.arange(FOLDS) if shared else fold)
        batches = batches_of(self._task, own, plan, rounds, self._generator)
        halfway = -np.inf
        for index, (data, indices) in enumerate(batches):
            indices = indices[:, fold] if shared else indices
            steps = np.arange(index * plan.steps, (index + 1) * plan.steps)
            keys = _keys(key, steps)
            batch = (indices, keys, self._own_prior[fold])
            schedule = (length, lasso_steps)
            state = _train_steps(best.model, plan, state, data, batch, schedule)
            best = _keep_better(best, state[0], self._stopping)
            bound = float(np.mean(best.bound))
            halfway = bound if 2 * index < rounds else halfway
            self._advance(plan.steps * len(fold))
        if not np.isfinite(bound):
            raise UserError(
                "model: its loss is never finite; check its outputs and initializers"
            )
        return best, bound - halfway


_keys = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)))


@functools.partial(jax.jit, static_argnames="model")
def _init(
    model: nn.Module, keys: Array, factors: Array, example: Array, padding: Array
) -> Array:
    """Initialize every net; its head is 0, so that it says nothing yet.

    The first kernel is as large as it would be without the inputs of 0.
    """

    def params_of(key: Array) -> Array:
        return model.init(key, example, train=False)["params"]

    params = jax.lax.map(params_of, keys)  # compiles in half the time of `vmap`
    params = {**params, "head": jax.tree.map(jnp.zeros_like, params["head"])}
    if example.ndim == 2 and "hidden0" in params:
        kernel = params["hidden0"]["kernel"]
        larger = jnp.sqrt(kernel.shape[-2] / (kernel.shape[-2] - padding))
        params = {**params, "hidden0": {**params["hidden0"], "kernel": larger * kernel}}
    if "fourier" in params:
        kernel = params["fourier"]["kernel"] * factors[:, None, None]
        params = {**params, "fourier": {**params["fourier"], "kernel": kernel}}
    return params


def _optimizer(
    plan: Plan, length: Array, lasso_steps: Array
) -> optax.GradientTransformation:
    def rate(step: Array) -> Array:
        return plan.learning_rate * (1 + jnp.cos(jnp.pi * step / length)) / 2

    adam = optax.adamw(rate, weight_decay=plan.weight_decay)
    if not plan.lasso:
        return adam
    lasso = group_lasso("hidden0", lambda step: plan.lasso * rate(step), lasso_steps)
    return optax.chain(adam, lasso)


@functools.partial(jax.jit, static_argnames="plan")
def _start(plan: Plan, params: optax.Params) -> State:
    return params, jax.vmap(_optimizer(plan, 1, 1).init)(params), ()


@functools.partial(jax.jit, static_argnames=("model", "plan"), donate_argnames="state")
def _train_steps(
    model: nn.Module,
    plan: Plan,
    state: State,
    data: tuple[Array, Array],
    batches: tuple[Array, Array, Array],
    schedule: tuple[Array, Array],
) -> State:
    """Take S steps with every net.

    `data` are inputs and labels of a block. `batches` are the indices in it of each
    net's examples, `[S, nets, B]`, a key of each step for dropout, `[S]`, and log P(y)
    for each net, `[nets, M]`. `schedule` is the number of steps of the cycle, and of
    those in which the lasso leaves out inputs.
    """
    x, label = data
    indices, keys, log_prior = batches
    optimizer = _optimizer(plan, *schedule)

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
def _keep_better(best: Nets, params: optax.Params, stopping: tuple[Array, ...]) -> Nets:
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
