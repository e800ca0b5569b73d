"""A trained net as a workdir holds it."""

import dataclasses
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier import parallel
from mi_classifier.storage import workdirs
from mi_classifier.storage.checkpoints import check_has_checkpoint, restore_best
from mi_classifier.data import Dataset, load_dataset
from mi_classifier.errors import UserError
from mi_classifier.models import create_model


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained net, and the data that it was trained on.

    Attributes:
      workdir: that holds it.
      config: it was trained by.
      dataset: it was trained on.
      model: the module.
      variables: its best epoch's, replicated.
      epoch: the best, counted from 1.
      rows: of the metrics, one an epoch.
    """

    workdir: Path
    config: ConfigDict
    dataset: Dataset
    model: nn.Module
    variables: dict[str, Any]
    epoch: int
    rows: list[dict[str, float]]


def load_run(workdir: Path) -> Run:
    """Restores the best checkpoint of a workdir, and loads its data.

    Raises:
      UserError: no workdir, no checkpoint, or data that cannot be read.
    """
    config = load_config(workdir)
    check_has_checkpoint(workdir)
    with parallel.first_process_first():
        dataset = load_dataset(config.data)
    workdirs.check_data(workdir, dataset.fingerprints())
    model = create_model(num_classes=dataset.num_classes, **config.model)
    shapes = jax.eval_shape(model.init, jax.random.key(0), dataset.example_input())
    best, rows = restore_best(workdir, {"batch_stats": {}} | shapes)
    variables, epoch = best["variables"], int(best["epoch"])
    if not parallel.all_equal(epoch):
        raise UserError(
            f"{workdir}: not all processes can read the same checkpoint (here the best "
            f"epoch is {epoch}); see that all see the same files"
        )
    return Run(workdir, config, dataset, model, variables, epoch, rows)


def load_config(workdir: Path) -> ConfigDict:
    """Reads the config of a workdir, and checks it.

    Raises:
      UserError: no workdir, or a config that cannot be.
    """
    config = workdirs.load_config(workdir)
    try:
        configs.check(config)
    except UserError as error:
        raise UserError(f"{workdir / workdirs.CONFIG}: {error}") from None
    return config
