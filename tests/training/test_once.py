"""One command loads its data once and hashes every split once."""

import functools
import hashlib

import pytest

from mi_classifier import commands, data


@pytest.fixture
def hashes(monkeypatch):
    """Every SHA-256 that is computed from here on."""
    made, sha256 = [], hashlib.sha256

    def noted(*arguments, **options):
        made.append(sha256(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(hashlib, "sha256", noted)
    return made


@pytest.mark.slow
def test_train_and_evaluate_loads_and_hashes_the_data_once(
    tiny_config, tmp_path, monkeypatch, hashes
):
    loaded, load = [], data.DATASETS["gaussian_mixture"]

    @functools.wraps(load)
    def counted(**options):
        loaded.append(load(**options))
        return loaded[-1]

    monkeypatch.setitem(data.DATASETS, "counted", counted)
    config = tiny_config(num_epochs=1)
    with config.unlocked():
        config.data.name = "counted"
    commands.train_and_evaluate(config, tmp_path, quiet=True)
    (dataset,) = loaded
    found = [each.hexdigest() for each in hashes]
    for split, expected in dataset.fingerprints().items():
        assert found.count(expected) == 1, split
    assert (tmp_path / "evaluation" / "metrics.json").exists()
