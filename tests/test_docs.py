"""The documentation: its code runs, its paths exist, its API reference is whole."""

import doctest
import importlib
import pkgutil
import re

import pytest
from PIL import Image

import mi_classifier
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.usefixtures("long_runs")

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
# Names of files that a reader would make, and patterns.
PLACEHOLDERS = {"my_net.py", "my_data.py", "configs/X.py", "configs/X.py:a,b"}
FOLDERS = "mi_classifier|configs|tests|tools|benchmarks|docs|examples"


def modules():
    found = pkgutil.walk_packages(mi_classifier.__path__, "mi_classifier.")
    programs = re.compile(r"__main__|\.console\.")  # each defines flags of its own
    return sorted(m.name for m in found if not programs.search(m.name))


def test_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 250


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_that_a_page_names_exist(page):
    text = page.read_text()
    named = re.findall(rf"`((?:{FOLDERS})/[\w./*-]+)`", text)
    named += re.findall(r"\]\((?!http|#)([^)#]+)", text)
    missing = [
        path
        for path in named
        if path not in PLACEHOLDERS
        and not [*REPOSITORY.glob(path.rstrip("/"))]
        and not (page.parent / path).exists()
    ]
    assert not missing


def test_every_public_name_is_in_the_api_reference():
    pages = [path.read_text() for path in (REPOSITORY / "docs" / "api").glob("*.md")]
    listed = re.findall(r"^::: (mi_classifier[\w.]*)", "\n".join(pages), re.MULTILINE)
    whole = {name for name in listed if name in modules()}
    missing = [
        name
        for name in mi_classifier.__all__
        if f"mi_classifier.{name}" not in modules()
        and not any(entry.endswith(f".{name}") for entry in listed)
        and getattr(mi_classifier, name).__module__ not in whole
    ]
    assert not missing


@pytest.mark.slow
@pytest.mark.proof
def test_python_blocks_run(tmp_path, monkeypatch):
    """The blocks of all pages run in one folder, those about training first.

    A page that begins with the same block as another goes on from there.
    """
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (60, 40), "gray").save("photo.jpg")  # which the pages ask about
    first = {}
    for page in sorted(PAGES, key=lambda page: page.name != "train.md"):
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        names = dict(first.get(blocks[0], {})) if blocks else {}
        for index, block in enumerate(blocks):
            if index or not names:
                exec(compile(block, page.name, "exec"), names)  # noqa: S102
            first.setdefault(blocks[0], dict(names))


@pytest.mark.parametrize("name", modules())
def test_examples_of_docstrings_run(name):
    assert not doctest.testmod(importlib.import_module(name)).failed
