"""Evaluate a net of any framework, by its features and the kernel of its last layer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike
from scipy import stats

from mi_classifier import parallel
from mi_classifier.config import check_localization
from mi_classifier.data import Dataset, exported
from mi_classifier.errors import UserError, as_path, choose
from mi_classifier.evaluation import Results, TrainedNet, evaluate_net
from mi_classifier.losses import create_loss
from mi_classifier.models.layers import PooledHead
from mi_classifier.progress import say
from mi_classifier.reporting import summary
from mi_classifier.reporting.shown import ShownResults
from mi_classifier.reporting.table import print_table
from mi_classifier.reporting.writing import evaluate_and_write
from mi_classifier.rules import with_usual_results

_OPTIONS = ("threshold", "region", "padding", "rival")
_BATCH = 64
_CHANCE = 0.001  # of false alarms, if classes are equally frequent


@with_usual_results
def evaluate_features(
    features: ArrayLike | str | Path | Callable[[], Iterable[ArrayLike]],
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
      features: after the last activation, floats `[N, h, w, K]`. What exceeds memory
        may be a memory map, the path of an .npy file, or a function without arguments
        that yields batches `[B, h, w, K]`, which are kept in a temporary file.
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
    given = {
        "features": features,
        "head_kernel": head_kernel,
        "labels": labels,
        "head_bias": head_bias,
        "log_prior": log_prior,
        "class_names": class_names,
        "images": images,
        "image_size": image_size,
        "boxes": boxes,
        "num_boxes": num_boxes,
        "names": names,
    }
    net = _net(given, workdir, {} if localization is None else localization)
    if log_prior is None and not quiet and (odd := _frequent(net.dataset)):
        say(
            f"log_prior is not given, so all classes count as equally frequent in "
            f"training; but {odd}. If training was like that too, give log_prior"
        )
    if workdir is not None:
        return evaluate_and_write(net, None, quiet)
    results = evaluate_net(net).results
    tables = summary.evaluation_tables(results, None)
    if not quiet:
        for table in tables:
            print_table(table)
    return ShownResults.of(results, tables)


def _frequent(dataset: Dataset) -> str:
    """Return the share of the most frequent class, if chance does not explain it."""
    labels, count = dataset.splits["test"]["label"], dataset.num_classes
    counts = np.bincount(labels, minlength=count)
    if count < 2 or stats.chisquare(counts).pvalue > _CHANCE:
        return ""
    share, name = counts.max() / counts.sum(), dataset.class_names[counts.argmax()]
    return f"{share:.0%} of these labels are {name!r}, one of {count} classes"


def _net(
    given: Mapping[str, Any],
    workdir: str | Path | None,
    localization: Mapping[str, Any],
) -> TrainedNet:
    """Return a net whose inputs are features, and whose model is its last layer."""
    dataset, kernel, bias = exported.check(given)
    if not isinstance(localization, Mapping):
        raise UserError(
            f"localization: must be a dict of {', '.join(_OPTIONS)}, not "
            f"{localization!r}"
        )
    for name in localization:
        choose(name, _OPTIONS, "localization")
    check_localization(localization)
    have_maps = dataset.splits["test"]["features"].shape[1:3] != (1, 1)
    if not have_maps and given["boxes"] is not None:
        say("features have no map, so boxes are left out")
    config = ConfigDict(
        {
            "model": {"name": "features"},
            "loss": "softmax",
            "evaluation_batch_size": _BATCH,
            "localization": {"threshold": 0.2, **localization} if have_maps else None,
        }
    )
    variables = {"params": {"head": {"kernel": kernel, "bias": bias}}}
    return TrainedNet(
        workdir=Path(".") if workdir is None else as_path(workdir, "workdir"),
        config=config,
        dataset=dataset,
        loss=create_loss("softmax"),
        model=PooledHead(dataset.num_classes),
        variables=parallel.replicate(variables),
        epoch=0,
        rows=[],
    )
