"""Rows that are equal but for columns of their own are told; others are not."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from mi_classifier.cross_fitting.repeated import repeated_warning
from mi_classifier.data.containers import as_rows

RNG = np.random.default_rng(0)
PERSON = np.tile(np.arange(60), 6)
PERSONS = pd.DataFrame(
    {
        "born": RNG.integers(1940, 2000, 60)[PERSON],
        "height": RNG.integers(150, 195, 60)[PERSON],
        "town": RNG.choice(list("abcdefgh"), 60)[PERSON],
    }
)


@pytest.mark.parametrize(
    ("own", "named"),
    [
        ({"visit": np.repeat(np.arange(6), 60)}, "visit"),
        ({"paid": RNG.normal(size=360)}, "paid"),
        (
            {"visit": np.repeat(np.arange(6), 60), "paid": RNG.normal(size=360)},
            "visit, paid",
        ),
    ],
)
def test_visits_of_a_person_are_told_in_any_order(own, named):
    rows = PERSONS.assign(**own).sample(frac=1, random_state=0)
    warning = repeated_warning(as_rows(rows))
    assert warning.startswith("300 of 360 rows are equal to others in all columns but")
    assert f"but {named};" in warning and "give groups=" in warning


def ordinary():
    rng = np.random.default_rng(1)
    kind, score = rng.integers(0, 12, 2000), rng.normal(size=(2000, 1))
    alike = np.where(
        rng.random((2000, 6)) < 0.85,
        kind[:, None] * np.arange(1, 7) % 7,
        rng.integers(0, 7, (2000, 6)),
    )
    answers = np.clip(np.rint(3 + score + 0.7 * rng.normal(size=(2000, 10))), 1, 5)
    grid = np.array(list(itertools.product(range(5), range(5), range(5), range(4))))
    noise = rng.normal(size=2000)
    yield "answers", np.c_[answers, noise]
    yield "alike", np.c_[alike, noise]
    yield "grid", np.c_[grid, noise[: len(grid)]]
    yield "normal", rng.normal(size=(2000, 4))
    yield "kinds", pd.DataFrame({"a": rng.choice(list("abc"), 2000), "b": noise})
    for name in ("iris", "wine", "breast_cancer", "digits"):
        yield name, getattr(datasets, f"load_{name}")().data


@pytest.mark.parametrize(("name", "x"), [*ordinary()])
def test_ordinary_tables_are_not_told(name, x):
    assert repeated_warning(as_rows(x)) == ""
