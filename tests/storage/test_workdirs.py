"""A workdir belongs to one config and one set of data, also if version 0.1 wrote it."""

import json

import pytest
from ml_collections import ConfigDict

from mi_classifier.errors import UserError
from mi_classifier.storage import files, workdirs


def test_a_workdir_of_another_config_is_refused_naming_the_fields(tmp_path):
    workdirs.open_for(ConfigDict({"loss": "softmax", "seed": 0}), tmp_path / "run")
    workdirs.open_for(ConfigDict({"loss": "softmax", "seed": 0}), tmp_path / "run")
    with pytest.raises(
        UserError, match="loss is 'softmax' there and 'pc_softmax' here"
    ):
        workdirs.open_for(
            ConfigDict({"loss": "pc_softmax", "seed": 0}), tmp_path / "run"
        )


def test_the_evaluation_of_a_run_may_change(tmp_path):
    config = ConfigDict({"seed": 0, "localization": {"region": 2, "threshold": 0.3}})
    workdirs.open_for(config, tmp_path)
    config.localization.region = 3
    workdirs.open_for(config, tmp_path)
    assert workdirs.load_config(tmp_path).localization.region == 3


def test_load_config_names_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        workdirs.load_config(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no config\.json"):
        workdirs.load_config(tmp_path)
    for broken in ('{"seed": ', "[1, 2]"):
        (tmp_path / "config.json").write_text(broken)
        with pytest.raises(UserError, match="cannot be read"):
            workdirs.load_config(tmp_path)


def test_a_config_of_version_0_1_is_read_by_todays_names(tmp_path):
    old = {"seed": 0, "feed": "stream", "paper": {"accuracy": 0.5}}
    files.write_hashed(tmp_path / "config.json", json.dumps(old))
    config = workdirs.load_config(tmp_path)
    assert config.to_dict() == {"seed": 0, "pipeline": "stream"}


def test_other_data_are_refused_naming_the_splits(tmp_path):
    workdirs.check_data(tmp_path, {"train": "a", "test": "b"})
    workdirs.check_data(tmp_path, {"train": "a", "test": "b"})
    with pytest.raises(UserError, match=r"started with other data \(test\); restore"):
        workdirs.check_data(tmp_path, {"train": "a", "test": "c"})
    path = tmp_path / "data.json"
    assert json.loads(path.read_text()) == {
        "version": "0.2.0",
        "splits": {"train": "a", "test": "b"},
    }
    path.unlink()  # its hash remains
    with pytest.raises(UserError, match="is missing, and the run started with other"):
        workdirs.check_data(tmp_path, {"train": "a", "test": "c"})
    workdirs.check_data(tmp_path, {"train": "a", "test": "b"})
    assert path.exists()
    files.write_hashed(path, json.dumps({"version": "0.2.0"}))
    with pytest.raises(UserError, match=r"with other data \(train\)"):
        workdirs.check_data(tmp_path, {"train": "a"})


def test_data_of_version_0_1_are_compared_by_the_hashes_of_arrays(tmp_path):
    path, new, old = tmp_path / "data.json", {"train": "digest"}, {"train": "arrays"}
    files.write_hashed(path, files.to_json(old, indent=2))
    workdirs.check_data(tmp_path, old)  # the same hashes, so no other is needed
    workdirs.check_data(tmp_path, new, of_arrays=lambda: old)
    told = r"by version 0\.1 or with other data \(train\); train again in another"
    for of_arrays in (None, lambda: {"train": "others"}):
        with pytest.raises(UserError, match=told):
            workdirs.check_data(tmp_path, new, of_arrays)
    path.unlink()
    with pytest.raises(UserError, match="is missing, and the run started with other"):
        workdirs.check_data(tmp_path, new, lambda: {"train": "others"})
    workdirs.check_data(tmp_path, new, lambda: old)


def test_hashes_of_arrays_are_not_computed_for_nothing(tmp_path):
    def refuse():
        raise AssertionError("arrays were hashed")

    workdirs.check_data(tmp_path, {"train": "a"}, refuse)
    workdirs.check_data(tmp_path, {"train": "a"}, refuse)
    with pytest.raises(UserError, match="other data"):
        workdirs.check_data(tmp_path, {"train": "b"}, refuse)


def test_a_link_to_nothing_is_told(tmp_path):
    link = tmp_path / "run"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=r"is a link to .*gone, which does not"):
        workdirs.check_free_for(ConfigDict(), link)


@pytest.mark.parametrize("name", ["run", "run/evaluation", "run/checkpoints"])
def test_files_in_place_of_folders_are_told(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    with pytest.raises(UserError, match=f"{name} is a file, not a folder"):
        workdirs.check_free_for(ConfigDict(), tmp_path / "run")


def test_of_many_fields_that_differ_some_are_told(tmp_path):
    config = ConfigDict({f"field{i}": 0 for i in range(9)})
    workdirs.open_for(config, tmp_path)
    other = ConfigDict({f"field{i}": 1 for i in range(9)})
    told = r"\(field0 is 0 there and 1 here; .*field3 is .*here; and 5 more fields\)"
    with pytest.raises(UserError, match=told):
        workdirs.check_free_for(other, tmp_path)
