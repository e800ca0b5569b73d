"""Switches of JAX, and absent devices: a command works, or tells in one line."""

import contextlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mi_classifier as mi
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


ROWS = np.arange(100) % 2
STRICT = {"numpy_rank_promotion": "raise", "numpy_dtype_promotion": "strict"}


@pytest.mark.parametrize("switch", STRICT)
def test_functions_and_estimates_compute_under_strict_switches(switch):
    rng = np.random.default_rng(0)
    features, kernel = rng.random((4, 5, 5, 8), np.float32), rng.random((8, 3))
    labels, log_prior = np.arange(4) % 3, np.log(np.array([0.5, 0.3, 0.2]))

    def found():
        logits = mi.log_pc_softmax(features.mean((1, 2)) @ kernel, log_prior)
        return [
            logits,
            mi.variational_bound(logits, labels, log_prior),
            mi.pc_softmax_cross_entropy(logits, labels, log_prior),
            mi.optimal_decision(logits, log_prior, "prior"),
            mi.info_cam(features, kernel, labels, region=2),
            mi.info_cam_plus(features, kernel, labels),
            mi.boxes_from_maps(features[..., 0], 40),
            mi.evaluate_features(features, kernel, labels, quiet=True).to_dict(),
            mi.estimate_mutual_information(features[..., 0].reshape(100, 1), ROWS).nats,
        ]

    jax.clear_caches()
    usual = found()
    jax.clear_caches()
    with getattr(jax, switch)(STRICT[switch]):
        strict = found()
    chex.assert_trees_all_equal(usual, strict)


SWITCHES = {
    "enable_x64": True,
    "default_prng_impl": "rbg",
    "threefry_partitionable": False,
    "numpy_rank_promotion": "raise",
    "numpy_dtype_promotion": "strict",
}


@contextlib.contextmanager
def switched_on():
    with contextlib.ExitStack() as stack:
        for name, value in SWITCHES.items():
            stack.enter_context(getattr(jax, name)(value))
        yield


def test_a_notebooks_switches_change_no_result_of_a_seed(tiny_config, tmp_path):
    inputs = np.random.default_rng(0).standard_normal((100, 2))

    def found(workdir):
        mi.train(tiny_config(num_epochs=1), workdir)
        estimate = mi.estimate_mutual_information(inputs, ROWS)
        return mi.load(workdir).predict(inputs).probabilities, estimate.nats

    usual = found(tmp_path / "usual")
    with switched_on():
        other = found(tmp_path / "other")
    chex.assert_trees_all_equal(usual, other)


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


@pytest.mark.parametrize("name", ["JAX_LOG_COMPILES", "JAX_DEBUG_NANS"])
def test_a_wrong_value_of_a_variable_is_told_in_one_line(
    run_script, tmp_path, monkeypatch, name
):
    monkeypatch.setenv(name, "nonsense")
    command = ("train.py", "--config=configs/gmm.py", f"--workdir={tmp_path / 'a'}")
    fails(run_script(*command, check=False), "nonsense", "or unset it")


def test_an_absent_device_is_told_in_one_line(run_script, tmp_path):
    command = ("train.py", "--config=configs/gmm.py", f"--workdir={tmp_path / 'a'}")
    result = run_script(*command, check=False, platform="nonsense")
    fails(result, "JAX finds no device", "nonsense")
    assert not list(tmp_path.iterdir())
