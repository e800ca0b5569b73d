"""An epoch of a CUB-sized training: its time, what 200 of them take, the idle device.

    python benchmarks/epoch.py --dtype=bfloat16

Random images in the place of CUB-200-2011's 5,994, through the feed and the compiled
step that train.py uses, with its order of calls. The device is idle for what an epoch
takes longer than its steps do when their arguments are already there. On a GPU run it
as it is; on CPUs with --images=32 --width=16, to see that it runs.
"""

import statistics
import time

import common
import jax
import numpy as np

from . import common
from mi_classifier.data.pipeline import make_feed
from mi_classifier.data.images import blank_dataset
from mi_classifier.models import create_model
from mi_classifier.training.loop import epoch_order, run_epoch
from mi_classifier.training.optimizer import create_optimizer
from mi_classifier.training.state import create_state
from mi_classifier.training.step import make_train_steps

CLASSES, EPOCHS = 200, 200


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--net", default="vgg16_gap", choices=("vgg16_gap", "resnet50"))
    parser.add_argument("--images", type=int, default=5_994)
    parser.add_argument("--batch_size", type=int, default=0, help="the paper's")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--feed", default="auto")
    arguments = parser.parse_args()
    config = recipes.localization(arguments.net, "cub200", adl=False)
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
    optimizer = create_optimizer(options, 1_000)
    prior = np.full(CLASSES, -np.log(CLASSES), np.float32)
    state = create_state(
        model, optimizer, dataset.example_input(), prior, jax.random.key(0)
    )
    feed = make_feed(arguments.feed, split)
    steps = make_train_steps(
        model, dataset, "softmax", optimizer, jax.random.key(1), 1, feed.axis
    )
    count = arguments.images // size
    epochs, busy = [], []
    for epoch in range(4):  # the first compiles
        order = epoch_order(0, epoch, arguments.images)
        batches = order[: count * size].reshape(count, size)
        started = time.perf_counter()
        state, _ = run_epoch(steps, state, feed.calls(batches, 1))
        epochs.append(time.perf_counter() - started)
        call = jax.device_put(next(iter(feed.calls(batches, 1))))
        started = time.perf_counter()
        for _ in range(count):
            state, values = steps(state, call)
        values.block_until_ready()
        busy.append(time.perf_counter() - started)
    whole, alone = (statistics.median(times[1:]) for times in (epochs, busy))
    figures = {
        "epoch_s": whole,
        "steps_alone_s": alone,
        "idle": 1 - alone / whole,
        "images_per_s": count * size / whole,
        "projected_min": EPOCHS * whole / 60,
    }
    rows = [
        ["an epoch, s", f"{figures['epoch_s']:.2f}"],
        ["its steps alone, s", f"{alone:.2f}"],
        ["device idle", f"{figures['idle']:.1%}"],
        ["images a second", f"{figures['images_per_s']:,.1f}"],
        [f"{EPOCHS} epochs, evaluation aside, min", f"{figures['projected_min']:.1f}"],
    ]
    title = f"{arguments.net}, {arguments.images:,} images, batch {size}"
    title += f", {arguments.dtype}, {jax.local_devices()[0].device_kind}"
    common.report(title, ["epoch", ""], rows, figures, arguments.json)


if __name__ == "__main__":
    main()
