"""Train in float32 and in bfloat16, and compare the losses step by step.

    python benchmarks/bfloat16.py [--steps=50] [--side=64] [--batch_size=16]

All runs start from the same float32 parameters and see the same generated images in the
same order, with the same flips. They use the optimizer of the paper's config, but one
learning rate for all parameters, because the nets are not pretrained.

A net with batch normalization is chaotic at the start of its training: the smallest
difference grows. The row "float32, perturbed" shows by how much. It trains in float32
from parameters that differ in the last bit. A difference of bfloat16 that is not larger
means nothing.
"""

import argparse

import common
import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from mi_classifier.data import Dataset
from mi_classifier.data.images import Images, image_dataset
from mi_classifier.data.pipeline import DevicePipeline
from mi_classifier.losses import LOSSES
from mi_classifier.models import create_model
from mi_classifier.progress import tracked
from mi_classifier.training.optimizer import Span, create_optimizer
from mi_classifier.training.state import create_state
from mi_classifier.training.step import Task, make_train_steps
from tools import rehearsal

# Learning rates by trial: the highest at which the nets train from scratch.
RATES = {"vgg16_gap": 0.02, "resnet50": 0.0001}
IMAGES, CLASSES = 320, 10


def losses(
    backbone: str, dtype: str, arguments: argparse.Namespace, perturbed: bool = False
) -> np.ndarray:
    """Returns the training loss of each step, `[steps]`."""
    config = common.localization_config(backbone, "tiny_imagenet")
    config.optimizer.learning_rate = RATES[backbone]
    config.optimizer.backbone_rate = 1.0
    dataset = generated_images(arguments.side)
    model = create_model(backbone, CLASSES, dtype=dtype)
    span = Span(arguments.steps, steps_per_epoch=arguments.steps)
    optimizer = create_optimizer(config.optimizer, span).transformation
    state = create_state(
        model,
        optimizer,
        dataset.example_input(),
        dataset.log_prior(),
        jax.random.key(0),
    )
    if perturbed:
        signs = jax.tree.map(
            lambda x: jax.random.rademacher(jax.random.key(2), x.shape, x.dtype),
            state.params,
        )
        params = jax.tree.map(lambda x, s: x * (1 + 1e-7 * s), state.params, signs)
        state = state.replace(params=params)
    task = Task(model, dataset, LOSSES["softmax"])
    step = make_train_steps(task, optimizer, jax.random.key(1))
    pipeline = DevicePipeline(dataset.splits["train"])
    shape = (arguments.steps, arguments.batch_size)
    order = np.random.default_rng(0).integers(0, IMAGES, shape, np.int32)
    batches = pipeline.batches(order, 1)
    values = []
    for batch in tracked(batches, f"{backbone}, {dtype}", total=arguments.steps):
        state, loss = step(state, batch)
        values.append(float(loss[0]))
    return np.array(values)


def generated_images(side: int) -> Dataset:
    """Returns a data set of generated images."""
    labels = (np.arange(IMAGES) % CLASSES).astype(np.int32)
    images = [
        rehearsal.render(label, CLASSES, (side, side), np.random.default_rng(i)).image
        for i, label in enumerate(labels)
    ]
    split = {"image": np.stack(images), "label": labels}
    names = tuple(map(str, range(CLASSES)))
    images = Images({"train": split, "test": split}, names)
    return image_dataset("", images, side, "imagenet")


def largest_difference(full: np.ndarray, low: np.ndarray, window: int) -> str:
    """Returns the largest relative difference of means over `window` steps."""
    weights = np.ones(window) / window
    full, low = (np.convolve(losses, weights, "valid") for losses in (full, low))
    return f"{100 * np.abs(low / full - 1).max():.2f}%"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=16)
    arguments = parser.parse_args()
    table = Table(
        title=f"training loss over {arguments.steps} steps; largest difference to "
        "float32 of one step, of means over ten steps, and of the mean over all"
    )
    for column in ("", "first ten", "last ten", "one step", "ten steps", "all"):
        table.add_column(column, justify="right" if column else "left")
    for backbone in RATES:
        full = losses(backbone, "float32", arguments)
        runs = {
            "float32": full,
            "bfloat16": losses(backbone, "bfloat16", arguments),
            "float32, perturbed": losses(
                backbone, "float32", arguments, perturbed=True
            ),
        }
        for name, values in runs.items():
            windows = (1, min(10, arguments.steps), arguments.steps)
            table.add_row(
                f"{backbone}, {name}",
                f"{values[:10].mean():.4f}",
                f"{values[-10:].mean():.4f}",
                *(largest_difference(full, values, window) for window in windows),
            )
    Console().print(table)


if __name__ == "__main__":
    main()
