"""Generated data sets: boxes fit, the seed fixes every byte, failures leave nothing."""

import numpy as np
import pytest

from mi_classifier.errors import UserError
from tests.conftest import REPOSITORY
from tools import rehearsal


@pytest.mark.parametrize("size", [(64, 64), (500, 333), (8, 9)])
def test_boxes_fit_the_ellipse_tightly(size):
    for label in range(20):
        generators = [np.random.default_rng(label) for _ in range(2)]
        image, box = rehearsal.render(label, 20, size, generators[0])
        assert image.shape == (*size, 3) and image.dtype == np.uint8
        x0, y0, x1, y1 = box
        assert 0 <= x0 < x1 <= size[1] and 0 <= y0 < y1 <= size[0]
        # The image of another class differs inside the box only, up to its edges.
        other, same_box = rehearsal.render(label + 10, 30, size, generators[1])
        assert same_box == box
        rows, columns = np.nonzero((image != other).any(-1))
        assert rows.min() >= y0 and rows.max() < y1
        assert columns.min() >= x0 and columns.max() < x1
        if min(size) > 9:
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            np.testing.assert_allclose(edges, box, atol=2)


@pytest.mark.slow
def test_the_seed_fixes_every_byte_also_of_the_script_in_another_folder(
    run_script, tmp_path
):
    script = REPOSITORY / "tools" / "rehearsal.py"
    options = ("--out=script", "--num_classes=2", "--num_images=40")
    done = run_script(script, "image_folder", *options, cwd=tmp_path)
    assert done.stdout == "script: 40 images of 2 classes\n"
    for seed in (0, 1):
        path = tmp_path / f"seed_{seed}"
        rehearsal.write("image_folder", path, num_classes=2, num_images=40, seed=seed)

    def contents(name):
        folder = tmp_path / name
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder): path.read_bytes() for path in files}

    assert len(contents("script")) == 41  # with boxes.csv
    assert contents("seed_0") == contents("script")
    assert contents("seed_1") != contents("script")


@pytest.mark.parametrize(
    ("layout", "out", "classes", "images", "seed", "message"),
    [
        ("cub", "a.tgz", 4, 80, 0, "layout: unknown value 'cub'.*cub200"),
        ("cub200", "a.tgz", 1, 80, 0, "num_classes: must be at least 2, not 1"),
        ("cub200", "a.tgz", 4, 79, 0, "num_images: must be at least 80.*, not 79"),
        ("cub200", "a.tgz", 4, 80, -1, "seed: must be at least 0, not -1"),
        ("cub200", "none/a.tgz", 4, 80, 0, "--out: the folder .*none is missing"),
        ("cub200", ".", 4, 80, 0, "--out: .* exists; remove it"),
    ],
)
def test_wrong_arguments_are_refused(
    tmp_path, layout, out, classes, images, seed, message
):
    with pytest.raises(UserError, match=message):
        rehearsal.write(layout, tmp_path / out, classes, images, seed)
    assert list(tmp_path.iterdir()) == []


def fail_in_a_file(path, *arguments):
    path.write_bytes(b"half of an archive")
    raise KeyboardInterrupt


def fail_in_a_folder(path, *arguments):
    (path / "train").mkdir(parents=True)
    raise KeyboardInterrupt


@pytest.mark.parametrize("write_half", [fail_in_a_file, fail_in_a_folder])
def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch, write_half):
    monkeypatch.setitem(rehearsal.LAYOUTS, "interrupted", write_half)
    with pytest.raises(KeyboardInterrupt):
        rehearsal.write("interrupted", tmp_path / "set", 2, 40, seed=0)
    assert list(tmp_path.iterdir()) == []
