"""`--config.FIELD=VALUE` sets every field that there may be, and refuses the others."""

import pytest
from ml_collections import ConfigDict, FieldReference

from mi_classifier import config as configs
from mi_classifier.commands import known_options
from mi_classifier.errors import UserError
from mi_classifier.overrides import override


def overridden(reference, *arguments):
    config, rest = override(configs.get_config(reference), arguments, known_options)
    assert rest == []
    return configs.flatten(config)


@pytest.mark.parametrize(
    ("reference", "argument", "field", "value"),
    [
        ("gmm", "--config.data.dim=5", "data.dim", 5),
        ("gmm", "--config.model.hidden=(8,)", "model.hidden", (8,)),
        ("gmm", "--noconfig.data.balanced", "data.balanced", False),
        ("gmm", "--config.optimizer.learning_rate=1", "optimizer.learning_rate", 1.0),
        ("cub_vgg", "--config.pretrained=a=b", "pretrained", "a=b"),
        # Fields that the config file does not name:
        ("cub_resnet", "--config.model.sync_batch_norm=True", None, True),
        ("cub_resnet", "--config.model.sync_batch_norm", None, True),
        ("cub_vgg", "--config.model.adl_threshold=0.5", None, 0.5),
        ("mnist", "--config.optimizer.weight_decay=1e-4", None, 1e-4),
        ("mnist", "--config.optimizer.nesterov=True", None, True),
        ("mnist", "--config.pretrained=weights.npz", None, "weights.npz"),
    ],
)
def test_fields_are_set(reference, argument, field, value):
    if field is None:
        field = argument.removeprefix("--config.").partition("=")[0]
        assert field not in configs.flatten(configs.get_config(reference))
    found = overridden(reference, argument)[field]
    assert found == value and type(found) is type(value)


def test_options_of_the_data_may_be_left_out():
    config = configs.get_config("gmm")
    del config.data.fresh
    changed, _ = override(config, ["--noconfig.data.fresh"], known_options)
    assert changed.data.fresh is False
    with pytest.raises(UserError, match=r"no such field, did you mean 'data\.fresh'"):
        override(config, ["--config.data.frsh=True"], known_options)


def test_the_name_before_still_sets_the_pipeline():
    for argument in (["--config.feed=stream"], ["--config.feed", "stream"]):
        found = overridden("gmm", *argument)
        assert found["pipeline"] == "stream" and "feed" not in found


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config.optimizer.name=adamw", "--config.optimizer.weight_decay=0.1"],
        ["--config.optimizer.weight_decay=0.1", "--config.optimizer.name", "adamw"],
        ["--config.optimizer.decay_epochs=3", "--config.optimizer.schedule=step"],
    ],
)
def test_names_decide_which_other_fields_there_are(arguments):
    assert len(overridden("gmm", *arguments)) > len(overridden("gmm"))


def test_other_arguments_are_returned():
    config = configs.get_config("gmm")
    arguments = ["--workdir", "x", "--config.seed=3", "--help"]
    changed, rest = override(config, arguments, known_options)
    assert changed.seed == 3 and config.seed == 0
    assert rest == ["--workdir", "x", "--help"]
    assert override(config, [], known_options)[1] == []


@pytest.mark.parametrize(
    ("reference", "arguments", "words"),
    [
        ("gmm", ["--config.los=softmax"], "--config.los: no such field.*'loss'"),
        ("gmm", ["--config.data.dims=2"], r"config\.data\.dims.*'data\.dim'"),
        ("gmm", ["--config.dim", "2"], r"config\.dim.*'data\.dim'"),
        ("gmm", ["--config.batch_size=many"], "batch_size: must be int, not 'many'"),
        ("gmm", ["--config.data.balanced=2"], "data.balanced: must be bool, not '2'"),
        ("gmm", ["--config.data=x"], "data: a group of fields; set data.balanced"),
        ("cub_vgg", ["--config.model.adl_treshold=1"], "'model.adl_threshold'"),
        ("cub_resnet", ["--config.model.sync_batchnorm=1"], "'model.sync_batch_norm'"),
        ("mnist", ["--config.optimizer.weight_decy=1"], "'optimizer.weight_decay'"),
        ("gmm", ["--config.model.width=3"], "no such field; there are model.hidden"),
        ("arrays", ["--config.data.pat=a.csv"], "did you mean 'data.path'"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_name(reference, arguments, words):
    with pytest.raises(UserError, match=words):
        overridden(reference, *arguments)


def test_references_between_fields_stay_references():
    seed = FieldReference(3)
    config = ConfigDict({"seed": seed, "data": {"name": "mnist", "seed": seed}})
    changed, _ = override(config, ["--config.seed=7"], lambda config: {})
    assert changed.seed == changed.data.seed == 7
    assert config.seed == 3


@pytest.mark.parametrize("field", ["data", "model", "optimizer", "loss"])
def test_groups_of_a_wrong_type_end_in_a_user_error(field):
    odd = {"x": 1} if field == "loss" else "x"
    config = ConfigDict(configs.get_config("gmm").to_dict() | {field: odd})
    with pytest.raises(UserError, match="no such field"):
        override(config, ["--config.data.nothing=1"], known_options)


def test_options_of_the_old_name_are_dropped():
    config = configs.get_config("image_folder")
    arguments = ["--config.model.name=gap_cnn", "--config.data.name=mnist"]
    changed, _ = override(config, arguments, known_options)
    assert changed.model.to_dict() == {"name": "gap_cnn"}
    assert "root_dir" not in changed.data and "data_dir" in changed.data
    assert "width" in config.model and "root_dir" in config.data
    changed, _ = override(config, ["--config.optimizer.name=adam"], known_options)
    assert "momentum" not in changed.optimizer and "momentum" in config.optimizer
    assert changed.optimizer.full_rate == ("head",)
    with pytest.raises(UserError, match=r"model.width: no such field"):
        override(config, [*arguments, "--config.model.width=3"], known_options)
