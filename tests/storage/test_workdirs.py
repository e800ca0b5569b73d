import pytest
from ml_collections import ConfigDict

from mi_classifier.storage import workdirs
from mi_classifier.errors import UserError


def test_a_workdir_of_another_config_is_refused_naming_the_fields(tmp_path):
    workdirs.open_for(ConfigDict({"loss": "softmax", "seed": 0}), tmp_path / "run")
    workdirs.open_for(ConfigDict({"loss": "softmax", "seed": 0}), tmp_path / "run")
    with pytest.raises(
        UserError, match="loss is 'softmax' there and 'pc_softmax' here"
    ):
        workdirs.open_for(
            ConfigDict({"loss": "pc_softmax", "seed": 0}), tmp_path / "run"
        )


def test_how_a_run_is_evaluated_may_change(tmp_path):
    config = ConfigDict({"seed": 0, "localization": {"region": 2, "threshold": 0.3}})
    workdirs.open_for(config, tmp_path)
    config.localization.region = 3
    workdirs.open_for(config, tmp_path)
    assert workdirs.load_config(tmp_path).localization.region == 3


def test_load_config_says_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        workdirs.load_config(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no config\.json"):
        workdirs.load_config(tmp_path)
    for broken in ('{"seed": ', "[1, 2]"):
        (tmp_path / "config.json").write_text(broken)
        with pytest.raises(UserError, match="cannot be read"):
            workdirs.load_config(tmp_path)
