"""The compiled training step equals a plain loop, on any pipeline and in any parts.

It also proves that each example gets its own key, that batch statistics are means over
parts, and that a call updates the state in place without asking the host.
"""

import dataclasses

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mi_classifier import parallel
from mi_classifier.data import Dataset
from mi_classifier.data.dataset import stored_example
from mi_classifier.data.pipeline import Batches, DevicePipeline, StreamPipeline
from mi_classifier.losses import LOSSES, Loss, create_loss
from mi_classifier.models import ModelOutput, create_model
from mi_classifier.training.state import copy, create_state
from mi_classifier.training.step import Task, make_train_steps

DOUBLED = Dataset("doubled", {}, ("a", "b", "c"), preprocess=lambda x: 2 * x)
PRIOR = np.array([0.2, 0.3, 0.5], np.float32)
RUN_KEY = jax.random.key(1)


def batches_of(split, order):
    rows = parallel.split_indices(order)
    return Batches(split, rows, rows)


@dataclasses.dataclass
class Problem:
    """A small split, and a task with its first state."""

    split: dict
    task: Task
    optimizer: optax.GradientTransformation
    state: object

    def steps(self, parts=1, axis=None):
        return make_train_steps(self.task, self.optimizer, RUN_KEY, parts, axis)


def problem(loss="pc_softmax", optimizer=None, augment=stored_example, model=None):
    generator = np.random.default_rng(0)
    split = {
        "image": generator.standard_normal((60, 4), np.float32),
        "label": generator.integers(0, 3, 60).astype(np.int32),
    }
    model = model or create_model("mlp", 3, hidden=(8,))
    optimizer = optimizer or optax.adam(1e-2)
    example = jnp.zeros((1, 4))
    state = create_state(model, optimizer, example, np.log(PRIOR), jax.random.key(0))
    dataset = dataclasses.replace(DOUBLED, augment=augment)
    task = Task(model, dataset, loss if isinstance(loss, Loss) else LOSSES[loss])
    return Problem(split, task, optimizer, state)


def plain_loop(given, order):
    """Takes the steps of `order` one by one; returns parameters and losses."""
    params, opt_state = copy((given.state.params, given.state.opt_state))

    @jax.jit
    @jax.value_and_grad
    def mean_loss(params, images, labels):
        logits = given.task.model.apply({"params": params}, images).logits
        return given.task.loss.function(logits, labels, jnp.log(PRIOR)).mean()

    losses = []
    for row in order:
        images, labels = 2 * given.split["image"][row], given.split["label"][row]
        value, gradients = mean_loss(params, images, labels)
        updates, opt_state = given.optimizer.update(gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
        losses.append(value)
    return params, losses


@pytest.mark.slow
@pytest.mark.parametrize("loss", [n for n, x in LOSSES.items() if not x.multi_label])
def test_steps_equal_a_plain_loop(loss):
    given = problem(loss)
    order = np.random.default_rng(1).integers(0, 60, (5, 16))
    params, losses = plain_loop(given, order)
    state, values = given.steps()(given.state, batches_of(given.split, order))
    assert int(state.step) == 5
    chex.assert_trees_all_close(state.params, params, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values[:, 0], losses, rtol=1e-5)


def test_the_options_of_a_loss_reach_the_gradient(monkeypatch):
    def scaled(logits, labels, log_prior, scale: float = 1.0):
        return scale * LOSSES["pc_softmax"].function(logits, labels, log_prior)

    monkeypatch.setitem(LOSSES, "scaled", Loss(scaled, True, False))
    order = np.random.default_rng(1).integers(0, 60, (2, 16))
    results = {}
    for scale in (1.0, 3.0):
        given = problem(create_loss("scaled", {"scale": scale}), optax.sgd(1e-3))
        first = copy(given.state.params)
        state, _ = given.steps()(given.state, batches_of(given.split, order[:1]))
        results[scale] = jax.tree.map(lambda a, b: a - b, state.params, first)
    tripled = jax.tree.map(lambda update: 3 * update, results[1.0])
    chex.assert_trees_all_close(results[3.0], tripled, rtol=1e-3, atol=1e-6)


def test_two_calls_equal_one():
    given = problem()
    steps = given.steps()
    order = np.random.default_rng(2).integers(0, 60, (6, 16))
    once, _ = steps(copy(given.state), batches_of(given.split, order))
    half, _ = steps(given.state, batches_of(given.split, order[:3]))
    twice, _ = steps(half, batches_of(given.split, order[3:]))
    chex.assert_trees_all_close(once, twice, rtol=1e-6)


@pytest.mark.slow
def test_microbatches_do_not_change_the_mean_gradient():
    given = problem()
    order = np.random.default_rng(3).integers(0, 60, (4, 8))
    whole, expected = given.steps()(copy(given.state), batches_of(given.split, order))
    for parts in (2, 8):
        steps = given.steps(parts)
        result, values = steps(copy(given.state), batches_of(given.split, order))
        chex.assert_trees_all_close(result, whole, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_state_and_losses_have_no_device_axis():
    given = problem()
    shapes = jax.tree.map(jnp.shape, given.state)
    order = np.zeros((2, 4), int)
    state, values = given.steps()(given.state, batches_of(given.split, order))
    assert jax.tree.map(jnp.shape, state) == shapes
    chex.assert_shape(values, (2, 2))


def test_the_augmentation_of_an_example_does_not_depend_on_its_batch():
    def scale_at_random(key, split, index):
        example = stored_example(key, split, index)
        return example | {"image": example["image"] * jax.random.uniform(key)}

    given = problem(augment=scale_at_random)
    order = np.array([[3, 1, 3, 59]])
    params = copy(given.state.params)
    _, values = given.steps()(given.state, batches_of(given.split, order))
    step_key = jax.random.fold_in(RUN_KEY, 0)
    factors = [jax.random.uniform(jax.random.fold_in(step_key, i)) for i in order[0]]
    images = 2 * given.split["image"][order[0]] * np.array(factors)[:, None]
    logits = given.task.model.apply({"params": params}, images).logits
    labels = given.split["label"][order[0]]
    expected = LOSSES["pc_softmax"].function(logits, labels, np.log(PRIOR)).mean()
    correct = np.mean(logits.argmax(-1) == labels)
    np.testing.assert_allclose(values, [[expected, correct]], rtol=1e-5)


def test_every_step_augments_an_example_differently():
    def noise(key, split, index):
        return {"image": jax.random.normal(key, (4,)), "label": split["label"][index]}

    given = problem("softmax", optax.set_to_zero(), noise)
    order = np.tile(np.arange(4), (3, 1))
    _, values = given.steps()(given.state, batches_of(given.split, order))
    assert len(np.unique(values[:, 0])) == 3


class Normed(nn.Module):
    """A net with batch statistics."""

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(images)
        return ModelOutput(nn.Dense(3, name="head")(x), x)


@pytest.mark.parametrize("parts", [1, 2])
def test_batch_statistics_are_the_mean_over_parts(parts):
    given = problem("softmax", optax.sgd(0.1), model=Normed())
    order = np.arange(8)[None]
    state, _ = given.steps(parts)(given.state, batches_of(given.split, order))
    stats = state.variables["batch_stats"]["BatchNorm_0"]
    images = 2 * given.split["image"][:8].reshape(parts, -1, 4)
    mean, variance = images.mean(1).mean(0), images.var(1).mean(0)
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * variance, rtol=1e-4)


@pytest.mark.parametrize("parts", [1, 4])
def test_a_call_updates_in_place_and_never_asks_the_host(parts):
    given = problem("softmax")
    steps = given.steps(parts)
    batches = batches_of(given.split, np.zeros((5, 16), int))
    program = steps.func.lower(*steps.args, given.state, batches).compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(given.state))
    assert program.memory_analysis().alias_size_in_bytes >= size
    for word in ("callback", "infeed", "outfeed", "send", "recv"):
        assert word not in program.as_text()


@pytest.mark.parametrize("parts", [1, 4])
def test_parts_of_a_batch_run_one_after_the_other(parts):
    """benchmarks/compiled.py shows how much memory that saves; on CPUs XLA drops it."""
    given = problem("softmax")
    steps = given.steps(parts)
    batches = batches_of(given.split, np.zeros((1, 16), int))
    text = str(jax.make_jaxpr(steps.func)(*steps.args, given.state, batches))
    assert text.count("optimization_barrier") == (parts if parts > 1 else 0)


@pytest.mark.slow
def test_both_pipelines_train_to_the_same_bits():
    def add_noise(key, split, index):
        example = stored_example(key, split, index)
        noise = jax.random.normal(key, example["image"].shape)
        return example | {"image": example["image"] + noise}

    given = problem(augment=add_noise)
    order = np.random.default_rng(1).integers(0, 60, (5, 16)).astype(np.int32)
    results = []
    for pipeline in (DevicePipeline(given.split), StreamPipeline(given.split)):
        steps = given.steps(axis=pipeline.axis)
        state, losses = copy(given.state), []
        for batches in pipeline.batches(order, 2):
            state, values = steps(state, batches)
            losses.extend(np.asarray(values)[:, 0])
        results.append((state.params, state.opt_state, np.array(losses)))
    chex.assert_trees_all_equal(*results)
