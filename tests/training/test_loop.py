"""A training run: what it writes, how it ends, and how it resumes.

Runs are the same to the bit on one and two devices, and when they were killed, and
nothing is written before the config has been checked.
"""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import UserDict
from concurrent.futures import ThreadPoolExecutor

import chex
import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from tensorboardX.proto import event_pb2

from mi_classifier.errors import UserError
from mi_classifier.evaluation import load_net
from mi_classifier.losses import LOSSES, Loss
from mi_classifier.models import create_model
from mi_classifier.storage.checkpoints import restore_best
from mi_classifier.training import train
from mi_classifier.training.epochs import epoch_order
from tests.conftest import REPOSITORY

TRAIN = """
import sys
import numpy as np, jax
from mi_classifier import config, training
trained = training.train(config.from_json(open(sys.argv[1]).read()), sys.argv[2])
leaves = jax.tree.leaves((trained.state.params, trained.state.opt_state))
np.savez(sys.argv[3], *map(np.asarray, leaves))
"""


def read_rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").open()]


def rows_without_times(workdir):
    rows = read_rows(workdir)
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def read_events(path):
    """Returns what TensorBoard reads: step, name and value of each scalar."""
    content, found = path.read_bytes(), []
    while content:
        size = int.from_bytes(content[:8], "little")
        event = event_pb2.Event.FromString(content[12 : 12 + size])
        found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
        content = content[16 + size :]
    return found


def with_changed_label(dataset):
    """Returns the data set with another label for the first training example."""
    train_split = dict(dataset.splits["train"])
    train_split["label"] = np.array(train_split["label"])
    train_split["label"][0] = (train_split["label"][0] + 1) % dataset.num_classes
    splits = {**dataset.splits, "train": train_split}
    return dataclasses.replace(dataset, splits=splits, digests=None)


def test_a_run_writes_rows_events_and_its_config(tiny_config, tmp_path):
    config = tiny_config()
    state, dataset = train(config, tmp_path)
    assert int(state.step) == 2 * (48_000 // 4_000)
    assert len(dataset.splits["train"]["label"]) == 48_000
    rows = read_rows(tmp_path)
    assert [row["epoch"] for row in rows] == [1, 2]
    expected = {
        "epoch",
        "step",
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_mutual_information",
        "validation_accuracy",
        "validation_macro_accuracy",
        "seconds",
    }
    assert all(row.keys() == expected for row in rows)
    assert (
        rows[1]["validation_mutual_information"]
        > rows[0]["validation_mutual_information"]
    )
    assert rows[1]["train_loss"] < rows[0]["train_loss"]
    (events,) = tmp_path.glob("events.out.tfevents.*")
    assert read_events(events) == [
        (row["step"], name, pytest.approx(value, rel=1e-6))
        for row in rows
        for name, value in row.items()
    ]
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads(
        json.dumps(config.to_dict())
    )


def test_equal_seeds_give_equal_bits_and_other_seeds_do_not(tiny_config, tmp_path):
    one = train(tiny_config(), tmp_path / "one").state
    same = train(tiny_config(), tmp_path / "same").state
    other = train(tiny_config(seed=1), tmp_path / "other").state
    chex.assert_trees_all_equal(one.params, same.params)
    assert not all(
        np.array_equal(a, b)
        for a, b in zip(
            jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True
        )
    )
    assert rows_without_times(tmp_path / "one") == rows_without_times(tmp_path / "same")


def test_a_data_set_from_memory_trains_as_a_loaded_one(tiny_config, tmp_path):
    config = tiny_config()
    loaded = train(config, tmp_path / "loaded")
    given = train(config, tmp_path / "given", loaded.dataset)
    assert given.dataset is loaded.dataset
    chex.assert_trees_all_equal(given.state, loaded.state)


def test_steps_per_call_changes_nothing(tiny_config, tmp_path):
    whole = train(tiny_config(), tmp_path / "whole").state
    parts = train(tiny_config(steps_per_call=5), tmp_path / "parts").state
    chex.assert_trees_all_close(whole.params, parts.params, rtol=1e-5, atol=1e-7)


def test_a_finished_workdir_is_left_as_it_is(tiny_config, tmp_path, capsys):
    first = train(tiny_config(), tmp_path).state
    rows = (tmp_path / "metrics.jsonl").read_text()
    capsys.readouterr()
    again = train(tiny_config(), tmp_path).state
    assert "is finished: 2 of 2 epochs" in capsys.readouterr().out
    chex.assert_trees_all_equal(first, again)
    assert (tmp_path / "metrics.jsonl").read_text() == rows


def test_each_epoch_has_every_example_once_in_another_order():
    orders = [epoch_order(0, epoch, 100, (10, 10)) for epoch in range(3)]
    for order in orders:
        assert sorted(order.ravel()) == list(range(100))
    assert not np.array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(orders[2], epoch_order(0, 2, 100, (10, 10)))
    assert not np.array_equal(orders[0], epoch_order(1, 0, 100, (10, 10)))


def test_examples_that_do_not_fill_a_batch_are_left_out():
    order = epoch_order(0, 0, 100, (3, 30))
    chex.assert_shape(order, (3, 30))
    every = epoch_order(0, 0, 100, (1, 100)).ravel()
    np.testing.assert_array_equal(order.ravel(), every[:90])


@pytest.fixture
def train_script(tmp_path, tiny_config):
    """Starts training in another process; returns it and the path of its result."""
    script = tmp_path / "train_script.py"
    script.write_text(TRAIN)

    def start(name, devices=1, config_name="gmm", **overrides):
        config = tmp_path / "config.json"
        config.write_text(json.dumps(tiny_config(config_name, **overrides).to_dict()))
        out = tmp_path / f"{name}.npz"
        process = subprocess.Popen(
            [sys.executable, script, config, tmp_path / name, out],
            env=os.environ
            | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
            | {"PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return process, out

    return start


def finish(process, out):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return list(np.load(out).values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        # The net of the paper, whose sizes here amplify a difference of one bit.
        {"words": "unbalanced", "model.hidden": (100, 100, 100), "data.dim": 5},
        {"config_name": "mnist", "batch_size": 20},
    ],
)
def test_two_devices_equal_one_bit_for_bit(train_script, options):
    options = {"num_epochs": 2, "batch_size": 2_000, **options}
    one = finish(*train_script("one", devices=1, **options))
    two = finish(*train_script("two", devices=2, **options))
    chex.assert_trees_all_equal(one, two)


class InterruptedSplits(UserDict):
    """Splits whose fourth validation is interrupted by Ctrl-C."""

    def __init__(self, splits, workdir):
        super().__init__(splits)
        self.rows = workdir / "metrics.jsonl"

    def __getitem__(self, name):
        done = self.rows.read_text().splitlines() if self.rows.exists() else ()
        if name == "validation" and len(done) == 3:
            raise KeyboardInterrupt
        return super().__getitem__(name)


def test_a_run_interrupted_in_a_validation_repeats_only_that(tiny_config, tmp_path):
    config, workdir = (
        tiny_config(num_epochs=4, checkpoint_seconds=1e6),
        tmp_path / "run",
    )
    undisturbed, dataset = train(config, tmp_path / "undisturbed")
    splits = InterruptedSplits(dataset.splits, workdir)
    with pytest.raises(KeyboardInterrupt):
        train(config, workdir, dataclasses.replace(dataset, splits=splits))
    assert (workdir / "checkpoints" / "48").is_dir()  # four epochs of 12 steps
    assert [row["epoch"] for row in read_rows(workdir)] == [1, 2, 3]
    resumed = train(config, workdir).state
    assert [row["epoch"] for row in read_rows(workdir)] == [1, 2, 3, 4]
    chex.assert_trees_all_equal(undisturbed, resumed)


def test_a_run_refuses_other_data_than_it_started_with(tiny_config, tmp_path):
    config = tiny_config()
    other = with_changed_label(train(config, tmp_path).dataset)
    with pytest.raises(UserError, match=r"other data \(train\)"):
        train(config, tmp_path, other)


def test_a_missing_data_json_is_restored_for_the_same_data_only(tiny_config, tmp_path):
    config = tiny_config()
    dataset = train(config, tmp_path).dataset
    path = tmp_path / "data.json"
    text = path.read_text()
    path.unlink()
    train(config, tmp_path)
    assert path.read_text() == text
    path.unlink()
    message = "is missing, and the run started with other data"
    with pytest.raises(UserError, match=message):
        train(config, tmp_path, with_changed_label(dataset))
    assert not path.exists()


@pytest.mark.slow
def test_a_run_that_diverges_says_at_which_step_and_layer(tiny_config, tmp_path):
    config = tiny_config(**{"optimizer.learning_rate": 1e30})
    message = (
        r"diverged in epoch 1, at step 2: the loss is (nan|inf), at a learning rate of "
        r"9.95\d+e\+29; the first value that is not finite is in the output of head; "
        r"lower optimizer.learning_rate$"
    )
    with pytest.raises(UserError, match=message):
        train(config, tmp_path)


def test_a_run_that_diverges_later_keeps_the_epoch_before(tiny_config, tmp_path):
    """Its checkpoint equals that of a run that ends there."""

    def config(num_epochs):
        made = tiny_config(num_epochs=num_epochs)
        with made.unlocked():  # the learning rate explodes after two epochs
            made.optimizer.update(schedule="step", decay_epochs=2, decay_rate=1e33)
        return made

    two = train(config(2), tmp_path / "two").state
    with pytest.raises(UserError, match=r"epoch 3, at step 26: .*\(epoch 2 is kept\)"):
        train(config(4), tmp_path / "four")
    assert rows_without_times(tmp_path / "four") == rows_without_times(tmp_path / "two")
    folders = (tmp_path / "four" / "checkpoints").iterdir()
    assert max(int(p.name) for p in folders if p.name.isdigit()) == int(two.step) == 24
    best_of_two, best_of_four = best(tmp_path / "two"), best(tmp_path / "four")
    chex.assert_trees_all_equal(best_of_two, best_of_four)


@pytest.fixture
def weights(tmp_path):
    """Weights of the first layer, by the names in their file, and the file."""
    path = tmp_path / "model.safetensors"
    kernel = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)

    def write(bias):
        tensors = {"hidden0.weight": kernel, "hidden0.bias": np.full(16, bias, "f4")}
        save_file(tensors, path)
        return kernel, path

    return write


def test_a_net_whose_features_are_all_zero_gives_one_warning(
    tiny_config, tmp_path, capsys, weights
):
    warning = "every feature of every validation example is 0"
    for bias, count in ((0.0, 0), (-1e6, 1)):
        _, path = weights(bias)
        train(tiny_config(pretrained=str(path)), tmp_path / f"run{count}")
        assert capsys.readouterr().err.count(warning) == count


@pytest.mark.slow
def test_a_config_gives_the_options_of_a_loss(tiny_config, tmp_path, monkeypatch):
    def scaled(logits, labels, log_prior, scale: float = 1.0):
        return scale * LOSSES["softmax"].function(logits, labels, log_prior)

    monkeypatch.setitem(LOSSES, "scaled", Loss(scaled, False, False))

    def train_with(**options):
        config = tiny_config(num_epochs=1, loss="scaled")
        with config.unlocked():
            config.loss_options = options
            config.optimizer = {"name": "sgd", "schedule": "constant"}
            config.optimizer.learning_rate = 1e-9
        workdir = tmp_path / f"{options}"
        train(config, workdir)
        return read_rows(workdir)[0]["train_loss"]

    assert train_with(scale=3.0) == pytest.approx(3 * train_with(), rel=1e-5)
    with pytest.raises(UserError, match=r"loss_options.scael: .*did you mean 'scale'"):
        train_with(scael=3.0)


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_in_the_same_bits(train_script, tmp_path):
    options = {"num_epochs": 12, "checkpoint_seconds": 0.2}
    undisturbed = finish(*train_script("undisturbed", **options))
    generator = random.Random(0)
    rows = tmp_path / "killed" / "metrics.jsonl"
    for kill in range(3):
        process, _ = train_script("killed", **options)
        # Wait until it trains, for two more rows, and then for a random time.
        deadline, before = time.time() + 120, kill * 2
        while process.poll() is None and time.time() < deadline:
            if rows.exists() and len(rows.read_text().splitlines()) > before:
                break
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    resumed = finish(*train_script("killed", **options))
    chex.assert_trees_all_equal(undisturbed, resumed)
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    assert rows_without_times(killed) == rows_without_times(undisturbed)
    chex.assert_trees_all_equal(best(killed), best(undisturbed))


def best(workdir):
    model = create_model("mlp", 5, hidden=(16,))
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 2)))
    return restore_best(workdir, {"batch_stats": {}} | shapes)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "sofmax"}, "loss: unknown value 'sofmax', did you mean 'softmax'"),
        ({"loss": "sigmoid"}, "loss: an example .* has one label; use softmax or pc_"),
        ({"best_by": "loss"}, "best_by: unknown value"),
        ({"num_epochs": 0}, "num_epochs: must be at least 1"),
        ({"steps_per_call": 0}, "steps_per_call: must be at least 1"),
        ({"evaluation_batch_size": -1}, "evaluation_batch_size: must be at least 1"),
        ({"seed": -1}, r"seed: must be in \[0, 2\*\*32\)"),
        ({"batch_size": 10**6}, "batch_size: 1000000 is more than the 48000"),
        ({"model.name": "cnn"}, "model.name: unknown value 'cnn'"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(
    tiny_config, tmp_path, change, message
):
    with pytest.raises(UserError, match=message):
        train(tiny_config(**change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "softmax"}, "has any number of labels; use sigmoid or pc_sigmoid"),
        (
            {"localization.region": 0},
            "localization.region: must be a whole number >= 1",
        ),
        ({"localization.padding": "valid"}, "localization.padding: unknown value"),
        ({"localization.rival": "class"}, "localization.rival: unknown value"),
        (
            {"localization.threshold": 1.0},
            r"localization.threshold: must be in \[0, 1\)",
        ),
        ({"data.seed": -1}, "data.seed: must be at least 0"),
    ],
)
def test_mistakes_in_localization_are_named(tiny_config, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        train(tiny_config("double_mnist", **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_new_run_reads_pretrained_weights_and_a_resumed_one_does_not(
    tiny_config, tmp_path, weights
):
    kernel, path = weights(1.0)
    config = tiny_config(pretrained=str(path), **{"optimizer.learning_rate": 1e-9})
    state = train(config, tmp_path / "run").state
    np.testing.assert_allclose(state.params["hidden0"]["kernel"], kernel.T, atol=1e-5)
    path.unlink()
    chex.assert_trees_all_equal(train(config, tmp_path / "run").state, state)
    with pytest.raises(UserError, match="pretrained: no such file"):
        train(config, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_threads_train_one_after_the_other(tiny_config, tmp_path):
    def trained(name):
        return train(tiny_config(num_epochs=5), tmp_path / name).state.params

    alone = trained("alone")
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(trained, "abc"):
            chex.assert_trees_all_equal(found, alone)


@pytest.mark.parametrize("field", ["seed", "data.seed"])
def test_checkpoints_of_another_run_are_refused(tiny_config, tmp_path, field):
    for seed in (0, 1):
        config = tiny_config(**{"num_epochs": 1, field: seed, "data.fresh": False})
        train(config, tmp_path / f"{seed}")
    shutil.rmtree(tmp_path / "0" / "checkpoints")
    shutil.copytree(tmp_path / "1" / "checkpoints", tmp_path / "0" / "checkpoints")
    name = field.partition(".")[0]
    words = rf"checkpoints/\d+: of another run: {name} is .* there, and .* here"
    with pytest.raises(UserError, match=words):
        load_net(tmp_path / "0")
    config = tiny_config(**{"num_epochs": 1, field: 0, "data.fresh": False})
    with pytest.raises(UserError, match=words):
        train(config, tmp_path / "0")
