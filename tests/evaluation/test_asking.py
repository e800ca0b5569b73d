"""What a net says about single images, and where boxes lie in the images given."""

import dataclasses
import functools
import math
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from mi_classifier import run
from mi_classifier.activation_maps import MAPS
from mi_classifier.data.images import blank_dataset
from mi_classifier.errors import UserError
from mi_classifier.evaluation.asking import (
    make_ask,
    maps_against,
    read_image,
    to_files,
)
from mi_classifier.evaluation.evaluators.localization import settings
from mi_classifier.evaluation.trained_net import TrainedNet, with_classes
from mi_classifier.losses import create_loss
from mi_classifier.models import create_model

OPTIONS = {"region": 2, "padding": "full", "rival": "region", "threshold": 0.2}
PRIOR = np.array([0.5, 0.3, 0.2, 0.0])  # the last class was never seen


@functools.cache
def backbone():
    blank = blank_dataset(16, "imagenet", 20)
    model = create_model("gap_cnn", num_classes=2)
    return jax.jit(model.init)(jax.random.key(0), blank.example_input())


def make_net(loss="softmax", prior=PRIOR):
    """A net with random weights; it stores 20 pixels a side and sees the middle 16."""
    with np.errstate(divide="ignore"):
        log_prior = np.log(prior).astype(np.float32)
    blank = blank_dataset(16, "imagenet", 20, num_classes=len(prior))
    dataset = with_classes(blank, [f"class {i}" for i in range(len(prior))], log_prior)
    model = create_model("gap_cnn", num_classes=len(prior))
    head = {
        "kernel": jax.random.normal(jax.random.key(1), (64, len(prior))),
        "bias": np.arange(len(prior), dtype=np.float32),
    }
    variables = {**backbone(), "params": {**backbone()["params"], "head": head}}
    config = ConfigDict({"model": {"name": "gap_cnn"}, "localization": OPTIONS})
    made = create_loss(loss)
    return TrainedNet(Path("none"), config, dataset, made, model, variables, 1, [])


@pytest.fixture(scope="module")
def stored():
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)


def test_a_padded_batch_gives_what_each_image_gives_alone(stored):
    ask = make_ask(make_net())
    padded = ask(stored, 8)
    assert padded.pmi.shape == (3, 4) and len(padded.inference.output.features) == 3
    for i in range(3):
        alone = ask(stored[i : i + 1], 1)
        np.testing.assert_allclose(padded.pmi[i], alone.pmi[0], atol=1e-4)


@pytest.mark.parametrize("loss", ["softmax", "pc_softmax"])
def test_a_class_that_training_never_saw_has_no_probability(stored, loss):
    """The logit of the last class is far above the others, and nothing trained it."""
    net = make_net(loss)
    net.variables["params"]["head"]["bias"][3] = 1e4
    reply = make_ask(net)(stored, 3)
    logits = np.asarray(reply.inference.output.logits, np.float64)[:, :3]
    weights = np.exp(logits - logits.max(1, keepdims=True))
    if loss == "pc_softmax":
        weights = weights * PRIOR[:3]
    wanted = weights / weights.sum(1, keepdims=True)
    np.testing.assert_allclose(reply.probabilities[:, :3], wanted, atol=1e-5)
    assert not reply.probabilities[:, 3].any()
    assert (run.Run(net).predict(list(stored)).labels < 3).all()
    assert np.isfinite(run.Run(net).maps(list(stored))).all()


@pytest.mark.parametrize("loss", ["sigmoid", "pc_sigmoid"])
def test_several_labels_have_a_probability_each(stored, loss):
    prior = np.array([0.9, 0.5, 0.0])
    reply = make_ask(make_net(loss, prior))(stored, 3)
    logits = np.asarray(reply.inference.output.logits, np.float64)
    if loss == "pc_sigmoid":
        logits[:, :2] += np.log(prior[:2] / (1 - prior[:2]))
    wanted = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(reply.probabilities[:, :2], wanted[:, :2], atol=1e-5)
    assert not reply.probabilities[:, 2].any()


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("classes", [2, 4])
def test_a_rival_leaves_the_contribution_to_the_difference_of_two_logits(
    stored, name, classes
):
    net = make_net(prior=np.full(classes, 1 / classes))
    inference = make_ask(net)(stored, 3).inference
    setting = settings({**OPTIONS, "region": 1})[name]
    labels, rivals = np.array([0, 1, 0]), np.array([1, 0, 0])
    maps = np.asarray(maps_against(setting, inference, labels, rivals))
    logits = np.asarray(inference.output.logits) - np.arange(classes)  # without bias
    rows = np.arange(3)
    wanted = logits[rows, labels] - logits[rows, rivals]
    np.testing.assert_allclose(maps.mean((1, 2)), wanted, atol=1e-3)
    assert not maps[2].any()


def test_boxes_move_to_the_pixels_of_each_image():
    dataset = make_net().dataset
    assert dataset.visible == (0.1, 0.1, 0.9, 0.9)
    boxes = np.array([[0, 0, 16, 16], [4, 0, 8, 2]])
    found = to_files(dataset, boxes, (16, 16), [(40, 20), (200, 100)])
    np.testing.assert_allclose(found, [[4, 2, 36, 18], [60, 10, 100, 20]])
    found = to_files(dataset, boxes[:1], (16, 16), (40, 20))
    np.testing.assert_allclose(found, [[4, 2, 36, 18]])


def test_an_image_is_the_same_in_every_form(tmp_path):
    dataset = make_net().dataset
    gray = np.random.default_rng(0).integers(0, 256, (30, 50)).astype(np.uint8)
    palette = Image.fromarray(gray).convert("RGB").quantize(256)
    palette.save(tmp_path / "a.gif")
    wanted, size = read_image(dataset, gray, "it")
    assert size == (50, 30) and wanted.shape == (16, 16, 3)
    forms = [gray[..., None], np.stack([gray] * 3, -1), Image.fromarray(gray)]
    for form in [*forms, palette, tmp_path / "a.gif"]:
        found, size = read_image(dataset, form, "it")
        np.testing.assert_array_equal(found, wanted)
        assert size == (50, 30)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("none.png", "No such file or directory"),
        (np.zeros((9, 9)), "pixels must be uint8"),
        (np.zeros((3, 9, 9), np.uint8), r"must be \[H, W, C\]"),
        (np.zeros((0, 9, 3), np.uint8), r"must be \[H, W, C\]"),
        (None, "pixels must be uint8"),
    ],
)
def test_what_is_no_image_is_one_line(image, reason):
    with pytest.raises(UserError, match=f"^it: cannot be read: {reason}"):
        read_image(make_net().dataset, image, "it")


def test_one_image_is_not_taken_for_many_gray_ones():
    asked = run.Run(make_net())
    with pytest.raises(UserError, match=r"not \[30, 40, 3\]; give one image as \[im"):
        asked.predict(np.zeros((30, 40, 3), np.uint8))
    assert asked.predict([np.zeros((30, 40, 3), np.uint8)]).labels.shape == (1,)
    assert asked.predict(np.zeros((1, 30, 40, 3), np.uint8)).labels.shape == (1,)


def test_images_in_memory_have_boxes_in_their_own_pixels(stored):
    """A data set without `read_image` takes its images as they are stored."""
    net = make_net()
    dataset = dataclasses.replace(net.dataset, read_image=None, visible=(0, 0, 1, 1))
    asked = run.Run(dataclasses.replace(net, dataset=dataset))
    x0, y0, x1, y1 = asked.boxes(stored).T
    assert (x1 > x0).all() and (y1 > y0).all() and max(x1.max(), y1.max()) <= 16
    assert math.isclose(asked.predict(stored).probabilities.sum(), 3, rel_tol=1e-5)
    with pytest.raises(UserError, match=r"inputs: must be \[N, 16, 16, 3\]"):
        asked.predict(stored[:0])
