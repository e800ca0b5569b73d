"""What is kept in the folder of data sets is listed, and removed on demand."""

import json
import os
import shutil
import time

import pytest

from mi_classifier.data import caches
from mi_classifier.errors import UserError
from tests.data.generated import load


@pytest.fixture
def kept(rehearsal_sets, tmp_path):
    """A folder of photos, and the folder of data sets with its decoded images."""
    root = shutil.copytree(rehearsal_sets["image_folder"], tmp_path / "images")
    load("image_folder", root, tmp_path / "data")
    return root, tmp_path / "data"


def the_only(data):
    (entry,) = caches.find(data)
    return entry


def test_an_entry_is_described(kept):
    root, data = kept
    entry = the_only(data)
    assert entry.title == f"images at 72 px, from {root}"
    assert entry.bytes == sum(p.stat().st_size for p in entry.path.iterdir())
    assert entry.days < 1 and not entry.unused
    done = json.loads((entry.path / "done.json").read_text())
    assert done["count"] == 80
    assert done["bytes"] == entry.bytes - (entry.path / "done.json").stat().st_size


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (shutil.rmtree, "its source is gone"),
        (lambda root: (root / "boxes.csv").unlink(), "its source has changed"),
        (lambda root: next(root.rglob("*.jpg")).unlink(), "its source has changed"),
        (lambda root: shutil.rmtree(root / "train"), "its source has another layout"),
        (lambda root: (root / "note.txt").touch(), ""),
    ],
)
def test_an_entry_without_its_photos_is_unused(kept, change, reason):
    root, data = kept
    change(root)
    entry = the_only(data)
    assert entry.unused == reason
    assert caches.choose([entry], "unused") == ([entry] if reason else [])


def test_an_entry_that_nobody_reads_is_unused(kept):
    root, data = kept
    note = the_only(data).path / "done.json"
    os.utime(note, (time.time() - 31 * 86_400,) * 2)
    assert the_only(data).unused == "not read for 30 days"
    load("image_folder", root, data)
    assert not the_only(data).unused


def test_entries_are_removed_by_name_and_all(kept, capsys):
    root, data = kept
    features = data / "features" / "abc"
    features.mkdir(parents=True)
    (features / "0.npy").write_bytes(bytes(5_000))
    (features / "done.json").write_text('{"title": "features of a net"}')
    caches.main([f"--data_dir={data}"])
    printed = capsys.readouterr().out
    assert "features/abc  5.0 kB, used today: features of a net\n" in printed
    caches.main([f"--data_dir={data}", "--remove=abc"])
    assert "removed 1 entry, 5.0 kB" in capsys.readouterr().out
    assert not features.exists() and the_only(data)
    caches.main([f"--data_dir={data}", "--remove=unused"])
    assert "removed 0 entries" in capsys.readouterr().out
    caches.main([f"--data_dir={data}", "--remove=all"])
    assert not caches.find(data)
    assert root.is_dir()
    load("image_folder", root, data)  # is made again


def test_an_unknown_name_is_refused(kept):
    with pytest.raises(UserError, match=r"--remove: no entry 'al'"):
        caches.main([f"--data_dir={kept[1]}", "--remove=al"])


def test_what_a_stopped_command_left_is_listed_and_removed(tmp_path):
    part = tmp_path / "features" / "abc" / "0.npy"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(5_000))
    entry = the_only(tmp_path)
    assert entry.title.startswith("incomplete") and entry.bytes == 5_000
    assert not entry.unused  # the same command goes on with it
    os.utime(part.parent, (time.time() - 31 * 86_400,) * 2)
    caches.main([f"--data_dir={tmp_path}", "--remove=unused"])
    assert not part.parent.exists()


@pytest.mark.parametrize("name", ["nowhere", "x" * 5000, "~no-such-user"])
def test_a_folder_that_does_not_exist_is_told(name):
    with pytest.raises(UserError, match=f"--data_dir: no such folder: {name}"):
        caches.main([f"--data_dir={name}"])


@pytest.mark.parametrize("text", ["", "[]", '{"identity": 3, "source": 4}', "\xff"])
def test_a_damaged_note_is_listed(kept, text):
    path = the_only(kept[1]).path
    (path / "done.json").write_text(text)
    assert the_only(kept[1]).path == path
