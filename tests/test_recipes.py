"""The configs of the localization experiments say what the paper's program does."""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import pytest

from mi_classifier import config as configs
from mi_classifier.models import create_model
from mi_classifier.training.loop import check_config
from mi_classifier.training.optimizer import create_optimizer

REPOSITORY = Path(__file__).parents[1]
ROWS = {
    "cub_vgg": ("vgg16_gap", 0.01, 30, 5, 224),
    "cub_resnet": ("resnet50", 0.1, 128, 4, 224),
    "tiny_imagenet_vgg": ("vgg16_gap", 0.01, 1_280, 3, 64),
    "tiny_imagenet_resnet": ("resnet50", 0.1, 640, 3, 64),
}


@pytest.mark.parametrize("name", ROWS)
def test_the_configs_fit_their_models(name):
    words = ":adl" if name.startswith("cub") else ""
    config = configs.load(f"{REPOSITORY}/configs/{name}.py{words}")
    check_config(config)
    backbone, rate, batch_size, region, side = ROWS[name]
    assert config.model.name == backbone
    assert config.model.adl == bool(words)
    assert config.optimizer.learning_rate == rate
    assert config.batch_size == batch_size
    assert config.localization.region == region
    model = create_model(num_classes=200, **config.model)
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    optimizer = create_optimizer(config.optimizer, 100, 10)
    jax.eval_shape(
        optimizer.update, params, jax.eval_shape(optimizer.init, params), params
    )


@pytest.mark.parametrize("words", ["", "unbalanced,pc_softmax"])
def test_the_head_alone_is_trained_for_table_3(words):
    config = configs.load(f"{REPOSITORY}/configs/cub_inception.py:{words}")
    check_config(config)
    assert config.loss == ("pc_softmax" if words else "softmax")
    assert config.data.balanced == (not words)
    model = create_model(num_classes=200, **config.model)
    image = jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    some = {"head": shapes["head"], "Conv2d_1a_3x3": shapes["Conv2d_1a_3x3"]}
    params = jax.tree.map(lambda s: jnp.ones(s.shape), some)
    optimizer = create_optimizer(config.optimizer, 2_810, 93)
    state = optimizer.init(params)
    updates, _ = optimizer.update(params, state, params)
    chex.assert_trees_all_close(updates["head"]["bias"], jnp.full(200, -0.01))
    assert not any(map(jnp.any, jax.tree.leaves(updates["Conv2d_1a_3x3"])))
