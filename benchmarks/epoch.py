"""Time a training epoch of the size of CUB-200-2011, and the device's idle time.

    python benchmarks/epoch.py --dtype=bfloat16

Random images stand for the 5,994 training images of CUB-200-2011. They go through the
pipeline and the compiled step that train.py uses. The same steps are timed again on
arguments that are already on the device; the difference to an epoch is the time for
which the device is idle. Run it as it is on a GPU. On CPUs, `--images=32 --width=16`
shows that it works.
"""

import statistics
import time

import common
import jax
import numpy as np

from mi_classifier.data.images import blank_dataset
from mi_classifier.data.pipeline import make_pipeline
from mi_classifier.losses import LOSSES
from mi_classifier.models import create_model
from mi_classifier.training.epochs import run_epoch
from mi_classifier.training.optimizer import Span, create_optimizer
from mi_classifier.training.state import create_state
from mi_classifier.training.step import Task, make_train_steps

CLASSES, EPOCHS = 200, 200


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--net", default="vgg16_gap", choices=("vgg16_gap", "resnet50"))
    parser.add_argument("--images", type=int, default=5_994)
    parser.add_argument("--batch_size", type=int, default=0, help="the paper's")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--pipeline", default="auto")
    arguments = parser.parse_args()
    config = common.localization_config(arguments.net, "cub200")
    config.model.width, config.model.dtype = arguments.width, arguments.dtype
    size = min(arguments.batch_size or config.batch_size, arguments.images)
    stored = config.data.stored_side
    dataset = blank_dataset(
        config.data.side, config.data.normalization, stored, CLASSES
    )
    generator = np.random.default_rng(0)
    shape = (arguments.images, stored, stored, 3)
    split = {
        "image": generator.integers(0, 256, shape, np.uint8),
        "label": generator.integers(0, CLASSES, arguments.images).astype(np.int32),
    }
    model = create_model(num_classes=CLASSES, **config.model)
    options = config.optimizer.to_dict() | {"learning_rate": 1e-5}
    optimizer = create_optimizer(options, Span(1_000)).transformation
    prior = np.full(CLASSES, -np.log(CLASSES), np.float32)
    state = create_state(
        model, optimizer, dataset.example_input(), prior, jax.random.key(0)
    )
    pipeline = make_pipeline(arguments.pipeline, split)
    steps = make_train_steps(
        Task(model, dataset, LOSSES["softmax"]),
        optimizer,
        jax.random.key(1),
        split_axis=pipeline.axis,
    )
    count = arguments.images // size
    epoch_times, step_times = [], []
    for _ in range(4):  # the first compiles
        order = generator.permutation(arguments.images).astype(np.int32)
        order = order[: count * size].reshape(count, size)
        started = time.perf_counter()
        state, _ = run_epoch(steps, state, pipeline.batches(order, 1))
        epoch_times.append(time.perf_counter() - started)
        batches = jax.device_put(next(iter(pipeline.batches(order, 1))))
        started = time.perf_counter()
        for _ in range(count):
            state, losses = steps(state, batches)
        losses.block_until_ready()
        step_times.append(time.perf_counter() - started)
    epoch_s, steps_s = (statistics.median(t[1:]) for t in (epoch_times, step_times))
    results = {
        "epoch_s": epoch_s,
        "steps_alone_s": steps_s,
        "idle": 1 - steps_s / epoch_s,
        "images_per_s": count * size / epoch_s,
        "projected_min": EPOCHS * epoch_s / 60,
    }
    rows = [
        ["an epoch, s", f"{epoch_s:.2f}"],
        ["its steps alone, s", f"{steps_s:.2f}"],
        ["device idle", f"{results['idle']:.1%}"],
        ["images a second", f"{results['images_per_s']:,.1f}"],
        [f"{EPOCHS} epochs, no evaluation, min", f"{results['projected_min']:.1f}"],
    ]
    title = f"{arguments.net}, {arguments.images:,} images, batch {size}"
    title += f", {arguments.dtype}, {jax.local_devices()[0].device_kind}"
    common.report(title, ["epoch", ""], rows, results, arguments.json)


if __name__ == "__main__":
    main()
