"""Data sets: one file each, loaded by name into a `Dataset`."""

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

__all__ = ["Dataset", "Split", "load_dataset", "normalize"]

_LOADERS: dict[str, Callable[..., Dataset]] = {
    "cub200": cub200.load,
    "double_mnist": double_mnist.load,
    "gaussian_mixture": gaussian_mixture.load,
    "image_folder": image_folder.load,
    "mnist": mnist.load,
    "mnist_channel": mnist_channel.load,
    "tiny_imagenet": tiny_imagenet.load,
}


def load_dataset(config: Mapping[str, Any]) -> Dataset:
    """Loads the data set that a config describes.

    Args:
      config: its "name", and the arguments of that data set's `load`.

    Raises:
      UserError: an unknown name or argument, or data that cannot be read.
    """
    options = dict(config)
    load = _LOADERS[choose(options.pop("name", None), _LOADERS, "data.name")]
    check_options(load, options, "data")
    return load(**options)
