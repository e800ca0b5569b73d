import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mi_classifier.cross_fitting import nets


def test_group_lasso_is_the_proximal_operator():
    """The minimum of |w - new|^2 / 2 + threshold sum of row norms, by its gradient."""
    new = jnp.array([[3.0, 4.0], [0.3, -0.4], [0.0, 0.0], [-2.0, 0.0]])
    shrunk = nets._group_lasso(new, new, jnp.float32(0.6), True)
    chex.assert_trees_all_close(shrunk[1:3], jnp.zeros((2, 2)))  # norms below 0.6

    def objective(w):
        return ((w - new) ** 2).sum() / 2 + 0.6 * jnp.linalg.norm(w, axis=1).sum()

    rows = jnp.array([0, 3])
    gradient = jax.grad(objective)(shrunk + 1e-30)[rows]
    chex.assert_trees_all_close(gradient, jnp.zeros((2, 2)), atol=1e-5)


def test_after_selection_columns_that_are_out_stay_out():
    old = jnp.array([[1.0, 0.0], [0.0, 0.0]])
    new = jnp.array([[1.1, 0.2], [0.3, 0.1]])
    kept = nets._group_lasso(old, new, jnp.float32(9), False)
    chex.assert_trees_all_close(kept, jnp.array([[1.1, 0.2], [0.0, 0.0]]))


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_log_ratio_is_a_density_ratio_with_a_floor(scale):
    logits = scale * np.random.default_rng(0).standard_normal((50, 4)).astype("f4")
    prior = np.array([0.5, 0.3, 0.2, 0.0])
    with np.errstate(divide="ignore"):
        log_prior = np.log(prior).astype("f4")
    doubt = np.float32(-np.log(1_000))
    ratio = np.asarray(nets._log_ratio(logits, log_prior, doubt))
    np.testing.assert_allclose(np.exp(ratio) @ prior, 1, rtol=1e-5)
    assert ratio.min() >= doubt - 1e-5
    assert (ratio[:, 3] == 0).all()
    # One part in a thousand of the prior, the rest the net's.
    posterior = special.softmax(logits[:, :3].astype("f8") + log_prior[:3], axis=1)
    mixed = 0.999 * posterior + 0.001 * prior[:3]
    np.testing.assert_allclose(np.exp(ratio[:, :3]) * prior[:3], mixed, rtol=1e-3)
