"""Several processes share a run on one machine: their result equals that of one.

SIGTERM ends all of them with a checkpoint, and another number of processes resumes it.
"""

import json
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.conftest import REPOSITORY, script_environment

pytestmark = pytest.mark.slow
CONFIG = (
    "--config=configs/gmm.py",
    "--config.model.hidden=(16,)",
    "--config.batch_size=4000",
    "--config.microbatches=4",
    "--config.checkpoint_seconds=0.0",
    "--config.data.fresh=False",
    "--config.optimizer.schedule=constant",  # the same for any number of epochs
)


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def start(*arguments, processes=2, devices=2):
    """Start the processes of a run; they find each other."""
    port = free_port()
    return [
        subprocess.Popen(
            [
                sys.executable,
                *map(str, arguments),
                f"--distributed=127.0.0.1:{port},{processes},{index}",
            ],
            cwd=REPOSITORY,
            env=script_environment(devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(processes)
    ]


def finish(running):
    ended = []
    for process in running:
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        ended.append((out, err))
    return ended


def state_of(workdir):
    steps = (workdir / "checkpoints").glob("*")
    last = max((p for p in steps if p.name.isdigit()), key=lambda p: int(p.name))
    return jax.tree.leaves(ocp.StandardCheckpointer().restore(last / "state"))


def rows_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").open()]


def start_long(workdir, *flags):
    """Start a long run, and returns once it has finished two epochs."""
    flags = (*CONFIG, "--config.num_epochs=400", *flags, f"--workdir={workdir}")
    running = start("train.py", *flags)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (workdir / "metrics.jsonl").exists() and len(rows_of(workdir)) >= 2:
            break
        time.sleep(0.05)
    return running


def test_sigterm_ends_every_process_and_saves(tmp_path):
    running = start_long(tmp_path / "run", "--config.checkpoint_seconds=1000.0")
    for process in running:
        process.send_signal(signal.SIGTERM)
    told = [process.communicate(timeout=200)[1] for process in running]
    statuses = [process.returncode for process in running]
    # One process may lose the other before it stops by itself.
    assert set(statuses) <= {143, 3} and 143 in statuses, told
    (step,) = (tmp_path / "run" / "checkpoints").glob("[0-9]*")
    assert int(step.name) >= 24


@pytest.mark.proof
def test_one_process_resumes_the_run_of_two(run_script, tmp_path):
    mixed, straight = tmp_path / "mixed", tmp_path / "straight"
    running = start_long(mixed)
    running[1].kill()
    _, told = running[0].communicate(timeout=200)
    running[1].communicate(timeout=10)
    assert running[0].returncode == 3, told
    assert told.strip().splitlines()[-1].startswith("error: lost another process")
    reached = len(rows_of(mixed))
    assert 2 <= reached < 400
    # One process doubles the epochs that two had; two others train as long at once.
    epochs = f"--config.num_epochs={2 * reached}"
    config = json.loads((mixed / "config.json").read_text())
    (
        mixed / ".config.json.sha256"
    ).unlink()  # it protects the config from edits by hand
    (mixed / "config.json").write_text(json.dumps(config | {"num_epochs": 2 * reached}))
    run_script("train.py", *CONFIG, epochs, f"--workdir={mixed}")
    # The only checkpoint comes at the end; the evaluation of both waits for it.
    late = "--config.checkpoint_seconds=1000.0"
    ended = finish(start("train.py", *CONFIG, epochs, late, f"--workdir={straight}"))
    # Only the first process prints and writes.
    for text in ("mutual information, nats", "report.html"):
        assert text in ended[0][0] and text not in ended[1][0]
    names = [
        sorted(p.name for p in (w / "evaluation").iterdir()) for w in (mixed, straight)
    ]
    assert names[0] == names[1] and "report.html" in names[0]
    for x, y in zip(state_of(mixed), state_of(straight), strict=True):
        np.testing.assert_array_equal(x, y)
    for x, y in zip(rows_of(mixed), rows_of(straight), strict=True):
        assert x.keys() == y.keys()
        for name in x.keys() - {"seconds"}:
            assert x[name] == pytest.approx(y[name], rel=1e-5), name


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("two", "must be auto or HOST:PORT,PROCESSES,INDEX, not 'two'"),
        ("localhost:1,2,2", "no process 2 of 2"),
    ],
)
def test_wrong_values_of_distributed_are_refused(run_script, tmp_path, value, words):
    result = run_script(
        "train.py",
        *CONFIG,
        f"--workdir={tmp_path / 'run'}",
        f"--distributed={value}",
        check=False,
    )
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1 and words in result.stderr
    assert not (tmp_path / "run").exists()
