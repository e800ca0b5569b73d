import pytest
from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier.errors import UserError

WORDS = {"classes": ("balanced", "unbalanced"), "loss": ("softmax", "pc_softmax")}


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


def test_load_names_the_file_that_does_not_exist(tmp_path):
    (tmp_path / "gmm.py").write_text("def get_config(): return {}")
    with pytest.raises(UserError, match=r"no such file: .*gnm\.py, did you mean .*gmm"):
        configs.load(str(tmp_path / "gnm.py"))
    (tmp_path / "none.py").write_text("def get_config(): return {}")
    with pytest.raises(UserError, match="must return a ConfigDict"):
        configs.load(str(tmp_path / "none.py"))
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UserError, match="defines no get_config"):
        configs.load(str(tmp_path / "empty.py"))
    (tmp_path / "broken.py").write_text("def get_config(:")
    with pytest.raises(UserError, match=r"broken\.py cannot be loaded: SyntaxError"):
        configs.load(str(tmp_path / "broken.py"))
