"""Write boxes as labeling tools read them: COCO, Pascal VOC, YOLO.

Coordinates are pixels of the file as a labeling tool shows it: turned as its EXIF
orientation says. Every box lies inside its image and covers at least one pixel.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np

from mi_classifier.storage.files import to_json, write_text

_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")  # not for XML, lines
_CLASSES = "classes"  # the stem of YOLO's list of names


@dataclasses.dataclass(frozen=True)
class Box:
    """A box in an image.

    Attributes:
      corners: (x0, y0, x1, y1) in pixels, half-open, maybe with fractions.
      label: index of its class.
      score: the probability of the class, in [0, 1].
    """

    corners: Sequence[float]
    label: int
    score: float


@dataclasses.dataclass(frozen=True)
class BoxedImage:
    """An image file and the boxes that were found in it.

    Attributes:
      name: the path of the file from the folder that a labeling tool opens, with "/".
      size: its width and height in pixels.
      boxes: what was found.
    """

    name: str
    size: tuple[int, int]
    boxes: Sequence[Box]


def fit(corners: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """Return a box clipped to an image (width, height), no side below one pixel.

    Examples:
      >>> fit((-2, 3.5, 5, 3.7), (8, 4)).tolist()
      [0.0, 3.0, 5.0, 4.0]
    """
    corners = np.clip(np.reshape(corners, (2, 2)), 0, np.float64(size))
    low, high = corners
    missing = np.maximum(1 - (high - low), 0) / 2  # at either side
    low = np.clip(low - missing, 0, np.subtract(size, 1))
    return np.concatenate([low, np.clip(high + missing, low + 1, size)])


def whole_pixels(corners: Sequence[float], size: tuple[int, int]) -> list[int]:
    """Return a box of `fit`, rounded to whole pixels; it keeps at least one.

    Examples:
      >>> whole_pixels((0.4, 1.6, 5.5, 2.4), (8, 4))
      [0, 2, 6, 3]
    """
    low, high = np.reshape(fit(corners, size), (2, 2))
    low = np.minimum(np.floor(low + 0.5), np.subtract(size, 1))
    high = np.maximum(np.floor(high + 0.5), low + 1)
    return np.concatenate([low, high]).astype(int).tolist()


def to_coco(images: Sequence[BoxedImage], class_names: Sequence[str]) -> dict[str, Any]:
    """Return the content of a COCO file of detections with a score.

    A bbox is [x, y, width, height]. All ids count from 1, so class index 0 is category
    1. There are no outlines: "segmentation" is empty, and "area" is the box's.

    Examples:
      >>> image = BoxedImage("a.jpg", (8, 6), [Box((1, 2, 4, 6), 0, 0.5)])
      >>> to_coco([image], ["cat"])["annotations"][0]["bbox"]
      [1.0, 2.0, 3.0, 4.0]
    """
    annotations = []
    for image_id, image in enumerate(images, 1):
        for box in image.boxes:
            x0, y0, x1, y1 = fit(box.corners, image.size).round(2).tolist()
            bbox = [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)]
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": box.label + 1,
                "bbox": bbox,
                "area": round(bbox[2] * bbox[3], 2),
                "segmentation": [],
                "iscrowd": 0,
                "score": round(float(box.score), 6),
            }
            annotations.append(annotation)
    return {
        "info": {"description": "boxes found by mi_classifier"},
        "licenses": [],
        "images": [
            {"id": i, "file_name": m.name, "width": m.size[0], "height": m.size[1]}
            for i, m in enumerate(images, 1)
        ],
        "annotations": annotations,
        "categories": [
            {"id": i, "name": name, "supercategory": ""}
            for i, name in enumerate(class_names, 1)
        ],
    }


def to_voc(image: BoxedImage, class_names: Sequence[str]) -> str:
    """Return the content of a Pascal VOC file: whole pixels from 1, the last included.

    Examples:
      >>> image = BoxedImage("a.jpg", (8, 6), [Box((1, 2, 4, 6), 0, 0.5)])
      >>> lines = to_voc(image, ["cat"]).splitlines()
      >>> [line.strip() for line in lines if "max" in line]
      ['<xmax>4</xmax>', '<ymax>6</ymax>']
    """
    path = PurePosixPath(image.name)
    folder = "" if str(path.parent) == "." else str(path.parent)
    sizes = zip(("width", "height", "depth"), (*image.size, 3), strict=True)
    root = ElementTree.Element("annotation")
    _add(root, {"folder": folder, "filename": path.name})
    _add(_add(root, {"source": ""}), {"database": "Unknown"})
    _add(_add(root, {"size": ""}), dict(sizes))
    _add(root, {"segmented": 0})
    for box in image.boxes:
        x0, y0, x1, y1 = whole_pixels(box.corners, image.size)
        found = _add(root, {"object": ""})
        _add(found, {"name": class_names[box.label], "pose": "Unspecified"})
        _add(found, {"truncated": 0, "difficult": 0})
        corners = {"xmin": x0 + 1, "ymin": y0 + 1, "xmax": x1, "ymax": y1}
        _add(_add(found, {"bndbox": ""}), corners)
        _add(found, {"confidence": f"{box.score:.6f}"})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def to_yolo(image: BoxedImage, scores: bool = False) -> str:
    """Return the content of a YOLO file: a line per box, in shares of the image's size.

    A line holds the class's index, the box's center, width and height, and, if asked,
    the score.

    Examples:
      >>> image = BoxedImage("a.jpg", (8, 8), [Box((1, 2, 5, 6), 0, 0.5)])
      >>> print(to_yolo(image, scores=True), end="")
      0 0.37500000 0.50000000 0.50000000 0.50000000 0.500000
    """
    lines = []
    for box in image.boxes:
        low, high = fit(box.corners, image.size).reshape(2, 2) / image.size
        shares = [f"{share:.8f}" for share in (*(low + high) / 2, *high - low)]
        score = [f"{box.score:.6f}"] if scores else []
        lines.append(" ".join([str(box.label), *shares, *score]) + "\n")
    return "".join(lines)


def write_coco(
    folder: Path, images: Sequence[BoxedImage], class_names: Sequence[str]
) -> Path:
    """Write `boxes.json` into a folder; return its path."""
    path = folder / "boxes.json"
    write_text(path, to_json(to_coco(images, class_names)))
    return path


def write_voc(
    folder: Path, images: Sequence[BoxedImage], class_names: Sequence[str]
) -> Path:
    """Write a file for each image into `voc/`, in the images' own folders."""
    for image, name in zip(images, _names(images, ".xml"), strict=True):
        write_text(folder / "voc" / name, to_voc(image, class_names))
    return folder / "voc"


def write_yolo(
    folder: Path,
    images: Sequence[BoxedImage],
    class_names: Sequence[str],
    scores: bool = False,
) -> Path:
    """Write a file for each image into `yolo/`, and the names of the classes.

    `classes.txt` is in every folder, because some tools look for it beside the boxes.
    """
    path = folder / ("yolo_scores" if scores else "yolo")
    classes = "".join(f"{_plain(name)}\n" for name in class_names)
    files = [path / name for name in _names(images, ".txt")]
    for image, file in zip(images, files, strict=True):
        write_text(file, to_yolo(image, scores))
    for inside in {path, *(file.parent for file in files)}:
        write_text(inside / f"{_CLASSES}.txt", classes)
    return path


def _write_yolo_scores(
    folder: Path, images: Sequence[BoxedImage], class_names: Sequence[str]
) -> Path:
    return write_yolo(folder, images, class_names, scores=True)


Writer = Callable[[Path, Sequence[BoxedImage], Sequence[str]], Path]
# The formats that `--boxes` names; each writes below a folder and says where.
FORMATS: Mapping[str, Writer] = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
    "yolo_scores": _write_yolo_scores,
}


def _names(images: Sequence[BoxedImage], suffix: str) -> list[str]:
    """Return the name of each image's file, with the image's folder and stem.

    If two images differ in their suffix alone, the second keeps it: `a.png.xml`.

    Examples:
      >>> names = ("a.jpg", "a.png", "a.png")
      >>> images = [BoxedImage(name, (1, 1), []) for name in names]
      >>> _names(images, ".xml")
      ['a.xml', 'a.png.xml', 'a.png_2.xml']
    """
    taken, names = set(), []
    for image in images:
        path = PurePosixPath(image.name)
        name = str(path.with_suffix(suffix))
        if name.casefold() in taken or path.stem.casefold() == _CLASSES:
            name = f"{path}{suffix}"
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{path}_{number}{suffix}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _plain(text: str) -> str:
    return _CONTROL.sub("?", text)


def _add(parent: ElementTree.Element, texts: Mapping[str, Any]) -> ElementTree.Element:
    """Add elements with texts; return the last one."""
    for tag, text in texts.items():
        child = ElementTree.SubElement(parent, tag)
        child.text = _plain(str(text)) or None
    return child
