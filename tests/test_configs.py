"""The files in configs/ say what the paper's program does, and fit our code."""

import chex
import jax
import jax.numpy as jnp
import pytest

from mi_classifier import config as configs
from mi_classifier.commands import known_options, meanings
from mi_classifier.errors import UserError
from mi_classifier.evaluation.evaluators import DEFAULT
from mi_classifier.models import create_model
from mi_classifier.training.checks import check_config
from mi_classifier.training.optimizer import (
    Span,
    create_optimizer,
    trained_modules,
)
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
    assert not set(configs.flatten(config)) - set(meanings(config))
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
    for words, message in (
        ("frozen,vgg", "vgg has layers without pretrained weights"),
        ("small", "use scratch,small"),
        ("adl", "efficientnet has no adl; use resnet,adl or vgg,adl"),
    ):
        with pytest.raises(UserError, match=message):
            configs.get_config(f"image_folder:{words}")
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


@pytest.mark.parametrize("name", ["tiny_imagenet_resnet", "tiny_imagenet_vgg"])
def test_a_net_from_scratch_has_a_fine_map_and_the_full_rate(name):
    config, paper = (configs.get_config(f"{name}{w}") for w in (":scratch,adl", ""))
    check_config(config)
    assert (config.data.pad, paper.data.pad) == (8, 0)
    assert config.loss_options.label_smoothing == 0.1
    assert config.model.adl and not config.pretrained
    model = create_model(num_classes=200, **config.model)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    output, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
    assert output.features.shape[1:3] == (8, 8)
    assert config.optimizer.backbone_rate == 1.0
    schedule = create_optimizer(config.optimizer, Span(3_000, 100)).schedule
    assert schedule(300) == config.optimizer.learning_rate


@pytest.mark.parametrize("words", ["", "unbalanced,pc_softmax"])
def test_only_the_head_is_trained_for_table_3(words):
    config = configs.get_config(f"cub_inception:{words}")
    check_config(config)
    assert config.loss == ("pc_softmax" if words else "softmax")
    assert config.data.balanced == (not words)
    model = create_model(num_classes=200, **config.model)
    image = jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    assert trained_modules(config.optimizer) == ("head",)
    optimizer = create_optimizer(config.optimizer, Span(2_810, 93)).transformation
    state = optimizer.init(shapes)
    head = {"head": jax.tree.map(lambda s: jnp.ones(s.shape), shapes["head"])}
    updates, _ = optimizer.update(head, state, head)
    chex.assert_trees_all_close(updates["head"]["bias"], jnp.full(200, -0.01))
    assert set(updates) == {"head"}


def test_table_3_as_the_authors_did():
    config = configs.get_config("cub_inception:authors,unbalanced,pc_softmax")
    check_config(config)
    assert config.data.dropped == "authors" and config.data.balanced is False
    assert round(config.data.side / config.data.stored_side, 3) == 0.874
    assert config.model.moving_statistics and config.model.dropout == 0.2
    assert config.optimizer.weight_decay == 4e-5
    text = configs.get_config("cub_inception:unbalanced,pc_softmax")
    assert text.data.dropped == "half" and not text.model.moving_statistics
    # 2,810 steps of 64 images, whatever their number.
    for words, images in (("authors", 5_994), ("authors,unbalanced", 3_997)):
        config = configs.get_config(f"cub_inception:{words}")
        steps = config.num_epochs * (images // config.batch_size)
        assert abs(steps - 2_810) < 30
        decay = config.optimizer.decay_epochs * (images // config.batch_size)
        assert abs(decay - 10 * 5_994 / 64) < 10
