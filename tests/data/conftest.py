"""Fixtures for the tests of image sets."""

import pytest

from tests.data.generated import load


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder in which each generated set is prepared only once."""
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture
def loaded(rehearsal_sets, data_dir):
    """A function that loads a generated set by layout."""
    return lambda layout, **options: load(
        layout, rehearsal_sets[layout], data_dir, **options
    )
