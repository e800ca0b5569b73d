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
from mi_classifier.data.dataset import draw_stored
from mi_classifier.data.pipeline import Call, DeviceFeed, StreamFeed
from mi_classifier.losses import CLASSIFICATION_LOSSES
from mi_classifier.models import ModelOutput, create_model
from mi_classifier.training.state import create_state
from mi_classifier.training.step import copy, make_train_steps

DOUBLED = Dataset("doubled", {}, ("a", "b", "c"), preprocess=lambda x: 2 * x)


def call(split, batches):
    rows = parallel.split_indices(batches)
    return Call(split, rows, rows)


def setup(loss="pc_softmax"):
    generator = np.random.default_rng(0)
    split = {
        "image": generator.standard_normal((60, 4), np.float32),
        "label": generator.integers(0, 3, 60).astype(np.int32),
    }
    model, optimizer = create_model("mlp", 3, hidden=(8,)), optax.adam(1e-2)
    log_prior = np.log(np.array([0.2, 0.3, 0.5], np.float32))
    state = create_state(
        model, optimizer, jnp.zeros((1, 4)), log_prior, jax.random.key(0)
    )
    steps = make_train_steps(model, DOUBLED, loss, optimizer, jax.random.key(1))
    return split, model, optimizer, state, steps


def test_steps_are_those_of_a_plain_loop():
    for loss in CLASSIFICATION_LOSSES:
        split, model, optimizer, state, steps = setup(loss)
        params, opt_state = copy((state.params, state.opt_state))
        indices = np.random.default_rng(1).integers(0, 60, (5, 16))
        losses = []
        for row in indices:
            images, labels = 2 * split["image"][row], split["label"][row]

            def mean_loss(params, images=images, labels=labels, model=model, loss=loss):
                logits = model.apply({"params": params}, images).logits
                return CLASSIFICATION_LOSSES[loss](
                    logits, labels, jnp.log(jnp.array([0.2, 0.3, 0.5]))
                ).mean()

            value, gradients = jax.value_and_grad(mean_loss)(params)
            updates, opt_state = optimizer.update(gradients, opt_state, params)
            params = optax.apply_updates(params, updates)
            losses.append(value)
        state, values = steps(state, call(split, indices))
        assert int(state.step) == 5
        chex.assert_trees_all_close(state.params, params, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(values, losses, rtol=1e-5)


def test_two_calls_are_one():
    split, *_, state, steps = setup()
    indices = np.random.default_rng(2).integers(0, 60, (6, 16))
    once, _ = steps(copy(state), call(split, indices))
    half, _ = steps(state, call(split, indices[:3]))
    twice, _ = steps(half, call(split, indices[3:]))
    chex.assert_trees_all_close(once, twice, rtol=1e-6)


def test_microbatches_are_parts_of_one_mean():
    split, model, optimizer, state, steps = setup()
    indices = np.random.default_rng(3).integers(0, 60, (4, 16))
    whole, losses = steps(copy(state), call(split, indices))
    for parts in (2, 4, 16):
        in_parts = make_train_steps(
            model, DOUBLED, "pc_softmax", optimizer, jax.random.key(1), parts
        )
        result, values = in_parts(copy(state), call(split, indices))
        chex.assert_trees_all_close(result, whole, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(values, losses, rtol=1e-5)


def test_state_and_data_keep_no_device_axis():
    split, *_, state, steps = setup()
    shapes = jax.tree.map(jnp.shape, state)
    state, values = steps(state, call(split, np.zeros((2, 4), int)))
    assert jax.tree.map(jnp.shape, state) == shapes
    chex.assert_shape(values, (2,))


def test_a_draw_is_an_examples_own():
    """Its draw depends on the step and the example, not on the batch around it."""
    split, model, optimizer, state, _ = setup()

    def draw(key, split, index):
        example = draw_stored(key, split, index)
        return example | {"image": example["image"] * jax.random.uniform(key)}

    scaled = dataclasses.replace(DOUBLED, draw=draw)
    run_key = jax.random.key(1)
    steps = make_train_steps(model, scaled, "pc_softmax", optimizer, run_key)
    indices = np.array([[3, 1, 3, 59]])
    params = copy(state.params)
    log_prior = jnp.copy(state.log_prior)
    _, losses = steps(state, call(split, indices))
    step_key = jax.random.fold_in(run_key, 0)
    factors = [jax.random.uniform(jax.random.fold_in(step_key, i)) for i in indices[0]]
    images = 2 * split["image"][indices[0]] * np.array(factors)[:, None]
    logits = model.apply({"params": params}, images).logits
    labels = split["label"][indices[0]]
    expected = CLASSIFICATION_LOSSES["pc_softmax"](logits, labels, log_prior).mean()
    np.testing.assert_allclose(losses, [expected], rtol=1e-5)


def test_every_example_is_drawn_anew_in_every_step():
    """What is drawn is of the step: no two epochs see the same images."""
    _, model, _, state, _ = setup()
    split = {"image": np.zeros((4, 4), np.float32), "label": np.zeros(4, np.int32)}

    def draw(key, split, index):
        image = jax.random.normal(key, (4,))
        return {"image": image, "label": split["label"][index]}

    drawn = dataclasses.replace(DOUBLED, draw=draw)
    steps = make_train_steps(
        model, drawn, "softmax", optax.set_to_zero(), jax.random.key(1)
    )
    state = create_state(
        model,
        optax.set_to_zero(),
        jnp.zeros((1, 4)),
        state.log_prior,
        jax.random.key(0),
    )
    indices = np.tile(np.arange(4), (3, 1))
    _, losses = steps(state, call(split, indices))
    assert len(np.unique(losses)) == 3


class Normed(nn.Module):
    """A net with batch statistics."""

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(images)
        return ModelOutput(nn.Dense(3, name="head")(x), x)


@pytest.mark.parametrize("parts", [1, 2])
def test_batch_statistics_are_the_mean_of_the_parts(parts):
    generator = np.random.default_rng(0)
    split = {
        "image": generator.normal(3, 2, (8, 4)).astype(np.float32),
        "label": generator.integers(0, 3, 8).astype(np.int32),
    }
    optimizer = optax.sgd(0.1)
    state = create_state(
        Normed(),
        optimizer,
        jnp.zeros((1, 4)),
        np.log(np.full(3, 1 / 3)),
        jax.random.key(0),
    )
    steps = make_train_steps(
        Normed(), DOUBLED, "softmax", optimizer, jax.random.key(1), parts
    )
    state, _ = steps(state, call(split, np.arange(8)[None]))
    stats = state.variables["batch_stats"]["BatchNorm_0"]
    halves = 2 * split["image"].reshape(parts, -1, 4)
    np.testing.assert_allclose(stats["mean"], 0.1 * halves.mean(1).mean(0), rtol=1e-4)
    np.testing.assert_allclose(
        stats["var"], 0.9 + 0.1 * halves.var(1).mean(0), rtol=1e-4
    )


@pytest.mark.parametrize("parts", [1, 4])
def test_a_call_updates_in_place_and_never_asks_the_host(parts):
    split, model, optimizer, state, _ = setup()
    steps = make_train_steps(
        model, DOUBLED, "softmax", optimizer, jax.random.key(1), parts
    )
    arguments = (*steps.args, state, call(split, np.zeros((5, 16), int)))
    program = steps.func.lower(*arguments).compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert program.memory_analysis().alias_size_in_bytes >= size
    for word in ("callback", "infeed", "outfeed", "send", "recv"):
        assert word not in program.as_text()


def test_parts_of_a_batch_wait_for_each_other():
    """What it saves, benchmarks/compiled.py shows; XLA drops it on CPUs."""
    split, model, optimizer, state, _ = setup()
    for parts in (1, 4):
        steps = make_train_steps(
            model, DOUBLED, "softmax", optimizer, jax.random.key(1), parts
        )
        arguments = (*steps.args, state, call(split, np.zeros((1, 16), int)))
        text = str(jax.make_jaxpr(steps.func)(*arguments))
        assert text.count("optimization_barrier") == parts


def test_examples_that_are_streamed_train_as_those_on_the_device():
    split, model, optimizer, state, _ = setup()
    drawn = dataclasses.replace(DOUBLED, draw=noisy)
    batches = np.random.default_rng(1).integers(0, 60, (5, 16)).astype(np.int32)
    results = []
    for feed in (DeviceFeed(split), StreamFeed(split)):
        steps = make_train_steps(
            model,
            drawn,
            "pc_softmax",
            optimizer,
            jax.random.key(1),
            split_axis=feed.axis,
        )
        own, losses = copy(state), []
        for part in feed.calls(batches, 2):
            own, values = steps(own, part)
            losses.extend(np.asarray(values))
        results.append((own.params, own.opt_state, np.array(losses)))
    chex.assert_trees_all_equal(*results)


def noisy(key, split, index):
    """A draw that depends on the key, and so on which example it is of."""
    example = draw_stored(key, split, index)
    noise = jax.random.normal(key, example["image"].shape)
    return example | {"image": example["image"] + noise}
