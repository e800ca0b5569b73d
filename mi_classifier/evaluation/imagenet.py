"""The net of ImageNet's 1,000 classes, whose weights an installed extra holds."""

from importlib import resources
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from mi_classifier import parallel
from mi_classifier.data import Dataset
from mi_classifier.data.images import blank_dataset
from mi_classifier.evaluation.trained_net import (
    TrainedNet,
    load_net,
    load_without_data,
    with_classes,
)
from mi_classifier.losses import create_loss
from mi_classifier.models import create_model
from mi_classifier.models.pretrained import load_whole
from mi_classifier.storage import workdirs

NAME = "imagenet"  # stands for this net where a workdir is expected
_SIDE = 224  # pixels, as in the net's training
_CONFIG = {
    "data": {"name": NAME, "side": _SIDE, "normalization": "efficientnet"},
    "model": {"name": "efficientnet_lite0"},
    "loss": "softmax",
    "localization": {
        "region": 2,  # two of the map's seven cells
        "padding": "full",
        "rival": "region",
        "threshold": 0.2,
    },
}


def load_net_to_ask(workdir: Path, dataset: Dataset | None = None) -> TrainedNet:
    """Load the net of a workdir without its data, or ImageNet's for `NAME`.

    A run whose data came from memory needs its data set.
    """
    if dataset is not None:
        return load_net(workdir, dataset)
    return load_imagenet() if names_imagenet(workdir) else load_without_data(workdir)


def names_imagenet(workdir: Path) -> bool:
    """Return whether a workdir stands for the net of ImageNet's classes.

    A folder of that name may hold ImageNet's images; it counts if it holds a run.
    """
    return str(workdir) == NAME and not (workdir / workdirs.CONFIG).exists()


def load_imagenet() -> TrainedNet:
    """Load the net that was trained on ImageNet, without data.

    Its class frequencies are equal, as those of ImageNet's training images nearly are.
    The whole of an image is resized to 224 pixels a side.

    Raises:
      UserError: the extra `pretrained` is not installed.
    """
    config = ConfigDict(_CONFIG)
    text = resources.files(__package__).joinpath("assets/imagenet_classes.txt")
    lines = text.read_text("utf-8").splitlines()
    names = [line.split("\t")[1] for line in lines]
    uniform = np.full(len(names), -np.log(len(names)), np.float32)
    blank = blank_dataset(_SIDE, config.data.normalization, num_classes=len(names))
    dataset = with_classes(blank, names, uniform)
    model = create_model(num_classes=len(names), **config.model)
    variables = parallel.replicate(load_whole(config.model.name, NAME))
    loss = create_loss(config.loss)
    return TrainedNet(
        Path("runs") / NAME, config, dataset, loss, model, variables, 0, []
    )
