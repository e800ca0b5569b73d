"""Checkpoints are restored bit for bit, or refused with the reason."""

import os
import pickle

import chex
import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest

from mi_classifier.errors import UserError
from mi_classifier.storage.checkpoints import Checkpoints


def save(workdir, *trees):
    """Saves trees at the steps 0, 1, ..., and waits until they are on disk."""
    with Checkpoints(workdir) as checkpoints:
        for step, tree in enumerate(trees):
            checkpoints.save_soon(step, tree, tree, [{"step": step}], seconds=0)


def test_checkpoints_restore_the_latest_bit_for_bit(tmp_path):
    trees = [
        {
            "a": jax.random.normal(jax.random.key(i), (3, 2)),
            "b": {"step": jnp.int32(i)},
        }
        for i in range(4)
    ]
    save(tmp_path, *trees)
    with Checkpoints(tmp_path) as again:
        assert again.latest_step() == 3
        restored = again.restore(state=trees[0], best=trees[0])
        chex.assert_trees_all_equal(restored["state"], trees[3])
        chex.assert_trees_all_equal(restored["best"], trees[3])
        only = again.restore(best=trees[0])
        assert only.keys() == {"best", "rows", "part"} and only["rows"] == [{"step": 3}]
    kept = [p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()]
    assert sorted(kept) == ["2", "3"]


def test_a_postponed_checkpoint_is_saved_at_the_end_even_by_an_exception(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        Checkpoints(tmp_path) as checkpoints,
    ):
        for step in range(3):
            tree = {"a": jnp.full(2, step)}
            checkpoints.save_soon(step, tree, tree, [], seconds=1e6)
        assert checkpoints.latest_step() is None
        raise KeyboardInterrupt
    with Checkpoints(tmp_path) as again:
        restored = again.restore(state={"a": jnp.zeros(2, int)})["state"]
    assert restored["a"].tolist() == [2, 2]


def test_a_checkpoint_is_read_without_running_code(tmp_path, monkeypatch):
    tree = {"a": jnp.arange(3)}
    save(tmp_path, tree)

    def refuse(*arguments, **options):
        raise AssertionError("a pickle was opened")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    with Checkpoints(tmp_path) as again:
        chex.assert_trees_all_equal(again.restore(state=tree)["state"], tree)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(UserError, match="no checkpoint yet"):
            checkpoints.restore(state={"a": jnp.zeros(2)})
        tree = {"a": jnp.zeros((2, 3))}
        checkpoints.save_soon(1, tree, tree, [], seconds=0)
        for template in ({"a": jnp.zeros((2, 4))}, {"b": jnp.zeros((2, 3))}):
            with pytest.raises(UserError, match="damaged, or of another model"):
                checkpoints.restore(state=template)


def test_a_checkpoint_that_training_replaces_meanwhile_is_not_damaged(
    tmp_path, capsys, monkeypatch
):
    trees = [{"a": jnp.full(2, step)} for step in range(3)]
    save(tmp_path, trees[0])
    restore = ocp.CheckpointManager.restore

    def slow(manager, step, **options):
        if step == 0:
            with Checkpoints(tmp_path) as training:
                for later in (1, 2):
                    training.save_soon(later, trees[later], trees[later], [], seconds=0)
        return restore(manager, step, **options)

    monkeypatch.setattr(ocp.CheckpointManager, "restore", slow)
    with Checkpoints(tmp_path) as reading:
        chex.assert_trees_all_equal(reading.restore(state=trees[0])["state"], trees[2])
    assert "damaged" not in capsys.readouterr().err


def test_a_full_disk_is_named_in_one_line(tmp_path, monkeypatch):
    tree = {"a": jnp.zeros(2)}
    save(tmp_path, tree)

    def full(*arguments, **options):
        raise ValueError("RESOURCE_EXHAUSTED: No space [os_error_code='28']")

    told = r"checkpoints: cannot be written: No space left on device; earlier checkp"
    with Checkpoints(tmp_path) as checkpoints, monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", full)
        with pytest.raises(UserError, match=told):
            checkpoints.save_soon(2, tree, tree, [], seconds=0)
    with Checkpoints(tmp_path) as again:
        assert again.latest_step() == 0
    assert os.listdir(tmp_path / "checkpoints") == ["0"]
