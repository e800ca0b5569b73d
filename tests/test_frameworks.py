"""The lines for other frameworks on docs/any_net.md run where these are installed.

Nothing is downloaded: the nets have random weights.
"""

import importlib
import os
import re

import numpy as np
import pytest

import mi_classifier as mi
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "any_net.md").read_text()
BLOCKS = re.findall(r"(\w+):\n\n```py\n(.*?)```", PAGE, re.DOTALL)
RANDOM = {  # what a block asks for: a pretrained net, and one without weights
    "pretrained=True": "pretrained=False",
    'weights="IMAGENET1K_V1"': "weights=None",
    "ResNet50()": "ResNet50(weights=None)",
}


def test_the_page_has_a_block_for_each_framework():
    assert [name for name, _ in BLOCKS] == ["timm", "torchvision", "Keras"]
    for _, block in BLOCKS:
        assert sum(words in block for words in RANDOM) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "block"), BLOCKS)
def test_features_and_kernel_of_a_framework_are_evaluated(name, block, monkeypatch):
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", "jax")
    library = pytest.importorskip(name.lower())
    images = np.random.default_rng(0).random((4, 224, 224, 3), np.float32)
    unchanged = images.copy()  # Keras prepares in place
    names = {name.lower(): library}
    if name != "Keras":
        names["torch"] = importlib.import_module("torch")
        images = names["torch"].tensor(images.transpose(0, 3, 1, 2))
    for words, other in RANDOM.items():
        block = block.replace(words, other)
    exec(compile(block, name, "exec"), names | {"images": images}, names)  # noqa: S102
    features, kernel = names["features"], names["head_kernel"]
    assert features.shape == (4, 7, 7, 2048) and kernel.shape == (2048, 1000)
    logits = features.mean((1, 2)) @ kernel + names["head_bias"]
    net = names["net"]
    theirs = net(images).detach() if name != "Keras" else logits_of(net, unchanged)
    np.testing.assert_allclose(logits, theirs, atol=1e-3)
    results = mi.evaluate_features(
        features, kernel, logits.argmax(1), head_bias=names["head_bias"], quiet=True
    )
    assert results.splits["test"]["accuracy"].prior.micro == 1


def logits_of(net, images):
    """What Keras's net gives before its softmax."""
    from keras.applications.resnet50 import preprocess_input

    net.layers[-1].activation = None
    return np.asarray(net(preprocess_input(images)))
