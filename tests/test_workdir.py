import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from mi_classifier import workdir as workdirs
from mi_classifier.errors import UserError


def test_to_json_is_strict_json_and_write_text_leaves_nothing_else(tmp_path):
    path = tmp_path / "deep" / "metrics.json"
    value = {"a": np.float32(0.5), "b": jnp.arange(2), "c": [np.nan, (1, "x")]}
    workdirs.write_text(path, workdirs.to_json(value, indent=2))
    assert json.loads(path.read_text()) == {
        "a": 0.5,
        "b": [0, 1],
        "c": [None, [1, "x"]],
    }
    assert list(path.parent.iterdir()) == [path]


def test_write_text_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "x"
    workdirs.write_text(path, "old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="cannot be written: No space left"):
        workdirs.write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


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


def test_checkpoints_restore_the_latest_bit_for_bit(tmp_path):
    trees = [
        {
            "a": jax.random.normal(jax.random.key(i), (3, 2)),
            "b": {"step": jnp.int32(i)},
        }
        for i in range(4)
    ]
    with workdirs.Checkpoints(tmp_path) as checkpoints:
        for step, tree in enumerate(trees):
            checkpoints.save_soon(
                step, tree, {"best": tree["a"]}, [{"step": step}], seconds=0
            )
    with workdirs.Checkpoints(tmp_path) as again:
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
        workdirs.Checkpoints(tmp_path) as checkpoints,
    ):
        for step in range(3):
            tree = {"a": jnp.full(2, step)}
            checkpoints.save_soon(step, tree, tree, [], seconds=1e6)
        assert checkpoints.latest_step() is None
        raise KeyboardInterrupt
    with workdirs.Checkpoints(tmp_path) as again:
        restored = again.restore(state={"a": jnp.zeros(2, int)})["state"]
    assert restored["a"].tolist() == [2, 2]


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    with workdirs.Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(UserError, match="no checkpoint yet"):
            checkpoints.restore(state={"a": jnp.zeros(2)})
        tree = {"a": jnp.zeros((2, 3))}
        checkpoints.save_soon(1, tree, tree, [], seconds=0)
        for template in ({"a": jnp.zeros((2, 4))}, {"b": jnp.zeros((2, 3))}):
            with pytest.raises(UserError, match="damaged, or of another model"):
                checkpoints.restore(state=template)
