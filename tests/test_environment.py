"""Switches of JAX, and absent devices: a command works, or tells in one line."""

import jax
import jax.numpy as jnp
import pytest

from mi_classifier.models import MODELS, create_model
from tests.test_cli import TINY, fails


@pytest.mark.parametrize("name", MODELS)
def test_variables_are_float32_where_jax_has_64_bits(name):
    """So a checkpoint is the same with and without them."""
    model = create_model(name, 3)
    image = jax.ShapeDtypeStruct((1, 2), jnp.float32)
    if name != "mlp":
        channels = 1 if name == "mnist_cnn" else 3
        image = jax.ShapeDtypeStruct((1, 96, 96, channels), jnp.float32)
    with jax.enable_x64(True):
        variables = jax.eval_shape(model.init, jax.random.key(0), image)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.slow
def test_strict_switches_change_nothing(run_script, tmp_path, monkeypatch):
    for name, value in (
        ("JAX_NUMPY_DTYPE_PROMOTION", "strict"),
        ("JAX_NUMPY_RANK_PROMOTION", "raise"),
        ("JAX_TRANSFER_GUARD", "disallow"),
        ("JAX_ENABLE_X64", "1"),
    ):
        monkeypatch.setenv(name, value)
    workdir = f"--workdir={tmp_path}"
    trained = run_script("train.py", "--config=configs/gmm.py", *TINY, workdir)
    monkeypatch.delenv("JAX_ENABLE_X64")
    evaluated = run_script("evaluate.py", workdir)  # the checkpoint is sound
    assert "mutual information, nats" in trained.stdout
    assert "mutual information, nats" in evaluated.stdout


def test_an_absent_device_is_told_in_one_line(run_script, tmp_path):
    command = ("train.py", "--config=configs/gmm.py", f"--workdir={tmp_path / 'a'}")
    result = run_script(*command, check=False, platform="nonsense")
    fails(result, "JAX finds no device", "nonsense")
    assert not list(tmp_path.iterdir())
