"""Checkpoints come back bit for bit, or are told of."""

import os
import pickle

import chex
import jax
import jax.numpy as jnp
import pytest

from mi_classifier.storage.checkpoints import Checkpoints
from mi_classifier.errors import UserError


def test_checkpoints_restore_the_latest_bit_for_bit(tmp_path):
    trees = [
        {
            "a": jax.random.normal(jax.random.key(i), (3, 2)),
            "b": {"step": jnp.int32(i)},
        }
        for i in range(4)
    ]
    with Checkpoints(tmp_path) as checkpoints:
        for step, tree in enumerate(trees):
            checkpoints.save_soon(
                step, tree, {"best": tree["a"]}, [{"step": step}], seconds=0
            )
    with Checkpoints(tmp_path) as again:
        assert again.latest_step() == 3
        restored = again.restore(state=trees[0], best={"best": trees[0]["a"]})
        chex.assert_trees_all_equal(restored["state"], trees[3])
        chex.assert_trees_all_equal(restored["best"]["best"], trees[3]["a"])
        only = again.restore(best={"best": trees[0]["a"]})
        assert only.keys() == {"best", "rows"} and only["rows"] == [{"step": 3}]
    kept = [p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()]
    assert sorted(kept) == ["2", "3"]


def test_what_was_put_off_is_saved_in_the_end_even_by_an_exception(tmp_path):
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
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save_soon(1, tree, tree, [], seconds=0)

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


def test_what_a_training_has_replaced_meanwhile_is_not_damaged(
    tmp_path, capsys, monkeypatch
):
    trees = [{"a": jnp.full(2, step)} for step in range(3)]
    with Checkpoints(tmp_path) as training:
        training.save_soon(0, trees[0], trees[0], [], seconds=0)
    with Checkpoints(tmp_path) as reading, Checkpoints(tmp_path) as training:
        restore = reading._restore

        def slow(step, templates):
            for later in (1, 2) if step == 0 else ():
                training.save_soon(later, trees[later], trees[later], [], seconds=0)
                training._manager.wait_until_finished()
            return restore(step, templates)

        monkeypatch.setattr(reading, "_restore", slow)
        chex.assert_trees_all_equal(reading.restore(state=trees[0])["state"], trees[2])
    assert "damaged" not in capsys.readouterr().err


def test_a_disk_that_is_full_is_told_in_one_line(tmp_path, monkeypatch):
    tree = {"a": jnp.zeros(2)}

    def full(*arguments, **options):
        raise ValueError("RESOURCE_EXHAUSTED: No space [os_error_code='28']")

    told = r"checkpoints: cannot be written: No space left on device; what was saved"
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save_soon(1, tree, tree, [], seconds=0)
        checkpoints._manager.wait_until_finished()
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints._manager, "save", full)
            with pytest.raises(UserError, match=told):
                checkpoints.save_soon(2, tree, tree, [], seconds=0)
    with Checkpoints(tmp_path) as again:
        assert again.latest_step() == 1
    assert os.listdir(tmp_path / "checkpoints") == ["1"]
