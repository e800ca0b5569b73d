"""The interval is for the population's frequencies; the text says what it shows."""

import dataclasses

import numpy as np
import pytest

from mi_classifier.cross_fitting.summary import MutualInformation, Rated, error_bar

FOUND = MutualInformation(
    nats=0.25,
    bits=0.25 / np.log(2),
    standard_error=0.01,
    confidence_interval=(0.23, 0.27),
    label_entropy=0.5,
    accuracy=0.9,
    majority=0.8,
    num_examples=1_000,
    num_classes=2,
    num_groups=1_000,
)


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_the_interval_holds_the_entropy_if_the_nets_know_every_label(num_classes):
    """Then each row's PMI is minus the log of its label's share, and I(X; Y) = H(Y)."""
    generator, inside = np.random.default_rng(0), 0
    prior = generator.dirichlet(np.full(num_classes, 5.0))
    truth = -(prior * np.log(prior)).sum()
    for _ in range(400):
        label = generator.choice(num_classes, 1_000, p=prior)
        label = np.unique(label, return_inverse=True)[1]
        share = np.bincount(label) / 1_000
        pmi, row = -np.log(share[label]), np.arange(1_000)
        _, (low, high) = error_bar(Rated(pmi, label, row % 5, row))
        inside += low <= truth <= high
    assert 0.9 < inside / 400 < 0.995


def test_the_interval_holds_the_mean_where_few_rows_say_most():
    """Five rows of 5,000 have a rare label; each tells 3 nats, or the net missed it."""
    generator, inside = np.random.default_rng(0), 0
    for _ in range(400):
        label = np.sort(generator.random(5_000) < 0.001).astype(int)
        if label.sum() < 2:
            label[-2:] = 1
        pmi = label * generator.choice([-1.0, 0.0, 3.0, 5.0], 5_000)
        row = np.arange(5_000)
        _, (low, high) = error_bar(Rated(pmi, label, row % 5, row))
        inside += low <= 0.001 * 1.75 <= high
    assert inside / 400 > 0.93  # 0.85 without one more row in the upper half


def test_rows_of_a_group_count_once():
    generator = np.random.default_rng(0)
    pmi, label = generator.standard_normal(200), np.arange(200) % 2
    one, _ = error_bar(Rated(pmi, label, np.arange(200) % 5, np.arange(200)))
    nine = [np.repeat(a, 9) for a in (pmi, label, np.arange(200) % 5, np.arange(200))]
    assert error_bar(Rated(*nine))[0] == pytest.approx(one)


def test_the_text_says_what_was_found():
    text = str(FOUND)
    assert text.startswith("I(X; Y) ≥ 0.2500 ± 0.0100 nats (95%: 0.2300 to 0.2700)")
    assert "bound that these learners reach on new rows" in text
    assert "likely higher" not in text and "groups" not in text
    nothing = dataclasses.replace(FOUND, nats=-0.02, confidence_interval=(-0.04, 0.0))
    assert str(nothing).startswith("no information found: the bound is -0.0200")
    assert "≥" not in str(nothing)
    assert "likely" not in str(dataclasses.replace(nothing, training_gap=0.3))
    rising = dataclasses.replace(FOUND, training_gap=0.3)
    assert "I(X; Y) is likely higher" in str(rising) and "0.30 nats" in str(rising)
    grouped = dataclasses.replace(FOUND, num_groups=40, warnings=("odd",))
    assert "1,000 rows in 40 groups" in str(grouped)
    assert str(grouped).endswith("\nwarning: odd")
