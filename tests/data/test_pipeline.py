"""All pipelines bring the same examples in the same order."""

import jax
import numpy as np
import pytest

from mi_classifier import parallel
from mi_classifier.data.pipeline import DevicePipeline, StreamPipeline, make_pipeline
from mi_classifier.errors import UserError


@pytest.fixture
def split():
    return {"image": np.arange(40).reshape(20, 2), "label": np.arange(20)}


@pytest.mark.parametrize("devices", [1, 2])
def test_both_pipelines_bring_the_same_examples(split, devices, monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    batches = np.random.default_rng(0).permutation(20)[:20].reshape(5, 4)
    seen = []
    for call in StreamPipeline(split).batches(batches, 2):
        own = {
            name: np.stack([array[d][call.rows[d]] for d in range(devices)])
            for name, array in call.split.items()
        }
        np.testing.assert_array_equal(own["label"], call.indices)
        np.testing.assert_array_equal(own["image"], split["image"][call.indices])
        seen.append(call.indices)
    expected = [parallel.split_indices(batches[i : i + 2]) for i in (0, 2, 4)]
    assert len(seen) == 3
    for ours, theirs in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_auto_keeps_a_split_on_the_device_if_it_fits(split, monkeypatch):
    assert isinstance(make_pipeline("auto", split), DevicePipeline)
    monkeypatch.setattr(parallel, "free_bytes", lambda: 600)
    assert isinstance(make_pipeline("auto", split), StreamPipeline)
    assert isinstance(make_pipeline("device", split), DevicePipeline)
    with pytest.raises(UserError, match=r"pipeline: .*auto"):
        make_pipeline("disk", split)


def test_the_device_pipeline_sends_rows_of_one_split(split):
    calls = list(DevicePipeline(split).batches(np.arange(20).reshape(5, 4), 3))
    assert [call.rows.shape for call in calls] == [(1, 3, 4), (1, 2, 4)]
    assert all(call.split is calls[0].split for call in calls)
    np.testing.assert_array_equal(
        calls[1].indices[0], [[12, 13, 14, 15], [16, 17, 18, 19]]
    )
