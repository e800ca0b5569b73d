"""Progress says how long the rest takes: as a bar on a terminal, elsewhere as lines."""

import io
import pickle
import re
import sys
import time

import pytest

from mi_classifier import progress
from mi_classifier.progress import Pace, Progress, duration, tracked


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def soon(monkeypatch):
    """Lines come after 0.1 s instead of 3, and every 0.2 s instead of 10."""
    monkeypatch.setattr(progress, "_FIRST", 0.1)
    monkeypatch.setattr(progress, "_SECONDS", 0.2)


def open_terminal(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def plain(stream):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())


def test_short_work_prints_nothing(capsys):
    assert list(tracked(range(1_000), "counting")) == list(range(1_000))
    with Progress("waiting", 2) as shown:
        shown.advance()
    assert capsys.readouterr() == ("", "")


def test_lines_come_early_and_seldom_and_say_what_is_left(soon, capsys):
    for _ in tracked(range(20), "cross-fitting"):
        time.sleep(0.05)
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 12  # 20 steps in a second or more, and one at the end
    for line in lines[:-1]:
        assert re.fullmatch(r"cross-fitting: \d+%, (about|at most) \d+ s left", line)
    shares = [int(re.search(r"(\d+)%", line)[1]) for line in lines[:-1]]
    assert shares == sorted(shares) and shares[0] < 50
    assert re.fullmatch(r"cross-fitting: done in \d+ s", lines[-1])


def test_lines_come_while_a_step_takes_long(soon, capsys):
    with Progress("compiling", 40) as shown:
        time.sleep(0.25)
        line = capsys.readouterr().err.splitlines()[0]
        assert re.fullmatch(r"compiling: 0%, \d+ s so far", line)
        shown.advance(40)
    with Progress("download", None) as shown:
        shown.advance(3)
        time.sleep(0.25)
    *_, before, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"download: \d+ s so far", before)
    assert re.fullmatch(r"download: done in \d+ s", last)


def test_a_failure_does_not_say_done(soon, capsys):
    with pytest.raises(ValueError, match="broken"), Progress("work", 2):
        time.sleep(0.15)
        raise ValueError("broken")
    lines = set(capsys.readouterr().err.splitlines())
    assert len(lines) > 0 and all(line.startswith("work: 0%, ") for line in lines)


def test_an_upper_bound_is_told_as_one_and_may_end_early(soon, capsys):
    with Progress("cross-fitting", 10, at_most=True) as shown:
        for _ in range(3):
            time.sleep(0.05)
            shown.advance()
        assert re.fullmatch(r"at least 30%, at most \d+ s left", shown.state())
        shown.finish()
        assert re.fullmatch(r"100%, \d+ s", shown.state())
    assert "at most" in capsys.readouterr().err
    items = tracked(iter("ab"), "reading", total=9, at_most=True)
    assert list(items) == ["a", "b"]


def test_descriptions_replace_what_lines_say(soon, capsys):
    with Progress("training", 4, completed=1) as shown:
        shown.advance()
        shown.describe("epoch 2/4: accuracy [b]90%")
        time.sleep(0.15)
        shown.advance(2)
        shown.describe("epoch 4/4: accuracy 95%")
        shown.warn("[/b] looks odd")
    lines = capsys.readouterr().err.splitlines()
    first, rest = lines[0], lines[-3:]
    assert re.fullmatch(
        r"epoch 2/4: accuracy \[b\]90%; 50%, (about|at most) \d+ s left", first
    )
    assert rest[:2] == ["epoch 4/4: accuracy 95%", "warning: [/b] looks odd"]
    assert re.fullmatch(r"training: done in \d+ s", rest[2])


def test_only_the_outer_work_prints_lines(soon, capsys):
    for _ in tracked(range(2), "outer"):
        for _ in tracked(range(3), "inner"):
            time.sleep(0.06)
    assert set(re.findall("outer|inner", capsys.readouterr().err)) == {"outer"}


def test_work_that_is_left_in_the_middle_does_not_hide_what_follows(soon, capsys):
    items = tracked(range(9), "broken off")
    next(items)
    items.close()
    for _ in tracked(range(2), "next"):
        time.sleep(0.1)
    assert "next: " in capsys.readouterr().err


def test_a_terminal_shows_bars_with_the_time_left(soon, monkeypatch):
    terminal = open_terminal(monkeypatch)
    for _ in tracked(range(3), "outer [b]"):
        for _ in tracked(range(4), "inner"):
            time.sleep(0.05)
    shown = plain(terminal)
    assert re.search(r"outer \[b\] .*33%, (about|at most) \d+ s left", shown)
    assert re.search(r"inner .*(25|50|75)%, (about|at most) \d+ s left", shown)
    assert "done in" not in shown
    with Progress("kept", 5, keep=True, at_most=True) as bar:
        bar.advance(2)
        bar.warn("[b]odd")
        bar.finish()
    assert re.search(r"kept .* 100%, \d+ s", plain(terminal))
    assert "warning: [b]odd" in plain(terminal)


def test_colors_alone_make_no_terminal(soon, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Progress("work", 2):
        time.sleep(0.15)
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_progress_needs_no_standard_error(soon, monkeypatch, stream):
    if stream:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress("work", 1) as shown:
        time.sleep(0.15)
        shown.warn("nobody reads this")


def test_the_pace_is_that_of_the_later_half():
    pace = Pace(0, now=0.0)
    assert pace.left(100, now=5.0) == (None, False)
    pace.note(90, now=0.1)  # parts that were done before
    pace.note(91, now=10.1)
    pace.note(92, now=20.1)
    assert pace.left(100, now=20.1)[0] == pytest.approx(80)
    assert pace.left(100, now=24.1)[0] == pytest.approx(76)
    slow = Pace(0, now=0.0)
    slow.note(1, now=30.0)  # compiled and ran
    assert slow.left(41, now=30.0) == (1200, True)
    slow.note(2, now=31.0)
    assert slow.left(41, now=31.0) == (39, False)
    assert slow.left(3, now=40.0)[0] == 8  # late by as much


def test_a_million_steps_need_no_memory():
    pace = Pace(0, now=0.0)
    for step in range(1, 100_001):
        pace.note(step, now=step / 1_000)
    assert pace.left(200_000, now=100.0)[0] == pytest.approx(100, rel=1e-6)
    assert len(pickle.dumps(pace)) < 5_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99, "99 s"), (100, "2 min"), (6_000, "1 h 40 min"), (7_200, "2 h")],
)
def test_durations_are_rounded_up(seconds, text):
    assert duration(seconds) == text


def test_a_line_is_said_once_for_all_processes(monkeypatch, capsys):
    progress.say("one")
    monkeypatch.setattr(progress, "quiet", True)
    progress.say("two")
    assert capsys.readouterr().err == "one\n"
