"""Inside of an epoch: calls ahead of the host, signals, and checkpoints by time."""

import contextlib
import json
import signal

import chex
import numpy as np
import pytest

from mi_classifier import termination
from mi_classifier.errors import UserError
from mi_classifier.evaluation.trained_net import load_without_data
from mi_classifier.storage.checkpoints import Checkpoints
from mi_classifier.training import epochs, train
from mi_classifier.training.epochs import run_epoch


def rows_without_times(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


class Pending:
    """The losses of a call; notes how many calls came after it at each look."""

    def __init__(self, values, calls):
        self.values, self.calls, self.looked = values, calls, []
        calls.append(self)

    def __len__(self):
        return len(self.values)

    def __array__(self, *arguments, **options):
        self.looked.append(len(self.calls) - self.calls.index(self) - 1)
        return np.asarray(self.values)


def count_calls(calls, broken_call=None):
    """Returns train steps that only count; those of one call have a NaN loss."""

    def train_steps(state, batches):
        value = np.nan if batches == broken_call else float(batches)
        return state + 2, Pending([[value, 0], [value, 0]], calls)

    return train_steps


def test_the_devices_never_wait_for_the_host():
    calls, advanced = [], []
    state, losses = run_epoch(count_calls(calls), 0, range(6), advanced.append)
    assert state == 12
    assert advanced == [2] * 6
    np.testing.assert_array_equal(losses[:, 0], np.repeat(np.arange(6.0), 2))
    # During the epoch with four calls behind it; at the end of the epoch, the rest.
    assert [c.looked for c in calls] == [[4], [4], [3], [2], [1], [0]]


def test_an_epoch_ends_four_calls_after_a_loss_that_is_not_finite():
    calls = []
    state, losses = run_epoch(count_calls(calls, broken_call=3), 0, range(20))
    assert len(calls) == 8
    assert state == 16
    assert np.isnan(losses[6:8, 0]).all()


def test_signals_inside_of_epochs_save_every_step_and_the_run_goes_on(
    tiny_config, tmp_path, monkeypatch, capsys
):
    config = tiny_config(num_epochs=3, checkpoint_seconds=1e6, steps_per_call=5)
    undisturbed = train(config, tmp_path / "undisturbed").state
    are_due = Checkpoints.are_due

    def stop(checkpoints, seconds):  # a signal comes at the second look of each start
        calls.append(seconds)
        if len(calls) == 2:
            monkeypatch.setattr(termination, "asked", signal.SIGTERM)
        return are_due(checkpoints, seconds)

    workdir, saved = tmp_path / "run", []
    monkeypatch.setattr(Checkpoints, "are_due", stop)
    while not saved or saved[-1] < 36:
        calls = []
        with contextlib.suppress(termination.Terminated):
            train(config, workdir)
        monkeypatch.setattr(termination, "asked", 0)
        steps = [int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*")]
        saved.append(max(steps))
        if len(saved) == 1:
            with pytest.raises(UserError, match="no epoch is finished yet; go on"):
                load_without_data(workdir)
    # After two of an epoch's three calls, before its validation, and after it.
    assert sorted(set(saved)) == [10, 12, 22, 24, 34, 36]
    assert "resumes in epoch 2, after 10 of 12 steps; 3" in capsys.readouterr().out
    chex.assert_trees_all_equal(undisturbed, train(config, workdir).state)
    assert rows_without_times(tmp_path / "undisturbed") == rows_without_times(workdir)


def test_long_epochs_save_by_time(tiny_config, tmp_path, monkeypatch):
    saved, save_soon = [], Checkpoints.save_soon

    def note(checkpoints, step, state, best, rows, seconds, part):
        saved.extend([step] * (seconds == 0))
        save_soon(checkpoints, step, state, best, rows, seconds, part)

    monkeypatch.setattr(Checkpoints, "save_soon", note)
    monkeypatch.setattr(epochs, "_LEAST_SECONDS", 0.0)
    train(tiny_config(num_epochs=1, checkpoint_seconds=0.0, steps_per_call=4), tmp_path)
    assert saved == [4, 8, 12, 12]  # and once more with the validation
