"""From an archive to the device: time, images a second and peak memory of each stage.

    python benchmarks/data_pipeline.py
    python tools/rehearsal.py cub200 --out=cub.tgz --num_images=11788
    python benchmarks/data_pipeline.py --data=cub200 --archive=cub.tgz

Without an archive one of 1,000 images is generated. With PyTorch installed, its usual
way stands beside "crop, flip, normalize": a DataLoader that decodes, resizes, crops,
flips and normalizes, on as many workers as there are cores.

"prepare" streams the archive into TFDS's records and decodes them into the cache; the
other stages start from there. Each stage has a process of its own, for its memory; what
is mapped from disk counts as long as the system keeps it, so "anonymous" is the memory
that the process itself holds, at the end of the stage.
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

from configs import common as recipes
from tools import rehearsal
from mi_classifier.data import Dataset, images, load_dataset

BATCH = 128


def prepare(config: dict) -> int:
    return count(load_dataset(config))


def open_again(config: dict) -> int:
    return count(load_dataset(config))


def hash_all(config: dict) -> int:
    dataset = load_dataset(config)
    dataset.fingerprints()
    return count(dataset)


def stream(config: dict) -> int:
    from mi_classifier.data.pipeline import StreamFeed

    return feed(StreamFeed, config)


def keep_on_device(config: dict) -> int:
    from mi_classifier.data.pipeline import DeviceFeed

    return feed(DeviceFeed, config)


def feed(make: Callable, config: dict, take: Callable | None = None) -> int:
    """Brings an epoch of shuffled batches to the device, where each is taken.

    Not counted is what opens the cache, and the first epoch, which compiles.
    """
    import jax
    import jax.numpy as jnp

    split = load_dataset(config).splits["train"]
    order = np.random.default_rng(0).permutation(len(split["label"])).astype(np.int32)
    batches = order[: len(order) // BATCH * BATCH].reshape(-1, BATCH)
    gather = jax.jit(lambda split, rows: split["image"][rows].astype(jnp.uint8))
    for _ in range(2):
        source = None  # lets go of the last one's memory
        started = time.perf_counter()
        source = make(split)
        for call in source.calls(batches, 1):
            own = dict(call.split)
            if source.axis is not None:
                own = {name: array[0] for name, array in own.items()}
            jax.block_until_ready((take or gather)(own, call.rows[0, 0]))
    config["seconds"] = time.perf_counter() - started
    return batches.size


def train_input(config: dict) -> int:
    """Streams an epoch and makes the net's input of it, as a training step does."""
    import jax

    from mi_classifier.data.pipeline import StreamFeed

    dataset = load_dataset(config)

    def make(split: dict, rows: np.ndarray) -> jax.Array:
        keys = jax.vmap(jax.random.key)(rows)
        drawn = jax.vmap(dataset.draw, (0, None, 0))(keys, split, rows)
        return dataset.preprocess(drawn["image"])

    return feed(StreamFeed, config, jax.jit(make))


def torch_input(config: dict) -> int:
    """The same by PyTorch's DataLoader over the image files."""
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
        for _ in range(2):  # as ours, the second epoch counts
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
    "hash": hash_all,
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
    config = recipes.localization("vgg16_gap", arguments.data, False).data.to_dict()
    context = multiprocessing.get_context("spawn")
    rows, figures = [], {}
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
            f = figures[stage] = pipe.recv()
            process.join()
            speed = f"{f['images'] / f['s']:,.0f}"
            memory = (f"{f['peak']:.2f}", f"{f['anonymous']:.2f}")
            rows.append([stage, f"{f['images']:,}", f"{f['s']:.2f}", speed, *memory])
    columns = ["input pipeline", "images", "s", "images a second", "peak GiB", "own"]
    title = f"{arguments.data}, batches of {BATCH}"
    common.report(title, columns, rows, figures, arguments.json)


def _has_torch(data: str) -> bool:
    return data == "cub200" and importlib.util.find_spec("torch") is not None


if __name__ == "__main__":
    main()
