"""Measure each stage from the archive to the device: time, images a second, memory.

    python benchmarks/data_pipeline.py
    python tools/rehearsal.py cub200 --out=cub.tgz --num_images=11788
    python benchmarks/data_pipeline.py --data=cub200 --archive=cub.tgz

Without --archive, an archive of 1,000 images is generated. If PyTorch is installed, its
DataLoader is timed beside "crop, flip, normalize": it decodes, resizes, crops, flips
and normalizes image files on as many workers as there are cores.

"prepare" streams the archive into TFDS's records and decodes them into the cache. The
other stages read the cache; "open again" checks its hashes. Each stage runs in a
process of its own, so that its memory can be measured. "peak GiB" counts pages mapped
from disk while the system keeps them; "own" is the memory that the process itself holds
at the end of the stage.
"""

import importlib.util
import multiprocessing
import os
import resource
import tarfile
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import common
import numpy as np

from mi_classifier.data import Dataset, images, load_dataset
from tools import rehearsal

BATCH = 128


def prepare(config: dict) -> int:
    return count(load_dataset(config))


def open_again(config: dict) -> int:
    return count(load_dataset(config))


def stream(config: dict) -> int:
    from mi_classifier.data.pipeline import StreamPipeline

    return run_epoch(StreamPipeline, config)


def keep_on_device(config: dict) -> int:
    from mi_classifier.data.pipeline import DevicePipeline

    return run_epoch(DevicePipeline, config)


def run_epoch(make: Callable, config: dict, use: Callable | None = None) -> int:
    """Brings an epoch of shuffled batches to the device, and uses each there.

    The time goes to `config["seconds"]`. It excludes opening the cache and the first
    epoch, which compiles.

    Args:
      make: makes a pipeline of a split.
      config: of the data.
      use: a compiled function of a split and rows; by default it gathers the rows.
    """
    import jax
    import jax.numpy as jnp

    split = load_dataset(config).splits["train"]
    order = np.random.default_rng(0).permutation(len(split["label"])).astype(np.int32)
    order = order[: len(order) // BATCH * BATCH].reshape(-1, BATCH)
    gather = jax.jit(lambda split, rows: split["image"][rows].astype(jnp.uint8))
    for _ in range(2):
        pipeline = None  # frees the memory of the first epoch's
        started = time.perf_counter()
        pipeline = make(split)
        for batches in pipeline.batches(order, 1):
            arrays = dict(batches.split)
            if pipeline.axis is not None:
                arrays = {name: array[0] for name, array in arrays.items()}
            jax.block_until_ready((use or gather)(arrays, batches.rows[0, 0]))
    config["seconds"] = time.perf_counter() - started
    return order.size


def train_input(config: dict) -> int:
    """Streams an epoch and computes the net's input, as a training step does."""
    import jax

    from mi_classifier.data.pipeline import StreamPipeline

    dataset = load_dataset(config)

    def make(split: dict, rows: np.ndarray) -> jax.Array:
        keys = jax.vmap(jax.random.key)(rows)
        examples = jax.vmap(dataset.augment, (0, None, 0))(keys, split, rows)
        return dataset.preprocess(examples["image"])

    return run_epoch(StreamPipeline, config, jax.jit(make))


def torch_input(config: dict) -> int:
    """Does the same with PyTorch's DataLoader on the image files."""
    import torch
    from PIL import Image

    stored, side = config["stored_side"], config["side"]
    mean, deviation = (
        torch.tensor(values)[:, None, None]
        for values in images.NORMALIZATIONS[config["normalization"]]
    )

    class Files(torch.utils.data.Dataset):
        def __init__(self, folder: str) -> None:
            self.paths = sorted(Path(folder).rglob("*.jpg"))

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> torch.Tensor:
            image = Image.open(self.paths[index]).convert("RGB")
            image = image.resize((stored, stored), Image.Resampling.BILINEAR)
            top, left = torch.randint(0, stored - side + 1, (2,)).tolist()
            image = image.crop((left, top, left + side, top + side))
            if torch.rand(()) < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            return (pixels.float() / 255 - mean) / deviation

    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(config["archive_path"]) as archive:
            archive.extractall(folder, filter="data")
        files = Files(folder)
        loader = torch.utils.data.DataLoader(
            files,
            BATCH,
            shuffle=True,
            num_workers=common.cores(),
            drop_last=True,
            multiprocessing_context="fork",
            persistent_workers=True,
        )
        for _ in range(2):  # only the second epoch counts, as in `run_epoch`
            started = time.perf_counter()
            count = sum(len(batch) for batch in loader)
        config["seconds"] = time.perf_counter() - started
    return count


def evaluate(config: dict) -> int:
    """Sends validation and test through evaluation's batches, without a model."""
    import jax

    from mi_classifier import parallel

    dataset = load_dataset(config)
    total = 0
    for name in ("validation", "test"):
        for batch in parallel.evaluation_batches(dataset.splits[name], BATCH):
            jax.block_until_ready(jax.device_put(batch["image"]))
            total += int(batch["mask"].sum())
    return total


STAGES = {
    "prepare": prepare,
    "open again": open_again,
    "stream an epoch": stream,
    "crop, flip, normalize": train_input,
    "PyTorch's DataLoader": torch_input,
    "copy to the device, an epoch": keep_on_device,
    "evaluation batches": evaluate,
}


def count(dataset: Dataset) -> int:
    return sum(len(split["label"]) for split in dataset.splits.values())


def worker(stage: str, config: dict, pipe: Connection) -> None:
    started = time.perf_counter()
    number = STAGES[stage](config)
    seconds = config.get("seconds", time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    status = Path("/proc/self/status").read_text()
    anonymous = int(status.split("RssAnon:")[1].split()[0]) / 2**20
    pipe.send({"s": seconds, "images": number, "peak": peak, "anonymous": anonymous})


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--data", default="cub200", choices=("cub200", "tiny_imagenet"))
    parser.add_argument("--archive", help="by default one is generated")
    parser.add_argument("--data_dir", help="where to prepare; a temporary folder")
    arguments = parser.parse_args()
    config = common.localization_config("vgg16_gap", arguments.data).data.to_dict()
    context = multiprocessing.get_context("spawn")
    rows, results = [], {}
    with tempfile.TemporaryDirectory() as folder:
        archive = arguments.archive
        if not archive:
            archive = Path(folder) / "generated"
            rehearsal.write(arguments.data, archive, 20, 1_000, seed=0)
        config["archive_path"] = os.path.abspath(archive)
        config["data_dir"] = arguments.data_dir or folder
        for stage in STAGES:
            if stage == "PyTorch's DataLoader" and not _has_torch(arguments.data):
                continue
            pipe, child = context.Pipe()
            process = context.Process(target=worker, args=(stage, config, child))
            process.start()
            child.close()
            result = results[stage] = pipe.recv()
            process.join()
            images_per_s = result["images"] / result["s"]
            rows.append(
                [
                    stage,
                    f"{result['images']:,}",
                    f"{result['s']:.2f}",
                    f"{images_per_s:,.0f}",
                    f"{result['peak']:.2f}",
                    f"{result['anonymous']:.2f}",
                ]
            )
    columns = ["input pipeline", "images", "s", "images a second", "peak GiB", "own"]
    title = f"{arguments.data}, batches of {BATCH}"
    common.report(title, columns, rows, results, arguments.json)


def _has_torch(data: str) -> bool:
    return data == "cub200" and importlib.util.find_spec("torch") is not None


if __name__ == "__main__":
    main()
