"""A trained net, read from the workdir that holds it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from mi_classifier import config as configs, parallel
from mi_classifier.data import Dataset, load_blank, load_dataset, memory
from mi_classifier.errors import UserError
from mi_classifier.evaluation.evaluators import check_names
from mi_classifier.losses import Loss, create_loss
from mi_classifier.models import create_model
from mi_classifier.storage import workdirs
from mi_classifier.storage.checkpoints import check_has_checkpoint, restore_best

MEMORY = memory.NAME


@dataclasses.dataclass(frozen=True)
class TrainedNet:
    """A trained net and the data that it was trained on."""

    workdir: Path  # the folder that the training wrote
    config: ConfigDict  # of the training
    dataset: Dataset  # of the training, with all of its splits
    loss: Loss  # of the training
    model: nn.Module
    variables: dict[str, Any]  # of the best epoch, replicated over the devices
    epoch: int  # the best one, counted from 1
    rows: list[dict[str, float]]  # of metrics.jsonl, one for each epoch


def load_net(workdir: Path, dataset: Dataset | None = None) -> TrainedNet:
    """Restore the best checkpoint of a workdir, with its data.

    Args:
      workdir: a folder that a training wrote.
      dataset: the data set of the run; by default it is loaded as the config says.

    Raises:
      UserError: the workdir or its checkpoint is missing, or the data cannot be read or
        is not the data of the training.
    """
    config = load_config(workdir)
    check_has_checkpoint(workdir)
    if dataset is None:
        if config.data.name == MEMORY:
            raise UserError(
                f"{workdir}: its data came from memory; give dataset=, the same data "
                "set again"
            )
        with parallel.first_process_first():
            dataset = load_dataset(config.data)
    workdirs.check_data(workdir, dataset.fingerprints(), dataset.hash_arrays)
    return _restore(workdir, config, dataset)


def load_without_data(workdir: Path) -> TrainedNet:
    """Restore a net as `load_net` does, without the examples of its data set.

    The data set of the net then has one black image in each split. If the images have
    one fixed size, or if version 0.1 trained the net, the data is loaded all the same.
    """
    config = load_config(workdir)
    classes = workdirs.load_classes(workdir)
    blank = classes and load_blank(config.data, len(classes[0]))
    if not blank:
        return load_net(workdir)
    return _restore(workdir, config, with_classes(blank, *classes))


def with_classes(
    dataset: Dataset, names: Sequence[str], log_prior: np.ndarray
) -> Dataset:
    """Return a data set with other class names, and log P(y) `[M]` of training."""
    return dataclasses.replace(
        dataset, class_names=tuple(names), training_prior=log_prior
    )


def _restore(workdir: Path, config: ConfigDict, dataset: Dataset) -> TrainedNet:
    model = create_model(num_classes=dataset.num_classes, **config.model)
    shapes = jax.eval_shape(model.init, jax.random.key(0), dataset.example_input())
    run = workdirs.run_of(config, workdir)
    best, rows = restore_best(workdir, {"batch_stats": {}} | shapes, run)
    variables, epoch = best["variables"], int(best["epoch"])
    if not parallel.all_equal(epoch):
        raise UserError(
            f"{workdir}: not all processes can read the same checkpoint (here the best "
            f"epoch is {epoch}); give a --workdir that all of them share"
        )
    loss = create_loss(config.loss, config.get("loss_options"))
    if loss.multi_label != dataset.multi_label:
        raise UserError(f"{workdir}: config.loss {config.loss} does not fit its data")
    return TrainedNet(workdir, config, dataset, loss, model, variables, epoch, rows)


def load_config(workdir: Path) -> ConfigDict:
    """Read the config of a workdir, and check it."""
    config = workdirs.load_config(workdir)
    try:
        configs.check(config)
        check_names(config.get("evaluators", ()))
    except UserError as error:
        raise UserError(f"{workdir / workdirs.CONFIG}: {error}") from None
    return config
