"""Batches split over devices and processes hold every example once; means agree."""

import jax
import numpy as np
import pytest

from mi_classifier import parallel
from mi_classifier.errors import UserError


@pytest.fixture
def devices(monkeypatch):
    """Pretend that there are `count` devices, spread evenly over processes."""

    def pretend(count, processes=1, index=0):
        monkeypatch.setattr(jax, "local_device_count", lambda: count // processes)
        monkeypatch.setattr(jax, "device_count", lambda: count)
        monkeypatch.setattr(jax, "process_index", lambda: index)

    return pretend


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_evaluation_batches_hold_every_example_once(devices, count, batch_size):
    devices(count)
    split = {
        "image": np.arange(1, 18, dtype=np.float32)[:, None] * np.ones(3, np.float32),
        "label": np.arange(17),
    }
    batches = list(parallel.evaluation_batches(split, batch_size))
    merged = parallel.merge(batches)
    mask = np.concatenate([batch["mask"] for batch in merged]) > 0
    for name, array in split.items():
        seen = np.concatenate([batch[name] for batch in merged])
        np.testing.assert_array_equal(seen[mask], array)
        assert not seen[~mask].any()
    assert len({batch["image"].shape for batch in batches}) == 1  # one compilation
    assert batches[0]["image"].shape[0] == count


def test_split_indices_gives_each_device_its_share_of_each_step(devices):
    devices(2)
    indices = np.arange(12).reshape(3, 4)
    shares = parallel.split_indices(indices)
    assert shares.shape == (2, 3, 2)
    for step in range(3):
        assert set(shares[:, step].ravel()) == set(indices[step])


def test_processes_share_every_batch_without_overlap(devices):
    split = {"image": np.arange(1, 12, dtype=np.float32), "label": np.arange(11)}
    indices = np.arange(24).reshape(3, 8)
    parts, shares = [], []
    for index in range(2):
        devices(4, processes=2, index=index)
        parts.append(list(parallel.evaluation_batches(split, 6)))
        shares.append(parallel.split_indices(indices))
        assert shares[-1].shape == (2, 3, 2)
    devices(4)
    np.testing.assert_array_equal(
        np.concatenate(shares), parallel.split_indices(indices)
    )
    whole = list(parallel.evaluation_batches(split, 6))
    assert len(whole) == len(parts[0]) == len(parts[1])
    for batch, *own in zip(whole, *parts, strict=True):
        for name, array in batch.items():
            together = np.concatenate([part[name] for part in own])
            np.testing.assert_array_equal(together, array)


def test_batch_size_must_be_divisible_by_the_devices(devices):
    devices(3)
    with pytest.raises(UserError, match=r"64 cannot be split evenly over 3.*63 or 66"):
        parallel.check_batch_size(64, 1)
    with pytest.raises(UserError, match=r"use 3$"):
        parallel.check_batch_size(2, 1)
    with pytest.raises(UserError, match="at least 1"):
        parallel.check_batch_size(0, 1)
    parallel.check_batch_size(66, 1)


def test_mean_is_over_examples_of_all_devices():
    count = jax.local_device_count()
    values = np.arange(4.0 * count, dtype=np.float32).reshape(count, 4)
    mean = parallel.on_devices(lambda x: parallel.mean([x.mean()]), (0,), None)(values)
    np.testing.assert_allclose(mean, values.mean())


def test_mean_over_devices_averages_every_leaf():
    count = parallel.num_local_devices()
    values = {"x": np.arange(2.0 * count, dtype=np.float32).reshape(count, 2)}
    mean = parallel.on_devices(parallel.mean_over_devices, (0,), None)(values)
    np.testing.assert_allclose(mean["x"], values["x"].mean(0))
