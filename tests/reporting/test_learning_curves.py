"""The sentence about a training, on curves that are made by hand."""

import numpy as np
import pytest

from mi_classifier.reporting.learning_curves import judge

IMPROVING = "still improving: validation loss was lowest in"
TOO_FEW = "too few epochs"


def rows_of(validation, training=None):
    training = validation if training is None else training
    pairs = zip(training, validation, strict=True)
    return [
        {"epoch": n, "train_loss": t, "validation_loss": v}
        for n, (t, v) in enumerate(pairs, 1)
    ]


def falling(count):
    return 2 * np.exp(-np.arange(count) / 5)


@pytest.mark.parametrize(
    ("validation", "start"),
    [
        ([2.0, 1.5], f"{IMPROVING} the last epoch; train longer"),
        ([2.0, 1.2, 1.25, 1.0], IMPROVING),
        ([2.0, 1.5, 1.6, 1.3, 1.2], IMPROVING),
        (np.linspace(2, 1, 40), IMPROVING),
        ([*np.linspace(2, 1.1, 19), 1.15], f"{IMPROVING} epoch 19 of 20"),
        ([2.0], TOO_FEW),
        ([1.0, 1.5], TOO_FEW),
        ([1.0, 1.1, 1.2, 1.3], TOO_FEW),
        ([*np.full(9, 1.0), 0.995], "fine"),  # falls by less than 0.01 nats
        ([2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.9], "fine"),  # once is no trend
        ([1.0, 1.001, 1.002, 1.003, 1.004], "fine"),  # rises by less than 0.01 nats
        (np.full(20, 1.0), "fine"),
    ],
)
def test_curves_without_overfitting(validation, start):
    training = falling(len(validation))
    assert judge(rows_of(validation, training), 1).startswith(start)


def test_overfitting_names_the_epoch_of_the_lowest_loss_and_the_one_used():
    validation = [2.0, 1.5, 1.2, 1.25, 1.3, 1.4, 1.5]
    assert judge(rows_of(validation, falling(7)), 5) == (
        "overfitting since epoch 3: validation loss rises while training loss falls; "
        "the best epoch, 5, is used"
    )
    # Where the training loss rises too, the net diverges or its rate is too high.
    assert judge(rows_of(validation, validation), 3).startswith("fine")
    # Losses may be negative: PC-softmax's are minus the mutual information.
    shifted = np.array(validation) - 9
    assert "since epoch 3" in judge(rows_of(shifted, falling(7) - 9), 5)


def test_epochs_whose_loss_is_missing_or_not_finite_do_not_count():
    rows = rows_of([2.0, 1.5, 1.2, 1.25, 1.3, 1.4, 1.5], falling(7))
    rows.insert(3, {"epoch": 3.5, "train_loss": 1.0, "validation_loss": None})
    rows.insert(5, {"epoch": 4.5, "train_loss": np.nan, "validation_loss": 0.1})
    rows.insert(0, {"epoch": 0})
    rows.append({"epoch": 8, "train_loss": 0.0, "validation_loss": -np.inf})
    assert judge(rows, 3).startswith("overfitting since epoch 3")
    assert judge([{"epoch": 1, "train_loss": 1.0, "validation_loss": None}], 1) == (
        "too few epochs to see whether the net overfits; train longer"
    )
    assert judge([], 1) == ""


@pytest.mark.parametrize("count", [10, 50])
def test_noise_on_a_flat_curve_rarely_counts_as_a_trend(count):
    generator = np.random.default_rng(0)
    found = [
        judge(rows_of(generator.normal(1, 0.03, count), falling(count)), 1)
        for _ in range(200)
    ]
    assert np.mean([text.startswith("fine") for text in found]) > 0.9


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_noise_does_not_hide_a_trend(noise):
    generator = np.random.default_rng(0)
    epochs = np.arange(20)
    for shape, word in (
        (2 - epochs / 20, "still improving"),
        (1 + (epochs / 20 - 0.4) ** 2, "overfitting"),
    ):
        found = [
            judge(rows_of(shape + noise * generator.normal(size=20), falling(20)), 1)
            for _ in range(50)
        ]
        assert np.mean([text.startswith(word) for text in found]) > 0.95
