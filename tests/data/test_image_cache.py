"""The image cache decodes once, hashes once, and notices damage and full disks."""

import errno
import hashlib
import shutil

import numpy as np
import pytest
from PIL import Image

from mi_classifier.data import image_cache
from mi_classifier.errors import UserError
from tests.data.generated import load


def test_images_are_decoded_again_only_when_something_changes(
    loaded, rehearsal_sets, monkeypatch, tmp_path
):
    root = shutil.copytree(rehearsal_sets["image_folder"], tmp_path / "images")
    calls = []
    decode = image_cache.decode
    monkeypatch.setattr(image_cache, "decode", lambda *a: calls.append(0) or decode(*a))
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
