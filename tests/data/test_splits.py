"""Splits depend only on names and a seed, or on lists."""

import numpy as np
import pytest

from mi_classifier.data.splits import by_lists, drop_half, halve
from mi_classifier.errors import UserError

COUNTS = (7, 2, 30, 29, 5)
LABELS = np.repeat(np.arange(5), COUNTS)
NAMES = [f"{label}/image_{i}.jpg" for i, label in enumerate(LABELS)]
CLASSES = list("abcde")
FROZEN = [0, 1, 6, 8, 9, 10, 11, 12]


def test_halves_are_even_disjoint_and_complete():
    first, second = halve(NAMES, LABELS, CLASSES, seed=0)
    assert sorted([*first, *second]) == list(range(len(NAMES)))
    assert abs(len(first) - len(second)) <= 1
    for label, count in enumerate(COUNTS):
        sizes = [(LABELS[half] == label).sum() for half in (first, second)]
        assert sorted(sizes) == [count // 2, -(-count // 2)]


def test_the_split_is_the_same_everywhere():
    """Frozen, because other splits would change all published results."""
    first, _ = halve(NAMES, LABELS, CLASSES, seed=0)
    np.testing.assert_array_equal(first[:8], FROZEN)
    other, _ = halve(NAMES, LABELS, CLASSES, seed=1)
    assert set(other) != set(first)
    # The order of the images and their folders do not matter.
    order = np.random.default_rng(0).permutation(len(NAMES))
    short = [NAMES[i].split("/")[1] for i in order]
    again, _ = halve(short, LABELS[order], CLASSES, seed=0)
    assert {short[i] for i in again} == {NAMES[i].split("/")[1] for i in first}


def test_a_class_of_one_image_is_named():
    with pytest.raises(UserError, match=r"class b has one image .*1/only.jpg"):
        halve(["0/x.jpg", "0/y.jpg", "1/only.jpg"], np.array([0, 0, 1]), CLASSES, 0)


def test_half_of_the_classes_lose_half_of_their_images():
    labels = np.repeat(np.arange(10), 30)
    names = [f"{i}.jpg" for i in range(300)]
    kept = np.bincount(labels[drop_half(names, labels, seed=0)])
    assert sorted(kept) == [15] * 5 + [30] * 5
    other = np.bincount(labels[drop_half(names, labels, seed=1)])
    assert list(kept) != list(other)


def test_lists_may_leave_out_folders(tmp_path):
    (tmp_path / "validation.txt").write_text(f"{NAMES[4]}\n\nimage_9.jpg\n")
    (tmp_path / "test.txt").write_text(f"{NAMES[0]}\n")
    splits = by_lists(tmp_path, NAMES)
    np.testing.assert_array_equal(splits["validation"], [4, 9])
    np.testing.assert_array_equal(splits["test"], [0])


@pytest.mark.parametrize(
    ("validation", "test", "message"),
    [
        ("nothing.jpg", NAMES[0], "validation.txt, line 1: nothing.jpg is none of the"),
        (
            NAMES[0],
            f"{NAMES[1]}\nimage_0.jpg",
            "test.txt, line 2: .* was listed before",
        ),
        ("\n", NAMES[0], "validation.txt: lists no image"),
        (None, NAMES[0], "lists_dir: .*validation.txt"),
    ],
)
def test_mistakes_in_lists_are_named(tmp_path, validation, test, message):
    for name, content in (("validation", validation), ("test", test)):
        if content is not None:
            (tmp_path / f"{name}.txt").write_text(content)
    with pytest.raises(UserError, match=message):
        by_lists(tmp_path, NAMES)
