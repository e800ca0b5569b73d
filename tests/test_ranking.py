"""What each column says alone and what is lost without it, on laws in closed form."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, special, stats

import mi_classifier as mi
from mi_classifier import conditional_mutual_information, rank_columns
from mi_classifier.cross_fitting import columns
from mi_classifier.ranking import information_of_columns

pytestmark = pytest.mark.usefixtures("long_runs")

LOG2 = math.log(2)


def normal_pmi(x, y, mean):
    """PMI of two equally frequent labels; x is normal around 0 or around `mean`."""
    ratio = (x * mean - mean**2 / 2) * (2 * y - 1)
    return LOG2 - np.logaddexp(0, -ratio)


def xor_lost(x, y):
    """Return the sample's I(all; Y) - I(number; Y)."""
    number = x["number"].to_numpy() * 1.5 - 1.5**2 / 2
    bit = np.where(x["left"] ^ x["right"], 1, -1) * math.log(9)
    return (
        LOG2
        - np.logaddexp(0, -(number + bit) * (2 * y - 1))
        - normal_pmi(x["number"].to_numpy(), y, 1.5)
    ).mean()


@pytest.fixture(scope="module")
def mixed():
    """1,500 rows; a number, its copy, and two bits together tell y.

    y = 1 moves `number` by 1.5, and decides `left` ^ `right`, which a tenth of the rows
    have wrong.
    """
    g = np.random.default_rng(0)
    y = g.integers(0, 2, 1_500)
    number = g.standard_normal(1_500) + 1.5 * y
    left = g.integers(0, 2, 1_500)
    x = pd.DataFrame(
        {
            "noise": g.random(1_500),
            "more": g.random(1_500),
            "tails": g.standard_cauchy(1_500),
            "number": number,
            "same": -number,
            "left": left,
            "right": left ^ y ^ (g.random(1_500) < 0.1),
            "constant": 1.0,
            "word": np.array([f"w{i}" for i in range(4)])[g.integers(0, 4, 1_500)],
        }
    )
    return x, y, rank_columns(x, y)


@pytest.mark.slow
def test_columns_are_ranked(mixed):
    x, y, ranking = mixed
    found = {column.name: column for column in ranking}
    assert len(ranking) == len(found) == 9
    alone = normal_pmi(x["number"].to_numpy(), y, 1.5).mean()
    assert found["number"].alone == pytest.approx(alone, abs=0.015)
    assert found["same"].alone == pytest.approx(found["number"].alone, abs=1e-3)
    for name in ("noise", "more", "tails", "left", "right", "word"):
        assert -0.02 < found[name].alone < 3 * found[name].alone_error
    for name in (
        "noise",
        "more",
        "tails",
        "number",
        "same",
        "word",
    ):  # the copy says the same
        assert abs(found[name].lost) < max(3 * found[name].lost_error, 0.02)
    both = found["left"].lost, found["right"].lost
    assert both == pytest.approx(2 * (xor_lost(x, y),), abs=0.04)
    zero = found["constant"]
    assert (zero.alone, zero.alone_error, zero.lost, zero.lost_error) == (0, 0, 0, 0)
    assert {column.name for column in ranking[:4]} == {
        "number",
        "same",
        "left",
        "right",
    }


@pytest.mark.slow
def test_a_ranking_is_a_sequence_that_prints(mixed):
    *_, ranking = mixed
    lines = str(ranking).splitlines()
    assert lines[0].split() == ["column", "alone,", "nats", "lost", "without", "it"]
    assert [line.split()[0] for line in lines[1:]] == [c.name for c in ranking]
    best = ranking[0]
    assert f"{best.alone:.4f} ± {best.alone_error:.4f}" in lines[1]
    assert [c.name for c in ranking] == [c.name for c in ranking[:3]] + [
        ranking[i].name for i in range(3, 9)
    ]
    greater = [max(c.alone, c.lost) for c in ranking]
    assert greater == sorted(greater, reverse=True)
    assert all(type(c.name) is str and type(c.lost_error) is float for c in ranking)
    assert not ranking.warnings


@pytest.mark.slow
def test_a_seed_repeats_the_ranking_and_names_may_be_missing():
    g = np.random.default_rng(1)
    x = g.standard_normal((60, 2))
    y = (x[:, 1] > 0).astype(int)
    first = rank_columns(x, y, seed=2)
    assert first == rank_columns(x.tolist(), y, seed=2)
    assert [column.name for column in first] == ["1", "0"]


def alone(x, y, **options):
    return information_of_columns(x, y, **options)[0]


def test_a_wave_and_tails_are_found_alone():
    g = np.random.default_rng(2)
    wave = g.random(6_000)
    share = 0.5 + 0.45 * np.sin(2 * np.pi * 15 * wave)
    y = (g.random(6_000) < share).astype(int)
    tails = g.standard_cauchy(6_000) * np.where(y, 10, 1)
    truth = (LOG2 + np.log(np.where(y, share, 1 - share))).mean()
    densities = stats.cauchy.pdf(tails[:, None], scale=[1, 10])
    of_tails = np.log(densities[np.arange(6_000), y] / densities.mean(1)).mean()
    found = alone(np.stack([wave, tails, tails**3], 1), y)
    assert found == pytest.approx([truth, of_tails, of_tails], abs=0.02)
    assert found[1] == pytest.approx(found[2], abs=1e-9)  # ranks are the same


def test_categories_ties_and_missing_values_are_counted():
    g = np.random.default_rng(3)
    code = g.integers(0, 30, 4_000)
    share = g.random(30)
    y = (g.random(4_000) < share[code]).astype(int)
    prior = y.mean()
    truth = np.where(
        y, np.log(share[code] / prior), np.log1p(-share[code]) - np.log1p(-prior)
    )
    words = np.array([f"w{i}" for i in range(30)])[code]
    holes = np.where(y == 1, np.nan, g.random(4_000))
    holes[::2] = g.random(2_000)
    x = pd.DataFrame({"code": code, "word": words, "holes": holes})
    found = {c.name: c.alone for c in rank_columns_alone(x, y)}
    assert found["code"] == pytest.approx(truth.mean(), abs=0.02)
    assert found["word"] == pytest.approx(truth.mean(), abs=0.02)
    odd = np.isnan(holes)
    counts = np.histogram2d(odd, y, 2)[0] / 4_000
    exact = special.rel_entr(counts, counts.sum(1, keepdims=True) * counts.sum(0)).sum()
    assert found["holes"] == pytest.approx(exact, abs=0.015)


def rank_columns_alone(x, y):
    """Ask the columns without training nets."""
    found = information_of_columns(x, y, missing="keep")
    return [
        mi.ranking.RankedColumn(str(name), *map(float, values), 0.0, 0.0)
        for name, *values in zip(x.columns, *found[:2], strict=True)
    ]


@pytest.mark.parametrize("labels", [2, 40])
def test_noise_says_nothing(labels):
    g = np.random.default_rng(4)
    x, y = g.standard_normal((2_000, 8)), g.integers(0, labels, 2_000)
    nats, errors, freedom = information_of_columns(x, y)
    assert (nats > -0.02).all()
    assert (nats < 3 * errors).all()
    assert (freedom == 1_995).all()


def test_a_sparse_matrix_gives_what_its_array_gives():
    g = np.random.default_rng(5)
    x = g.poisson(0.3, (500, 3)).astype(float)
    y = (x[:, 1] > 0).astype(int)
    assert alone(sparse.csr_array(x), y) == pytest.approx(alone(x, y))


def test_copies_and_groups_count_once():
    g = np.random.default_rng(6)
    x, y = g.standard_normal((100, 1)), g.integers(0, 2, 100)
    x, y, subject = (np.repeat(a, 10, 0) for a in (x, y, np.arange(100)))
    wide = np.c_[x, g.standard_normal(1_000)]  # no two rows are equal
    nats, errors, freedom = information_of_columns(wide, y)
    assert abs(nats[0]) < 3 * errors[0]
    assert freedom.tolist() == [95, 995]
    nats, errors, freedom = information_of_columns(wide, y, groups=subject)
    assert (nats < 3 * errors).all()
    assert freedom.tolist() == [95, 95]


def test_one_label_and_few_groups_say_nothing():
    x = np.random.default_rng(7).random((60, 2))
    for options in ({"y": [1] * 60}, {"y": [0, 1] * 30, "groups": [0, 1, 2] * 20}):
        ranking = rank_columns(x, **options)
        assert all((c.alone, c.lost) == (0, 0) for c in ranking)
    assert "3 independent rows or groups are too few" in ranking.warnings[0]


def test_wide_tables_are_asked_column_by_column(monkeypatch):
    monkeypatch.setattr(columns, "MOST_LEFT_OUT", 20)
    g = np.random.default_rng(8)
    x, y = g.standard_normal((200, 21)), g.integers(0, 2, 200)
    x[:, 13] += 3 * y
    ranking = rank_columns(x, y)
    assert ranking[0].name == "13"
    assert all(math.isnan(column.lost) for column in ranking)
    assert "more than 20 columns" in str(ranking)


def test_what_cannot_be_ranked_is_refused():
    x, y = np.zeros((60, 8, 8, 1)), [0, 1] * 30
    with pytest.raises(mi.UserError, match="images have no columns"):
        rank_columns(x, y)
    with pytest.raises(mi.UserError, match="at least 50"):
        rank_columns(np.zeros((49, 2)), [0] * 49)
    with pytest.raises(mi.UserError, match="row 3, column 1"):
        rank_columns(np.where(np.arange(120) == 7, np.nan, 1).reshape(60, 2), y)
    with pytest.raises(mi.UserError, match="given: column 0 mixes numbers and words"):
        mi.conditional_mutual_information(x, y, np.array([1, "a"] * 30, object))
    with pytest.raises(mi.UserError, match="given: has 30 rows, and x has 60"):
        conditional_mutual_information(np.zeros(60), y, np.zeros(30))
    with pytest.raises(mi.UserError, match="must be tables"):
        conditional_mutual_information(x, y, np.zeros(60))


@pytest.mark.slow
def test_conditional_information_of_an_exclusive_or():
    x, z = np.random.default_rng(9).integers(0, 2, (2, 400))
    frame = pd.DataFrame({"bit": x})
    found = conditional_mutual_information(frame, x ^ z, frame.assign(bit=z))
    assert found.nats == pytest.approx(LOG2, abs=0.03)
    assert "I(X; Y | Z) ≈ 0." in str(found)
    assert "a difference of two lower bounds" in str(found)


@pytest.mark.slow
def test_a_confounder_explains_all():
    g = np.random.default_rng(10)
    z = g.standard_normal(400)
    y = (g.random(400) < special.expit(3 * z)).astype(int)
    x = z + 0.3 * g.standard_normal(400)
    found = conditional_mutual_information(x, y, z)
    assert alone(x, y)[0] > 0.2
    assert abs(found.nats) < max(3 * found.standard_error, 0.02)
    low, high = found.confidence_interval
    assert low < 0.01 and high > -0.01


@pytest.mark.slow
def test_a_constant_condition_changes_nothing():
    g = np.random.default_rng(11)
    y = g.integers(0, 2, 100)
    x = y + g.standard_normal(100)
    plain = mi.estimate_mutual_information(x, y)
    found = conditional_mutual_information(x, y, np.ones(100))
    assert found.nats == plain.nats
    assert found.confidence_interval == plain.confidence_interval


def test_a_column_without_which_the_nets_do_better_is_told(monkeypatch):
    g = np.random.default_rng(0)
    x, y = g.random((200, 2)), g.integers(0, 2, 200)
    errors = np.full(2, 0.01)
    lost = np.array([-0.05, 0.0])
    answer = columns.Answer((np.zeros(2), errors), (lost, errors), np.full(2, 99.0))
    monkeypatch.setattr(columns, "ask", lambda question: answer)
    (told,) = rank_columns(x, y).warnings
    assert told.startswith("0: lost is below 0") and "take it as 0" in told
