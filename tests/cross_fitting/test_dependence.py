"""Rows that depend on each other are noticed, and innocent tables are left alone."""

import numpy as np
import pytest
import scipy.sparse
from scipy import signal
from sklearn import datasets

from mi_classifier.cross_fitting import (
    dependence,
    near_copies,
    odd_columns,
    series,
)
from mi_classifier.data.containers import Rows, as_rows

DRAWS = 300
TIMES = (2, 10, 11, 50)


def generator(seed=0):
    return np.random.default_rng(seed)


def words(code):
    return np.array([f"w{c}" for c in code])


# Each gives a table of DRAWS different draws.
def floats(g, columns=3, decimals=None):
    x = g.standard_normal((DRAWS, columns))
    return x if decimals is None else x.round(decimals)


def survey(g, questions=20):
    return g.integers(1, 6, (DRAWS, questions))


def missing(g):
    x = floats(g)
    x[:50, 0] = np.nan
    return x


def mixed(g):
    x = floats(g, 2)
    return {"a": x[:, 0], "b": x[:, 1], "c": words(g.integers(5, size=DRAWS))}


def measures(g):
    limits = [(20_000, 100_000), (140, 200), (40, 110), (0, 20_000)]
    return np.stack([g.integers(*limit, DRAWS) for limit in limits], 1)


def pixels(g):
    return g.integers(256, size=(DRAWS, 28, 28, 1)).astype(np.uint8)


def texts(g):
    return scipy.sparse.random(DRAWS, 2_000, 0.02, format="csr", random_state=g)


COPIED = {
    "floats": floats,
    "one column": lambda g: floats(g, 1),
    "float32": lambda g: floats(g).astype(np.float32),
    "3 decimals": lambda g: floats(g, decimals=3),
    "2 decimals": lambda g: floats(g, decimals=2),
    "one column, 3 decimals": lambda g: np.unique(floats(g, 1, 3), axis=0),
    "standardized survey": lambda g: (survey(g) - 3.02) / 1.41,
    "survey": survey,
    "missing values": missing,
    "numbers and words": mixed,
    "whole measures": measures,
    "images": pixels,
    "sparse texts": texts,
}


def repeated(table, rows):
    if isinstance(table, dict):
        return {name: column[rows] for name, column in table.items()}
    return table[rows]


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("name", COPIED)
def test_copies_are_found_however_many_there_are(name, times):
    g = generator()
    table = COPIED[name](g)
    draws = len(table["a"]) if isinstance(table, dict) else table.shape[0]
    rows = g.permutation(np.repeat(np.arange(draws), times))
    copies = dependence.find_groups(as_rows(repeated(table, rows)))
    assert copies.group.dtype == np.int64
    # The same partition, numbered from 0 on.
    assert len(np.unique(np.stack([copies.group, rows]), axis=1).T) == draws
    assert sorted(set(copies.group)) == list(range(draws))
    extra = draws * (times - 1)
    assert copies.warning.startswith(f"{extra:,} of {len(rows):,} rows are copies")


def test_a_share_of_the_rows_is_copied_or_rows_are_drawn_with_replacement():
    g = generator()
    tenth = np.concatenate([np.arange(DRAWS), np.repeat(np.arange(30), 10)])
    for rows in (tenth, g.integers(DRAWS, size=3_000)):
        for columns in (1, 3):
            copies = dependence.find_groups(Rows(floats(g, columns)[rows]))
            assert copies.group.max() + 1 == len(np.unique(rows))
            assert copies.warning


def hot(code):
    return np.eye(code.max() + 1)[code]


def of_category(g, times):
    """Tables of 200 categories, each of which has some rows."""
    code = np.repeat(np.arange(200), times)
    region, price = code // 20, g.standard_normal(200)[code]
    some = g.choice(1_000, 200, replace=False)[code]
    return {
        "0/1": hot(code),
        "sparse 0/1": scipy.sparse.csr_array(hot(code)),
        "standardized 0/1": (hot(code) - 0.005) / 0.07,
        "0/1, 0/1 of a region, price": np.c_[hot(code), hot(region), price],
        "words": {"w": words(code)},
        "words, region, price": {"w": words(code), "r": region, "p": price},
        "codes": code[:, None],
        "standardized codes": (code[:, None] - 99.5) / 57.7,
        "codes, price": np.c_[code, price],
        "codes, three functions": np.c_[code, region, code % 7, code % 3],
        "50 ids of 1,000": some[code < 50][:, None],
        "50 ids of 1,000, price": np.c_[some, price][code < 50],
    }


@pytest.mark.parametrize("times", [2, 5, 10, 11, 100])
def test_rows_of_a_category_are_different_draws(times):
    for name, table in of_category(generator(), times).items():
        copies = dependence.find_groups(as_rows(table))
        assert (copies.group == np.arange(len(copies.group))).all(), name
        assert not copies.warning, name


def innocent(g, size):
    """Tables whose equal rows are ordinary."""
    latent = 0.9 * g.standard_normal((size, 1))
    answers = latent + g.standard_normal((size, 8))
    rate = g.gamma(0.3, 1, (size, 1))
    party = g.integers(2, size=(size, 1))
    gone = g.standard_normal((size, 6))
    gone[g.random(size) < 0.1] = np.nan
    return {
        "temperature": g.normal(36.8, 0.7, (size, 1)).round(1),
        "two decimals": g.normal(36.8, 0.7, (size, 1)).round(2).astype(np.float32),
        "weather": g.normal([20, 60], [5, 10], (size, 2)).round(1),
        "counts": g.poisson(3, (size, 2)),
        "log counts": np.log1p(g.geometric(0.02, (size, 1))),
        "prices": g.choice([9.99, 4.95, 49.9, 99, 14.5, 7.25, 3.1], (size, 1)),
        "often zero": np.where(g.random(size) < 0.6, 0, g.exponential(size=size))[
            :, None
        ],
        "flags": g.integers(2, size=(size, 3)),
        "skewed": g.choice(5, p=[0.9, 0.05, 0.03, 0.01, 0.01], size=(size, 3)),
        "word counts": scipy.sparse.csr_array(g.poisson(np.tile(0.02 * rate, 400))),
        "dense word counts": g.poisson(np.tile(0.05 * rate, 100)),
        "answers that agree": np.digitize(answers, [-1.5, -0.5, 0.5, 1.5]),
        "votes along parties": (g.random((size, 16)) < 0.05) ^ party,
        "age, sex, city": g.integers([18, 0, 0], [90, 2, 50], (size, 3)),
        "quantized": np.rint(g.normal(0, 30, (size, 3))) * 0.00488,
        "rows of missing values": gone,
        "two settings": np.array([0.1234567, 7.7654321])[g.integers(2, size=(size, 1))],
    }


@pytest.mark.parametrize("size", [200, 2_000])
def test_ordinary_tables_have_no_copies(size):
    for name, table in innocent(generator(1), size).items():
        copies = dependence.find_groups(as_rows(table))
        assert not copies.warning, name
        assert copies.group.max() + 1 > 0.96 * size, name


def test_minus_zero_is_zero_and_every_nan_is_alike():
    x = np.round(generator().standard_normal((400, 3)), 6)
    x[:4] = [[0.0, 1.5, np.nan], [-0.0, 1.5, -np.nan]] * 2
    group = dependence.find_groups(Rows(x)).group
    assert len(set(group[:4])) == 1
    assert group.max() + 1 == 397


def walks(g, memory, size=2_000):
    noise = g.standard_normal((size, 2))
    walk = signal.lfilter([1], [1, -memory], noise, axis=0)
    return walk[:, :1], walk[:, 1] > np.median(walk[:, 1])


def subjects(g):
    subject = np.repeat(np.arange(40), 50)
    x = g.standard_normal((40, 5))[subject] + 0.3 * g.standard_normal((2_000, 5))
    return x, g.integers(2, size=40)[subject]


def runs(g):
    drift = signal.lfilter([1], [1, -0.98], g.standard_normal((2_000, 5)), axis=0)
    return drift, (g.random(2_000) < 0.02).cumsum() % 2


def drift(g):
    time = np.linspace(-1, 1, 2_000)
    x = g.standard_normal((2_000, 3)) + 1.5 * time[:, None]
    return x, g.random(2_000) < 0.5 + 0.3 * time


def sorted_by_x(g):
    y = g.integers(3, size=1_000)
    x = g.standard_normal((1_000, 2)) + y[:, None]
    order = np.argsort(x[:, 0])
    return x[order], y[order]


DEPENDENT = {
    "series 0.9": lambda g: walks(g, 0.9),
    "series 0.99": lambda g: walks(g, 0.99),
    "series 0.995": lambda g: walks(g, 0.995),
    "random walks": lambda g: walks(g, 1),
    "subjects": subjects,
    "runs": runs,
    "drift": drift,
    "sorted by x": sorted_by_x,
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_serial_dependence_is_noticed(name):
    for seed in range(10):
        x, y = DEPENDENT[name](generator(seed))
        warning = series.serial_warning(Rows(x), y.astype(int))
        assert "groups=" in warning
        assert "column" in warning


def independent(g, size, kind):
    draw = {
        "normal": lambda: g.standard_normal((size, 5)),
        "Cauchy": lambda: g.standard_cauchy((size, 3)),
        "flags": lambda: (g.random((size, 64)) < 0.1).astype(float),
        "codes": lambda: g.integers(4, size=(size, 2)).astype(float),
        "lognormal": lambda: g.lognormal(0, 3, (size, 1)),
    }
    y = np.sort(g.integers(g.choice([2, 3, 10]), size=size))
    return draw[kind]() * (1 + y[:, None]) + y[:, None], y


@pytest.mark.parametrize("kind", ["normal", "Cauchy", "flags", "codes", "lognormal"])
def test_independent_rows_are_no_series_in_any_order(kind):
    g = generator(3)
    for _ in range(40):
        size = int(np.exp(g.uniform(np.log(50), np.log(2_000))))
        x, y = independent(g, size, kind)
        by_column = np.lexsort((x[:, 0], y))
        alternating = np.argsort(np.arange(size) % (size // 2 or 1), kind="stable")
        for order in (np.arange(size), g.permutation(size), by_column, alternating):
            assert not series.serial_warning(Rows(x[order]), y[order])


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_real_tables_give_no_warning(name):
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    for table in (x, scipy.sparse.csr_array(x)):
        assert not dependence.find_groups(Rows(table)).warning
        assert not series.serial_warning(Rows(table), y)
        assert not odd_columns.counting_columns(Rows(table))
        assert not near_copies.cluster_warning(Rows(table))


def test_only_one_side_that_depends_on_its_neighbors_is_harmless():
    for seed in range(5):
        x, y = walks(generator(seed), 0.99)
        shuffled = generator(seed).permutation(2_000)
        assert not series.serial_warning(Rows(x), y[shuffled].astype(int))
        assert not series.serial_warning(Rows(x[shuffled]), y.astype(int))
        constant = np.zeros(2_000, int)
        assert not series.serial_warning(Rows(x), constant)


def test_images_and_missing_values_may_be_series():
    x, y = walks(generator(), 0.99)
    gaps = np.where(generator(1).random(x.shape) < 0.2, np.nan, x)
    rows = Rows(gaps, ("speed",))
    assert "column 'speed'" in series.serial_warning(rows, y.astype(int))
    pictures = np.tile(x[:, None, None], (1, 4, 4, 1))
    assert series.serial_warning(Rows(pictures), y.astype(int))


def test_columns_that_count_the_rows_are_named():
    g, size = generator(), 200
    dropped = np.delete(np.arange(size + 3), [20, 90, 150])
    table = {
        "id": np.arange(size) + 1,
        "gaps": dropped.astype(float),
        "down": 2 * dropped[::-1],
        "restarted": np.arange(size) % 80,
        "sorted": np.cumsum(g.integers(1, 9, size)),
        "name": words(np.arange(size)),
        "constant": np.ones(size),
        "hour": np.arange(size) % 24,
        "time": np.sort(g.random(size)),
        "grade": np.sort(g.integers(5, size=size)),
        "shuffled": g.permutation(size),
        "city": words(g.integers(9, size=size)),
        "flag": g.integers(2, size=size).astype(bool),
    }
    found = odd_columns.counting_columns(as_rows(table))
    named = [sentence.split("'")[1] for sentence in found]
    assert named == ["id", "gaps", "down", "restarted", "sorted", "name"]
    assert "differs in nearly every row" in found[-1]
    assert not odd_columns.counting_columns(as_rows(np.arange(5.0)))


def test_near_copies_are_noticed_and_smooth_tables_are_not():
    g = generator()
    row = g.permutation(np.repeat(np.arange(DRAWS), 10))
    near = floats(g)[row] + 0.01 * g.standard_normal((len(row), 3))
    assert "about 10 rows" in near_copies.cluster_warning(Rows(near))
    for seed in range(20):
        g = generator(seed)
        size, columns = int(g.choice([125, 500, 2_000])), int(g.choice([1, 2, 5]))
        for draw in (g.standard_normal, g.standard_cauchy):
            assert not near_copies.cluster_warning(Rows(draw((size, columns))))
        codes = g.integers(50, size=(size, 1)) / 3.7
        assert not near_copies.cluster_warning(Rows(codes))
        coded = np.c_[hot(g.integers(50, size=size)), g.standard_normal(size)]
        assert not near_copies.cluster_warning(Rows(coded))


def test_tables_on_disk_are_read_in_blocks(tmp_path):
    x = np.repeat(floats(generator()), 4, axis=0)
    np.save(tmp_path / "x.npy", x)
    rows = Rows(np.load(tmp_path / "x.npy", mmap_mode="r"))
    group = dependence.find_groups(rows).group
    assert (group == dependence.find_groups(Rows(x)).group).all()
    assert group.max() + 1 == DRAWS


def test_a_group_of_most_rows_is_warned_of():
    group = np.concatenate([np.zeros(50, int), np.arange(1, 51)])
    (told,) = dependence.giant_group_warning(group)
    assert "one group holds 50% of the rows" in told
    assert not dependence.giant_group_warning(np.arange(100) // 20)


def test_the_label_among_the_inputs_is_warned_of():
    label = np.arange(90) % 3
    noise = np.random.default_rng(0).integers(0, 3, 90)
    table = {"noise": noise, "kind": np.array(["ape", "bee", "cat"])[label]}
    (told,) = odd_columns.label_columns(as_rows(table), label)
    assert "column 'kind' has one value for each label" in told
    nearly = np.where(np.arange(90) == 41, 5, label)
    assert not odd_columns.label_columns(as_rows({"kind": nearly}), label)
    assert not odd_columns.label_columns(as_rows({"kind": label}), 0 * label)


def test_numbers_of_few_digits_are_equal_by_chance():
    """They have three decimals below 10, and two above."""
    radius = datasets.load_breast_cancer(as_frame=True).data[["worst radius"]]
    assert not dependence.find_groups(as_rows(radius)).warning


def test_series_that_take_turns_are_noticed():
    """Stations in the order of hours, and a panel in the order of its waves."""
    rng = np.random.default_rng(0)
    z = np.zeros((50, 12, 3))
    for hour in range(1, 50):
        z[hour] = 0.97 * z[hour - 1] + 0.25 * rng.normal(size=(12, 3))
    stations = (z[..., :2] + 3 * rng.normal(size=(12, 2))).reshape(-1, 2)
    wet = (z[..., 2].ravel() > 0).astype(int)
    assert "12 rows apart are alike" in series.serial_warning(as_rows(stations), wet)
    person = np.tile(np.arange(60), 6)
    x = rng.normal(size=(60, 3))[person] + 0.05 * rng.normal(size=(360, 3))
    ill = rng.integers(0, 2, 60)[person]
    assert "60 rows apart are alike" in series.serial_warning(as_rows(x), ill)
    # Labels that take turns, while inputs do not depend on the order.
    turns = np.arange(900) % 3
    independent = rng.normal(size=(900, 3)) + turns[:, None]
    assert series.serial_warning(as_rows(independent), turns) == ""


def test_a_column_that_names_subjects_is_told():
    rng = np.random.default_rng(0)
    subject = rng.permutation(np.repeat(np.arange(60), 10))
    ill = rng.integers(0, 2, 60)[subject]
    for column in (subject, [f"p{i}" for i in subject]):
        (told,) = odd_columns.label_columns(as_rows({"patient": column}), ill)
        assert "each of the 60 values of column 'patient' has one label" in told
    number = as_rows({"a": rng.integers(0, 60, 600)})
    assert (
        odd_columns.label_columns(number, (number.values[:, 0] > 30).astype(int)) == ()
    )
