"""A trained net of a user's own images, with a class name that wants to be markup."""

import shutil

import pytest
from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier import evaluation
from mi_classifier.training import train
from tests.conftest import REPOSITORY

# What the paper says, to be printed beside ours.
PAPER = {
    "cam": (42.49, 31.38),
    "info_cam": (52.96, 39.79),
    "info_cam_plus": (59.43, 44.40),
    "classification": (73.97, 91.83),
    "ablation": {"neither": (42.49, 31.38), "subtraction": (47.59, 35.01)},
}
MARKUP = '<img src=x onerror="document.title=1">&amp;'


@pytest.fixture(scope="session")
def trained_images(rehearsal_sets, tmp_path_factory):
    """A workdir: 4 classes, 8 test images of 64 pixels with boxes, evaluated."""
    folder = tmp_path_factory.mktemp("images")
    root = folder / "own"
    shutil.copytree(rehearsal_sets["image_folder"], root)
    name = min(path.name for path in (root / "train").iterdir())
    for split in ("train", "val"):
        (root / split / name).rename(root / split / MARKUP)
    table = root / "boxes.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    quoted = MARKUP.replace('"', '""')
    table.write_text(
        "".join(
            ",".join(
                ['"' + path.replace(f"/{name}/", f"/{quoted}/") + '"', *rest]
                if rest != ["x0", "y0", "x1", "y1"]
                else [path, *rest]
            )
            + "\n"
            for path, *rest in rows
        )
    )
    config = configs.load(f"{REPOSITORY}/configs/image_folder.py")
    config.data.root_dir = str(root)
    config.data.stored_side, config.data.side = 72, 64
    config.data.data_dir = str(folder / "data")
    config.model = ConfigDict({"name": "gap_cnn"})
    config.optimizer.full_rate = ("head",)
    config.optimizer.learning_rate = 0.05
    config.num_epochs, config.batch_size = 3, 16
    config.paper = ConfigDict(PAPER)
    workdir = folder / "run"
    train(config, workdir)
    evaluation.evaluate(workdir)
    return workdir


@pytest.fixture(scope="session")
def trained_digits(archive, tmp_path_factory):
    """A workdir of double digits, evaluated: 100 test images of several labels."""
    folder = tmp_path_factory.mktemp("digits")
    config = configs.load(f"{REPOSITORY}/configs/double_mnist.py")
    config.num_epochs, config.batch_size = 1, 20
    config.data.archive_dir, config.data.data_dir = str(archive), str(folder / "data")
    train(config, folder / "run")
    evaluation.evaluate(folder / "run")
    return folder / "run"
