"""CUB-200-2011 and Tiny-ImageNet: splits, boxes and labels are those of the archive.

The sets are generated. Archives whose files disagree are refused in one line.
"""

import shutil
import tarfile

import chex
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from scipy import ndimage

from mi_classifier import localization
from mi_classifier.data import boxed_sets, cub200, tiny_imagenet
from mi_classifier.errors import UserError
from tests.data.generated import CONFIGS, drop, edit, load, rewrite

SIZES = {
    "cub200": {"train": 40, "validation": 20, "test": 20},
    "tiny_imagenet": {"train": 72, "validation": 4, "test": 4},
    "image_folder": {"train": 64, "validation": 8, "test": 8},
}


def colored(image):
    """Returns the box of the largest patch of the color that all these objects have."""
    red, green, blue = image.astype(int).transpose(2, 0, 1)
    inside = (np.abs(red - green - 90) < 25) & (np.abs(green - blue) < 25)
    parts, _ = ndimage.label(inside)
    largest = np.bincount(parts.ravel())[1:].argmax()
    rows, columns = ndimage.find_objects(parts)[largest]
    return np.array([columns.start, rows.start, columns.stop, rows.stop])


@pytest.mark.parametrize("layout", ["cub200", "tiny_imagenet"])
def test_a_download_damaged_later_is_refused(tmp_path, layout):
    name = {"cub200": "CUB_200_2011.tgz", "tiny_imagenet": "tiny-imagenet-200.zip"}
    path = tmp_path / "downloads" / layout / name[layout]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=rf"{path.name}: damaged since its download"):
        load(layout, "", tmp_path)


@pytest.mark.parametrize("layout", CONFIGS)
def test_splits_have_their_sizes_and_share_no_image(loaded, layout):
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
    # A forgotten crop would shift the boxes on average.
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


def test_an_extracted_folder_is_read_like_the_archive(rehearsal_sets, loaded, tmp_path):
    for layout in ("cub200", "tiny_imagenet"):
        shutil.unpack_archive(rehearsal_sets[layout], tmp_path / layout)
        (root,) = (tmp_path / layout).iterdir()
        expected = loaded(layout).fingerprints()
        for path in (tmp_path / layout, root):
            assert load(layout, path, tmp_path / "new").fingerprints() == expected


def test_a_changed_folder_is_prepared_again(rehearsal_sets, tmp_path):
    """The folder is prepared again even if all sizes stay the same."""
    shutil.unpack_archive(rehearsal_sets["cub200"], tmp_path)
    first = load("cub200", tmp_path / "CUB_200_2011", tmp_path)
    path = tmp_path / "CUB_200_2011" / "bounding_boxes.txt"
    lines = path.read_text().splitlines()
    number, x, *rest = lines[0].split()
    lines[0] = " ".join([number, f"{float(x) + 1:0{len(x)}.1f}"[: len(x)], *rest])
    path.write_text("\n".join(lines) + "\n")
    second = load("cub200", tmp_path / "CUB_200_2011", tmp_path)
    assert first.fingerprints()["train"] != second.fingerprints()["train"]


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


def test_classes_are_thinned_as_by_the_authors(loaded):
    """The classes have 10 images in each of the official splits."""
    dataset = loaded("cub200", balanced=False, dropped="authors")
    assert list(np.bincount(dataset.splits["train"]["label"])) == [10] * 4
    parts = [dataset.splits[name]["label"] for name in ("validation", "test")]
    assert list(np.bincount(np.concatenate(parts))) == [5, 10, 5, 10]
    assert "unbalanced as the authors'" in dataset.name
    whole = loaded("cub200", dropped="authors")  # says nothing of a balanced set
    assert whole.fingerprints() == loaded("cub200").fingerprints()


def test_published_boxes_are_corners_read_as_sizes(loaded):
    """Compare with the authors' arithmetic on the lines of the archive."""
    true, published = (
        loaded("tiny_imagenet", boxes=boxes) for boxes in ("true", "published")
    )
    for name in ("validation", "test"):
        x0, y0, x1, y1 = true.splits[name]["boxes"][:, 0].T - [[0], [0], [1], [1]]
        shift = (64 - 1 - 64) // 2
        corners = np.stack([x0, y0, x0 + x1, y0 + y1], -1) / 64 * (64 - 1) - shift
        found = published.splits[name]["boxes"][:, 0]
        np.testing.assert_allclose(found, corners, atol=1e-4)
        assert (found[:, 2:] > 64).any()  # not clipped to the image
        assert found.dtype == np.float32
    np.testing.assert_array_equal(
        published.splits["train"]["boxes"], true.splits["train"]["boxes"]
    )
    ours, theirs = true.fingerprints(), published.fingerprints()
    assert [name for name in ours if ours[name] == theirs[name]] == ["train"]
    assert published.name.endswith(", published boxes, 64 px")
    with pytest.raises(UserError, match=r"data.boxes: .*'publishd'"):
        loaded("tiny_imagenet", boxes="publishd")


def test_published_boxes_follow_the_side(loaded):
    small, large = (
        loaded("tiny_imagenet", boxes="published", side=side) for side in (64, 128)
    )
    np.testing.assert_allclose(
        large.splits["test"]["boxes"], 2 * small.splits["test"]["boxes"], atol=1e-3
    )


def test_another_seed_changes_the_test_split_only(loaded):
    first, other = loaded("cub200"), loaded("cub200", seed=1)
    assert first.fingerprints()["train"] == other.fingerprints()["train"]
    assert first.fingerprints()["test"] != other.fingerprints()["test"]


def test_a_missing_list_is_named(loaded, tmp_path):
    (tmp_path / "validation.txt").write_text("a.jpg")
    with pytest.raises(UserError, match=r"test.txt: cannot be read: No such file"):
        loaded("cub200", lists_dir=str(tmp_path))


def test_lists_decide_the_splits(loaded, rehearsal_sets, tmp_path):
    _, rows = boxed_sets.read_texts(cub200.OFFICIAL, rehearsal_sets["cub200"])
    names = sorted(rows["test"])
    (tmp_path / "validation.txt").write_text("\n".join(names[:30]))
    (tmp_path / "test.txt").write_text("\n".join(names[30:]))
    dataset = loaded("cub200", lists_dir=str(tmp_path))
    assert len(dataset.splits["validation"]["label"]) == 30
    labels = [rows["test"][name][0] for name in names[30:]]
    np.testing.assert_array_equal(dataset.splits["test"]["label"], labels)


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
            r"images.txt: 001.*_000001.jpg is listed twice",
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
def test_texts_that_disagree_are_refused(
    rehearsal_sets, tmp_path, layout, change, message
):
    source = rehearsal_sets[layout]
    path = rewrite(source, tmp_path / source.name, change)
    with pytest.raises(UserError, match=message) as error:
        load(layout, path, tmp_path)
    assert "\n" not in str(error.value)


def test_a_wrong_truncated_or_missing_archive_is_refused(rehearsal_sets, tmp_path):
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


def test_a_class_with_a_single_test_image_is_refused(rehearsal_sets, tmp_path):
    def lonely(files):
        (name,) = [n for n in files if n.endswith("val_annotations.txt")]
        lines = files[name].splitlines(keepends=True)
        return files | {name: b"".join(lines[:5])}

    path = rewrite(rehearsal_sets["tiny_imagenet"], tmp_path / "tiny.zip", lonely)
    with pytest.raises(UserError, match=r"class rehearsal 002 has one image"):
        load("tiny_imagenet", path, tmp_path)


def test_class_names_are_unique():
    words = "n1\tdog, hound\nn2\tcat\nn3\tdog\n"
    names = tiny_imagenet.class_names(words, ["n1", "n2", "n3", "n4"])
    assert names == ["dog (n1)", "cat", "dog (n3)", "n4"]


@pytest.mark.parametrize("change", [{"side": 80}, {"side": 8}, {"broken": "ignore"}])
def test_wrong_fields_are_named(loaded, change):
    with pytest.raises(UserError, match=r"data\.(side|broken)"):
        loaded("cub200", **change)
