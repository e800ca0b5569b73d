"""Config files are loaded, checked and compared, and survive their JSON form."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier.errors import UserError
from mi_classifier.storage import workdirs

WORDS = {"classes": ("balanced", "unbalanced"), "loss": ("softmax", "pc_softmax")}
FILE = """
from ml_collections import ConfigDict
def get_config(): return ConfigDict({"loss": "softmax"})
"""


def test_parse_arguments_takes_words_in_any_order():
    assert configs.parse_arguments("pc_softmax, unbalanced", **WORDS) == {
        "classes": "unbalanced",
        "loss": "pc_softmax",
    }
    assert configs.parse_arguments("", **WORDS) == {"classes": None, "loss": None}


def test_parse_arguments_names_the_nearest_word():
    with pytest.raises(UserError, match="'pc-softmax', did you mean 'pc_softmax'"):
        configs.parse_arguments("pc-softmax", **WORDS)
    with pytest.raises(UserError, match="both 'softmax' and 'pc_softmax'"):
        configs.parse_arguments("softmax,pc_softmax", **WORDS)


def test_json_restores_a_config_exactly():
    config = ConfigDict({"a": {"b": (1, 2), "c": 0.1}, "d": "x", "e": True, "f": None})
    again = configs.from_json(configs.to_json(config))
    assert again.to_dict() == config.to_dict()
    assert configs.differences(config, again) == []


def test_differences_names_fields_and_both_values():
    ours = ConfigDict({"loss": "softmax", "data": {"dim": 2}})
    theirs = ConfigDict({"loss": "pc_softmax", "data": {"dim": 2, "seed": 0}})
    assert configs.differences(ours, theirs) == [
        "data.seed is 0 there and missing here",
        "loss is 'pc_softmax' there and 'softmax' here",
    ]


def test_training_does_not_depend_on_what_is_evaluated():
    ours = configs.get_config("gmm")
    theirs = ours.copy_and_resolve_references()
    del theirs.evaluators, theirs.pipeline
    theirs.evaluation_batch_size = 7
    assert configs.training_differences(ours, theirs) == []
    theirs.seed = 1
    assert configs.training_differences(ours, theirs) == ["seed is 1 there and 0 here"]


def test_load_names_the_file_that_does_not_exist(tmp_path):
    (tmp_path / "gmm.py").write_text(FILE)
    (tmp_path / "shared.py").write_text("EPOCHS = 3")
    with pytest.raises(UserError, match=r"no such file: .*gnm\.py, did you mean .*gmm"):
        configs.load(str(tmp_path / "gnm.py"))
    with pytest.raises(UserError) as caught:
        configs.load(str(tmp_path / "share.py"))
    assert "shared.py" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("def get_config(): return {}", "must return a ConfigDict"),
        ("", "defines no get_config"),
        ("def get_config(:", r"file\.py cannot be loaded: SyntaxError"),
        ("def get_config(): return 1 / 0", "cannot be loaded: ZeroDivisionError"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, content, words):
    (tmp_path / "file.py").write_text(content)
    with pytest.raises(UserError, match=words):
        configs.load(str(tmp_path / "file.py"))


def test_a_config_file_may_import_its_neighbors(tmp_path):
    (tmp_path / "shared.py").write_text("LOSS = 'pc_softmax'")
    content = "from . import shared\n" + FILE.replace('"softmax"', "shared.LOSS")
    (tmp_path / "file.py").write_text(content)
    assert configs.load(str(tmp_path / "file.py")).loss == "pc_softmax"


def test_a_change_of_a_config_file_is_seen_at_once(tmp_path):
    for name in ("one", "two"):  # of the same length, within the same second
        (tmp_path / "file.py").write_text(FILE.replace("softmax", name))
        assert configs.load(str(tmp_path / "file.py")).loss == name


def test_get_config_takes_words():
    config = configs.get_config("cub_vgg:adl")
    assert config.model.adl is True and config.model.name == "vgg16_gap"
    with pytest.raises(UserError, match="'cub_vg', did you mean 'cub_vgg'") as caught:
        configs.get_config("cub_vg")
    assert "common" not in str(caught.value)
    with pytest.raises(UserError, match="unknown value 'common'"):
        configs.get_config("common")


def test_the_names_of_the_version_before_are_read(tmp_path):
    old = '{"feed": "stream", "loss": "softmax", "paper": {"cam": [42.5, 31.4]}}'
    (tmp_path / "config.json").write_text(old)
    config = workdirs.load_config(tmp_path)
    assert config.to_dict() == {"pipeline": "stream", "loss": "softmax"}
    (tmp_path / "file.py").write_text(FILE.replace('"loss"', '"feed"'))
    assert configs.load(str(tmp_path / "file.py")).pipeline == "softmax"


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ConfigDict({"data": {"data_dir": "a", "archive_path": "", "seed": 0}})
    absolute = configs.with_absolute_paths(config)
    assert absolute.data.to_dict() == {
        "data_dir": str(tmp_path / "a"),
        "archive_path": "",
        "seed": 0,
    }
    assert config.data.data_dir == "a"
    config.data.data_dir = "~no-such-user/a"  # a folder of that name may exist
    absolute = configs.with_absolute_paths(config)
    assert absolute.data.data_dir == str(tmp_path / "~no-such-user/a")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("seed", -1, r"seed: must be in \[0, 2\*\*32\), not -1"),
        ("seed", 2**32, "seed: must be in"),
        ("batch_size", 1.5, "batch_size: must be int, not 1.5"),
        ("data", 3, "data: must be a group of fields, not 3"),
        ("num_epochs", 0, "num_epochs: must be at least 1, not 0"),
        ("checkpoint_seconds", np.nan, "checkpoint_seconds: must be at least 0"),
        ("evaluators", "accuracy", "evaluators: must be tuple"),
    ],
)
def test_check_names_the_field(field, value, words):
    values = configs.get_config("gmm").to_dict() | {field: value}
    with pytest.raises(UserError, match=words):
        configs.check(ConfigDict(values))


def test_check_names_what_is_missing():
    values = configs.get_config("gmm").to_dict()
    del values["loss"]
    with pytest.raises(UserError, match="loss: the config lacks this field"):
        configs.check(ConfigDict(values))
    values = configs.get_config("gmm").to_dict()
    del values["model"]["name"]
    with pytest.raises(UserError, match=r"model\.name: missing"):
        configs.check(ConfigDict(values))
