"""The public names are the same everywhere, and importing them is cheap."""

import ast
import inspect
import types
from pathlib import Path

import mi_classifier

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
