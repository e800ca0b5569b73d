"""The public names are the same everywhere, and importing them is cheap."""

import ast
import configparser
import inspect
import re
import types
from pathlib import Path

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
