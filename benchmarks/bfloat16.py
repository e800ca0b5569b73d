"""Training in bfloat16 beside float32: the same run twice, the losses step by step.

    python benchmarks/bfloat16.py [--steps=50] [--side=64] [--batch_size=16]

Both start from the same float32 parameters and see the same generated images in the
same order, with crops and flips, by the recipe's optimizer at a rate for nets that are
not pretrained.
"""

import argparse

import jax
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mi_classifier import parallel, recipes
from mi_classifier.data import load_dataset
from mi_classifier.models import create_model
from mi_classifier.training.optimizer import create_optimizer
from mi_classifier.training.state import create_state
from mi_classifier.training.step import make_train_steps

BACKBONES = ("vgg16_gap", "resnet50")


def losses(backbone: str, dtype: str, arguments: argparse.Namespace) -> np.ndarray:
    """Returns the training loss of each step, `[steps]`."""
    config = recipes.localization(backbone, "tiny_imagenet", adl=False)
    config.data.num_classes, config.data.num_images = 10, 320
    config.data.stored_side = config.data.side = arguments.side
    config.optimizer.learning_rate = arguments.learning_rate
    dataset = load_dataset(config.data)
    model = create_model(backbone, 10, dtype=dtype)
    optimizer = create_optimizer(config.optimizer, arguments.steps, arguments.steps)
    prior = dataset.log_prior()
    state = create_state(
        model, optimizer, dataset.example_input(), prior, jax.random.key(0)
    )
    step = make_train_steps(model, dataset, "softmax", optimizer, jax.random.key(1))
    split = parallel.replicate(dict(dataset.splits["train"]))
    generator = np.random.default_rng(0)
    values = []
    for _ in track(range(arguments.steps), f"{backbone}, {dtype}"):
        indices = generator.integers(0, 320, (1, arguments.batch_size), np.int32)
        state, loss = step(state, split, parallel.split_indices(indices))
        values.append(float(loss[0]))
    return np.array(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    arguments = parser.parse_args()
    table = Table(title=f"training loss over {arguments.steps} steps")
    columns = ("", "first", "last, float32", "last, bfloat16", "largest difference")
    for column in (*columns, "of the means"):
        table.add_column(column, justify="right" if column else "left")
    for backbone in BACKBONES:
        full, low = (losses(backbone, d, arguments) for d in ("float32", "bfloat16"))
        table.add_row(
            backbone,
            f"{full[0]:.4f}",
            f"{full[-1]:.4f}",
            f"{low[-1]:.4f}",
            f"{100 * np.max(np.abs(low / full - 1)):.2f}%",
            f"{100 * np.abs(low.mean() / full.mean() - 1):.2f}%",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
