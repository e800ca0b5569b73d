"""MNIST is read from idx files or TFDS's folders; damage and swaps are named."""

import shutil
import subprocess
import sys

import chex
import numpy as np
import pytest
import tensorflow_datasets as tfds

from mi_classifier.data import mnist, mnist_archive
from mi_classifier.errors import UserError
from tests.conftest import digits, write_idx


@pytest.fixture
def copied(archive, tmp_path):
    """A copy of the archive that a test may damage."""
    return shutil.copytree(archive, tmp_path / "copied")


def test_read_archive_returns_what_was_written(archive):
    splits, name = mnist_archive.read(archive)
    for split, count in (("train", 600), ("test", 100)):
        images, labels = digits(count, seed=count)
        chex.assert_type(splits[split]["image"], np.uint8)
        np.testing.assert_array_equal(splits[split]["image"][..., 0], images)
        np.testing.assert_array_equal(splits[split]["label"], labels)
    assert name != "standard"


def test_gzip_is_recognized_by_content_not_by_name(copied, archive):
    expected = mnist_archive.read(archive)
    # Uncompressed under either name, and gzipped without the ending.
    images, labels = digits(600, seed=600)
    (copied / "train-images-idx3-ubyte.gz").unlink()
    write_idx(copied / "train-images.idx3-ubyte", images, compress=False)
    write_idx(copied / "train-labels-idx1-ubyte.gz", labels, compress=False)
    (copied / "t10k-images-idx3-ubyte.gz").rename(copied / "t10k-images-idx3-ubyte")
    chex.assert_trees_all_equal(mnist_archive.read(copied), expected)


def damage_missing(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()


def damage_truncated_gzip(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1000])


def damage_truncated_raw(folder):
    path = folder / "t10k-images-idx3-ubyte"
    write_idx(path, digits(100, 100)[0], compress=False)
    path.write_bytes(path.read_bytes()[:-1])


def damage_bit(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def damage_empty(folder):
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"")


def damage_header(folder):
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"\x00\x00\x08\x01\x00")


def damage_longer(folder):
    path = folder / "t10k-labels-idx1-ubyte"
    write_idx(path, digits(100, 100)[1], compress=False)
    path.write_bytes(path.read_bytes() + b"x")


def swap(folder, one, other):
    one, other = folder / f"{one}-ubyte.gz", folder / f"{other}-ubyte.gz"
    one.rename(folder / "third")
    other.rename(one)
    (folder / "third").rename(other)


def damage_swapped_kinds(folder):
    swap(folder, "train-images-idx3", "train-labels-idx1")


def damage_swapped_images(folder):
    swap(folder, "train-images-idx3", "t10k-images-idx3")


def damage_swapped_sets(folder):
    swap(folder, "train-images-idx3", "t10k-images-idx3")
    swap(folder, "train-labels-idx1", "t10k-labels-idx1")


def damage_label(folder):
    labels = digits(100, 100)[1]
    labels[7] = 12
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", labels)


def damage_size(folder):
    write_idx(folder / "t10k-images-idx3-ubyte.gz", np.zeros((100, 32, 32)))


def damage_giant(folder):
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(bytes.fromhex("00000803 ffffffff 0000001c 0000001c"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_missing, r"t10k-labels-idx1-ubyte\.gz .* is missing"),
        (damage_truncated_gzip, "train-images.* truncated or damaged"),
        (damage_truncated_raw, "t10k-images.*: truncated"),
        (damage_bit, "train-images.* truncated or damaged"),
        (damage_empty, "train-labels.* truncated"),
        (damage_header, "train-labels.* truncated: no header"),
        (damage_longer, "t10k-labels.* too long: its header"),
        (damage_swapped_kinds, "train-images.* it holds labels: swapped"),
        (damage_swapped_images, "100 images but .* 600 labels.*swapped"),
        (damage_swapped_sets, "fewer images.*swapped"),
        (damage_label, "t10k-labels.*label 12 is not a digit"),
        (damage_size, "t10k-images.*32, 32"),
        (damage_giant, "t10k-images.*announces"),
    ],
)
def test_damaged_archives_are_refused_in_one_line(copied, damage, message):
    damage(copied)
    with pytest.raises(UserError, match=message) as error:
        mnist_archive.read(copied)
    assert "\n" not in str(error.value)


def test_known_checksums_reveal_swaps_and_damage(archive, copied, monkeypatch):
    """A generated set takes the place of MNIST itself."""
    monkeypatch.setattr(mnist_archive, "SHA256", checksums(archive))
    assert mnist_archive.read(archive)[1] == "standard"
    damage_swapped_sets(copied)
    with pytest.raises(UserError, match=r"holds the content of t10k-images.*swapped"):
        mnist_archive.read(copied)
    damage_swapped_sets(copied)
    images = digits(600, 600)[0]
    images[3, 3, 3] += 1
    write_idx(copied / "train-images-idx3-ubyte.gz", images)
    with pytest.raises(UserError, match=r"train-images.*: damaged.* 3 files"):
        mnist_archive.read(copied)


def checksums(folder):
    import gzip
    import hashlib

    return {
        name: hashlib.sha256(gzip.open(folder / f"{name}.gz").read()).hexdigest()
        for pair in mnist_archive.FILES.values()
        for name in pair
    }


def test_thin_keeps_the_first_of_each_digit_in_order():
    labels = np.tile(np.arange(10), 40)
    balanced = mnist.thin(labels, 30, balanced=True)
    assert np.flatnonzero(balanced).tolist() == list(range(300))
    unbalanced = mnist.thin(labels, 30, balanced=False)
    counts = np.bincount(labels[unbalanced], minlength=10)
    assert counts.tolist() == [3, 30] * 5
    assert np.flatnonzero(unbalanced & (labels == 4)).tolist() == [4, 14, 24]


@pytest.mark.slow
def test_splits_are_those_of_the_paper(archive, tmp_path):
    raw, _ = mnist_archive.read(archive)
    count = len(raw["train"]["label"])
    for balanced in (True, False):
        splits = mnist.load(balanced, str(archive), str(tmp_path)).splits
        blocks = {
            "train": slice(0, count * 4 // 6),
            "authors_test": slice(count * 4 // 6, count * 5 // 6),
            "validation": slice(count * 5 // 6, count),
        }
        for name, block in blocks.items():
            labels = raw["train"]["label"][block]
            keep = mnist.thin(labels, count // 20, balanced)
            np.testing.assert_array_equal(splits[name]["label"], labels[keep])
            np.testing.assert_array_equal(
                splits[name]["image"], raw["train"]["image"][block][keep]
            )
        np.testing.assert_array_equal(splits["test"]["image"], raw["test"]["image"])
        np.testing.assert_array_equal(splits["test"]["label"], raw["test"]["label"])


def test_the_real_digits_have_the_paper_s_counts(reference):
    folder = reference and reference / "data" / "mnist"
    if not folder or not folder.is_dir():
        pytest.skip("the real MNIST is not here; generated digits are tested above")
    raw, _ = mnist_archive.read(folder)
    labels = raw["train"]["label"][:40_000]
    for balanced in (True, False):
        kept = labels[mnist.thin(labels, 3_000, balanced)]
        expected = [3000 if balanced else 300, 3000] * 5
        assert np.bincount(kept).tolist() == expected


def test_images_are_normalized_to_mean_0_and_deviation_1(archive, tmp_path):
    dataset = mnist.load(True, str(archive), str(tmp_path))
    images = dataset.splits["test"]["image"][:3]
    expected = (images / 255.0 - 0.1307) / 0.3081
    result = dataset.preprocess(images)
    chex.assert_type(result, np.float32)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    chex.assert_shape(dataset.example_input(), (1, 28, 28, 1))


def test_a_set_that_tfds_prepared_is_read_without_the_archive(archive, tmp_path):
    """TFDS's own builder is named mnist and has no config."""

    class Mnist(mnist.MnistIdx):
        name = "mnist"
        VERSION = tfds.core.Version("3.0.1")

    builder = Mnist(
        archive=mnist_archive.read(archive)[0],
        data_dir=tmp_path,
        file_format="array_record",
    )
    builder.download_and_prepare()
    assert (tmp_path / "mnist" / "3.0.1").is_dir()
    dataset = mnist.load(True, "", str(tmp_path))
    np.testing.assert_array_equal(
        dataset.splits["test"]["label"], digits(100, seed=100)[1]
    )


def test_archives_with_one_data_dir_are_kept_apart(archive, copied, tmp_path):
    first = mnist.load(True, str(archive), str(tmp_path / "tfds"))
    images, labels = digits(100, seed=5)
    write_idx(copied / "t10k-images-idx3-ubyte.gz", images)
    write_idx(copied / "t10k-labels-idx1-ubyte.gz", labels)
    second = mnist.load(True, str(copied), str(tmp_path / "tfds"))
    np.testing.assert_array_equal(second.splits["test"]["label"], labels)
    assert not np.array_equal(
        first.splits["test"]["label"], second.splits["test"]["label"]
    )


def test_without_archive_and_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_archive, "MIRRORS", ("http://127.0.0.1:9/",))
    with pytest.raises(UserError, match=r"train-images.*t10k-labels.*archive_dir") as e:
        mnist.load(True, "", str(tmp_path))
    assert "\n" not in str(e.value)


def test_neither_tensorflow_nor_pytorch_is_imported(archive, tmp_path):
    code = (
        "import sys; from mi_classifier.data import mnist; "
        f"mnist.load(True, {str(archive)!r}, {str(tmp_path)!r}); "
        "assert not {'tensorflow', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_prepared_set_that_calls_itself_mnist_is_compared_with_it(
    archive, tmp_path, monkeypatch
):
    monkeypatch.setattr(mnist_archive, "SHA256", checksums(archive))
    train, _ = mnist.read(str(archive), str(tmp_path))
    assert (tmp_path / "mnist_idx" / "standard").is_dir() and len(train["label"]) == 600
    monkeypatch.undo()  # now other digits are MNIST
    with pytest.raises(UserError, match=r"standard.* is not MNIST; remove this folder"):
        mnist.read(data_dir=str(tmp_path))
