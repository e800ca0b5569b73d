"""Data sets, one file each, loaded by name into a `Dataset`."""

from collections.abc import Callable, Mapping
from typing import Any

from mi_classifier.data import (
    cub200,
    double_mnist,
    gaussian_mixture,
    image_folder,
    mnist,
    mnist_channel,
    tiny_imagenet,
)
from mi_classifier.data.dataset import Dataset, Split, normalize
from mi_classifier.errors import check_options, choose

__all__ = ["DATASETS", "Dataset", "Split", "load_dataset", "normalize"]

# A new data set is one file with a function that returns a `Dataset`, and a line here.
# The function's parameters are the fields of the config's group "data".
DATASETS: dict[str, Callable[..., Dataset]] = {
    "cub200": cub200.load,
    "double_mnist": double_mnist.load,
    "gaussian_mixture": gaussian_mixture.load,
    "image_folder": image_folder.load,
    "mnist": mnist.load,
    "mnist_channel": mnist_channel.load,
    "tiny_imagenet": tiny_imagenet.load,
}


def load_dataset(config: Mapping[str, Any]) -> Dataset:
    """Load the data set that a config describes.

    Args:
      config: "name", one of `DATASETS`, and the arguments of its function.

    Raises:
      UserError: the name or an argument is unknown, or data cannot be read.

    Examples:
      >>> config = {"name": "gaussian_mixture", "dim": 2, "balanced": True, "seed": 0}
      >>> load_dataset(config).splits["train"]["image"].shape
      (48000, 2)
    """
    options = dict(config)
    load = DATASETS[choose(options.pop("name", None), DATASETS, "data.name")]
    check_options(load, options, "data")
    return load(**options)
