import json
import os
import random
import signal
import subprocess
import sys
import time

import chex
import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from tensorboardX.proto import event_pb2

from mi_classifier.storage import workdirs
from mi_classifier.storage.checkpoints import restore_best
from mi_classifier.errors import UserError
from mi_classifier.training import loop, train
from tests.conftest import REPOSITORY

TRAIN = """
import sys
import numpy as np, jax
from mi_classifier import config, training
state = training.train(config.from_json(open(sys.argv[1]).read()), sys.argv[2])
leaves, _ = jax.tree.flatten((state.params, state.opt_state))
np.savez(sys.argv[3], *map(np.asarray, leaves))
"""


def read_rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").open()]


def without_times(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def read_events(path):
    """What TensorBoard would read: step, name and value of each scalar."""
    content, found = path.read_bytes(), []
    while content:
        size = int.from_bytes(content[:8], "little")
        event = event_pb2.Event.FromString(content[12 : 12 + size])
        found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
        content = content[16 + size :]
    return found


def test_a_run_leaves_what_it_should(tiny_config, tmp_path):
    config = tiny_config()
    state = train(config, tmp_path)
    assert int(state.step) == 2 * (48_000 // 4_000)
    rows = read_rows(tmp_path)
    assert [row["epoch"] for row in rows] == [1, 2]
    expected = {
        "epoch",
        "step",
        "train_loss",
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


class Pending:
    """The losses of a call: looked at when four more are on their way, or all are."""

    def __init__(self, values, calls):
        self.values, self.calls, self.looked = values, calls, []
        calls.append(self)

    def __len__(self):
        return len(self.values)

    def __array__(self, *arguments, **options):
        self.looked.append(len(self.calls) - self.calls.index(self) - 1)
        return np.asarray(self.values)


def test_devices_never_wait_for_the_host(tiny_config, tmp_path, monkeypatch):
    calls = []

    def make(*arguments):
        steps = make_train_steps(*arguments)

        def watched(state, call):
            state, values = steps(state, call)
            return state, Pending(values, calls)

        return watched

    make_train_steps = loop.make_train_steps
    plain = train(tiny_config(steps_per_call=2), tmp_path / "plain")
    monkeypatch.setattr(loop, "make_train_steps", make)
    state = train(tiny_config(steps_per_call=2), tmp_path / "watched")
    chex.assert_trees_all_equal(state.params, plain.params)
    assert without_times(read_rows(tmp_path / "watched")) == without_times(
        read_rows(tmp_path / "plain")
    )
    assert len(calls) == 12
    # In a call's course: with four behind it. At the end: with none left to wait.
    ends = [[5], [4], [3], [2], [1], [0]]
    assert [c.looked for c in calls] == [[4, 5], [4, 4], *ends[2:]] * 2


def test_seeds_decide_everything(tiny_config, tmp_path):
    one = train(tiny_config(), tmp_path / "one")
    same = train(tiny_config(), tmp_path / "same")
    other = train(tiny_config(seed=1), tmp_path / "other")
    chex.assert_trees_all_equal(one.params, same.params)
    assert not all(
        np.array_equal(a, b)
        for a, b in zip(
            jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True
        )
    )
    assert without_times(read_rows(tmp_path / "one")) == without_times(
        read_rows(tmp_path / "same")
    )


def test_steps_per_call_changes_nothing(tiny_config, tmp_path):
    whole = train(tiny_config(), tmp_path / "whole")
    parts = train(tiny_config(steps_per_call=5), tmp_path / "parts")
    chex.assert_trees_all_close(whole.params, parts.params, rtol=1e-5, atol=1e-7)


def test_a_finished_workdir_says_so(tiny_config, tmp_path, capsys):
    first = train(tiny_config(), tmp_path)
    rows = (tmp_path / "metrics.jsonl").read_text()
    capsys.readouterr()
    again = train(tiny_config(), tmp_path)
    assert "is finished: 2 of 2 epochs" in capsys.readouterr().out
    chex.assert_trees_all_equal(first, again)
    assert (tmp_path / "metrics.jsonl").read_text() == rows


def test_epochs_see_every_example_once_in_another_order():
    orders = [loop.epoch_order(0, epoch, 100) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(100))
    assert not np.array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(orders[2], loop.epoch_order(0, 2, 100))
    assert not np.array_equal(orders[0], loop.epoch_order(1, 0, 100))


@pytest.fixture
def train_script(tmp_path, tiny_config):
    """Starts training in a process of its own; returns it and its result's path."""
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


@pytest.mark.parametrize(
    "options",
    [
        # The shipped net, and a D and batch size that amplify a difference of one bit.
        {"words": "unbalanced", "model.hidden": (100, 100, 100), "data.dim": 5},
        {"config_name": "mnist", "batch_size": 20},
    ],
)
def test_two_devices_equal_one_bit_for_bit(train_script, options):
    options = {"num_epochs": 2, "batch_size": 2_000, **options}
    one = finish(*train_script("one", devices=1, **options))
    two = finish(*train_script("two", devices=2, **options))
    chex.assert_trees_all_equal(one, two)


def test_an_interrupted_run_has_saved_its_last_epoch(
    tiny_config, tmp_path, monkeypatch
):
    config = tiny_config(num_epochs=4, checkpoint_seconds=1e6)
    undisturbed = train(config, tmp_path / "undisturbed")
    steps = loop.epoch_order

    def interrupt(seed, epoch, num_examples):
        if epoch == 3:
            raise KeyboardInterrupt
        return steps(seed, epoch, num_examples)

    monkeypatch.setattr(loop, "epoch_order", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run")
    monkeypatch.setattr(loop, "epoch_order", steps)
    resumed = train(config, tmp_path / "run")
    assert [row["epoch"] for row in read_rows(tmp_path / "run")] == [1, 2, 3, 4]
    chex.assert_trees_all_equal(undisturbed, resumed)


def test_other_data_than_the_run_started_with_are_refused(tiny_config, tmp_path):
    config = tiny_config()
    train(config, tmp_path)
    noted = json.loads((tmp_path / "data.json").read_text())
    (tmp_path / ".data.json.sha256").unlink()
    (tmp_path / "data.json").write_text(json.dumps(noted | {"train": "other"}))
    with pytest.raises(UserError, match=r"other data \(train\)"):
        train(config, tmp_path)


def test_hashes_of_data_that_are_gone_are_not_those_of_other_data(
    tiny_config, tmp_path, monkeypatch
):
    config = tiny_config()
    train(config, tmp_path)
    path = tmp_path / "data.json"
    text = path.read_text()
    path.unlink()
    train(config, tmp_path)
    assert path.read_text() == text
    path.unlink()
    with pytest.raises(UserError, match="is gone, and the run started with other data"):
        workdirs.check_data(tmp_path, {"train": "other"})
    assert not path.exists()


def test_a_diverged_run_stops_and_says_so(tiny_config, tmp_path):
    config = tiny_config(**{"optimizer.learning_rate": 1e30})
    told = (
        r"diverged in epoch 1, at step 2: the loss is (nan|inf), at a learning rate of "
        r"9.95\d+e\+29; the first that is not finite is the output of head; lower "
        r"optimizer.learning_rate$"
    )
    with pytest.raises(UserError, match=told):
        train(config, tmp_path)


def test_a_dead_net_is_warned_of_once(tiny_config, tmp_path, capsys, monkeypatch):
    warning = "every feature of every validation example is 0"
    train(tiny_config(), tmp_path / "alive")
    assert warning not in capsys.readouterr().err

    def dead(*arguments):
        state = create_state(*arguments)
        layer = {"bias": state.params["hidden0"]["bias"] - 1e6}
        hidden = state.params["hidden0"] | layer
        return state.replace(params=state.params | {"hidden0": hidden})

    create_state = loop.create_state
    monkeypatch.setattr(loop, "create_state", dead)
    train(tiny_config(), tmp_path / "dead")
    assert capsys.readouterr().err.count(warning) == 1


def test_a_run_that_diverges_later_keeps_the_epoch_before(
    tiny_config, tmp_path, monkeypatch
):
    """Its checkpoint is the one that a run of fewer epochs ends in."""
    taken = []

    def poisoned(*arguments):
        steps = make_train_steps(*arguments)

        def take(state, call):
            at = int(state.step)
            taken.append(at)
            state, values = steps(state, call)
            if at <= 30 < at + len(values):
                head = jax.tree.map(lambda x: x * np.nan, state.params["head"])
                state = state.replace(params=state.params | {"head": head})
            return state, values

        return take

    make_train_steps = loop.make_train_steps
    options = {"optimizer.schedule": "constant", "steps_per_call": 1}
    train(tiny_config(**options), tmp_path / "two")
    monkeypatch.setattr(loop, "make_train_steps", poisoned)
    with pytest.raises(
        UserError, match=r"epoch 3, at step 31: .*update of head/.*2 is kept"
    ):
        train(tiny_config(num_epochs=4, **options), tmp_path / "four")
    # Step 31's update is broken, so 32's loss; then four more calls at most.
    assert taken == [*range(36), *range(24, 31)]
    assert without_times(read_rows(tmp_path / "four")) == without_times(
        read_rows(tmp_path / "two")
    )
    steps = [p.name for p in (tmp_path / "four" / "checkpoints").iterdir()]
    assert max(int(name) for name in steps if name.isdigit()) == 24


def test_killed_at_random_moments_a_run_ends_in_the_same_bits(train_script, tmp_path):
    options = {"num_epochs": 12, "checkpoint_seconds": 0.2}
    undisturbed = finish(*train_script("undisturbed", **options))
    generator = random.Random(0)
    rows = tmp_path / "killed" / "metrics.jsonl"
    for kill in range(3):
        process, _ = train_script("killed", **options)
        # Not before it trains: wait for one more row, then for a random moment.
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
    assert without_times(read_rows(tmp_path / "killed")) == without_times(
        read_rows(tmp_path / "undisturbed")
    )
    chex.assert_trees_all_equal(
        best(tmp_path / "killed"), best(tmp_path / "undisturbed")
    )


def best(workdir):
    from mi_classifier.models import create_model

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
        ({"localization.region": 0}, "localization.region: must be at least 1"),
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


def test_training_starts_from_pretrained_weights(tiny_config, tmp_path):
    """Loaded once: a run that goes on does not need the file."""
    path = tmp_path / "model.safetensors"
    generator = np.random.default_rng(0)
    tensors = {
        "hidden0.weight": generator.normal(size=(16, 2)).astype(np.float32),
        "hidden0.bias": np.ones(16, np.float32),
    }
    save_file(tensors, path)
    config = tiny_config(pretrained=str(path), **{"optimizer.learning_rate": 1e-9})
    state = train(config, tmp_path / "run")
    kernel = state.params["hidden0"]["kernel"]
    np.testing.assert_allclose(kernel, tensors["hidden0.weight"].T, atol=1e-5)
    path.unlink()
    chex.assert_trees_all_equal(train(config, tmp_path / "run"), state)
    with pytest.raises(UserError, match="pretrained: no such file"):
        train(config, tmp_path / "other")
    assert not (tmp_path / "other").exists()
