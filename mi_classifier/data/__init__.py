"""Data sets: one file each, loaded by name into a `Dataset`."""

from collections.abc import Callable, Mapping
from typing import Any

from mi_classifier.data import (
    double_mnist,
    gaussian_mixture,
    generated,
    mnist,
    mnist_channel,
)
from mi_classifier.data.dataset import Dataset, Split, normalize
from mi_classifier.errors import check_options, choose

__all__ = ["Dataset", "Split", "load_dataset", "normalize"]

_LOADERS: dict[str, Callable[..., Dataset]] = {
    "double_mnist": double_mnist.load,
    "gaussian_mixture": gaussian_mixture.load,
    "generated": generated.load,
    "mnist": mnist.load,
    "mnist_channel": mnist_channel.load,
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
