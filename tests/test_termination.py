"""A signal ends the process at once, or at the next check if it is postponed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mi_classifier import termination


@pytest.fixture
def left(monkeypatch):
    """The signals that the handlers passed on; afterwards, resets the handlers."""
    found = []
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = {each: signal.getsignal(each) for each in signals}
    monkeypatch.setattr(termination, "asked", 0)
    for each in signals:  # tests may have been started by nohup
        signal.signal(each, signal.SIG_DFL)
    termination.install(found.append)
    yield found
    signal.set_wakeup_fd(-1)
    for each, handler in before.items():
        signal.signal(each, handler)


def send(signum, left):
    """Sends a signal, and waits until it is answered; returns those passed on."""
    termination.asked, count = 0, len(left)
    os.kill(os.getpid(), signum)
    deadline = time.monotonic() + 10
    while not termination.asked and len(left) == count:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(0.01)
    return left


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_at_once_or_at_the_next_check(left, signum):
    assert send(signum, left) == [signum]
    termination.asked = 0
    with pytest.raises(termination.Terminated) as ended, termination.postponed():
        termination.check()
        assert send(signum, left) == [signum]
        termination.check()
        raise AssertionError("goes on")
    assert ended.value.signal == signum


def test_a_postponed_signal_ends_at_the_end_of_the_context(left):
    with pytest.raises(termination.Terminated), termination.postponed():
        assert send(signal.SIGTERM, left) == []


def test_only_a_second_ctrl_c_ends_a_postponed_process(left, capfd):
    with pytest.raises(termination.Terminated), termination.postponed():
        for signum in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            assert send(signum, left) == []
        os.kill(os.getpid(), signal.SIGINT)
        while not left:
            time.sleep(0.001)
        assert left == [signal.SIGINT]
    assert "once more to leave at once" in capfd.readouterr().err


def test_ignored_signals_stay_ignored(left):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    termination.install(left.append)
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(0.1)
    assert left == [] and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_signal_ends_at_once_while_nothing_is_lost(left):
    with pytest.raises(termination.Terminated), termination.postponed():
        with termination.at_once():
            assert send(signal.SIGTERM, left) == [signal.SIGTERM]
        assert send(signal.SIGTERM, left) == [signal.SIGTERM]
        with termination.at_once():
            raise AssertionError("goes on")


def test_a_signal_is_answered_while_the_main_thread_is_in_another_language():
    """As in a long compilation, where Python's own handlers cannot run."""
    script = """
import os, threading, time, numpy as np
from mi_classifier import termination
termination.install(os._exit)
threading.Timer(0.3, os.kill, (os.getpid(), 15)).start()
matrix = np.ones((9_000, 9_000))
print("ready", flush=True)
np.linalg.svd(matrix)
"""
    started = time.monotonic()
    process = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert process.returncode == signal.SIGTERM and time.monotonic() - started < 10
