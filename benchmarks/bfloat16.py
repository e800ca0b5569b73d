"""Training in bfloat16 beside float32: the same run twice, the losses step by step.

    python benchmarks/bfloat16.py [--steps=50] [--side=64] [--batch_size=16]

Both start from the same float32 parameters and see the same generated images in the
same order, with flips, by the recipe's optimizer, all parameters at one rate, for the
nets are not pretrained. A young net with batch normalization is chaotic: "moved" is
float32 once more, from parameters that differ in the last bit, and tells how much of a
difference means nothing. Means over ten steps are compared as well.
"""

import argparse

import jax
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from configs import common as recipes
from tools import rehearsal
from mi_classifier.data import Dataset
from mi_classifier.data.pipeline import DeviceFeed
from mi_classifier.data.images import image_dataset
from mi_classifier.models import create_model
from mi_classifier.training.optimizer import create_optimizer
from mi_classifier.training.state import create_state
from mi_classifier.training.step import make_train_steps

RATES = {"vgg16_gap": 0.02, "resnet50": 0.0001}  # that the nets train at from scratch
IMAGES = 320


def losses(
    backbone: str, dtype: str, arguments: argparse.Namespace, moved: bool = False
) -> np.ndarray:
    """Returns the training loss of each step, `[steps]`."""
    config = recipes.localization(backbone, "tiny_imagenet", adl=False)
    config.optimizer.learning_rate = RATES[backbone]
    config.optimizer.backbone_rate = 1.0
    dataset = rehearsal_images(arguments.side)
    model = create_model(backbone, 10, dtype=dtype)
    optimizer = create_optimizer(config.optimizer, arguments.steps, arguments.steps)
    prior = dataset.log_prior()
    state = create_state(
        model, optimizer, dataset.example_input(), prior, jax.random.key(0)
    )
    if moved:
        signs = jax.tree.map(
            lambda x: jax.random.rademacher(jax.random.key(2), x.shape, x.dtype),
            state.params,
        )
        params = jax.tree.map(lambda x, s: x * (1 + 1e-7 * s), state.params, signs)
        state = state.replace(params=params)
    step = make_train_steps(model, dataset, "softmax", optimizer, jax.random.key(1))
    feed = DeviceFeed(dataset.splits["train"])
    generator = np.random.default_rng(0)
    shape = (arguments.steps, arguments.batch_size)
    calls = feed.calls(generator.integers(0, IMAGES, shape, np.int32), 1)
    values = []
    for call in track(calls, f"{backbone}, {dtype}", total=arguments.steps):
        state, loss = step(state, call)
        values.append(float(loss[0]))
    return np.array(values)


def rehearsal_images(side: int) -> Dataset:
    """Returns generated images of ten classes."""
    labels = (np.arange(IMAGES) % 10).astype(np.int32)
    images = np.stack(
        [
            rehearsal.draw(label, 10, (side, side), np.random.default_rng(i)).image
            for i, label in enumerate(labels)
        ]
    )
    split = {"image": images, "label": labels}
    names = tuple(map(str, range(10)))
    return image_dataset("", {"train": split, "test": split}, names, side, "imagenet")


def difference(full: np.ndarray, low: np.ndarray, window: int) -> str:
    """Returns the largest relative difference of means over as many steps."""
    mean = np.ones(window) / window
    full, low = (np.convolve(losses, mean, "valid") for losses in (full, low))
    return f"{100 * np.abs(low / full - 1).max():.2f}%"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=16)
    arguments = parser.parse_args()
    table = Table(title=f"training loss over {arguments.steps} steps, beside float32's")
    for column in ("", "first ten", "last ten", "a step, most", "ten, most", "all"):
        table.add_column(column, justify="right" if column else "left")
    for backbone in RATES:
        full = losses(backbone, "float32", arguments)
        runs = {
            "float32": full,
            "bfloat16": losses(backbone, "bfloat16", arguments),
            "moved": losses(backbone, "float32", arguments, moved=True),
        }
        for name, values in runs.items():
            windows = (1, 10, arguments.steps)
            table.add_row(
                f"{backbone}, {name}",
                f"{values[:10].mean():.4f}",
                f"{values[-10:].mean():.4f}",
                *(difference(full, values, window) for window in windows),
            )
    Console().print(table)


if __name__ == "__main__":
    main()
