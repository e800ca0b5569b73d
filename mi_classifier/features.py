"""Evaluate a net of any framework, by its features and the kernel of its last layer."""

import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from mi_classifier import parallel
from mi_classifier.data import Dataset
from mi_classifier.data.memory import check_corners, check_counts, check_pixels
from mi_classifier.errors import UserError, choose, nearest, reason_of
from mi_classifier.evaluation import Results, TrainedNet, evaluate_net
from mi_classifier.losses import create_loss
from mi_classifier.models.layers import PooledHead
from mi_classifier.reporting import summary
from mi_classifier.reporting.shown import ShownResults
from mi_classifier.reporting.table import print_table
from mi_classifier.reporting.writing import evaluate_and_write

NAMES = (
    *("features", "head_kernel", "labels", "head_bias", "log_prior", "class_names"),
    *("images", "image_size", "boxes", "num_boxes", "names"),
)
_NEEDED = NAMES[:3]
_OPTIONS = ("threshold", "region", "padding", "rival")
_BATCH = 64


def evaluate_features(
    features: ArrayLike,
    head_kernel: ArrayLike,
    labels: ArrayLike,
    *,
    head_bias: ArrayLike | None = None,
    log_prior: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    images: np.ndarray | None = None,
    image_size: tuple[int, int] | None = None,
    boxes: ArrayLike | None = None,
    num_boxes: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    workdir: str | Path | None = None,
    localization: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Results:
    """Evaluate a classifier whose last layer is linear on averaged features.

    The logits are `features.mean((1, 2)) @ head_kernel + head_bias`, as in ResNet,
    EfficientNet, DenseNet and most nets since. The net may have been trained by any
    framework. What an argument is missing for is left out: without boxes, no map is
    scored, and without images, none is shown.

    Args:
      features: after the last activation, floats `[N, h, w, K]`; a memory map is read
        in batches.
      head_kernel: of the last layer, `[K, M]`.
      labels: true classes, integers in [0, M), `[N]`.
      head_bias: of the last layer, `[M]`; 0 by default.
      log_prior: log P(y) among the training labels, `[M]`; uniform by default.
      class_names: M names; numbers by default.
      images: what the net saw, uint8 `[N, H, W, 3]`.
      image_size: (height, width) in pixels, if there are no images.
      boxes: true boxes `(x0, y0, x1, y1)` in pixels of the images, half-open, `[N, 4]`
        or `[N, G, 4]`.
      num_boxes: how many of the G boxes are true ones, `[N]`; all by default.
      names: of the images, `[N]`.
      workdir: where `evaluation/` is written, with predictions and a report; nothing is
        written by default.
      localization: options of the maps and boxes, "threshold" (0.2), "region" (1),
        "padding" ("full") and "rival" ("region").
      quiet: whether to print nothing.

    Returns:
      The results; those of the only split are `results.splits["test"]`.

    Raises:
      UserError: arrays that do not fit each other, or look like something else; the
        message says like what.

    Examples:
      >>> rng = np.random.default_rng(0)
      >>> features, kernel = rng.random((8, 7, 7, 16)), rng.standard_normal((16, 3))
      >>> labels = (features.mean((1, 2)) @ kernel).argmax(1)
      >>> results = evaluate_features(features, kernel, labels, quiet=True)
      >>> results.splits["test"]["accuracy"].prior.micro
      1.0
    """
    net = _net(
        features=features,
        head_kernel=head_kernel,
        labels=labels,
        head_bias=head_bias,
        log_prior=log_prior,
        class_names=class_names,
        images=images,
        image_size=image_size,
        boxes=boxes,
        num_boxes=num_boxes,
        names=names,
        workdir=workdir,
        localization=localization,
    )
    if workdir is not None:
        return evaluate_and_write(net, None, quiet)
    results = evaluate_net(net).results
    tables = summary.evaluation_tables(results, None)
    if not quiet:
        for table in tables:
            print_table(table)
    return ShownResults.of(results, tables)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arguments of `evaluate_features` from an .npz file, by their names.

    An array that is not compressed is not read, but mapped from disk.

    Raises:
      UserError: there is no such file, it is damaged, or its names are others.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"--features: no such file: {path}")
    try:
        with np.load(file, allow_pickle=False) as archive:
            found = set(archive.files)
            for name in sorted(found - set(NAMES)):
                raise UserError(
                    f"{path}: unknown array {name!r}{nearest(name, NAMES)}; arrays are "
                    f"{', '.join(NAMES)}"
                )
            for name in _NEEDED:
                if name not in found:
                    raise UserError(f"{path}: has no array {name!r}")
            mapped = {name: _mapped(file, name) for name in ("features", "images")}
            return {
                name: archive[name] if mapped.get(name) is None else mapped[name]
                for name in archive.files
            }
    except UserError:
        raise
    except Exception as error:  # damage may raise anything
        raise UserError(f"{path}: cannot be read: {reason_of(error)}") from error


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
        order = "F" if fortran else "C"
        return np.memmap(file, dtype, "r", content.tell(), shape, order)


def _net(**given: Any) -> TrainedNet:
    """Return a net whose inputs are features, and whose model is its last layer."""
    features, kernel, labels = _checked_net(given)
    num_classes = kernel.shape[1]
    split = {"features": features, "label": labels}
    images, size = _images(given["images"], given["image_size"], features)
    split["image"] = images
    if given["boxes"] is None and given["num_boxes"] is not None:
        raise UserError("num_boxes: given without boxes; give boxes too")
    if given["boxes"] is not None:
        split |= _boxes(given["boxes"], given["num_boxes"], len(labels), size)
    names = given["class_names"]
    names = map(str, range(num_classes) if names is None else names)
    dataset = Dataset(
        name="features",
        splits={"test": split},
        class_names=tuple(names),
        preprocess=lambda values: values,
        training_prior=_log_prior(given["log_prior"], num_classes),
        read_image=None if given["images"] is None else (lambda content: content),
        image_names=_image_names(given["names"], len(labels)),
        input="features",
    )
    if len(dataset.class_names) != num_classes:
        raise UserError(
            f"class_names: {len(dataset.class_names)} for {num_classes} classes; give "
            "one for each column of head_kernel"
        )
    bias = np.zeros(num_classes) if given["head_bias"] is None else given["head_bias"]
    bias = np.asarray(bias, np.float32)
    if bias.shape != (num_classes,) or not np.isfinite(bias).all():
        raise UserError(f"head_bias: must be [{num_classes}] and finite, not {bias}")
    variables = {"params": {"head": {"kernel": kernel, "bias": bias}}}
    options = dict(given["localization"] or {})
    for name in options:
        choose(name, _OPTIONS, "localization")
    options = {"threshold": 0.2, **options}
    config = ConfigDict(
        {
            "model": {"name": "features"},
            "loss": "softmax",
            "evaluation_batch_size": _BATCH,
            "localization": options if features.shape[1:3] != (1, 1) else None,
        }
    )
    return TrainedNet(
        workdir=Path(given["workdir"] or "."),
        config=config,
        dataset=dataset,
        loss=create_loss("softmax"),
        model=PooledHead(num_classes),
        variables=parallel.replicate(variables),
        epoch=0,
        rows=[],
    )


def _checked_net(given: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features `[N, h, w, K]`, the kernel `[K, M]` and labels `[N]`."""
    features = _array(given["features"], "features")
    kernel = np.asarray(_array(given["head_kernel"], "head_kernel"), np.float32)
    labels = np.asarray(given["labels"])
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


def _array(values: Any, name: str) -> np.ndarray:
    """Return floats, without reading a memory map."""
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise UserError(f"{name}: must be floats, not {array.dtype}")
    if not array.size:
        raise UserError(f"{name}: is empty, {list(array.shape)}")
    for start in range(0, len(array), _BATCH):
        if not np.isfinite(array[start : start + _BATCH]).all():
            raise UserError(
                f"{name}: a value in row {start} or soon after is not finite"
            )
    return array


def _images(
    images: Any, size: tuple[int, int] | None, features: np.ndarray
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return uint8 images, and their (height, width); black ones if there are none."""
    count = len(features)
    if images is None:
        height, width = size or features.shape[1:3]
        black = np.zeros((1, 1, 1, 3), np.uint8)  # they take no memory
        return np.broadcast_to(black, (count, height, width, 3)), (height, width)
    images = np.asarray(images)
    check_pixels(images, "images")
    if len(images) != count:
        raise UserError(f"images: {len(images)} for {count} rows of features")
    if size is not None and tuple(size) != images.shape[1:3]:
        raise UserError(
            f"image_size: {tuple(size)}, but images have {images.shape[1:3]}; leave "
            "it out"
        )
    return images, images.shape[1:3]


def _boxes(
    boxes: ArrayLike, num_boxes: ArrayLike | None, count: int, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Return the arrays of a split that has boxes."""
    boxes = np.asarray(boxes, np.float32)
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
    if (found[:, 2:] > (width, height)).any():
        raise UserError(
            f"boxes: reach to {found[:, 2:].max(0).tolist()}, but the image is {width} "
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
    total = np.exp(log_prior).sum()
    if not 0.99 < total < 1.01:
        hint = "; give its logarithm" if 0.99 < log_prior.sum() < 1.01 else ""
        raise UserError(f"log_prior: its exponentials sum to {total:.4g}, not 1{hint}")
    return (log_prior - np.log(total)).astype(np.float32)


def _image_names(names: Sequence[str] | None, count: int) -> dict[str, list[str]]:
    if names is None:
        return {}
    if len(names) != count:
        raise UserError(f"names: {len(names)} for {count} rows of features")
    return {"test": [str(name) for name in names]}
