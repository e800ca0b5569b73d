"""Attention-based dropout: its branches equal the authors', and it acts in training."""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mi_classifier.models import create_model
from mi_classifier.models.adl import AttentionDropout, attention_branches

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module", params=[0.8, 0.9])
def reference(request):
    with np.load(REFERENCE / f"adl_{request.param}.npz") as file:
        return dict(file)


def test_both_branches_equal_those_of_the_authors(reference):
    dropped, weighted = attention_branches(
        reference["features"], reference["threshold"]
    )
    chex.assert_trees_all_close(dropped, reference["drop_branch"], atol=1e-6)
    chex.assert_trees_all_close(weighted, reference["importance_branch"], atol=1e-6)


def test_one_random_number_decides_for_the_batch(reference):
    features = reference["features"]
    branches = attention_branches(features, reference["threshold"])
    layer = AttentionDropout(float(reference["threshold"]))
    keys = jax.random.split(jax.random.key(0), 400)

    @jax.jit
    @jax.vmap
    def apply(key):
        return layer.apply({}, features, train=True, rngs={"dropout": key})

    outputs = np.asarray(apply(keys))
    hidden = [np.allclose(output, branches[0], atol=1e-6) for output in outputs]
    weighted = [np.allclose(output, branches[1], atol=1e-6) for output in outputs]
    assert all(a != b for a, b in zip(hidden, weighted, strict=True))
    assert abs(np.mean(hidden) - 0.75) < 0.08


def test_gradients_flow_through_the_importance_map():
    features = jax.random.uniform(jax.random.key(0), (1, 3, 3, 2))

    def weighted(x):
        return attention_branches(x, 0.8)[1].sum()

    def by_hand(x):
        attention = x.mean(-1, keepdims=True)
        return (x / (1 + jnp.exp(-attention))).sum()

    chex.assert_trees_all_close(
        jax.grad(weighted)(features), jax.grad(by_hand)(features), atol=1e-6
    )
    dropped = jax.grad(lambda x: attention_branches(x, 0.8)[0].sum())(features)
    assert set(np.unique(dropped)) == {0.0, 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16_gap", "resnet50"])
def test_it_changes_training_but_not_evaluation(name):
    """Compare programs: evaluation is the same, training is not."""
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    plain, with_adl = create_model(name, 3), create_model(name, 3, adl=True)
    shapes = [
        jax.eval_shape(m.init, jax.random.key(0), images) for m in (plain, with_adl)
    ]
    chex.assert_trees_all_equal_shapes(*shapes)

    def program(model, train):
        def run(variables, images, key):
            return model.apply(
                variables,
                images,
                train=train,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )

        return str(jax.make_jaxpr(run)(shapes[0], images, jax.random.key(0)))

    assert program(plain, False) == program(with_adl, False)
    assert program(plain, True) != program(with_adl, True)
    assert program(with_adl, True).count("logistic") == 3  # three importance maps
