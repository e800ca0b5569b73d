"""Box files hold what their formats say, in pixels of the file, and read back."""

import itertools
import json
from xml.etree import ElementTree

import numpy as np
import pytest

from mi_classifier.reporting import box_files
from mi_classifier.reporting.box_files import Box, BoxedImage

NAMES = ("cat", "<dog> & \x07bird", "鳥")
IMAGES = [
    BoxedImage("a/x.jpg", (80, 60), [Box((10.25, 5.5, 30.75, 59.6), 0, 0.75)]),
    BoxedImage(
        "b/x.jpg", (7, 9), [Box((-1, -1, 99, 99), 1, 0.5), Box((6, 8, 6, 8), 2, 0)]
    ),
    BoxedImage("b/x.png", (7, 9), []),
]


def text_of(path):
    return path.read_text(encoding="utf-8")


def test_boxes_stay_inside_their_image_and_cover_a_pixel():
    generator = np.random.default_rng(0)
    for _ in range(2_000):
        size = tuple(generator.integers(1, 12, 2).tolist())
        low = generator.uniform(-3, 13, 2)
        sides = generator.choice([0, 0.3, 1, 5], 2)
        corners = np.concatenate([low, low + sides])
        for box in (
            box_files.fit(corners, size),
            np.array(box_files.whole_pixels(corners, size)),
        ):
            assert (box >= 0).all() and (box[2:] <= size).all()
            assert (box[2:] - box[:2] >= 1 - 1e-12).all()
        inside = (corners >= 0).all() and (corners[2:] <= size).all()
        if inside and (corners[2:] - corners[:2] >= 1).all():
            np.testing.assert_allclose(box_files.fit(corners, size), corners)
            assert np.abs(box - corners).max() <= 0.5


def test_coco_has_boxes_of_corner_and_size(tmp_path):
    path = box_files.write_coco(tmp_path, IMAGES, NAMES)
    assert path == tmp_path / "boxes.json"
    content = json.loads(text_of(path))
    assert content["images"][0] == {
        "id": 1,
        "file_name": "a/x.jpg",
        "width": 80,
        "height": 60,
    }
    assert [image["id"] for image in content["images"]] == [1, 2, 3]
    assert [c["name"] for c in content["categories"]] == list(NAMES)
    first, second, third = content["annotations"]
    assert first == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [10.25, 5.5, 20.5, 54.1],
        "area": 1109.05,
        "segmentation": [],
        "iscrowd": 0,
        "score": 0.75,
    }
    assert (second["image_id"], second["category_id"]) == (2, 2)
    assert second["bbox"] == [0, 0, 7, 9]
    assert third["bbox"] == [5.5, 7.5, 1, 1] and third["area"] == 1


def test_voc_counts_pixels_from_one_and_includes_the_last(tmp_path):
    folder = box_files.write_voc(tmp_path, IMAGES, NAMES)
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.*"))
    assert files == ["a/x.xml", "b/x.png.xml", "b/x.xml"]  # x.jpg and x.png are apart
    root = ElementTree.parse(folder / "a" / "x.xml").getroot()
    texts = {e.tag: e.text for e in root.iter() if len(e) == 0}
    assert texts == {
        "folder": "a",
        "filename": "x.jpg",
        "database": "Unknown",
        "width": "80",
        "height": "60",
        "depth": "3",
        "segmented": "0",
        "name": "cat",
        "pose": "Unspecified",
        "truncated": "0",
        "difficult": "0",
        "xmin": "11",
        "ymin": "7",
        "xmax": "31",
        "ymax": "60",
        "confidence": "0.750000",
    }
    root = ElementTree.parse(folder / "b" / "x.xml").getroot()
    assert [e.text for e in root.iter("name")] == ["<dog> & ?bird", "鳥"]
    boxes = [[int(e.text) for e in box] for box in root.iter("bndbox")]
    assert boxes[0] == [1, 1, 7, 9]
    x0, y0, x1, y1 = boxes[1]
    assert x0 == x1 and y0 == y1  # one pixel
    assert ElementTree.parse(folder / "b" / "x.png.xml").find("object") is None


@pytest.mark.parametrize("scores", [False, True])
def test_yolo_has_shares_of_the_size(tmp_path, scores):
    folder = box_files.write_yolo(tmp_path, IMAGES, NAMES, scores)
    assert folder.name == ("yolo_scores" if scores else "yolo")
    for inside in (folder, folder / "a", folder / "b"):
        names = text_of(inside / "classes.txt").splitlines()
        assert names == ["cat", "<dog> & ?bird", "鳥"]
    (line,) = text_of(folder / "a" / "x.txt").splitlines()
    label, *numbers = line.split(" ")
    assert label == "0"
    x, y, width, height, *score = map(float, numbers)
    assert score == ([0.75] if scores else [])
    corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    np.testing.assert_allclose(
        np.multiply(corners, [80, 60, 80, 60]), IMAGES[0].boxes[0].corners, atol=1e-5
    )
    assert text_of(folder / "b" / "x.png.txt") == ""
    assert len(text_of(folder / "b" / "x.txt").splitlines()) == 2


def test_no_image_takes_the_place_of_the_list_of_classes(tmp_path):
    box = Box((0, 0, 1, 1), 0, 1.0)
    names = ("classes.jpg", "Classes.png", "n.JPG", "N.jpg", "n.o.jpg")
    images = [BoxedImage(name, (2, 2), [box]) for name in names]
    folder = box_files.write_yolo(tmp_path, images, NAMES)
    assert text_of(folder / "classes.txt").startswith("cat\n")
    written = {p.name for p in folder.iterdir()} - {"classes.txt"}
    assert len(written) == 5 and len({name.casefold() for name in written}) == 5


def test_every_format_writes_below_the_folder_and_apart(tmp_path):
    paths = [write(tmp_path, IMAGES, NAMES) for write in box_files.FORMATS.values()]
    assert all(path.parent == tmp_path and path.exists() for path in paths)
    for one, other in itertools.combinations(paths, 2):
        assert one != other
