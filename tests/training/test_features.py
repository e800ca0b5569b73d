"""Training a head on features that a frozen backbone computed once."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier.data.dataset import stored_example
from mi_classifier.data.images import Images, image_dataset
from mi_classifier.errors import UserError
from mi_classifier.storage.checkpoints import restore_best
from mi_classifier.training import features, train
from tests.conftest import REPOSITORY

SPLITS = {"train": 48, "validation": 16, "test": 16}


def make_dataset():
    """Bright or dark images of 20 pixels, of which the net sees the middle 16."""
    generator, splits = np.random.default_rng(0), {}
    for name, count in SPLITS.items():
        labels = generator.integers(0, 2, count).astype(np.int32)
        images = generator.integers(0, 180, (count, 20, 20, 3))
        images += 70 * labels[:, None, None, None]
        splits[name] = {"image": images.astype(np.uint8), "label": labels}
    return image_dataset("squares", Images(splits, ["dark", "bright"]), 16, "imagenet")


def without_augmentation(dataset):
    """The same data, but each training image is always what an evaluation sees."""
    split = dataset.splits["train"]
    cropped = {**split, "image": dataset.view(split["image"])}
    return dataclasses.replace(
        dataset,
        splits={**dataset.splits, "train": cropped},
        augment=stored_example,
        view=lambda images: images,
    )


@pytest.fixture
def config(tmp_path):
    config = configs.load(f"{REPOSITORY}/configs/image_folder.py")
    config.pretrained, config.steps_per_call = "", 2
    config.model = ConfigDict({"name": "gap_cnn"})
    config.data.data_dir = str(tmp_path / "data")
    config.num_epochs, config.batch_size = 3, 16
    config.optimizer.learning_rate = 0.1
    return config


def best(workdir, state):
    return restore_best(workdir, state.variables)[0]["variables"]["params"]


def test_the_head_is_that_of_a_frozen_net_on_unchanged_images(config, tmp_path):
    dataset = make_dataset()
    cached = train(config, tmp_path / "cached", dataset).state
    config.cache_features = False
    whole = train(config, tmp_path / "whole", without_augmentation(dataset)).state
    for ours, theirs in zip(
        jax.tree.leaves(cached.params), jax.tree.leaves(whole.params), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    rows = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()]
        for name in ("cached", "whole")
    ]
    for ours, theirs in zip(*rows, strict=True):
        np.testing.assert_allclose(ours["train_loss"], theirs["train_loss"], atol=1e-5)
        assert ours["validation_accuracy"] == theirs["validation_accuracy"]


def test_only_the_head_moves_and_only_it_has_an_optimizer_state(config, tmp_path):
    dataset = make_dataset()
    config.num_epochs = 1
    first = train(config, tmp_path / "one", dataset).state.params
    config.num_epochs = 3
    state = train(config, tmp_path / "three", dataset).state
    for name in first:
        same = all(
            np.array_equal(a, b)
            for a, b in zip(
                jax.tree.leaves(first[name]),
                jax.tree.leaves(state.params[name]),
                strict=True,
            )
        )
        assert same == (name != "head"), name
    sizes = {leaf.size for leaf in jax.tree.leaves(state.opt_state)}
    assert sizes <= {1, 2, 128}  # counters, the bias, the kernel of 64 x 2


def test_features_are_computed_once_for_all_runs(config, tmp_path, monkeypatch):
    dataset = make_dataset()
    first = train(config, tmp_path / "first", dataset).state
    monkeypatch.setattr(features, "infer", None)  # a call would be an error
    again = train(config, tmp_path / "again", dataset).state
    assert np.array_equal(
        first.params["head"]["kernel"], again.params["head"]["kernel"]
    )


def test_a_part_that_a_stopped_run_left_is_not_computed_again(
    config, tmp_path, monkeypatch
):
    monkeypatch.setattr(features, "_PART", 20)
    dataset = make_dataset()
    first = train(config, tmp_path / "first", dataset).state
    entries = [p for p in (tmp_path / "data" / "features").iterdir() if p.is_dir()]
    parts = {entry: sorted(p.name for p in entry.glob("*.npy")) for entry in entries}
    assert sorted(parts.values()) == [["0.npy"], ["0.npy", "20.npy", "40.npy"]]
    (entry,) = [e for e, names in parts.items() if len(names) == 3]
    (entry / "done.json").unlink()
    (entry / "20.npy").unlink()
    kept = (entry / "0.npy").stat().st_mtime_ns
    again = train(config, tmp_path / "again", dataset).state
    assert (entry / "0.npy").stat().st_mtime_ns == kept
    assert np.array_equal(
        first.params["head"]["kernel"], again.params["head"]["kernel"]
    )


def test_damaged_features_are_one_line(config, tmp_path):
    dataset = make_dataset()
    train(config, tmp_path / "first", dataset)
    path = next((tmp_path / "data" / "features").glob("*/0.npy"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged; remove this folder"):
        train(config, tmp_path / "second", dataset)


@pytest.mark.slow
def test_a_folder_that_the_processes_do_not_share_is_named(
    config, tmp_path, monkeypatch
):
    monkeypatch.setattr(features.parallel, "all_agree", lambda answer: False)
    with pytest.raises(UserError, match="features: not all processes see"):
        train(config, tmp_path / "run", make_dataset())


def test_other_pixels_or_weights_have_features_of_their_own(config, tmp_path):
    dataset, folder = make_dataset(), tmp_path / "data" / "features"
    train(config, tmp_path / "first", dataset)
    count = len(list(folder.glob("*/done.json")))
    config.seed = 1  # draws other first weights of the backbone
    train(config, tmp_path / "second", dataset)
    assert len(list(folder.glob("*/done.json"))) == 2 * count
    darker = dataclasses.replace(
        dataset, preprocess=lambda x: dataset.preprocess(x // 2)
    )
    train(config, tmp_path / "third", darker)
    assert len(list(folder.glob("*/done.json"))) == 3 * count


@pytest.mark.parametrize(
    "change", [{"backbone_rate": 0.1}, {"full_rate": ("conv4", "head")}]
)
def test_kept_features_need_a_frozen_backbone(config, tmp_path, change):
    config.optimizer.update(change)
    with pytest.raises(UserError, match=r"cache_features: .*frozen backbone"):
        train(config, tmp_path / "run", make_dataset())


def test_a_net_without_a_map_has_no_features_to_keep(config, tmp_path):
    config.model = ConfigDict({"name": "mnist_cnn"})
    with pytest.raises(UserError, match="mnist_cnn has no pooled features"):
        train(config, tmp_path / "run", make_dataset())
