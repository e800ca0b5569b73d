"""Data sets, one file each, loaded by name into a `Dataset`."""

from collections.abc import Callable, Mapping
from typing import Any

from mi_classifier.data import (
    cub200,
    double_mnist,
    gaussian_mixture,
    image_folder,
    memory,
    mnist,
    mnist_channel,
    tiny_imagenet,
)
from mi_classifier.data.dataset import Dataset, Split, normalize
from mi_classifier.data.images import blank_dataset
from mi_classifier.data.memory import from_arrays
from mi_classifier.errors import UserError, check_options, choose, options_of

__all__ = [
    "DATASETS",
    "Dataset",
    "Split",
    "from_arrays",
    "load_blank",
    "load_dataset",
    "normalize",
]

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
    if not hasattr(config, "keys"):
        raise UserError(f"data: must be a dict with a name, not {config!r}")
    options = dict(config)
    load = DATASETS[choose(options.pop("name", None), DATASETS, "data.name")]
    check_options(load, options, "data")
    return load(**options)


def load_blank(config: Mapping[str, Any], num_classes: int = 2) -> Dataset | None:
    """Make the data set of a config of large images, with one black image per split.

    It reads no data. Return None for a data set whose images have one fixed size.
    """
    if config["name"] == memory.NAME:
        return memory.blank(config, num_classes)
    wanted, known = options_of(blank_dataset), options_of(DATASETS.get(config["name"]))
    if "normalization" not in known:
        return None
    options = {name: config[name] for name in wanted if name in config}
    return blank_dataset(**options, num_classes=num_classes)
