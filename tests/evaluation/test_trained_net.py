"""A trained net is restored from its workdir, or an error says what is missing."""

import json

import pytest

from mi_classifier.errors import UserError
from mi_classifier.evaluation import load_net
from mi_classifier.storage import workdirs


def test_a_workdir_without_a_checkpoint_is_refused(tiny_config, tmp_path):
    workdirs.open_for(tiny_config(), tmp_path / "run")
    with pytest.raises(UserError, match="no checkpoint yet"):
        load_net(tmp_path / "run")


def test_the_best_variables_and_the_rows_of_all_epochs_are_restored(trained_images):
    net = load_net(trained_images)
    assert len(net.rows) == 3 and 1 <= net.epoch <= 3
    assert net.rows[net.epoch - 1]["validation_accuracy"] == max(
        row["validation_accuracy"] for row in net.rows
    )
    assert net.dataset.num_classes == 4 and net.loss.rule == "prior"
    assert "params" in net.variables


def test_a_mistake_in_the_config_names_its_file(trained_images, tmp_path):
    config = json.loads((trained_images / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_epochs": "3"}))
    with pytest.raises(UserError, match=r"config\.json: num_epochs"):
        load_net(tmp_path)
