"""Make a data set of arrays in memory."""

import dataclasses
import functools
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageOps

from mi_classifier.data.dataset import Dataset, Split
from mi_classifier.data.given import (
    as_boxes,
    check_corners,
    check_counts,
    check_inside,
    check_pixels,
    checked_names,
)
from mi_classifier.data.images import Images, blank_dataset, check_sides, image_dataset
from mi_classifier.data.labels import as_known_labels, as_labels
from mi_classifier.data.splits import hold_out as held_out
from mi_classifier.decoding import decode, size_of
from mi_classifier.errors import (
    UserError,
    check_number,
    check_whole,
    nearest,
    reason_of,
)

NAME = "memory"  # config.data.name of a run whose data set came from memory
_SIDE = 224  # pixels, of images that have several sizes
_FIELDS = ("image", "label", "boxes", "num_boxes")


def from_arrays(
    train: tuple | Mapping[str, Any],
    validation: tuple | Mapping[str, Any] | None = None,
    test: tuple | Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    *,
    side: int | None = None,
    normalization: str = "efficientnet",
    pad: int = 0,
    hold_out: float = 0.2,
    seed: int = 0,
    name: str = NAME,
) -> Dataset:
    """Make a data set of images or rows in memory, for `train` and `evaluate`.

    Args:
      train: `(inputs, labels)`, or a dict with "image", "label" and, where boxes are
        known, "boxes" `[N, G, 4]` and "num_boxes" `[N]`. Inputs are images, uint8
        `[N, H, W, C]` or a list of arrays, of Pillow's images or of paths; or rows of
        floats `[N, D]`. Labels `[N]` are integers or words. Boxes are half-open
        `(x0, y0, x1, y1)` in pixels of each image.
      validation: the same; by default held out from `train`.
      test: the same; by default held out from `train`.
      class_names: M names: of the labels 0 to M - 1, or the words that labels may be.
        By default, the labels of `train`, sorted.
      side: to which images are resized, in pixels. By default that of square images of
        one size, else 224.
      normalization: a key of `data.images.NORMALIZATIONS`, as the net expects it.
      pad: pixels that training images may be moved by.
      hold_out: share of each class that is held out, in (0, 1): for both splits, or for
        the one that is missing.
      seed: decides which examples are held out.
      name: title in tables.

    Raises:
      UserError: arrays that do not fit each other, floats for pixels, or a label that
        `train` does not have.

    Examples:
      >>> rng = np.random.default_rng(0)
      >>> images = rng.integers(0, 256, (40, 32, 32, 3), np.uint8)
      >>> dataset = from_arrays((images, ["cat", "dog"] * 20))
      >>> dataset.class_names, {k: len(s["label"]) for k, s in dataset.splits.items()}
      (('cat', 'dog'), {'train': 32, 'validation': 4, 'test': 4})
    """
    pad, seed = check_whole(pad, "pad"), check_whole(seed, "seed")
    side = None if side is None else check_whole(side, "side", least=1)
    check_number(hold_out, "hold_out")
    given = {"train": train, "validation": validation, "test": test}
    parts = {
        what: _part(split, what)
        for what, split in given.items()
        if split is not None or what == "train"
    }
    names, known = _classes(parts["train"]["label"], class_names)
    for what, part in parts.items():
        part["label"] = _numbered(part, known, what)
    rows = _are_rows(parts["train"]["image"])
    side = side or _side_of(parts["train"]["image"])
    splits = {k: _stored(part, None if rows else side, k) for k, part in parts.items()}
    for what, split in splits.items():
        if split["image"].shape[1:] != splits["train"]["image"].shape[1:]:
            raise UserError(
                f"{what}: rows of {split['image'].shape[1]} numbers, and train has "
                f"{splits['train']['image'].shape[1]}"
            )
    splits = _with_held_out(splits, hold_out, seed)
    if rows:
        return _of_rows(splits, names, name)
    check_sides(side, side)
    dataset = image_dataset(name, Images(splits, names), side, normalization, pad)
    how = {"side": side, "normalization": normalization}
    return dataclasses.replace(dataset, description=how)


def blank(config: Mapping[str, Any], num_classes: int) -> Dataset | None:
    """Make the data set of a run from memory with a black image or row in each split.

    Return None if `from_arrays` has not made the run's data set.
    """
    if "side" in config:
        return blank_dataset(config["side"], config["normalization"], None, num_classes)
    if "mean" not in config:
        return None
    one = {"image": np.zeros((1, len(config["mean"]))), "label": np.zeros(1, np.int32)}
    names = [str(i) for i in range(num_classes)]
    scales = (config["mean"], config["deviation"])
    return _scaled({"train": one, "test": one}, names, "", *scales)


def _part(split: Any, what: str) -> dict[str, Any]:
    """Return a split as a dict of what the user gave."""
    if not isinstance(split, Mapping):
        if not isinstance(split, tuple | list) or len(split) != 2:
            raise UserError(
                f"{what}: give (inputs, labels), or a dict with {', '.join(_FIELDS)}"
            )
        split = dict(zip(_FIELDS, split, strict=False))
    for field in split:
        if field not in _FIELDS:
            raise UserError(
                f"{what}: unknown array {field!r}{nearest(field, _FIELDS)}; arrays are "
                f"{', '.join(_FIELDS)}"
            )
    for field in ("image", "label"):
        if field not in split:
            raise UserError(f"{what}: has no {field!r}")
        if not hasattr(split[field], "__len__") or getattr(split[field], "ndim", 1) < 1:
            raise UserError(f"{what}: {field!r} must be an array, not {split[field]!r}")
    if len(split["image"]) != len(split["label"]):
        raise UserError(
            f"{what}: has {len(split['image'])} inputs and {len(split['label'])} labels"
        )
    if not len(split["label"]):
        raise UserError(f"{what}: is empty")
    inputs = split["image"]
    if hasattr(inputs, "__array__") and not isinstance(inputs, Image.Image):
        split = {**split, "image": np.asarray(inputs)}  # such as a DataFrame's
    return dict(split)


def _classes(
    label: Any, class_names: Sequence[str] | None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names of the classes, and the sorted labels that stand for them."""
    own, _ = as_labels(label, len(label))
    if class_names is None:
        if len(own) < 2:
            raise UserError(
                f"train: has one label, {own.tolist()[0]!r}; classes are two at least"
            )
        return tuple(map(str, own)), own
    names = checked_names(class_names)
    if own.dtype.kind in "iu":
        if own.min() < 0 or own.max() >= len(names):
            hint = "; give labels - 1" if own.min() == 1 else ""
            raise UserError(
                f"train: labels must be in [0, {len(names)}), by class_names, not "
                f"{own.min()} to {own.max()}{hint}"
            )
        return names, np.arange(len(names))
    missing = [word for word in own if word not in names]
    if missing:
        raise UserError(f"train: label {str(missing[0])!r} is not in class_names")
    return names, np.array(names)


def _numbered(part: Mapping[str, Any], known: np.ndarray, what: str) -> np.ndarray:
    try:
        return as_known_labels(part["label"], known, len(part["image"]))
    except UserError as error:
        told = (
            str(error).removeprefix("y: ").replace("the fit", "train, or class_names")
        )
        raise UserError(f"{what}: {told}") from None


def _are_rows(inputs: Any) -> bool:
    if isinstance(inputs, np.ndarray):
        return inputs.ndim == 2
    first = inputs[0]
    named = isinstance(first, str | os.PathLike | Image.Image)
    return not named and np.ndim(first) == 1


def _side_of(images: Any) -> int:
    shape = np.shape(images) if isinstance(images, np.ndarray) else ()
    return shape[1] if len(shape) == 4 and shape[1] == shape[2] else _SIDE


def _stored(part: Mapping[str, Any], side: int | None, what: str) -> Split:
    """Return the arrays of a split; with a side, images are resized to it."""
    if side is None:
        if "boxes" in part:
            raise UserError(f"{what}: rows have no boxes")
        try:
            rows = np.asarray(part["image"], np.float32)
        except (TypeError, ValueError):
            raise UserError(f"{what}: rows must be numbers, [N, D]") from None
        if rows.ndim != 2:
            raise UserError(f"{what}: rows must be [N, D], not {list(rows.shape)}")
        if not np.isfinite(rows).all():
            row = int(np.argmax(~np.isfinite(rows).all(1)))
            raise UserError(f"{what}: a value in row {row} is not finite")
        return {"image": rows, "label": part["label"]}
    images, sizes = _resized(part["image"], side, what)
    split = {"image": images, "label": part["label"]}
    if "boxes" in part:
        boxes = as_boxes(part["boxes"], f"{what}: boxes")
        boxes = boxes[:, None] if boxes.ndim == 2 else boxes
        if boxes.ndim != 3 or boxes.shape[::2] != (len(images), 4):
            raise UserError(
                f"{what}: boxes must be [{len(images)}, G, 4], not {list(boxes.shape)}"
            )
        count = part.get("num_boxes", np.full(len(images), boxes.shape[1]))
        count = check_counts(count, len(images), boxes.shape[1], f"{what}: num_boxes")
        true = np.arange(boxes.shape[1]) < count[:, None]
        check_corners(boxes[true], what)
        check_inside(boxes, true, sizes, what)
        split["boxes"] = boxes * np.tile(side / sizes, 2)[:, None].astype(np.float32)
        split["num_boxes"] = count
    elif "num_boxes" in part:
        raise UserError(f"{what}: num_boxes, but no boxes; give boxes too")
    return split


def _resized(images: Any, side: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 `[N, side, side, 3]`, and width and height before, `[N, 2]`."""
    if isinstance(images, np.ndarray):
        check_pixels(images, what)
        if images.shape[1:] == (side, side, 3):
            return images, np.full((len(images), 2), side)
    found = np.empty((len(images), side, side, 3), np.uint8)
    sizes = np.empty((len(images), 2))
    for index, image in enumerate(images):
        try:
            found[index], sizes[index] = _one(image, side)
        except (OSError, TypeError, ValueError) as error:
            reason = reason_of(error)
            raise UserError(f"{what}: image {index} cannot be read: {reason}") from None
    return found, sizes


def _one(image: Any, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Return an image of a size, and its width and height before, turned upright."""
    if isinstance(image, str | os.PathLike):
        content = Path(image).read_bytes()
    else:
        if not isinstance(image, Image.Image):
            pixels = np.asarray(image)
            pixels = pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
            image = Image.fromarray(pixels)
        image, file = ImageOps.exif_transpose(image), io.BytesIO()
        if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):  # which PNG lacks
            image = image.convert("RGB")
        image.save(file, "png", compress_level=0)
        content = file.getvalue()
    return decode(content, side), size_of(content)


def _with_held_out(
    splits: Mapping[str, Split], share: float, seed: int
) -> dict[str, Split]:
    """Hold out what was not given from "train"."""
    missing = [name for name in ("validation", "test") if name not in splits]
    if not missing:
        return dict(splits)
    if not 0 < share < 1:
        raise UserError(f"hold_out: must be in (0, 1), not {share}")
    train = splits["train"]
    names = [str(i) for i in range(len(train["label"]))]
    kept, *held = held_out(names, train["label"], share, len(missing), seed)
    parts = {"train": kept, **dict(zip(missing, held, strict=True))}
    for name, rows in parts.items():
        if not len(rows):
            raise UserError(f"{name}: no example is left; give it, or more of train")
    cut = {name: {k: a[rows] for k, a in train.items()} for name, rows in parts.items()}
    return {
        name: cut.get(name) or splits[name] for name in ("train", "validation", "test")
    }


def _of_rows(splits: Mapping[str, Split], names: Sequence[str], name: str) -> Dataset:
    rows = splits["train"]["image"]
    deviation = rows.std(0, dtype=np.float64)
    mean = rows.mean(0, dtype=np.float64).tolist()
    deviation = np.where(deviation > 0, deviation, 1).tolist()
    dataset = _scaled(splits, names, name, mean, deviation)
    how = {"mean": mean, "deviation": deviation}
    return dataclasses.replace(dataset, description=how)


def _scaled(
    splits: Mapping[str, Split],
    names: Sequence[str],
    name: str,
    mean: ArrayLike,
    deviation: ArrayLike,
) -> Dataset:
    scale = functools.partial(
        _standardize,
        mean=jnp.asarray(mean, jnp.float32),
        deviation=jnp.asarray(deviation, jnp.float32),
    )
    return Dataset(name, splits, tuple(names), scale)


def _standardize(rows: jax.Array, mean: jax.Array, deviation: jax.Array) -> jax.Array:
    return (rows.astype(jnp.float32) - mean) / deviation
