"""A divergence is explained by its step, its learning rate and its layer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mi_classifier.data import Dataset
from mi_classifier.data.pipeline import DevicePipeline
from mi_classifier.losses import LOSSES
from mi_classifier.models import create_model
from mi_classifier.training.divergence import (
    all_finite,
    explain,
    first_broken_layer,
)
from mi_classifier.training.state import copy, create_state
from mi_classifier.training.step import Task, make_train_steps

KEY = jax.random.key(1)
ORDER = np.arange(32, dtype=np.int32).reshape(4, 8)


@pytest.fixture
def explain_run():
    """Explains four steps of a small net; the steps or the data can be changed."""

    def run(change_steps=lambda steps: steps, image=None, learning_rate=0.1):
        generator = np.random.default_rng(0)
        split = {
            "image": generator.standard_normal((32, 4), np.float32),
            "label": generator.integers(0, 3, 32).astype(np.int32),
        }
        if image is not None:
            split["image"][19] = image  # in the third batch
        splits = {"train": split, "test": split}
        dataset = Dataset("rows", splits, ("a", "b", "c"), preprocess=lambda x: x)
        model = create_model("mlp", 3, hidden=(8,))
        task = Task(model, dataset, LOSSES["softmax"])
        schedule = optax.linear_schedule(learning_rate, 0, 10)
        optimizer = optax.sgd(schedule)
        prior = dataset.log_prior()
        state = create_state(model, optimizer, jnp.zeros((1, 4)), prior, KEY)
        steps = change_steps(make_train_steps(task, optimizer, KEY))
        first_layer = functools.partial(first_broken_layer, task, KEY)
        before = copy(state)
        text = explain(
            state, ORDER, steps, DevicePipeline(split), schedule, first_layer
        )
        assert all_finite(state) and jax.tree.all(
            jax.tree.map(np.array_equal, before, state)
        )  # explain leaves the state as it is
        return text

    return run


def test_an_input_that_is_not_finite_is_named(explain_run):
    assert explain_run(image=np.nan).endswith("in the input")


def test_the_step_the_learning_rate_and_the_layer_are_named(explain_run):
    text = explain_run(image=3e38)
    assert text.startswith("at step 3: the loss is ")
    assert "at a learning rate of 0.08;" in text
    assert text.endswith(
        "the first value that is not finite is in the output of hidden0"
    )


def test_an_update_that_is_not_finite_is_named(explain_run):
    def poisoned(steps):
        def take(state, batches):
            broken = int(state.step) == 1
            state, values = steps(state, batches)
            if broken:
                head = jax.tree.map(lambda x: x * jnp.nan, state.params["head"])
                state = state.replace(params=state.params | {"head": head})
            return state, values

        return take

    text = explain_run(poisoned)
    assert text.startswith("at step 2: ")
    assert text.endswith("in the update of head/bias and 1 others")


def test_an_epoch_without_a_mistake_says_so(explain_run):
    assert "not when its steps were repeated" in explain_run()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_all_finite(value):
    tree = {"a": jnp.ones(3), "b": (jnp.zeros(2),)}
    assert all_finite(tree)
    assert not all_finite(tree | {"c": jnp.array([1.0, value])})
