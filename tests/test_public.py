"""The public names are the same everywhere, and importing them is cheap."""

import ast
import configparser
import inspect
import re
import types
from pathlib import Path

import numpy as np
import pytest

import mi_classifier
from tests.conftest import REPOSITORY

STUB = Path(mi_classifier.__file__).with_suffix(".pyi")


def stub_names():
    names = set()
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            names |= {name.asname or name.name for name in node.names}
    return names


def test_all_dir_and_stub_agree():
    assert set(mi_classifier.__all__) == set(dir(mi_classifier)) == stub_names()


def test_every_public_name_can_be_imported_and_says_what_it_is():
    for name in mi_classifier.__all__:
        value = getattr(mi_classifier, name)
        assert inspect.getdoc(value), name
        if not isinstance(value, types.ModuleType):
            assert name in mi_classifier.__doc__, name


def test_the_version_is_a_string():
    assert mi_classifier.__version__.count(".") == 2


def test_every_file_of_the_package_is_installed():
    """A wheel holds .py files, and what `package_data` names."""
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    patterns = [
        (package.replace(".", "/"), pattern.strip())
        for package, line in setup["options.package_data"].items()
        for pattern in line.split(",")
    ]
    root = REPOSITORY / "mi_classifier"
    files = [path for path in root.rglob("*") if path.is_file()]
    files = [path for path in files if not re.search(r"/\.|/__pycache__/", str(path))]
    others = {path for path in files if path.suffix != ".py"}
    named = {
        p for folder, pattern in patterns for p in (REPOSITORY / folder).glob(pattern)
    }
    assert others and not others - named


def test_large_values_have_a_short_repr():
    rows = np.zeros((20, 2))
    data = mi_classifier.from_arrays((rows, np.arange(20) % 2))
    assert repr(data) == "<Dataset 'memory', 2 classes: train 16, validation 2, test 2>"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mi_classifier.train("gmm", "x"), "config: must be a ConfigDict"),
        (
            lambda: mi_classifier.train(mi_classifier.get_config("mnist"), "x", (1, 2)),
            "dataset: must be a Dataset, as from_arrays",
        ),
        (
            lambda: mi_classifier.estimate_mutual_information(
                np.zeros((60, 1)), np.arange(60) % 2, model="mlp"
            ),
            "model: must be a Flax module",
        ),
        (
            lambda: mi_classifier.estimate_mutual_information("a.csv", [0, 1] * 30),
            r"pd.read_csv\('a.csv'\)",
        ),
        (lambda: mi_classifier.load("imagnet"), "did you mean 'imagenet'"),
    ],
)
def test_arguments_of_another_kind_are_told(call, words):
    with pytest.raises(mi_classifier.UserError, match=words):
        call()


def test_an_unknown_field_of_a_config_is_told(tmp_path):
    config = mi_classifier.get_config("gmm")
    with config.unlocked():
        config.num_epoch = 3
    with pytest.raises(mi_classifier.UserError, match="did you mean 'num_epochs'"):
        mi_classifier.train(config, tmp_path / "run")
