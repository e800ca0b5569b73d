"""Files appear whole or not at all, changes are noticed, and locks hold."""

import json
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest

from mi_classifier.errors import UserError
from mi_classifier.storage import files


def test_to_json_is_strict_json_and_write_text_leaves_nothing_else(tmp_path):
    path = tmp_path / "deep" / "metrics.json"
    value = {"a": np.float32(0.5), "b": jnp.arange(2), "c": [np.nan, (1, "x")]}
    files.write_text(path, files.to_json(value, indent=2))
    assert json.loads(path.read_text()) == {
        "a": 0.5,
        "b": [0, 1],
        "c": [None, [1, "x"]],
    }
    assert list(path.parent.iterdir()) == [path]


def test_write_text_takes_the_longest_name_that_the_system_takes(tmp_path):
    path = tmp_path / ("x" * 251 + ".xml")
    files.write_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_write_text_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "x"
    files.write_text(path, "old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="cannot be written: No space left"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_changed_file_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "a.json"
    for text in ('{"a": 1}', '{"a": 2}'):
        files.write_hashed(path, text)
        assert files.read_json(path, "help") == json.loads(text)
    for changed in ('{"a": 3}', "", "garbage"):
        path.write_text(changed)
        with pytest.raises(UserError, match=r"not what was written; help, or, if you"):
            files.read_json(path, "help")
    (tmp_path / ".a.json.sha256").unlink()  # as a user does who changed the file
    for changed, told in (
        ("x", "cannot be read: .*; help"),
        ("[1]", "not a JSON object"),
    ):
        path.write_text(changed)
        with pytest.raises(UserError, match=told):
            files.read_json(path, "help")
    path.unlink()
    with pytest.raises(UserError, match=r"a\.json: is missing; help"):
        files.read_json(path, "help")


@pytest.mark.parametrize("text", ["a\r\nb\r", "\udcff\u00e9", ""])
def test_line_ends_and_odd_bytes_are_kept(tmp_path, text):
    files.write_hashed(tmp_path / "a", text)
    assert files.read_hashed(tmp_path / "a", "help") == text


def test_the_hash_of_a_damaged_file_is_not_recorded(tmp_path, monkeypatch):
    path = tmp_path / "a"
    files.write_hashed(path, "one")
    path.write_text("damaged")
    monkeypatch.setattr(files, "write_text", lambda p, t: p.write_text(t))
    note = tmp_path / ".a.sha256"
    files.write_hashed(path, "two")
    assert note.read_text().split() == [files.hash_text("two")]


@pytest.mark.parametrize("damage", [b"", b"\xff\x00", b"0" * 64])
def test_a_damaged_hash_is_noticed(tmp_path, damage):
    files.write_hashed(tmp_path / "a", "text")
    (tmp_path / ".a.sha256").write_bytes(damage)
    with pytest.raises(UserError, match="not what was written"):
        files.read_hashed(tmp_path / "a", "help")


def test_a_kill_between_a_file_and_its_hash_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    for text in ("one", "two"):
        files.write_hashed(path, text)
    write = files.write_text

    def killed(path, text):
        if path.name == "a":
            raise KeyboardInterrupt
        write(path, text)

    monkeypatch.setattr(files, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        files.write_hashed(path, "three")
    assert files.read_hashed(path, "help") == "two"


HOLD = """
import pathlib, sys, time
from mi_classifier.storage import files
with files.hold(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_keeps_others_out_until_its_holder_is_killed(tmp_path):
    lock = tmp_path / "deep" / ".lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="not now"), files.hold(lock, refusal="not now"):
        pass
    leftovers = [lock.with_name(name) for name in (".a.1.tmp", ".b.2.tmp", "c.tmp")]
    leftovers[0].write_text("half")
    leftovers[1].mkdir()
    leftovers[2].write_text("somebody's own")
    threading.Timer(0.5, holder.kill).start()
    started = time.monotonic()
    with files.hold(lock, waiting="waiting", leftovers=[".*.tmp"]):
        assert time.monotonic() - started > 0.4
    holder.communicate()
    assert [path.name for path in lock.parent.iterdir()] == ["c.tmp"]
