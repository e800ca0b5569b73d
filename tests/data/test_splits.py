"""Splits depend only on names and a seed, or on lists."""

import os

import numpy as np
import pytest

from mi_classifier.data.splits import by_lists, drop_half, halve, hold_out, thin
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


@pytest.mark.parametrize("parts", [1, 2])
def test_held_out_parts_are_disjoint_and_have_every_class(parts):
    rest, *held = hold_out(NAMES, LABELS, 0.2, parts, seed=0)
    assert sorted(np.concatenate([rest, *held])) == list(range(len(NAMES)))
    counts = [np.bincount(LABELS[part], minlength=5) for part in held]
    for label, count in enumerate(COUNTS):
        total = sum(each[label] for each in counts)
        assert total == min(max(round(0.2 * count), parts), count - 1)
        if count > parts:
            assert all(each[label] for each in counts)
    again = hold_out(NAMES, LABELS, 0.2, parts, seed=1)
    assert {*again[1]} != {*held[0]}


def test_a_single_image_stays():
    rest, one, other = hold_out(["a", "b", "c"], np.array([0, 1, 1]), 0.9, 2, seed=0)
    assert (len(rest), len(one) + len(other)) == (2, 1)
    assert 0 in rest


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
    splits = by_lists(tmp_path, NAMES, LABELS, CLASSES)
    np.testing.assert_array_equal(splits["validation"], [4, 9])
    np.testing.assert_array_equal(splits["test"], [0])


ROWS = ([*range(7), *range(10, 40, 2)], [*range(41, 73, 2)])  # without class b


def write_lists(folder, line, rows=ROWS):
    """Writes the names of rows as lists whose lines are `line(row)`."""
    for name, some in zip(("val", "test"), rows, strict=True):
        (folder / f"{name}.txt").write_text("\n".join(map(line, some)))


OTHER_ORDER = [3, 0, 4, 1, 2]
FORMS = {
    "id name label": lambda i: f"{i + 1} {NAMES[i]} {LABELS[i]}",
    "name label": lambda i: f"{NAMES[i]} {LABELS[i]}",
    "from 1": lambda i: f"{NAMES[i]} {LABELS[i] + 1}",
    "another order": lambda i: f"{i} x/{NAMES[i]} {OTHER_ORDER[LABELS[i]]}",
    "colon": lambda i: f"images/{NAMES[i]}: {LABELS[i]}",
    "name": lambda i: NAMES[i],
}


@pytest.mark.parametrize("form", FORMS)
def test_the_authors_lists_are_read(tmp_path, form):
    write_lists(tmp_path, FORMS[form])
    found = by_lists(tmp_path, NAMES, LABELS, CLASSES)
    np.testing.assert_array_equal(found["validation"], ROWS[0])
    np.testing.assert_array_equal(found["test"], ROWS[1])


@pytest.mark.parametrize(
    ("form", "wrong", "message"),
    [
        (
            "name label",
            1,
            "has label 1, but the image is of class a, whose label is 0 in this file",
        ),
        ("from 1", 3, "has label 3, but the image is of class a, whose label is 1 in"),
        (
            "another order",
            4,
            "has label 4, but the image is of class a, whose label is 3 in",
        ),
        (
            "id name label",
            9,
            "has label 9, but the image is of class a, whose label is 0 in",
        ),
        ("name label", "a", "must be a name, 'name label' or 'id name label'"),
        ("name label", "0 0", "must be a name, 'name label' or 'id name label'"),
    ],
)
def test_a_label_that_is_not_the_images_class_is_refused(
    tmp_path, form, wrong, message
):
    def line(i):
        return f"1 {NAMES[i]} {wrong}" if i == 4 else FORMS[form](i)

    write_lists(tmp_path, line)
    with pytest.raises(UserError, match=message) as error:
        by_lists(tmp_path, NAMES, LABELS, CLASSES)
    where = tmp_path / "val.txt"
    assert str(error.value).startswith(f"{where}, line 5: 1 {NAMES[4]} {wrong} ")


def test_numbers_of_another_order_need_two_lines_of_each_class(tmp_path):
    write_lists(tmp_path, FORMS["another order"], ([0, 7], [8]))
    with pytest.raises(UserError, match=r"val.txt, line 1: .* has label 3, but"):
        by_lists(tmp_path, NAMES, LABELS, CLASSES)


def test_every_other_class_is_thinned():
    labels = np.repeat(np.arange(5), COUNTS)
    kept = thin(NAMES, labels, few=5, many=1, seed=0)
    assert list(np.bincount(labels[kept])) == [5, 1, 5, 1, 5]
    assert list(kept) == sorted({*kept})
    all_others = thin(NAMES, labels, few=5, many=None, seed=0)
    assert list(np.bincount(labels[all_others])) == [5, 2, 5, 29, 5]
    other = thin(NAMES, labels, few=5, many=1, seed=1)
    assert list(np.bincount(labels[other])) == [5, 1, 5, 1, 5]
    assert list(kept) != list(other)


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
        by_lists(tmp_path, NAMES, LABELS, CLASSES)


def test_names_that_are_no_text_are_split_too():
    names = [os.fsdecode(b"\xff%d.jpg" % i) for i in range(10)]
    parts = hold_out(names, np.zeros(10, int), 0.4, 2, seed=0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(10))
