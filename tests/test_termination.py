"""A signal is never lost, whenever it comes."""

import os
import signal

import pytest

from mi_classifier import termination


@pytest.fixture
def left(monkeypatch):
    """What the handlers were told to leave by; they are put back afterwards."""
    found = []
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = {each: signal.getsignal(each) for each in signals}
    monkeypatch.setattr(termination, "_asked", 0)
    for each in signals:  # tests may have been started by nohup
        signal.signal(each, signal.SIG_DFL)
    termination.install(found.append)
    yield found
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_at_once_or_at_the_next_check(left, signum):
    os.kill(os.getpid(), signum)
    assert left == [signum]
    termination._asked = 0
    with pytest.raises(termination.Terminated) as ended, termination.postponed():
        termination.check()
        os.kill(os.getpid(), signum)
        assert left == [signum]
        termination.check()
        raise AssertionError("goes on")
    assert ended.value.signal == signum


def test_it_ends_where_nothing_is_checked_any_more(left):
    with pytest.raises(termination.Terminated), termination.postponed():
        os.kill(os.getpid(), signal.SIGTERM)
    assert left == []


def test_only_a_second_ctrl_c_is_impatience(left, capfd):
    with pytest.raises(termination.Terminated), termination.postponed():
        for signum in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), signum)
            assert left == []
        os.kill(os.getpid(), signal.SIGINT)
        assert left == [signal.SIGINT]
    assert "once more to leave at once" in capfd.readouterr().err


def test_what_is_ignored_stays_so(left):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    termination.install(left.append)
    os.kill(os.getpid(), signal.SIGHUP)
    assert left == [] and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
