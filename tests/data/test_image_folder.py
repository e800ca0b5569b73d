"""Folders of images: layout, boxes.csv, broken files and mistakes."""

import csv
import io
import shutil

import numpy as np
import pytest
from PIL import Image

from mi_classifier.errors import UserError
from tests.data.generated import load, rewrite


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: shutil.rmtree(root / "val"), r"val is missing; create it"),
        (lambda root: shutil.rmtree(root / "train"), "must hold a folder per class"),
        (lambda root: (root / "val/dog").mkdir(), "dog is a class that .*train lacks"),
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


def test_a_missing_root_is_named(tmp_path):
    for path in ("", tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"data.root_dir: no such folder"):
            load("image_folder", path, tmp_path)


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
