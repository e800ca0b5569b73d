"""Several processes that share a run, on one machine: equal to one, and resumable."""

import json
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.conftest import REPOSITORY, script_environment

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
    """Starts the processes of a run; they find each other."""
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


def test_two_processes_equal_one_and_a_run_changes_between_them(run_script, tmp_path):
    one, two, both = (tmp_path / name for name in ("one", "two", "both"))
    run_script("train.py", *CONFIG, "--config.num_epochs=3", f"--workdir={one}")
    ended = finish(
        start("train.py", *CONFIG, "--config.num_epochs=3", f"--workdir={two}")
    )
    # The first prints, and the other is silent.
    for text in ("mutual information, nats", "report.html"):
        assert text in ended[0][0] and text not in ended[1][0]
    assert sorted(p.name for p in (two / "evaluation").iterdir()) == sorted(
        p.name for p in (one / "evaluation").iterdir()
    )
    # Two processes, then one goes on, where the first was killed after an epoch.
    slow = (*CONFIG, "--config.num_epochs=400", f"--workdir={both}")
    running = start("train.py", *slow)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (both / "metrics.jsonl").exists() and len(rows_of(both)) >= 2:
            break
        time.sleep(0.05)
    running[1].kill()
    _, told = running[0].communicate(timeout=200)
    running[1].communicate(timeout=10)
    assert running[0].returncode == 3, told
    assert told.strip().splitlines()[-1].startswith("error: lost another process")
    reached = len(rows_of(both))
    assert 2 <= reached < 400
    epochs = reached + 2
    config = json.loads((both / "config.json").read_text())
    config["num_epochs"] = epochs
    (both / "config.json").write_text(json.dumps(config))
    run_script(
        "train.py", *CONFIG, f"--config.num_epochs={epochs}", f"--workdir={both}"
    )
    straight = tmp_path / "straight"
    finish(
        start(
            "train.py",
            *CONFIG,
            f"--config.num_epochs={epochs}",
            f"--workdir={straight}",
        )
    )
    assert [row["step"] for row in rows_of(both)] == [
        row["step"] for row in rows_of(straight)
    ]
    for a, b in ((one, two), (both, straight)):
        for x, y in zip(state_of(a), state_of(b), strict=True):
            np.testing.assert_array_equal(x, y)
        for x, y in zip(rows_of(a), rows_of(b), strict=True):
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
def test_mistakes(run_script, tmp_path, value, words):
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
