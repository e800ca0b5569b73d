"""A config is checked against what it names: losses, models, optimizers, data, maps."""

import numpy as np
import pytest

from mi_classifier import get_config, overrides
from mi_classifier.activation_maps import MAPS, Map, info_cam
from mi_classifier.data import Dataset, load_dataset
from mi_classifier.data.images import blank_dataset
from mi_classifier.errors import UserError
from mi_classifier.losses import LOSSES, Loss
from mi_classifier.models import create_model
from mi_classifier.training.checks import (
    check_config,
    check_loss,
    known_options,
    warning_of_region,
)


@pytest.mark.parametrize(
    ("group", "option", "default"),
    [
        ("model", "sync_batch_norm", False),
        ("model", "adl_threshold", 0.9),
        ("optimizer", "weight_decay", 0.0),
        ("optimizer", "decay_rate", None),
        ("optimizer", "backbone_rate", 1.0),
        ("data", "archive_path", ""),
        ("localization", "region", 1),
        ("", "pipeline", "auto"),
    ],
)
def test_a_field_that_the_config_lacks_is_known(group, option, default):
    assert known_options(get_config("cub_resnet"))[group][option] == default


def test_what_a_config_cannot_set_is_not_known():
    known = known_options(get_config("cub_resnet"))
    assert not {"num_classes", "name", "parent"} & known["model"].keys()
    assert not {"features", "labels", "logits"} & known["localization"].keys()
    assert not {"rate", "span"} & known["optimizer"].keys()
    assert "localization" not in known_options(get_config("gmm"))


def test_the_names_in_a_config_decide_what_is_known():
    config = get_config("gmm")
    assert "b1" in known_options(config)["optimizer"]
    config.optimizer.name, config.model.name = "sgd", "none"
    known = known_options(config)
    assert "b1" not in known["optimizer"]
    assert known["model"] == {}


def test_the_command_line_sets_known_fields():
    arguments = ["--config.model.sync_batch_norm=True", "--config.pipeline=stream"]
    config, rest = overrides.override(
        get_config("cub_resnet"), arguments, known_options
    )
    assert config.model.sync_batch_norm is True
    assert config.pipeline == "stream"
    assert rest == []


def test_new_losses_and_maps_are_known_with_their_options(monkeypatch):
    def focal(logits, labels, log_prior, gamma: float = 2.0):
        return LOSSES["softmax"].function(logits, labels, log_prior) * gamma

    def smooth_cam(features, head_kernel, labels, sigma: float = 1.5):
        return sigma * info_cam(features, head_kernel, labels)

    monkeypatch.setitem(LOSSES, "focal", Loss(focal, False, False))
    monkeypatch.setitem(MAPS, "smooth_cam", Map(smooth_cam, "smooth CAM"))
    config = get_config("cub_resnet")
    config.loss = "focal"
    known = known_options(config)
    assert known["loss_options"] == {"gamma": 2.0}
    assert known["localization"]["sigma"] == 1.5
    options = ["--config.loss_options.gamma=3.0", "--config.localization.sigma=0.5"]
    config, _ = overrides.override(config, options, known_options)
    check_config(config)
    assert MAPS["smooth_cam"].options(config.localization) == {"sigma": 0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "sofmax"}, "loss: unknown value 'sofmax', did you mean 'softmax'"),
        ({"loss_options": {"gamma": 1.0}}, "loss_options.gamma: no such option"),
        ({"pipeline": "strem"}, "pipeline: unknown value 'strem'.*'stream'"),
        ({"best_by": "loss"}, "best_by: unknown value 'loss'"),
        ({"evaluators": ("infomation",)}, "evaluators: unknown value 'infomation'"),
    ],
)
def test_mistakes_are_named(change, message):
    config = get_config("gmm")
    with config.unlocked():
        config.update(change)
    with pytest.raises(UserError, match=message):
        check_config(config)


@pytest.mark.parametrize(
    ("loss", "labels", "message"),
    [
        ("sigmoid", "one", "an example of digits has one label; use softmax or pc_"),
        ("softmax", "many", "has any number of labels; use sigmoid or pc_sigmoid"),
    ],
)
def test_a_loss_must_fit_the_labels(loss, labels, message):
    label = np.zeros((4, 2) if labels == "many" else 4, int)
    dataset = Dataset("digits", {"test": {"label": label}}, ("a", "b"), lambda x: x)
    with pytest.raises(UserError, match=f"loss: .*{message}"):
        check_loss(loss, dataset)
    check_loss(f"pc_{'sigmoid' if labels == 'many' else 'softmax'}", dataset)


@pytest.mark.parametrize(("region", "told"), [(1, False), (3, True)])
def test_a_region_that_is_large_for_the_net_is_told_before_training(region, told):
    """A net without parameters at hand: shapes are enough. 32 px give 1 x 1 cells."""
    config = get_config("cub_resnet")
    config.localization.region = region
    model = create_model("resnet50", num_classes=3, width=4)
    data = blank_dataset(side=32, stored_side=32, normalization="imagenet")
    warning = warning_of_region(config, model, data)
    assert bool(warning) == told
    assert not told or warning.startswith("localization.region: R = 3 covers")


def test_rows_have_no_region_to_tell_of():
    config = get_config("gmm")
    data = load_dataset(config.data)
    model = create_model(num_classes=data.num_classes, **config.model)
    assert warning_of_region(config, model, data) == ""
