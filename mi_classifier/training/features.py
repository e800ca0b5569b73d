"""Train a head alone, on features that a frozen backbone computes once and keeps."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mi_classifier import parallel
from mi_classifier.data import Dataset, Split, tfds_store
from mi_classifier.data.dataset import stored_example
from mi_classifier.errors import UserError
from mi_classifier.models import infer
from mi_classifier.models.layers import PooledHead
from mi_classifier.progress import Progress
from mi_classifier.storage.checkpoints import hash_tree
from mi_classifier.storage.files import (
    TEMPORARY,
    hash_file,
    hash_text,
    hold,
    to_json,
    write_text,
    write_with,
)
from mi_classifier.training.step import Task

FOLDER = "features"  # below the folder of all data sets
_FORMAT = 1  # of the files; with another number, all features are computed again
_PART = 2_048  # images in a file: what a run that is stopped loses at most


def on_features(task: Task, variables: Mapping[str, Any], config: ConfigDict) -> Task:
    """Return the task of training the head of `task` on its pooled features.

    The features are those of training and validation images as an evaluation sees them,
    without augmentation. They are computed once for a net and a set of images, and kept
    below the folder of data sets; a run that was stopped goes on where it was.

    Args:
      task: trains `variables["params"]["head"]` of a net with a GAP head.
      variables: of the net, replicated over the devices.
      config: of the run.

    Raises:
      UserError: the net has no GAP head, or a file of features is damaged.
    """
    model, dataset = task.model, task.dataset
    shapes = jax.eval_shape(
        lambda v: model.apply(v, dataset.example_input(), train=False), variables
    )
    if shapes.features.ndim != 4:
        raise UserError(
            f"cache_features: {config.model.name} has no pooled features; set it to "
            "False"
        )
    params, options = dict(variables["params"]), config.model.to_dict()
    del params["head"]  # features do not depend on it, nor on its dropout
    options.pop("dropout", None)
    net = {
        "format": _FORMAT,
        "model": options,
        "weights": hash_tree({**variables, "params": params}),
    }
    folder = tfds_store.root(config.data.get("data_dir", "")) / FOLDER
    compute = _make_compute(task, variables, config.evaluation_batch_size)
    fingerprints, splits = dataset.fingerprints(), {}
    for name in ("train", "validation"):
        split = dataset.splits[name]
        images = dataset.view(split["image"]) if name == "train" else split["image"]
        probe = np.asarray(dataset.preprocess(images[:1]))
        seen = hashlib.sha256(np.ascontiguousarray(probe)).hexdigest()
        identity = {**net, "images": fingerprints[name], "first": seen}
        title = f"{config.model.name}, {dataset.name}, {name}"
        pooled = _load(folder, identity, images, compute, title)
        splits[name] = {"image": pooled[:, None, None], "label": split["label"]}
    return dataclasses.replace(
        task,
        model=PooledHead(dataset.num_classes, config.model.get("dropout", 0.0)),
        dataset=_on_features(dataset, splits),
    )


def _on_features(dataset: Dataset, splits: dict[str, Split]) -> Dataset:
    return dataclasses.replace(
        dataset,
        # Nothing is tested here: "test" only has the shapes that a data set needs.
        splits={**splits, "test": splits["validation"]},
        preprocess=lambda pooled: pooled,
        augment=stored_example,
        view=lambda pooled: pooled,
        digests=None,
    )


def _make_compute(
    task: Task, variables: Mapping[str, Any], batch_size: int
) -> Callable[[np.ndarray, Progress], np.ndarray]:
    """Return a function from images `[N, ...]` to pooled features float32 `[N, K]`."""

    def pool(variables: Mapping[str, Any], batch: Split) -> jax.Array:
        images = task.dataset.preprocess(batch["image"])
        features = infer(task.model, variables, images).features
        return features.mean((1, 2), dtype=np.float32)

    step = parallel.on_devices(pool, in_axes=(None, 0), out_axes=0)

    def compute(images: np.ndarray, progress: Progress) -> np.ndarray:
        split = {"image": images, "label": np.zeros(len(images), np.int32)}
        parts = []
        for batch in parallel.evaluation_batches(split, batch_size):
            parts.append(parallel.merge(step(variables, batch)))
            progress.advance(min(len(parts[-1]), len(images)))
        return np.concatenate(parts)[: len(images)]

    return compute


def _load(
    folder: Path,
    identity: Mapping[str, Any],
    images: np.ndarray,
    compute: Callable[[np.ndarray, Progress], np.ndarray],
    title: str,
) -> np.ndarray:
    """Return the features of images, `[N, K]`; compute the parts that are missing."""
    entry = folder / hash_text(json.dumps(identity, sort_keys=True))[:16]
    note, starts = entry / "done.json", range(0, len(images), _PART)
    paths = [entry / f"{start}.npy" for start in starts]
    if not parallel.all_agree(note.is_file()):
        with _held(entry), Progress("features", len(images)) as progress:
            for start, path in zip(starts, paths, strict=True):
                some = images[start : start + _PART]
                if parallel.all_agree(path.is_file()):
                    progress.advance(len(some))
                    continue
                progress.describe(f"features: {start:,} of {len(images):,} images")
                pooled = compute(some, progress)
                write_with(path, lambda p, x=pooled: _write(p, x))
            if parallel.is_first():
                done = {"title": f"features of {title}", "images": len(images)}
                done["digests"] = {path.name: hash_file(path) for path in paths}
                write_text(note, to_json(done, indent=2))
        parallel.wait_for_all()
        if not parallel.all_agree(note.is_file()):
            raise UserError(
                f"{folder}: not all processes see the files of the first one; give a "
                "data.data_dir that all of them share"
            )
    try:
        digests = json.loads(note.read_text())["digests"]
        for path in paths:
            if hash_file(path) != digests[path.name]:
                raise ValueError(f"{path.name} is not what was written")
        with contextlib.suppress(OSError):  # the folder may be another user's
            os.utime(note)  # `data.caches` tells by it when the features were used
        return np.concatenate([np.load(path) for path in paths])
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(
            f"{entry}: damaged; remove this folder and run the command again ({error})"
        ) from error


def _write(path: Path, array: np.ndarray) -> None:
    content = io.BytesIO()  # NumPy's own error on a full disk gives no reason
    np.save(content, array)
    path.write_bytes(content.getbuffer())


@contextlib.contextmanager
def _held(entry: Path) -> Iterator[None]:
    """Let the first process of a run keep other runs from computing the same."""
    if not parallel.is_first():
        yield
        return
    with hold(
        entry.with_name(f".{entry.name}.lock"),
        waiting="waiting for another process that computes the same features",
        leftovers=[f"{entry.name}/.*{TEMPORARY}"],
    ):
        yield
