"""The files in configs/ say what the paper's program does, and fit our code."""

import chex
import jax
import jax.numpy as jnp
import pytest

from mi_classifier import config as configs
from mi_classifier.commands import known_options
from mi_classifier.errors import UserError
from mi_classifier.evaluation.evaluators import DEFAULT
from mi_classifier.models import create_model
from mi_classifier.training.checks import check_config
from mi_classifier.training.optimizer import Span, create_optimizer
from tests.conftest import REPOSITORY

NAMES = sorted(
    path.stem for path in (REPOSITORY / "configs").glob("*.py") if path.stem != "common"
)
ROWS = {
    "cub_vgg": ("vgg16_gap", 0.01, 30, 5, 224),
    "cub_resnet": ("resnet50", 0.1, 128, 4, 224),
    "tiny_imagenet_vgg": ("vgg16_gap", 0.01, 1_280, 3, 64),
    "tiny_imagenet_resnet": ("resnet50", 0.1, 640, 3, 64),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_config_passes_its_checks(name):
    config = configs.get_config(name)
    if "method" not in config:
        check_config(config)
        assert config.evaluators == DEFAULT and config.pipeline == "auto"
    options = known_options(config)
    for group in options.keys() & set(config):
        known = {"name", "region", "threshold", *options[group]}
        assert set(config[group]) <= known
    with pytest.raises(UserError, match="config argument: unknown value 'no_word'"):
        configs.get_config(f"{name}:no_word")


def test_words_choose_classes_and_loss():
    assert configs.get_config("gmm").loss == "softmax"
    assert configs.get_config("gmm:unbalanced").loss == "pc_softmax"
    config = configs.get_config("gmm:unbalanced,softmax")
    assert config.loss == "softmax" and config.data.balanced is False
    assert configs.get_config("double_mnist:sigmoid").loss == "sigmoid"
    config = configs.get_config("image_folder:vgg,pc_softmax")
    assert config.optimizer.full_rate == ("conv6", "head")
    assert config.loss == "pc_softmax" and config.localization.region == 5
    with pytest.raises(UserError, match="'unbalancd', did you mean 'unbalanced'"):
        configs.get_config("gmm:unbalancd")


@pytest.mark.parametrize("name", ROWS)
def test_configs_fit_their_models(name):
    words = ":adl" if name.startswith("cub") else ""
    config = configs.get_config(f"{name}{words}")
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
    optimizer = create_optimizer(config.optimizer, Span(100, 10)).transformation
    jax.eval_shape(
        optimizer.update, params, jax.eval_shape(optimizer.init, params), params
    )


@pytest.mark.parametrize("words", ["", "unbalanced,pc_softmax"])
def test_only_the_head_is_trained_for_table_3(words):
    config = configs.get_config(f"cub_inception:{words}")
    check_config(config)
    assert config.loss == ("pc_softmax" if words else "softmax")
    assert config.data.balanced == (not words)
    model = create_model(num_classes=200, **config.model)
    image = jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    some = {"head": shapes["head"], "Conv2d_1a_3x3": shapes["Conv2d_1a_3x3"]}
    params = jax.tree.map(lambda s: jnp.ones(s.shape), some)
    optimizer = create_optimizer(config.optimizer, Span(2_810, 93)).transformation
    state = optimizer.init(params)
    updates, _ = optimizer.update(params, state, params)
    chex.assert_trees_all_close(updates["head"]["bias"], jnp.full(200, -0.01))
    assert not any(map(jnp.any, jax.tree.leaves(updates["Conv2d_1a_3x3"])))
