"""Work in other processes: the same results, in order, and no process is left."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mi_classifier import processes
from mi_classifier.errors import UserError
from tests.conftest import REPOSITORY

# Starts processes, and prints when they work.
WORK = """
import sys, time
from mi_classifier import cli, processes, termination
termination.install(cli._leave_ended)
processes.count = lambda: 2
calls = [processes.submit(time.sleep, 3) for _ in range(4)]
while not processes._all:
    time.sleep(0.01)
print(processes._all[0].pid, flush=True)
time.sleep(0.1 if sys.argv[1] == "early" else 1)
print("late", flush=True)
calls[0].result()
"""
POOL = """
import multiprocessing
import numpy as np
from mi_classifier import processes
processes._LEAST = 1

def work(_):
    return processes.spread(np.square, np.arange(8), cost=1).tolist()

if __name__ == "__main__":
    processes.submit(abs, 1).result()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.map_async(work, [0]).get(timeout=30))
"""


def test_results_come_in_order(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    calls = processes.in_order(pow, ((i, 2) for i in range(20)))
    assert list(calls) == [i * i for i in range(20)]


def test_a_killed_process_is_told(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(UserError, match="a process was killed"):
        processes.submit(os._exit, 9).result()
    assert processes.submit(abs, -1).result() == 1  # another one takes its place
    with pytest.raises(ValueError, match="literal"):
        processes.submit(int, "x").result()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "signum"),
    [("early", signal.SIGINT), ("late", signal.SIGTERM), ("late", signal.SIGKILL)],
)
def test_a_signal_ends_all_processes_with_one_line(moment, signum):
    """The whole group gets the signal, as from a terminal."""
    running = subprocess.Popen(
        [sys.executable, "-c", WORK, moment],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said = running.stdout.readline().split()  # the number of a process
    if moment == "late":
        assert running.stdout.readline() == "late\n"
    os.killpg(running.pid, signum)
    started = time.monotonic()
    _, errors = running.communicate(timeout=20)
    assert signum == signal.SIGKILL or time.monotonic() - started < 2
    lines = errors.splitlines()
    if signum == signal.SIGKILL:
        assert running.returncode == -signum and not lines
    else:
        assert running.returncode == 128 + signum
        assert len(lines) == 1 and "what was saved stays" in lines[0]
    (pid,) = map(int, said)
    with pytest.raises(ProcessLookupError):
        while time.monotonic() - started < 15:  # the system removes it in its time
            os.kill(pid, 0)
            time.sleep(0.1)


@pytest.mark.slow
def test_a_worker_of_the_user_computes_by_itself(tmp_path):
    (tmp_path / "pool.py").write_text(POOL)
    found = subprocess.run(
        [sys.executable, tmp_path / "pool.py"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert found.stdout.strip() == f"[{np.square(np.arange(8)).tolist()}]"
