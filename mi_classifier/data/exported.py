"""Arrays that another framework has exported of a net: read from a file, checked."""

import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mi_classifier.data import room
from mi_classifier.data.dataset import Dataset
from mi_classifier.data.feature_arrays import as_floats, opened
from mi_classifier.data.given import (
    as_boxes,
    check_corners,
    check_counts,
    check_pixels,
    checked_names,
)
from mi_classifier.errors import (
    UserError,
    nearest,
    reason_of,
)
from mi_classifier.localization import check_image_size

NAMES = (
    *("features", "head_kernel", "labels", "head_bias", "log_prior", "class_names"),
    *("images", "image_size", "boxes", "num_boxes", "names"),
)
_NEEDED = NAMES[:3]
_MOST_PIXELS = 1 << 25  # cut at 100 thresholds, a map then takes 3 GiB


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arguments of `evaluate_features` from an .npz file, by their names.

    An array that is not compressed is not read, but mapped from disk, without a look at
    its checksum.

    Raises:
      UserError: there is no such file, it is damaged, or its names are others.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"--features: no such file: {path}; np.savez writes one")
    try:
        with np.load(file, allow_pickle=False) as archive:
            found = set(archive.files)
            if unknown := sorted(found - set(NAMES)):
                name = unknown[0]
                raise UserError(
                    f"{path}: unknown array {name!r}{nearest(name, NAMES)}; needed "
                    f"are {', '.join(_NEEDED)}, and there may be "
                    f"{', '.join(NAMES[len(_NEEDED) :])}"
                )
            for name in _NEEDED:
                if name not in found:
                    raise UserError(f"{path}: has no array {name!r}")
            mapped = {name: _mapped(file, name) for name in ("features", "images")}
            read = [name for name in archive.files if mapped.get(name) is None]
            room.check_members(path, archive.zip, read)
            arrays = {
                name: archive[name] if mapped.get(name) is None else mapped[name]
                for name in archive.files
            }
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):  # the bytes of a file of another kind
                raise UserError(f"{path}: {name!r} is no array")
        return arrays
    except UserError:
        raise
    except Exception as error:  # damage may raise anything
        reason = reason_of(error)
        if file.suffix != ".npz":
            reason = "not an .npz file"
        if file.suffix == ".npy":
            reason = "an .npy file holds one array"
        raise UserError(
            f"{path}: cannot be read: {reason}; write it again by np.savez"
        ) from error


def _mapped(file: Path, name: str) -> np.ndarray | None:
    """Map an array of an .npz file from disk; None if it is missing or compressed."""
    member = f"{name}.npy"
    with zipfile.ZipFile(file) as archive, file.open("rb") as content:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if member not in entries or entries[member].compress_type:
            return None
        content.seek(entries[member].header_offset + 26)  # lengths of name and extra
        content.seek(sum(struct.unpack("<HH", content.read(4))), 1)
        version = np.lib.format.read_magic(content)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            return None
        shape, fortran, dtype = read_header(content)
        if dtype.hasobject:  # NumPy refuses to read these
            return None
        order = "F" if fortran else "C"
        return np.memmap(file, dtype, "r", content.tell(), shape, order)


def check(given: Mapping[str, Any]) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """Check the arrays of `NAMES`; those that are missing are None.

    Returns:
      A data set whose only split, "test", holds "features" `[N, h, w, K]`, which are
      the net's input; the kernel `[K, M]`; and the bias `[M]`.

    Raises:
      UserError: arrays that do not fit each other, or look like something else.
    """
    features, kernel, labels = _checked_net(given)
    num_classes = kernel.shape[1]
    size = _size(given["image_size"])
    images, size = _images(given["images"], size, features)
    split = {"image": images, "features": features, "label": labels}
    if given["boxes"] is not None:
        split |= _boxes(given["boxes"], given["num_boxes"], len(labels), size)
    elif given["num_boxes"] is not None:
        raise UserError("num_boxes: given without boxes; give boxes too")
    names = given["class_names"]
    names = checked_names(range(num_classes) if names is None else names)
    if len(names) != num_classes:
        raise UserError(
            f"class_names: {len(names)} for {num_classes} classes; give one for each "
            "column of head_kernel"
        )
    bias = np.zeros(num_classes) if given["head_bias"] is None else given["head_bias"]
    bias = np.asarray(as_floats(bias, "head_bias"), np.float32)
    if bias.shape != (num_classes,):
        raise UserError(f"head_bias: must be [{num_classes}], not {list(bias.shape)}")
    dataset = Dataset(
        name="features",
        splits={"test": split},
        class_names=names,
        preprocess=lambda features: features,
        training_prior=_log_prior(given["log_prior"], num_classes),
        # Nobody reads an image here; None means that there are none to show.
        read_image=None if given["images"] is None else (lambda content: content),
        image_names=_image_names(given["names"], len(labels)),
        input="features",
    )
    return dataset, kernel, bias


def _checked_net(given: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features `[N, h, w, K]`, the kernel `[K, M]` and labels `[N]`."""
    labels = _labels(given["labels"])
    features = as_floats(opened(given["features"], labels), "features")
    kernel = np.asarray(as_floats(given["head_kernel"], "head_kernel"), np.float32)
    if kernel.ndim == 4 and kernel.shape[2:] == (1, 1):  # of a 1 x 1 convolution
        raise UserError(
            "head_kernel: must be [K, M]; give a convolution of PyTorch as "
            "kernel[:, :, 0, 0].T"
        )
    if kernel.ndim != 2:
        raise UserError(f"head_kernel: must be [K, M], not {list(kernel.shape)}")
    depth, num_classes = kernel.shape
    if features.ndim not in (2, 4):
        raise UserError(f"features: must be [N, h, w, K], not {list(features.shape)}")
    if features.shape[-1] != depth:
        shape = list(features.shape)
        if features.ndim == 4 and features.shape[1] == depth:
            hint = "; it looks like [N, K, h, w]: give features.transpose(0, 2, 3, 1)"
        elif features.ndim == 4 and features.shape[1] == num_classes:
            hint = (
                "; they look like [N, K, h, w] and [M, K] of PyTorch: give "
                "features.transpose(0, 2, 3, 1) and head_kernel.T"
            )
        elif features.shape[-1] == num_classes and features.ndim == 4:
            hint = "; head_kernel looks like [M, K]: give head_kernel.T"
        elif features.shape[-1] == num_classes:
            hint = "; it looks like logits: give what goes into the last layer"
        else:
            hint = ""
        raise UserError(
            f"features: {shape} does not end in K = {depth} of head_kernel "
            f"[K, M] = {list(kernel.shape)}{hint}"
        )
    if features.ndim == 2:  # averaged already: no maps
        features = features[:, None, None]
    if labels.ndim == 2 and labels.shape[1] == num_classes:
        raise UserError("labels: must be [N]; of one-hot rows, give labels.argmax(1)")
    if labels.shape != (len(features),):
        raise UserError(f"labels: must be [{len(features)}], not {list(labels.shape)}")
    if labels.dtype.kind not in "iu":
        whole = labels.dtype.kind == "f" and (labels == np.floor(labels)).all()
        hint = "; give labels.astype(int)" if whole else ""
        if labels.dtype.kind in "USO":
            hint = "; give the place of each word in class_names"
        raise UserError(f"labels: must be integers, not {labels.dtype}{hint}")
    if labels.min() < 0 or labels.max() >= num_classes:
        from_one = labels.min() == 1 and labels.max() == num_classes
        hint = (
            "; they look as if they began with 1: give labels - 1" if from_one else ""
        )
        raise UserError(
            f"labels: must be in [0, {num_classes}), not {labels.min()} to "
            f"{labels.max()}{hint}"
        )
    return features, kernel, labels.astype(np.int32)


def _labels(labels: Any) -> np.ndarray:
    """Return labels as an array of one axis at least."""
    try:
        array = np.asarray(labels)
    except ValueError:  # rows of several lengths
        array = np.zeros(())
    if not array.ndim:
        raise UserError(f"labels: must be [N], not {labels!r}")
    return array


def _size(size: Any) -> tuple[int, int] | None:
    """Return (height, width), or None."""
    if size is None:
        return None
    try:
        return check_image_size(size)
    except ValueError as error:
        told = str(error).replace("image_size must", "image_size: must")
        raise UserError(told) from None


def _images(
    images: Any, size: tuple[int, int] | None, features: np.ndarray
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return uint8 images, and their (height, width); black ones if there are none."""
    count = len(features)
    if images is None:
        height, width = size or features.shape[1:3]
        black = np.zeros((1, 1, 1, 3), np.uint8)  # they take no memory
        return np.broadcast_to(black, (count, height, width, 3)), (height, width)
    try:
        images = np.asarray(images)
    except ValueError:
        raise UserError(
            "images: must be one array; resize them to the same side"
        ) from None
    check_pixels(images, "images")
    if len(images) != count:
        raise UserError(f"images: {len(images)} for {count} rows of features")
    if size is not None and size != images.shape[1:3]:
        raise UserError(
            f"image_size: {size}, but images have {images.shape[1:3]}; leave it out"
        )
    return images, images.shape[1:3]


def _boxes(
    boxes: ArrayLike, num_boxes: ArrayLike | None, count: int, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Return the arrays of a split that has boxes."""
    boxes = as_boxes(boxes, "boxes")
    boxes = boxes[:, None] if boxes.ndim == 2 else boxes
    if boxes.ndim != 3 or boxes.shape[::2] != (count, 4):
        raise UserError(f"boxes: must be [{count}, G, 4], not {list(boxes.shape)}")
    most = boxes.shape[1]
    given = np.full(count, most) if num_boxes is None else num_boxes
    given = check_counts(given, count, most, "num_boxes")
    true = np.arange(most) < given[:, None]
    found = boxes[true]
    check_corners(found, "boxes")
    height, width = size
    if height * width > _MOST_PIXELS:
        raise UserError(
            f"boxes: in images of {height} x {width} pixels, more than "
            f"{_MOST_PIXELS:,}; give smaller images, and boxes in their pixels"
        )
    if (found[:, :2] < -1).any() or (found[:, 2:] > (width + 1, height + 1)).any():
        raise UserError(
            f"boxes: reach from {found[:, :2].min(0).tolist()} to "
            f"{found[:, 2:].max(0).tolist()}, but the image is {width} "
            f"pixels wide and {height} high; give image_size=(height, width), or boxes "
            "in its pixels"
        )
    return {
        "boxes": np.where(true[..., None], boxes, 0),
        "num_boxes": given,
    }


def _log_prior(log_prior: ArrayLike | None, num_classes: int) -> np.ndarray:
    if log_prior is None:
        return np.full(num_classes, -np.log(num_classes), np.float32)
    log_prior = np.asarray(log_prior, np.float64)
    if log_prior.shape != (num_classes,):
        raise UserError(f"log_prior: must be [{num_classes}], not {log_prior.shape}")
    with np.errstate(over="ignore"):
        total = np.exp(log_prior).sum()
    if not 0.99 < total < 1.01:
        hint = "; give its logarithm" if 0.99 < log_prior.sum() < 1.01 else ""
        if (log_prior >= 1).all():
            hint = "; of counts, give np.log(counts / counts.sum())"
        raise UserError(f"log_prior: its exponentials sum to {total:.4g}, not 1{hint}")
    return (log_prior - np.log(total)).astype(np.float32)


def _image_names(names: Sequence[str] | None, count: int) -> dict[str, list[str]]:
    if names is None:
        return {}
    if not hasattr(names, "__len__") or not np.ndim(names):
        raise UserError(f"names: must be a list of names, not {names!r}")
    if len(names) != count:
        raise UserError(f"names: {len(names)} for {count} rows of features")
    return {"test": [str(name) for name in names]}
