"""A finished run goes on when it gets more epochs, if its schedule allows."""

import chex
import pytest

from mi_classifier.errors import UserError
from mi_classifier.storage.checkpoints import restore_best
from mi_classifier.training import train
from tests.training.test_loop import rows_without_times


def step_config(tiny_config, num_epochs):
    config = tiny_config()
    config.num_epochs = num_epochs
    config.optimizer = {"name": "adam", "learning_rate": 3e-3, "schedule": "step"}
    config.optimizer.decay_epochs, config.optimizer.decay_rate = 2, 0.1
    return config


def test_a_longer_run_goes_on_from_a_finished_one(tiny_config, tmp_path, capsys):
    train(step_config(tiny_config, 2), tmp_path / "run")
    state, _ = train(step_config(tiny_config, 3), tmp_path / "run")
    assert "resumes after epoch 2 of 3" in capsys.readouterr().out
    whole, _ = train(step_config(tiny_config, 3), tmp_path / "whole")
    chex.assert_trees_all_equal(state, whole)
    rows = rows_without_times(tmp_path / "run")
    assert rows == rows_without_times(tmp_path / "whole") and len(rows) == 3
    best = [
        restore_best(tmp_path / name, state.variables)[0] for name in ("run", "whole")
    ]
    chex.assert_trees_all_equal(*best)
    with pytest.raises(UserError, match="num_epochs is 3 there and 2 here"):
        train(step_config(tiny_config, 2), tmp_path / "run")


def test_a_schedule_that_knows_the_length_is_told(tiny_config, tmp_path):
    config = tiny_config()
    assert config.optimizer.schedule == "cosine"
    config.num_epochs = 1
    train(config, tmp_path)
    config.num_epochs = 2
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(UserError, match="depend on num_epochs, so it cannot go on"):
        train(config, tmp_path)
    assert (tmp_path / "config.json").read_bytes() == before
