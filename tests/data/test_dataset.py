"""A data set is hashed at most once, and load_dataset checks its options."""

import dataclasses
import hashlib

import numpy as np
import pytest

from mi_classifier.data import DATASETS, Dataset, load_dataset
from mi_classifier.errors import UserError


def dataset(**fields):
    rows = np.arange(4_000, dtype=np.int32)
    split = {"image": rows[:, None] / 7, "label": rows % 3}
    return Dataset("set", {"train": split}, ("a", "b", "c"), lambda x: x, **fields)


@pytest.mark.parametrize("changed", ["image", "label", "group"])
def test_fingerprints_depend_on_every_array(changed):
    one = dataset()
    split = one.splits["train"]
    other = split | {changed: np.append(split.get(changed, split["label"])[:-1], 9)}
    if changed == "image":
        other["image"] = other["image"][:, None]
    again = dataclasses.replace(one, splits={"train": dict(split)})
    different = dataclasses.replace(one, splits={"train": other})
    assert again.fingerprints() == one.fingerprints()
    assert different.fingerprints() != one.fingerprints()


def test_arrays_are_hashed_once_or_not_at_all(monkeypatch):
    sha256, calls = hashlib.sha256, []
    monkeypatch.setattr(hashlib, "sha256", lambda *a: calls.append(0) or sha256(*a))
    one = dataset()
    assert one.fingerprints() == one.fingerprints() == one.hash_arrays()
    assert len(calls) == 1
    assert dataset(digests={"train": "x"}).fingerprints() == {"train": "x"}
    assert len(calls) == 1


def test_a_registered_data_set_is_loaded_by_name(monkeypatch):
    def load(size: int) -> Dataset:
        return dataset(mutual_information=size)

    monkeypatch.setitem(DATASETS, "new", load)
    assert load_dataset({"name": "new", "size": 3}).mutual_information == 3
    with pytest.raises(UserError, match=r"data\.size: must be int, not 'x'"):
        load_dataset({"name": "new", "size": "x"})
    with pytest.raises(UserError, match=r"data\.sise: no such option.*'size'"):
        load_dataset({"name": "new", "sise": 3})
