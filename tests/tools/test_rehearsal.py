"""Generated archives: the same for a seed, whole or not there."""

import tarfile

import numpy as np
import pytest

from tools import rehearsal
from mi_classifier.errors import UserError


@pytest.mark.parametrize("size", [(64, 64), (500, 333), (8, 9)])
def test_boxes_are_tight_around_the_ellipse(size):
    for label in range(20):
        generators = [np.random.default_rng(label) for _ in range(2)]
        image, box = rehearsal.draw(label, 20, size, generators[0])
        assert image.shape == (*size, 3) and image.dtype == np.uint8
        x0, y0, x1, y1 = box
        assert 0 <= x0 < x1 <= size[1] and 0 <= y0 < y1 <= size[0]
        # Another class differs just within the box, and up to its edges.
        other, same_box = rehearsal.draw(label + 10, 30, size, generators[1])
        assert same_box == box
        rows, columns = np.nonzero((image != other).any(-1))
        assert rows.min() >= y0 and rows.max() < y1
        assert columns.min() >= x0 and columns.max() < x1
        if min(size) > 9:
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            np.testing.assert_allclose(edges, box, atol=2)


def test_the_seed_decides(tmp_path, rehearsal_sets):
    def images(path):
        with tarfile.open(path) as archive:
            return [archive.extractfile(m).read() for m in archive]

    for seed in (0, 1):
        path = tmp_path / f"{seed}.tgz"
        rehearsal.write("cub200", path, num_classes=4, num_images=80, seed=seed)
    first = images(rehearsal_sets["cub200"])
    assert images(tmp_path / "0.tgz") == first
    assert images(tmp_path / "1.tgz") != first


@pytest.mark.parametrize(
    ("layout", "out", "classes", "images", "message"),
    [
        ("cub", "a.tgz", 4, 80, "layout: unknown value 'cub'.*cub200"),
        ("cub200", "a.tgz", 1, 80, "num_classes must be at least 2"),
        ("cub200", "a.tgz", 4, 79, "num_images 20 times as many, not 4 and 79"),
        ("cub200", "none/a.tgz", 4, 80, "--out: no such folder"),
        ("cub200", ".", 4, 80, "--out: .* is there already"),
    ],
)
def test_mistakes(tmp_path, layout, out, classes, images, message):
    with pytest.raises(UserError, match=message):
        rehearsal.write(layout, tmp_path / out, classes, images, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_nothing_half_written_stays(tmp_path, monkeypatch):
    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(rehearsal, "_encoded", fail)
    for layout in rehearsal.LAYOUTS:
        with pytest.raises(KeyboardInterrupt):
            rehearsal.write(layout, tmp_path / layout, 2, 40, seed=0)
    assert list(tmp_path.iterdir()) == []
