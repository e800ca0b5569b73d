"""A signal ends the process at once, or at the next check if it is postponed."""

import os
import signal

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
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_at_once_or_at_the_next_check(left, signum):
    os.kill(os.getpid(), signum)
    assert left == [signum]
    termination.asked = 0
    with pytest.raises(termination.Terminated) as ended, termination.postponed():
        termination.check()
        os.kill(os.getpid(), signum)
        assert left == [signum]
        termination.check()
        raise AssertionError("goes on")
    assert ended.value.signal == signum


def test_a_postponed_signal_ends_at_the_end_of_the_context(left):
    with pytest.raises(termination.Terminated), termination.postponed():
        os.kill(os.getpid(), signal.SIGTERM)
    assert left == []


def test_only_a_second_ctrl_c_ends_a_postponed_process(left, capfd):
    with pytest.raises(termination.Terminated), termination.postponed():
        for signum in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), signum)
            assert left == []
        os.kill(os.getpid(), signal.SIGINT)
        assert left == [signal.SIGINT]
    assert "once more to leave at once" in capfd.readouterr().err


def test_ignored_signals_stay_ignored(left):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    termination.install(left.append)
    os.kill(os.getpid(), signal.SIGHUP)
    assert left == [] and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
