"""The image cache decodes once, hashes once, and notices damage and full disks."""

import errno
import hashlib
import shutil

import chex
import numpy as np
import pytest
from PIL import Image

from mi_classifier.data import ahead, image_cache, tiny_imagenet
from mi_classifier.errors import UserError
from tests.data.generated import load


def test_images_are_decoded_again_only_when_something_changes(
    loaded, rehearsal_sets, monkeypatch, tmp_path
):
    root = shutil.copytree(rehearsal_sets["image_folder"], tmp_path / "images")
    calls = []
    decode = image_cache.decode_all

    def counted(contents, side):
        calls.extend(contents)
        return decode(contents, side)

    monkeypatch.setattr(image_cache, "decode_all", counted)
    dataset = load("image_folder", root, tmp_path)
    assert len(calls) == 80
    assert load("image_folder", root, tmp_path).fingerprints() == dataset.fingerprints()
    assert len(calls) == 80
    load("image_folder", root, tmp_path, stored_side=80)
    assert len(calls) == 160
    image = next((root / "train").rglob("*.jpg"))
    Image.new("RGB", (96, 96)).save(image)
    changed = load("image_folder", root, tmp_path)
    assert changed.fingerprints() != dataset.fingerprints()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_full_or_protected_disk_is_named(loaded, tmp_path, monkeypatch, number):
    def fail(*args):
        raise OSError(number, "as told by the system")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", fail)
    with pytest.raises(UserError, match=r"data_dir: cannot write to .* as told by"):
        loaded("cub200", stored_side=66 + number)


def test_size_and_place_are_told_once(rehearsal_sets, tmp_path, capsys):
    for expected in ("decoded 80 images to", ""):
        load("image_folder", rehearsal_sets["image_folder"], tmp_path)
        printed = capsys.readouterr().out
        assert expected in printed and bool(expected) == ("decoded" in printed)
        # 80 images of 72 x 72 pixels, and their names and boxes
        assert not expected or f"{tmp_path}/decoded/" in printed
        assert not expected or "1.3 MB; `python -m mi_classifier.data.caches" in printed


def test_too_little_room_is_told_before_anything_is_decoded(
    rehearsal_sets, tmp_path, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(image_cache, "decode_all", None)
    with pytest.raises(UserError, match=r"need 1.2 MB, and .* has 1.0 MB free; make"):
        load("image_folder", rehearsal_sets["image_folder"], tmp_path)


def test_a_damaged_cache_is_refused(rehearsal_sets, tmp_path):
    load("tiny_imagenet", rehearsal_sets["tiny_imagenet"], tmp_path)
    (path,) = (tmp_path / "decoded").glob("*/train.npy")
    path.write_bytes(path.read_bytes()[:1_000])
    with pytest.raises(UserError, match="damaged; remove this folder and run"):
        load("tiny_imagenet", rehearsal_sets["tiny_imagenet"], tmp_path)


def test_each_byte_is_hashed_once(rehearsal_sets, tmp_path, monkeypatch):
    sha256, hashed = hashlib.sha256, []
    monkeypatch.setattr(
        hashlib, "sha256", lambda data=b"": hashed.append(len(data)) or sha256(data)
    )
    for _ in ("decode", "load"):
        hashed.clear()
        dataset = load("image_folder", rehearsal_sets["image_folder"], tmp_path)
        size = sum(p.stat().st_size for p in tmp_path.glob("decoded/*/*.np?"))
        assert size <= sum(hashed) < size + 50_000
        hashed.clear()
        dataset.fingerprints()
        assert not hashed


def test_fingerprints_depend_on_the_crop(rehearsal_sets, tmp_path):
    one, other = (
        load("image_folder", rehearsal_sets["image_folder"], tmp_path, side=side)
        for side in (64, 60)
    )
    assert one.fingerprints()["test"] != other.fingerprints()["test"]


@pytest.mark.parametrize("few", [5, 1_000])
def test_images_that_are_decoded_ahead_are_those_that_are_decoded_later(
    rehearsal_sets, tmp_path, monkeypatch, few
):
    """In other processes or in this one; from an archive they are decoded ahead."""
    monkeypatch.setattr(ahead, "_FEW", few)
    monkeypatch.setattr(ahead, "_BATCH", 7)
    monkeypatch.setattr(image_cache, "_MANY", few)
    path = rehearsal_sets["tiny_imagenet"]
    options = {"archive_path": str(path), "data_dir": str(tmp_path)}
    first = tiny_imagenet.load(64, "imagenet", **options)
    shutil.rmtree(tmp_path / "decoded")
    again = tiny_imagenet.load(64, "imagenet", **options)
    for name, split in first.splits.items():
        chex.assert_trees_all_equal(dict(split), dict(again.splits[name]))
    assert first.fingerprints() == again.fingerprints()
