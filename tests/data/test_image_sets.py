"""CUB-200-2011, Tiny-ImageNet and folders of images, rehearsed on generated sets."""

import csv
import errno
import io
import shutil
import tarfile
import zipfile

import chex
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from scipy import ndimage

from mi_classifier import localization
from mi_classifier.data import (
    cub200,
    image_cache,
    load_dataset,
    tfds_store,
    tiny_imagenet,
)
from mi_classifier.data.images import image_dataset
from mi_classifier.errors import UserError
from tests.data.test_archive import write_tar, write_zip

CONFIGS = {
    "cub200": {"name": "cub200", "stored_side": 72, "side": 64},
    "tiny_imagenet": {"name": "tiny_imagenet", "side": 64},
    "image_folder": {"name": "image_folder", "stored_side": 72, "side": 64},
}
SIZES = {
    "cub200": {"train": 40, "validation": 20, "test": 20},
    "tiny_imagenet": {"train": 72, "validation": 4, "test": 4},
    "image_folder": {"train": 64, "validation": 8, "test": 8},
}
PATHS = {
    "cub200": "archive_path",
    "tiny_imagenet": "archive_path",
    "image_folder": "root_dir",
}


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


def load(layout, path, data_dir, **options):
    config = CONFIGS[layout] | {PATHS[layout]: str(path), "data_dir": str(data_dir)}
    return load_dataset(config | {"normalization": "imagenet"} | options)


@pytest.fixture
def loaded(rehearsal_sets, data_dir):
    return lambda layout, **options: load(
        layout, rehearsal_sets[layout], data_dir, **options
    )


def colored(image):
    """The box of the largest patch of the color that all these objects have."""
    red, green, blue = image.astype(int).transpose(2, 0, 1)
    inside = (np.abs(red - green - 90) < 25) & (np.abs(green - blue) < 25)
    parts, _ = ndimage.label(inside)
    largest = np.bincount(parts.ravel())[1:].argmax()
    rows, columns = ndimage.find_objects(parts)[largest]
    return np.array([columns.start, rows.start, columns.stop, rows.stop])


@pytest.mark.parametrize("layout", ["cub200", "tiny_imagenet"])
def test_a_download_that_was_damaged_since_is_named(tmp_path, layout):
    name = {"cub200": "CUB_200_2011.tgz", "tiny_imagenet": "tiny-imagenet-200.zip"}
    path = tmp_path / "downloads" / layout / name[layout]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=rf"{path.name}: damaged since its download"):
        load(layout, "", tmp_path)


@pytest.mark.parametrize("layout", CONFIGS)
def test_splits_and_shapes(loaded, layout):
    dataset = loaded(layout)
    for name, size in SIZES[layout].items():
        split = dataset.splits[name]
        side = CONFIGS[layout].get("stored_side", 64) if name == "train" else 64
        chex.assert_shape(split["image"], (size, side, side, 3))
        chex.assert_type([split["image"], split["label"]], [np.uint8, np.int32])
        chex.assert_shape(split["boxes"], (size, 1, 4))
        assert (split["num_boxes"] == 1).all()
        assert isinstance(split["image"], np.memmap)
    counts = [
        np.bincount(dataset.splits[name]["label"], minlength=4)
        for name in ("validation", "test")
    ]
    assert (np.abs(counts[0] - counts[1]) <= 1).all() and (counts[0] > 0).all()
    assert dataset.num_classes == 4
    contents = [
        image.tobytes() for s in dataset.splits.values() for image in s["image"]
    ]
    assert len(set(contents)) == sum(SIZES[layout].values())  # in one split each


@pytest.mark.parametrize("layout", CONFIGS)
def test_boxes_cover_the_objects_after_resize_and_crop(loaded, layout):
    splits = loaded(layout).splits.values()
    boxes = np.concatenate([split["boxes"][:, 0] for split in splits])
    found = np.array([colored(image) for split in splits for image in split["image"]])
    assert localization.iou(found, boxes).mean() > 0.75
    # No shift on the average, as a forgotten crop would be one.
    corners = (found - boxes).mean(0)
    assert np.abs(corners[:2] + corners[2:]).max() / 2 < 1


def test_labels_are_those_of_the_texts(rehearsal_sets, loaded):
    """Every image is found again, by its pixels, under the class of its folder."""
    dataset = loaded("cub200", stored_side=64)
    by_pixels = {}
    for split in dataset.splits.values():
        for image, label in zip(split["image"], split["label"], strict=True):
            by_pixels[image.tobytes()] = dataset.class_names[label]
    with tarfile.open(rehearsal_sets["cub200"]) as archive:
        members = [m for m in archive if m.name.endswith(".jpg")]
        assert len(members) == 80
        for member in members:
            image = Image.open(archive.extractfile(member)).resize(
                (64, 64), Image.Resampling.BILINEAR
            )
            class_name = member.name.split("/")[2]
            assert by_pixels[np.asarray(image).tobytes()] == class_name


def test_an_extracted_folder_is_the_archive(rehearsal_sets, loaded, tmp_path):
    for layout in ("cub200", "tiny_imagenet"):
        shutil.unpack_archive(rehearsal_sets[layout], tmp_path / layout)
        (root,) = (tmp_path / layout).iterdir()
        expected = loaded(layout).fingerprints()
        for path in (tmp_path / layout, root):
            assert load(layout, path, tmp_path / "new").fingerprints() == expected


def test_tfds_reads_what_we_wrote(loaded, data_dir):
    loaded("cub200")
    (folder,) = (data_dir / "cub200").glob("*/1.0.0")
    builder = tfds.builder_from_directory(folder)
    source = builder.as_data_source(split="train")
    assert len(source) == 40
    example = source[0]
    assert example["image"].dtype == np.uint8 and example["image"].ndim == 3
    assert example["bbox"].min() >= 0 and example["bbox"].max() <= 1


def test_a_set_that_tfds_prepared_is_read_as_well(loaded, data_dir, tmp_path):
    expected = loaded("cub200")
    (folder,) = (data_dir / "cub200").glob("*/1.0.0")
    shutil.copytree(folder, tmp_path / "caltech_birds2011" / "0.1.1")
    dataset = load("cub200", "", tmp_path)
    chex.assert_trees_all_equal(dict(dataset.splits), dict(expected.splits))


def test_half_of_the_classes_lose_half_of_their_images(loaded):
    dataset = loaded("cub200", balanced=False)
    assert sorted(np.bincount(dataset.splits["train"]["label"])) == [5, 5, 10, 10]
    assert len(dataset.splits["test"]["label"]) == 20
    assert "unbalanced" in dataset.name


def test_another_seed_is_another_split_and_the_same_one_the_same(loaded):
    first, other = loaded("cub200"), loaded("cub200", seed=1)
    assert first.fingerprints()["train"] == other.fingerprints()["train"]
    assert first.fingerprints()["test"] != other.fingerprints()["test"]


def test_a_list_that_is_missing_is_named(loaded, tmp_path):
    (tmp_path / "validation.txt").write_text("a.jpg")
    with pytest.raises(UserError, match=r"data.lists_dir: .*test.txt is missing"):
        loaded("cub200", lists_dir=str(tmp_path))


def test_own_lists_decide(loaded, rehearsal_sets, tmp_path):
    contents = cub200.read(rehearsal_sets["cub200"])
    names = sorted(contents.splits["test"])
    (tmp_path / "validation.txt").write_text("\n".join(names[:30]))
    (tmp_path / "test.txt").write_text("\n".join(names[30:]))
    dataset = loaded("cub200", lists_dir=str(tmp_path))
    assert len(dataset.splits["validation"]["label"]) == 30
    labels = [contents.splits["test"][name][0] for name in names[30:]]
    np.testing.assert_array_equal(dataset.splits["test"]["label"], labels)


def test_images_are_decoded_once_and_anew_when_something_changes(
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


def test_a_folder_without_boxes_or_with_several(rehearsal_sets, tmp_path):
    root = shutil.copytree(rehearsal_sets["image_folder"], tmp_path / "images")
    rows = list(csv.reader((root / "boxes.csv").open()))
    name = next(row[0] for row in rows if row[0].startswith("val"))
    with (root / "boxes.csv").open("a") as file:
        file.write(f"{name},0,0,48,96\n")
    splits = load("image_folder", root, tmp_path).splits
    chosen = [s for s in ("validation", "test") if splits[s]["num_boxes"].max() == 2]
    (row,) = np.flatnonzero(splits[chosen[0]]["num_boxes"] == 2)
    # 96 pixels were resized to 72, of which 4 are cropped from each side.
    expected = [0, 0, 32, 64]
    np.testing.assert_array_equal(splits[chosen[0]]["boxes"][row, 1], expected)
    (root / "boxes.csv").unlink()
    assert "boxes" not in load("image_folder", root, tmp_path).splits["test"]


def test_a_test_folder_is_the_test_split(rehearsal_sets, tmp_path):
    root = shutil.copytree(rehearsal_sets["image_folder"], tmp_path / "images")
    (root / "boxes.csv").unlink()
    shutil.copytree(root / "val", root / "test")
    splits = load("image_folder", root, tmp_path).splits
    assert len(splits["test"]["label"]) == len(splits["validation"]["label"]) == 16


def test_broken_images_stop_or_are_skipped(rehearsal_sets, tmp_path, capsys):
    root = shutil.copytree(rehearsal_sets["image_folder"], tmp_path / "images")
    (root / "boxes.csv").unlink()
    image = next((root / "train").rglob("*.jpg"))
    image.write_bytes(image.read_bytes()[:500])
    with pytest.raises(UserError, match=rf"{image.name}: cannot be decoded: .*skip"):
        load("image_folder", root, tmp_path)
    assert not list((tmp_path / "decoded").glob("*"))  # nothing half-made stays
    dataset = load("image_folder", root, tmp_path, broken="skip")
    assert len(dataset.splits["train"]["label"]) == 63
    assert (
        f"train: 1 broken images skipped, train/{image.parent.name}/{image.name}"
        in (capsys.readouterr().out)
    )


def rewrite(source, target, change):
    """Copies an archive through `change`, from a dict of members to another."""
    if source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive:
            files = {n: archive.read(n) for n in archive.namelist()}
        return write_zip(target, change(files))
    with tarfile.open(source) as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive}
    return write_tar(target, change(files))


def edit(member, old, new):
    def change(files):
        (name,) = [n for n in files if n.endswith(member)]
        assert old in files[name]
        return files | {name: files[name].replace(old, new, 1)}

    return change


def drop(part):
    return lambda files: {n: c for n, c in files.items() if part not in n}


MISTAKES = {
    "cub200": [
        (drop("classes.txt"), r"not CUB-200-2011, it lacks CUB_200_2011/classes.txt"),
        (drop("_000007.jpg"), r"lacks 1 of the 40 images .*_000007.jpg"),
        (edit("class_labels.txt", b"5 1\n", b"5 9\n"), r"no class 9"),
        (
            edit("class_labels.txt", b"5 1\n", b""),
            r"class_labels.txt: image 5 is missing",
        ),
        (edit("class_labels.txt", b"5 1\n", b"5 2\n"), r"_000005.jpg is of class 002"),
        (
            edit("images.txt", b"0002_000002", b"0001_000001"),
            r"images.txt: 001.*_000001.jpg is there twice",
        ),
        (edit("train_test_split.txt", b"3 1\n", b"3 2\n"), r"'2' for 001"),
        (edit("boxes.txt", b"2 ", b"2 9"), r"its box .* is empty or outside of the im"),
        (edit("boxes.txt", b"2 ", b"2 x"), r"bounding_boxes.txt: no box for 001"),
        (edit("images.txt", b"1 001", b"1 0 01"), r"images.txt, line 1: '1 0 01"),
    ],
    "tiny_imagenet": [
        (drop("wnids.txt"), r"not Tiny-ImageNet, it lacks .*wnids.txt"),
        (drop("n00000002_boxes.txt"), r"lacks .*n00000002_boxes.txt, of a class"),
        (drop("val_3.JPEG"), r"lacks 1 of the 8 images .*val/images/val_3.JPEG"),
        (edit("val_annotations.txt", b"n00000001", b"n99"), r"no class n99"),
        (edit("val_annotations.txt", b"\t", b" "), r"val_annotations.txt, line 1"),
        (edit("wnids.txt", b"n00000002", b"n00000001"), r"wnids.txt: 4 names, not all"),
        (edit("n00000001_boxes.txt", b"JPEG\t", b"JPEG\t99"), r"empty or outside"),
    ],
}


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [(layout, *row) for layout, rows in MISTAKES.items() for row in rows],
)
def test_archives_that_disagree(rehearsal_sets, tmp_path, layout, change, message):
    source = rehearsal_sets[layout]
    path = rewrite(source, tmp_path / source.name, change)
    with pytest.raises(UserError, match=message) as error:
        load(layout, path, tmp_path)
    assert "\n" not in str(error.value)


def test_the_other_archive_and_a_truncated_one(rehearsal_sets, tmp_path):
    with pytest.raises(UserError, match="not CUB-200-2011, it lacks"):
        load("cub200", rehearsal_sets["tiny_imagenet"], tmp_path)
    with pytest.raises(UserError, match="not Tiny-ImageNet, it lacks"):
        load("tiny_imagenet", rehearsal_sets["cub200"], tmp_path)
    path = tmp_path / "cub.tgz"
    path.write_bytes(rehearsal_sets["cub200"].read_bytes()[:100_000])
    with pytest.raises(UserError, match="truncated, damaged or no archive"):
        load("cub200", path, tmp_path)
    with pytest.raises(UserError, match=r"archive_path: no such archive or folder"):
        load("cub200", tmp_path / "nowhere.tgz", tmp_path)


def test_a_class_of_one_test_image(rehearsal_sets, tmp_path):
    def lonely(files):
        (name,) = [n for n in files if n.endswith("val_annotations.txt")]
        lines = files[name].splitlines(keepends=True)
        return files | {name: b"".join(lines[:5])}

    path = rewrite(rehearsal_sets["tiny_imagenet"], tmp_path / "tiny.zip", lonely)
    with pytest.raises(UserError, match=r"class rehearsal 002 has one image"):
        load("tiny_imagenet", path, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: shutil.rmtree(root / "val"), "has no folder val"),
        (lambda root: shutil.rmtree(root / "train"), "must hold a folder a class"),
        (lambda root: (root / "val/dog").mkdir(), "dog is a class that .*train lacks"),
        (
            lambda root: (root / "boxes.csv").write_text("a,b\n"),
            "the first line must be",
        ),
        (
            lambda root: (root / "boxes.csv").open("a").write("x.jpg,0,0,1,1\n"),
            "boxes.csv, line 82: x.jpg is no image",
        ),
        (
            lambda root: (root / "boxes.csv").open("a").write("x.jpg,0,0,1\n"),
            r"boxes.csv, line 82: not path,x0,y0,x1,y1",
        ),
        (
            lambda root: (root / "boxes.csv").write_text(
                (root / "boxes.csv").read_text().replace(".jpg,", ".jpg,9", 1)
            ),
            "is empty or outside of the image of 96 x 96",
        ),
    ],
)
def test_mistakes_in_a_folder(rehearsal_sets, tmp_path, change, message):
    root = shutil.copytree(rehearsal_sets["image_folder"], tmp_path / "images")
    change(root)
    with pytest.raises(UserError, match=message):
        load("image_folder", root, tmp_path)


def test_no_folder_at_all(tmp_path):
    for path in ("", tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"data.root_dir: no such folder"):
            load("image_folder", path, tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_is_full_or_not_ours(loaded, tmp_path, monkeypatch, number):
    def fail(*args):
        raise OSError(number, "as told by the system")

    monkeypatch.setattr(image_cache, "_write_header", fail)
    with pytest.raises(UserError, match=r"data_dir: cannot write to .* as told by"):
        loaded("cub200", stored_side=66 + number)


def test_a_damaged_cache_is_told(rehearsal_sets, tmp_path):
    load("tiny_imagenet", rehearsal_sets["tiny_imagenet"], tmp_path)
    (path,) = (tmp_path / "decoded").glob("*/train.npy")
    path.write_bytes(path.read_bytes()[:1_000])
    with pytest.raises(UserError, match="damaged; remove this folder"):
        load("tiny_imagenet", rehearsal_sets["tiny_imagenet"], tmp_path)


def test_class_words_are_unique():
    words = "n1\tdog, hound\nn2\tcat\nn3\tdog\n"
    names = tiny_imagenet._class_names(words, ["n1", "n2", "n3", "n4"])
    assert names == ["dog (n1)", "cat", "dog (n3)", "n4"]


@pytest.mark.parametrize("change", [{"side": 80}, {"side": 8}, {"broken": "ignore"}])
def test_fields_that_cannot_be(loaded, change):
    with pytest.raises(UserError, match=r"data\.(side|broken)"):
        loaded("cub200", **change)


def test_pixels_of_png_are_kept(tmp_path):
    """What is stored losslessly at the right size arrives untouched."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (8, 32, 32, 3), np.uint8)
    for i, image in enumerate(images):
        path = (
            tmp_path / "set" / ("train" if i < 4 else "val") / "ab"[i % 2] / f"{i}.png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        Image.fromarray(image).save(file, "png")
        path.write_bytes(file.getvalue())
    options = {"stored_side": 32, "side": 32}
    splits = load("image_folder", tmp_path / "set", tmp_path, **options).splits
    np.testing.assert_array_equal(splits["train"]["image"], images[[0, 2, 1, 3]])


def test_a_folder_that_changes_is_prepared_anew(rehearsal_sets, tmp_path):
    """Even where no size changes."""
    shutil.unpack_archive(rehearsal_sets["cub200"], tmp_path)
    first = load("cub200", tmp_path / "CUB_200_2011", tmp_path)
    path = tmp_path / "CUB_200_2011" / "bounding_boxes.txt"
    lines = path.read_text().splitlines()
    number, x, *rest = lines[0].split()
    lines[0] = " ".join([number, f"{float(x) + 1:0{len(x)}.1f}"[: len(x)], *rest])
    path.write_text("\n".join(lines) + "\n")
    second = load("cub200", tmp_path / "CUB_200_2011", tmp_path)
    assert first.fingerprints()["train"] != second.fingerprints()["train"]


def test_what_is_no_image_is_named_or_skipped(rehearsal_sets, tmp_path):
    def spoil(files):
        return files | {n: b"<html>" for n in files if n.endswith("_000007.jpg")}

    path = rewrite(rehearsal_sets["cub200"], tmp_path / "cub.tgz", spoil)
    with pytest.raises(
        UserError, match=r"_000007.jpg: cannot be decoded: not an image"
    ):
        load("cub200", path, tmp_path)
    splits = load("cub200", path, tmp_path, broken="skip").splits
    assert len(splits["train"]["label"]) == 39
    root = shutil.copytree(rehearsal_sets["image_folder"], tmp_path / "images")
    next((root / "train").rglob("*.jpg")).write_bytes(b"<html>")  # with a box
    splits = load("image_folder", root, tmp_path, broken="skip").splits
    assert len(splits["train"]["label"]) == 63


def test_linked_folders_count_and_hidden_ones_do_not(rehearsal_sets, tmp_path):
    root = shutil.copytree(rehearsal_sets["image_folder"], tmp_path / "images")
    (root / "boxes.csv").unlink()
    (root / "train" / "class_001").rename(tmp_path / "elsewhere")
    (root / "train" / "class_001").symlink_to(tmp_path / "elsewhere")
    (root / "train" / ".hidden").mkdir()
    dataset = load("image_folder", root, tmp_path)
    np.testing.assert_array_equal(
        np.bincount(dataset.splits["train"]["label"]), [16] * 4
    )
    (root / "train" / "empty").mkdir()
    with pytest.raises(UserError, match=r"train/empty holds no image"):
        load("image_folder", root, tmp_path)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 20, 40), (0, 0, 1, 1)),
        ((-1, 5, 10, 41), (0, 0.125, 0.5, 1)),
        ((20, 0, 21, 40), None),
        ((5, 5, 5, 9), None),
        ((float("nan"), 0, 1, 1), None),
        ((-30, 0, 20, 40), None),
    ],
)
def test_boxes_are_clipped_to_their_image_and_refused_outside(box, expected):
    if expected:
        assert tfds_store.fractions(box, (20, 40), "x") == pytest.approx(expected)
    else:
        with pytest.raises(UserError, match=r"x: its box .* outside of the image"):
            tfds_store.fractions(box, (20, 40), "x")


@pytest.mark.parametrize("form", ["tiff", "jpeg", "png"])
def test_the_size_is_that_of_the_image_turned_upright(form):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (40, 20)).save(file, form, exif=exif)
    assert tfds_store.size_of(file.getvalue()) == (20, 40)


def test_boxes_that_were_cropped_away_no_longer_count():
    split = {
        "image": np.zeros((1, 20, 20, 3), np.uint8),
        "label": np.zeros(1, np.int32),
        "boxes": np.array([[[0, 0, 2, 9], [4, 4, 20, 20], [0, 0, 0, 0]]], np.float32),
        "num_boxes": np.array([2], np.int32),
    }
    cropped = image_dataset("", {"test": split}, ["a"], 16, "imagenet").splits["test"]
    np.testing.assert_array_equal(cropped["num_boxes"], [1])
    np.testing.assert_array_equal(cropped["boxes"][0, 0], [2, 2, 16, 16])


def test_a_changed_list_of_class_names_is_noticed(rehearsal_sets, tmp_path):
    options = {"archive_path": str(rehearsal_sets["cub200"]), "data_dir": str(tmp_path)}
    config = {"name": "cub200", "stored_side": 32, "side": 32, **options}
    config |= {"normalization": "imagenet"}
    sound = load_dataset(config)
    (names,) = tmp_path.rglob("label.labels.txt")
    text = names.read_text()
    names.write_text(text.replace("001", "010", 1))
    with pytest.raises(UserError, match=r"label.labels.txt is not what was written"):
        load_dataset(config)
    names.write_text(text)
    assert load_dataset(config).fingerprints() == sound.fingerprints()
    (names.parent / "hashes.json").unlink()  # as where others prepared it
    assert load_dataset(config).class_names == sound.class_names
