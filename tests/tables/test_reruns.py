"""Changes of a table's configs are checked before anything is trained."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from mi_classifier.errors import UserError
from mi_classifier.tables.reruns import Cell, Options, gather, numbers
from tests.tables.conftest import write_run


@pytest.mark.parametrize(
    ("changes", "only", "words"),
    [
        (("num_epoch=3",), (), "--set: num_epoch: no such field, did you mean"),
        (("num_epochs",), (), "--set: must be FIELD=VALUE, not 'num_epochs'"),
        (("num_epochs=2.5",), (), "--set: num_epochs: must be int, not '2.5'"),
        (("num_epochs=many",), (), "--set: num_epochs: must be int, not 'many'"),
        (("data.balanced=maybe",), (), "--set: data.balanced: must be bool"),
        (("seed=5",), (), "--set: the table sets the seeds; --seeds says how many"),
        (("data.seed=5",), (), "--set: the table sets the seeds"),
        (("loss=pc_softmax",), (), "--set: changes the cell; --only chooses cells"),
        (("num_epochs=0",), (), "num_epochs: must be at least 1"),
        ((), ("cub201",), "--only: no cell has all of cub201"),
    ],
)
def test_impossible_changes_are_refused(rerun, tmp_path, changes, only, words):
    with pytest.raises(UserError) as caught:
        rerun("3", changes=changes, only=only)
    assert words in str(caught.value)
    assert not (tmp_path / "3").exists()


def test_changes_keep_their_types(tmp_path):
    changes = {
        "optimizer.learning_rate=1": 1.0,
        "data.balanced=False": False,
        "pretrained=a=b": "a=b",
        "model.adl_threshold=0.5": 0.5,
    }
    wanted = {"vgg": Cell("cub_vgg", {"num_epochs": 7})}
    found = {c.partition("=")[0]: value for c, value in changes.items()}
    workdir = tmp_path / "run"
    write_run(workdir, "cub_vgg", {"x": 1.5}, num_epochs=7, **found)
    options = Options(tmp_path / "t", changes=tuple(changes), collect=True)
    cells = gather(wanted, lambda config: config.data.name, options)
    (run,) = cells["cub200"]
    assert run.workdir == workdir and run.test == {"x": 1.5}
    assert isinstance(run.config, ConfigDict)


def test_seeds_and_data_folders_reach_the_configs(tmp_path):
    options = Options(tmp_path, archive_dir="idx", data_dir=str(tmp_path))
    config = Cell("mnist_channel:unbalanced", seeds_data=True).config(3, options)
    assert config.seed == config.data.seed == 3
    assert config.data.archive_dir.endswith("/idx")
    assert config.data.data_dir == str(tmp_path)
    assert Cell("cub_vgg").config(3, options).data.seed == 0


def test_numbers_are_found_by_their_path():
    runs = [{"a": {"b": 1}}, {"a": {"b": None}}, {"a": {}}, {}]
    first, *others = numbers(runs, "a.b")
    assert first == 1 and np.isnan(others).all()
