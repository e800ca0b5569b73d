"""Generated data and small configs that the tests share."""

import csv
import gzip
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from ml_collections import ConfigDict

from mi_classifier import config as configs
from tools import rehearsal

REPOSITORY = Path(__file__).parents[1]
REFERENCE = REPOSITORY.parent / "shared"  # the real data, where there is any
# The name of a class of `trained_images`, which no page may take for markup.
MARKUP = '<img src=x onerror="document.title=1">&amp;'


def pytest_configure(config):
    """Compiles in haste, once for all processes of a session.

    Small nets compile longer than they run, see `long_runs` for others.
    """
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    if shutil.which("nvidia-smi") and os.environ.get("JAX_PLATFORMS") != "cpu":
        _compute_exactly_on_gpus()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="compiled")
        config.add_cleanup(folder.cleanup)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        # Without a limit, no process removes what another one is reading.
        os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = "-1"


def _compute_exactly_on_gpus():
    """Asks for what CPUs do: all digits of float32, and the same bits each time."""
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true"
    # The processes of the tests share the card's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def assert_same_program(one, other):
    """Compares what two programs compute by the same operations.

    On CPUs not a bit differs. A GPU's compiler may choose other kernels for each.
    """
    import chex
    import jax

    if jax.default_backend() == "cpu":
        chex.assert_trees_all_equal(one, other)
    else:
        chex.assert_trees_all_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def long_runs():
    """Compiles well instead of fast, for tests whose programs run for long."""
    import jax

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
        before = jax.config.read("jax_disable_most_optimizations")
        jax.config.update("jax_disable_most_optimizations", False)
        jax.clear_caches()  # of programs that were compiled the other way
        yield
        jax.config.update("jax_disable_most_optimizations", before)
        jax.clear_caches()


def write_idx(path, array, compress=True):
    """Writes a uint8 array as an idx file, by the format's own description."""
    header = struct.pack(
        f">{1 + array.ndim}I", 0x800 + array.ndim, *map(int, array.shape)
    )
    opener = gzip.open if compress else open
    with opener(path, "wb") as file:
        file.write(header + array.astype(np.uint8).tobytes())


def digits(count, seed):
    """Draws images whose bright row tells their label, and the labels."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 10, count)
    images = generator.integers(0, 60, (count, 28, 28))
    images[np.arange(count), 2 * labels + 4] += 150
    return images, labels


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """A folder with four generated idx files: 600 training and 100 test images."""
    folder = tmp_path_factory.mktemp("archive")
    for prefix, count in (("train", 600), ("t10k", 100)):
        images, labels = digits(count, seed=count)
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", labels)
    return folder


@pytest.fixture
def reference():
    """The folder of the authors' outputs and the real MNIST, or None."""
    return REFERENCE if REFERENCE.is_dir() else None


@pytest.fixture
def tiny_config(archive, tmp_path):
    """A config of a few seconds: the mixture with a small net, or generated digits."""

    def make(name="gmm", words="", **overrides):
        reference = f"{REPOSITORY}/configs/{name}.py" + (f":{words}" if words else "")
        config = configs.load(reference)
        config.num_epochs = 2
        config.checkpoint_seconds = 0.0
        if name == "gmm":
            config.model.hidden = (16,)
            config.batch_size = 4_000
        else:
            config.batch_size = 20
            config.data.archive_dir = str(archive)
            config.data.data_dir = str(tmp_path / "tfds")
        config.update_from_flattened_dict(overrides)
        return config

    return make


def script_environment(devices, platform="cpu"):
    """The environment of a command: so many CPU devices, never more than CPUs."""
    return os.environ | {
        "JAX_PLATFORMS": platform,
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONPATH": str(REPOSITORY),
    }


@pytest.fixture
def run_script():
    """Runs a command of the repository as a user would; never on more than CPUs."""

    def run(*arguments, devices=1, cwd=REPOSITORY, check=True, platform="cpu"):
        result = subprocess.run(
            [sys.executable, *map(str, arguments)],
            check=False,
            cwd=cwd,
            env=script_environment(devices, platform),
            capture_output=True,
            text=True,
            timeout=300,
        )
        if check:
            assert result.returncode == 0, result.stderr
        return result

    return run


@pytest.fixture(scope="session")
def rehearsal_sets(tmp_path_factory):
    """Small generated sets by layout: 4 classes, 80 images."""
    folder = tmp_path_factory.mktemp("rehearsal")
    names = {"cub200": "cub.tgz", "tiny_imagenet": "tiny.zip", "image_folder": "folder"}
    for layout, name in names.items():
        rehearsal.write(layout, folder / name, num_classes=4, num_images=80, seed=0)
    return {layout: folder / name for layout, name in names.items()}


def own_copy(tmp_path_factory, name, train):
    """Return a workdir that one process of the session trains, and all others copy.

    `train(folder)` makes `folder / "run"`.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{shared}.lock"):
        if not (shared / "done").exists():
            shared.mkdir()
            train(shared)
            (shared / "done").touch()
    return shutil.copytree(shared / "run", tmp_path_factory.mktemp(name) / "run")


@pytest.fixture(scope="session")
def trained_images(rehearsal_sets, tmp_path_factory):
    """A workdir: 4 classes, 8 test images of 64 pixels with boxes, evaluated.

    One of the classes is called `MARKUP`.
    """
    from mi_classifier import commands

    def train(folder):
        root = folder / "own"
        shutil.copytree(rehearsal_sets["image_folder"], root)
        name = min(path.name for path in (root / "train").iterdir())
        for split in ("train", "val"):
            (root / split / name).rename(root / split / MARKUP)
        with (root / "boxes.csv").open(newline="", encoding="utf-8") as file:
            rows = [
                [path.replace(f"/{name}/", f"/{MARKUP}/"), *rest]
                for path, *rest in csv.reader(file)
            ]
        with (root / "boxes.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        config = configs.load(f"{REPOSITORY}/configs/image_folder.py:resnet")
        config.data.root_dir = str(root)
        config.data.stored_side, config.data.side = 72, 64
        config.data.data_dir = str(folder / "data")
        config.model = ConfigDict({"name": "gap_cnn"})
        config.optimizer.full_rate = ("head",)
        config.optimizer.learning_rate = 0.05
        config.num_epochs, config.batch_size = 3, 16
        commands.train_and_evaluate(config, folder / "run")

    return own_copy(tmp_path_factory, "images", train)


@pytest.fixture(scope="session")
def trained_digits(archive, tmp_path_factory):
    """A workdir of double digits, evaluated: 100 test images of several labels."""
    from mi_classifier import commands

    def train(folder):
        config = configs.load(f"{REPOSITORY}/configs/double_mnist.py")
        config.num_epochs, config.batch_size = 1, 20
        config.data.archive_dir = str(archive)
        config.data.data_dir = str(folder / "data")
        commands.train_and_evaluate(config, folder / "run")

    return own_copy(tmp_path_factory, "digits", train)
