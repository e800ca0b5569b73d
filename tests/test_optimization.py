"""The shared loop is plain optax, and the group lasso step is the proximal operator."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mi_classifier import optimization


def test_descend_takes_the_steps_of_optax_and_passes_the_memory_on():
    adam = optax.adam(optax.cosine_decay_schedule(0.1, 5))
    batches = np.random.default_rng(0).standard_normal((5, 3)).astype("f4")

    def loss(params, memory, batch):
        return ((params - batch) ** 2).sum(), memory + batch.sum()

    start = jnp.zeros(3)
    state = (start, adam.init(start), jnp.zeros(()))
    (params, _, memory), values = optimization.descend(loss, adam, state, batches)
    expected, opt_state = start, adam.init(start)
    for batch, value in zip(batches, values, strict=True):
        chex.assert_trees_all_close(value, loss(expected, 0, batch)[0])
        updates, opt_state = adam.update(2 * (expected - batch), opt_state)
        expected = optax.apply_updates(expected, updates)
    chex.assert_trees_all_close(params, expected, rtol=1e-6)
    chex.assert_trees_all_close(memory, batches.sum(), rtol=1e-6)


def lasso_step(old, new, threshold, step=0):
    """Applies the group lasso to a kernel that is to move from `old` to `new`."""
    lasso = optimization.group_lasso("first", lambda step: threshold, num_steps=2)
    params = {"first": {"kernel": old, "bias": jnp.ones(2)}, "head": jnp.ones(3)}
    updates = {"first": {"kernel": new - old, "bias": jnp.ones(2)}, "head": jnp.ones(3)}
    moved, next_step = lasso.update(updates, lasso.init(params) + step, params)
    assert next_step == step + 1
    chex.assert_trees_all_equal(moved["head"], updates["head"])
    chex.assert_trees_all_equal(moved["first"]["bias"], updates["first"]["bias"])
    return optax.apply_updates(params, moved)["first"]["kernel"]


def test_group_lasso_is_the_proximal_operator():
    """It minimizes |w - new|^2 / 2 + threshold * sum of row norms."""
    new = jnp.array([[3.0, 4.0], [0.3, -0.4], [0.0, 0.0], [-2.0, 0.0]])
    shrunk = lasso_step(new + 1, new, 0.6)
    chex.assert_trees_all_close(shrunk[1:3], jnp.zeros((2, 2)))  # norms below 0.6

    def objective(w):
        return ((w - new) ** 2).sum() / 2 + 0.6 * jnp.linalg.norm(w, axis=1).sum()

    rows = jnp.array([0, 3])
    gradient = jax.grad(objective)(shrunk + 1e-30)[rows]
    chex.assert_trees_all_close(gradient, jnp.zeros((2, 2)), atol=1e-5)


def test_inputs_that_are_left_out_stay_out_after_the_last_lasso_step():
    old = jnp.array([[1.0, 0.0], [0.0, 0.0]])
    new = jnp.array([[1.1, 0.2], [0.3, 0.1]])
    kept = lasso_step(old, new, 9.0, step=2)
    chex.assert_trees_all_close(kept, jnp.array([[1.1, 0.2], [0.0, 0.0]]))
