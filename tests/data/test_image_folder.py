"""Folders of images: layout, boxes.csv, broken files and mistakes."""

import csv
import io
import shutil

import numpy as np
import pytest
from PIL import Image

from mi_classifier.errors import UserError
from tests.data.generated import load, rewrite


@pytest.fixture
def photos(tmp_path):
    """A function that writes photos, all different, and returns the root.

    It takes the number of photos in each class, by folder: "" for the root.
    """

    def write(counts, classes=("cat", "dog"), name="photos"):
        generator = np.random.default_rng(0)
        for folder, count in counts.items():
            for each in classes:
                for i in range(count):
                    path = tmp_path / name / folder / each / f"{folder}_{each}_{i}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    pixels = generator.integers(0, 256, (24, 36, 3), np.uint8)
                    Image.fromarray(pixels).save(path)
        return tmp_path / name

    return write


def sizes(dataset):
    """The number of images of each class, by split."""
    classes = dataset.num_classes
    return {
        name: np.bincount(split["label"], minlength=classes).tolist()
        for name, split in dataset.splits.items()
    }


@pytest.mark.parametrize(
    ("counts", "expected", "told"),
    [
        ({"": 20}, (16, 2, 2), "held out of the folders of the classes, because no"),
        ({"": 3}, (1, 1, 1), "train 2, validation 2, test 2"),
        ({"train": 20}, (16, 2, 2), "train 32, validation 4, test 4"),
        ({"train": 20, "test": 5}, (16, 4, 5), "train 32, validation 8"),
        ({"train": 20, "val": 6}, (20, 3, 3), ""),
        ({"training": 4, "valid": 3, "testing": 2}, (4, 3, 2), ""),
        ({"Train": 4, "VALIDATION": 3, "Test": 2}, (4, 3, 2), ""),
    ],
)
def test_what_is_missing_is_held_out(photos, tmp_path, capsys, counts, expected, told):
    dataset = load("image_folder", photos(counts), tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert tuple(sizes(dataset).values()) == tuple([n, n] for n in expected)
    printed = capsys.readouterr().out
    assert told in printed and bool(told) == ("held out" in printed)
    names = [name for split in dataset.image_names.values() for name in split]
    assert len({*names}) == len(names)
    for split, names in dataset.image_names.items():  # labels follow the images
        labels = [dataset.class_names[i] for i in dataset.splits[split]["label"]]
        assert [name.split("/")[-2] for name in names] == labels


def test_hold_out_sets_the_share(photos, tmp_path):
    dataset = load("image_folder", photos({"train": 20}), tmp_path, hold_out=0.5)
    assert sizes(dataset) == {"train": [10] * 2, "validation": [5] * 2, "test": [5] * 2}


def test_classes_may_have_the_names_of_splits(photos, tmp_path):
    """A folder of a split holds folders of classes."""
    root = photos({"": 5}, ("car", "plane", "train"))
    assert load("image_folder", root, tmp_path).class_names == ("car", "plane", "train")


def test_a_class_without_images_on_one_side_is_told(photos, tmp_path, capsys):
    root = photos({"train": 4, "val": 2, "test": 1})
    shutil.rmtree(root / "val" / "dog")
    load("image_folder", root, tmp_path)
    told = "validation: no image of 1 class, such as dog"
    assert told in capsys.readouterr().out
    load("image_folder", root, tmp_path)  # from the cache
    assert told in capsys.readouterr().out


def test_the_same_image_in_training_and_validation_is_told(photos, tmp_path, capsys):
    root = photos({"train": 4, "val": 2})
    shutil.copy(root / "train/cat/train_cat_0.png", root / "val/cat/copy.png")
    load("image_folder", root, tmp_path)
    assert (
        f"1 image of validation and test also in train, such as {root}/val/cat/copy.png"
        in capsys.readouterr().out
    )
    (root / "val/cat/copy.png").unlink()
    load("image_folder", root, tmp_path)
    assert "also in train" not in capsys.readouterr().out


def test_folders_beside_those_of_splits_or_classes_are_told(photos, tmp_path, capsys):
    root = photos({"train": 4, "val": 2, "unsorted": 2})
    load("image_folder", root, tmp_path)
    assert "not used, because they are no split: unsorted" in capsys.readouterr().out
    flat = photos({"": 4}, name="flat")
    (flat / "notes").mkdir()
    (flat / "notes" / "a.txt").write_text("text")
    assert load("image_folder", flat, tmp_path).class_names == ("cat", "dog")
    printed = capsys.readouterr().out
    assert "2 classes: cat, dog\n" in printed
    assert "no classes, because without images: notes" in printed
    assert "left out 1 file (no image: 1, such as notes/a.txt)" in printed


def test_a_table_by_another_name_is_told(photos, tmp_path, capsys):
    root = photos({"train": 4, "val": 2})
    (root / "Annotations.CSV").write_text("path,x0,y0,x1,y1\n")
    assert "boxes" not in load("image_folder", root, tmp_path).splits["test"]
    told = "no boxes, because there is no boxes.csv; not read: Annotations.CSV"
    assert told in capsys.readouterr().out
    row = "train/cat/train_cat_0.png\t4\t5\t30\t20\n"
    (root / "Boxes.TSV").write_text("path\tx0\ty0\tx1\ty1\n" + row)
    assert load("image_folder", root, tmp_path).splits["train"]["num_boxes"].sum() == 1
    (root / "boxes.csv").touch()
    with pytest.raises(UserError, match=r"both Boxes.TSV and boxes.csv; keep one"):
        load("image_folder", root, tmp_path)


def test_a_folder_around_the_classes_is_named(photos, tmp_path):
    root = photos({"inner": 3})
    with pytest.raises(UserError, match=r"holds 1; did you mean .*photos/inner\?"):
        load("image_folder", root, tmp_path)


def test_odd_files_are_left_out_and_counted(photos, tmp_path, capsys):
    """None of these is trained on, and none stops the run."""
    root = photos({"train": 6, "val": 4})
    cats = root / "train" / "cat"
    first, second, *_ = sorted(cats.iterdir())
    first.rename(cats / "no_suffix")
    second.rename(cats / "wrong.heic")
    (cats / "@eaDir").mkdir()
    shutil.copy(cats / "no_suffix", cats / "@eaDir" / "small.png")
    (cats / "gone.png").symlink_to(root / "nowhere.png")
    (cats / "readme.pdf").write_text("%PDF-1.4")
    (cats / "empty.jpg").touch()
    (cats / "loop").symlink_to(root / "train")
    (root / "train" / "loose.png").write_bytes((cats / "no_suffix").read_bytes())
    dataset = load("image_folder", root, tmp_path)
    assert sizes(dataset)["train"] == [6, 6]
    printed = capsys.readouterr().out
    for reason in (
        "left out 6 files (",
        "in a folder of thumbnails or of the system: 1, such as train/cat/@eaDir/small",
        "dangling link: 1, such as train/cat/gone.png",
        "no image: 1, such as train/cat/readme.pdf",
        "empty: 1, such as train/cat/empty.jpg",
        "link to a folder that holds it: 1, such as train/cat/loop",
        "not in the folder of a class: 1, such as train/loose.png",
    ):
        assert reason in printed
    assert "train/cat/no_suffix" in dataset.image_names["train"]


def test_boxes_are_read_as_stated_and_told(photos, tmp_path, capsys):
    root = photos({"train": 4, "val": 2})
    names = [path.relative_to(root).as_posix() for path in root.rglob("*.png")]
    rows = [f"{name},0.25,0.5,0.75,1\n" for name in names]
    (root / "boxes.csv").write_text("path,x0,y0,x1,y1\n" + "".join(rows))
    with pytest.raises(UserError, match=r"state --config.data.boxes=fractions"):
        load("image_folder", root, tmp_path)
    options = {"stored_side": 40, "side": 40, "boxes": "fractions"}
    splits = load("image_folder", root, tmp_path, **options).splits
    np.testing.assert_allclose(splits["test"]["boxes"], [[[10, 20, 30, 40]]] * 2)
    told = "boxes.csv: 12 boxes of 12 images, read as x0,y0,x1,y1 in fractions"
    assert told in capsys.readouterr().out


def test_images_may_have_several_boxes_or_none(rehearsal_sets, tmp_path):
    root = shutil.copytree(rehearsal_sets["image_folder"], tmp_path / "images")
    rows = list(csv.reader((root / "boxes.csv").open()))
    name = next(row[0] for row in rows if row[0].startswith("val"))
    with (root / "boxes.csv").open("a") as file:
        file.write(f"{name},0,0,48,96\n")
    splits = load("image_folder", root, tmp_path).splits
    chosen = [s for s in ("validation", "test") if splits[s]["num_boxes"].max() == 2]
    (row,) = np.flatnonzero(splits[chosen[0]]["num_boxes"] == 2)
    # 96 pixels are resized to 72; then 4 are cropped from each side.
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
    assert not list((tmp_path / "decoded").glob("*"))  # no unfinished cache is left
    dataset = load("image_folder", root, tmp_path, broken="skip")
    assert len(dataset.splits["train"]["label"]) == 63
    assert (
        f"train: 1 broken images skipped, first train/{image.parent.name}/{image.name}"
        in (capsys.readouterr().out)
    )


def test_files_that_are_no_images_are_named_or_skipped(rehearsal_sets, tmp_path):
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
    for path in (root / "train/class_002").iterdir():
        path.write_bytes(b"<html>")
    with pytest.raises(UserError, match="every training image of the class class_002"):
        load("image_folder", root, tmp_path, broken="skip")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: shutil.rmtree(root / "train"), "must hold a folder per class"),
        (
            lambda root: [
                shutil.rmtree(path)
                for path in (root / "train").iterdir()
                if path.name != "class_001"
            ],
            "train must hold a folder per class, at least two, and holds 1$",
        ),
        (
            lambda root: (shutil.rmtree(root / "val"), (root / "Valid").mkdir()),
            "Valid holds no image",
        ),
        (
            lambda root: shutil.copytree(root / "val/class_001", root / "test"),
            "test holds no image in the folder of a class; add some, or remove",
        ),
        (lambda root: (root / "val/dog").mkdir(), "dog is a class that .*train lacks"),
        (
            lambda root: (root / "val/class_1").mkdir(),
            "train lacks; the nearest is class_001",
        ),
        (
            lambda root: (root / "valid/a").mkdir(parents=True),
            "holds both val and valid",
        ),
        (
            lambda root: (root / "boxes.csv").write_text("a,b\n"),
            "the first line must be",
        ),
        (
            lambda root: (root / "boxes.csv").open("a").write("x.jpg,0,0,1,1\n"),
            "boxes.csv, line 82: x.jpg is not an image",
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
def test_mistakes_in_a_folder_are_named(rehearsal_sets, tmp_path, change, message):
    root = shutil.copytree(rehearsal_sets["image_folder"], tmp_path / "images")
    change(root)
    with pytest.raises(UserError, match=message):
        load("image_folder", root, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hold_out": 0.0}, r"val is missing; create it, or set data.hold_out=0.1"),
        ({"hold_out": 1.0}, r"data.hold_out: must be in \[0, 1\), not 1.0"),
        ({"boxes": "inches"}, r"data.boxes: unknown value 'inches'"),
    ],
)
def test_wrong_options_are_named(photos, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        load("image_folder", photos({"train": 3}), tmp_path, **options)


def test_a_missing_root_is_named(tmp_path):
    for path in ("", tmp_path / "nowhere"):
        with pytest.raises(
            UserError, match=r"data.root_dir: .* give --config.data.root_dir"
        ):
            load("image_folder", path, tmp_path)
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.png").touch()
    with pytest.raises(UserError, match=r"flat must hold a folder per class, .* 0"):
        load("image_folder", tmp_path / "flat", tmp_path)


def test_pixels_of_png_are_kept(tmp_path):
    """Lossless images of the right size keep their pixels."""
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


def test_linked_folders_are_read_and_hidden_ones_are_not(rehearsal_sets, tmp_path):
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
