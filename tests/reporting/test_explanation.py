"""A user's own images: their classes, their boxes, their pictures, and mistakes."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from mi_classifier import commands, localization
from mi_classifier.activation_maps import MAPS, class_activation_map
from mi_classifier.data import load_dataset
from mi_classifier.errors import UserError
from mi_classifier.evaluation import load_net
from mi_classifier.models import infer
from mi_classifier.reporting import explanation, image_paths
from mi_classifier.reporting.options import ExplainOptions
from tests.conftest import MARKUP

CORNERS = ("x0", "y0", "x1", "y1")


def explain(workdir, paths, label="", rival="", **boxes):
    options = ExplainOptions(label, rival, **boxes)
    commands.explain(workdir, list(map(str, paths)), options)


def newest(workdir):
    """The folder that the last call has written."""
    folders = (workdir / "evaluation" / "images").iterdir()
    return max(folders, key=lambda path: int(path.name))


def rows_of(workdir):
    path = newest(workdir) / "predictions.csv"
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def images(trained_images, tmp_path):
    """Test images of the set as files, one enlarged to 216 x 144 and in a folder."""
    root = load_net(trained_images).config.data.root_dir
    names = [row["image"] for row in rows_of_test_split(trained_images)][:3]
    paths = []
    for i, name in enumerate(names):
        folder = tmp_path / ("folder" if i else "")
        folder.mkdir(exist_ok=True)
        path = folder / "same.png"
        if path.exists():
            path = folder / "other.PNG"
        with Image.open(f"{root}/{name}") as image:
            image.resize((216, 144) if i else image.size).save(path)
        paths.append(path)
    return paths


def rows_of_test_split(workdir):
    with (workdir / "evaluation" / "predictions.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_test_image_has_the_results_of_the_evaluation(trained_images, images, capsys):
    truth = rows_of_test_split(trained_images)[0]
    explain(trained_images, [images[0]], label=truth["label"])
    (row,) = rows_of(trained_images)
    assert row["label"] == truth["label"]
    prior = load_net(trained_images).dataset.log_prior()
    assert len(prior) == 4
    assert np.log(float(row["probability"]) * 4) == pytest.approx(
        float(row["pmi_nats"]), abs=1e-4
    )
    assert float(row["pmi_nats"]) == pytest.approx(float(truth["pmi_nats"]), abs=1e-4)
    # The input is the middle 64 of 72 pixels, to which the file was resized.
    with Image.open(images[0]) as image:
        scale = np.tile(np.array(image.size) / 72, 2)
    for name in MAPS:
        box = np.array([float(row[f"{name}_{c}"]) for c in CORNERS])
        inside = np.array([int(truth[f"{name}_{c}"]) for c in CORNERS])
        np.testing.assert_allclose(box, (inside + 4) * scale, atol=0.051)
    picture = newest(trained_images) / "same.png.png"
    assert Image.open(picture).format == "PNG"
    printed = capsys.readouterr().out
    assert "predictions" in printed and f"{float(row['pmi_nats']):+.3f}" in printed


@pytest.mark.slow
def test_files_of_many_sizes_and_of_equal_names(trained_images, images):
    folder = images[1].parent
    explain(trained_images, [images[0], folder])
    rows = rows_of(trained_images)
    assert [row["image"] for row in rows] == [
        str(images[0]),
        str(folder / "other.PNG"),
        str(folder / "same.png"),
    ]
    written = {p.name for p in newest(trained_images).iterdir()}
    pictures = {"same.png.png", "same.png_2.png", "other.PNG.png"}
    assert written == pictures | {"predictions.csv", "boxes.json"}
    for row in rows[1:]:
        assert 0 <= float(row["cam_x0"]) < float(row["cam_x1"]) <= 216
        assert float(row["cam_y1"]) <= 144
    # The maps of the likeliest class are drawn.
    assert all(float(row["probability"]) >= 0.25 for row in rows)


@pytest.mark.slow
def test_the_map_of_a_rival_is_the_difference_of_two_activation_maps(
    trained_images, images
):
    """Eq. 14 with two classes."""
    net = load_net(trained_images)
    names = net.dataset.class_names
    label, rival = names.index(MARKUP), (names.index(MARKUP) + 1) % 4
    explain(trained_images, [images[0]], MARKUP, names[rival])
    (row,) = rows_of(trained_images)
    image = net.dataset.read_image(images[0].read_bytes())
    output = infer(net.model, net.variables, net.dataset.preprocess(image[None]))
    kernel, options = net.variables["params"]["head"]["kernel"], net.config.localization
    ours, theirs = (
        class_activation_map(
            output.features, kernel, np.array([c]), options.region, options.padding
        )
        for c in (label, rival)
    )
    (box,) = localization.boxes_from_maps(ours - theirs, (64, 64), options.threshold)
    with Image.open(images[0]) as file:
        scale = np.tile(np.array(file.size) / 72, 2)  # stored at 72, cropped to 64
    found = [float(row[f"rival_{corner}"]) for corner in CORNERS]
    np.testing.assert_allclose(found, (box + 4) * scale, atol=0.051)


@pytest.mark.slow
def test_every_digit_that_the_net_decides_for(trained_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(explanation, "_BATCH", 4)
    split = load_net(trained_digits).dataset.splits["test"]
    paths = []
    for i in range(6):  # more than a batch
        paths.append(str(tmp_path / f"{i:02}.png"))
        Image.fromarray(split["image"][i, ..., 0]).save(paths[-1])
    explain(trained_digits, [tmp_path])
    rows = rows_of(trained_digits)
    by_image = {
        path: [r["label"] for r in rows if r["image"] == path] for path in paths
    }
    for path, told in zip(paths, rows_of_test_split(trained_digits), strict=False):
        wanted = told["balanced_prediction"].split()
        assert by_image[path] == wanted or (not wanted and len(by_image[path]) == 1)
    pictures = {row["picture"] for row in rows}
    assert len(pictures) == 6
    for name in pictures:
        path = newest(trained_digits) / name
        assert Image.open(path).format == "PNG"
    boxes = [[int(float(row[f"cam_{c}"])) for c in CORNERS] for row in rows]
    assert np.max(boxes, 0)[2] <= 56 and np.max(boxes, 0)[3] <= 28


@pytest.mark.slow
def test_a_net_without_maps_gives_predictions(tiny_config, tmp_path, capsys):
    config = tiny_config("mnist", num_epochs=1)
    commands.train(config, tmp_path / "run")
    image = load_dataset(config.data).splits["test"]["image"][0]
    Image.fromarray(image[..., 0]).convert("RGB").save(tmp_path / "a.png")
    explain(tmp_path / "run", [tmp_path / "a.png"], label="3")
    (row,) = rows_of(tmp_path / "run")
    assert row["label"] == "3" and "cam_x0" not in row
    assert "predictions:" in capsys.readouterr().out
    assert {p.name for p in newest(tmp_path / "run").iterdir()} == {"predictions.csv"}
    with pytest.raises(UserError, match="--boxes: mnist_cnn has no maps"):
        explain(tmp_path / "run", [tmp_path / "a.png"], boxes=("coco",))
    with pytest.raises(UserError, match="--rival: mnist_cnn has no maps"):
        explain(tmp_path / "run", [tmp_path / "a.png"], "3", "4")


def test_a_broken_file_in_a_folder_is_left_out(trained_images, images, capsys):
    folder = images[1].parent
    (folder / "broken.png").write_bytes(b"nothing")
    (folder / "._other.png").write_bytes(b"what some systems leave behind")
    for name in (
        "costs $5 or $1.png",
        "caf\udce9.png",
        "鳥.png",
        40 * "long_" + "x.png",
    ):
        (folder / name).write_bytes(images[1].read_bytes())
    explain(trained_images, [folder])
    printed = capsys.readouterr().out
    assert f"left out: {folder / 'broken.png'}: cannot be read: not an image" in printed
    assert "._other.png: cannot" not in printed
    path = newest(trained_images) / "predictions.csv"
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 6
    for row in rows:
        picture = newest(trained_images) / row["picture"]
        assert Image.open(picture).format == "PNG"


def test_mistakes_say_what_is_wrong(trained_images, images, tmp_path):
    def refused(words, paths, *names, **boxes):
        with pytest.raises(UserError) as caught:
            explain(trained_images, paths, *names, **boxes)
        assert "\n" not in str(caught.value)
        for word in words:
            assert word in str(caught.value)

    names = load_net(trained_images).dataset.class_names
    other = next(name for name in names if name != MARKUP)
    refused(["no such file or folder", "none.jpg"], [tmp_path / "none.jpg"])
    (tmp_path / "empty").mkdir()
    refused(["holds no image"], [tmp_path / "empty"])
    broken = tmp_path / "broken.png"
    broken.write_bytes(images[0].read_bytes()[:200])
    refused([str(broken), "cannot be read"], [images[0], broken])
    refused(["--label: no class", other], images[:1], other[:-1])
    refused(["--rival: no class", other], images[:1], MARKUP, other.upper()[1:])
    refused(["--label: no class", "such as"], images[:1], "zzzzzzzzz")
    refused(["--rival", "by --label"], images[:1], "", other)
    refused(["--rival", "is the --label itself"], images[:1], other, other)
    refused(["no such file or folder"], [images[0], ""])
    refused(["--boxes: unknown value 'vco'", "'voc'"], images[:1], boxes=["vco"])
    refused(["--map: unknown value", "info_cam"], images[:1], map="infocam")
    for share in (0.0, 1.5, float("nan")):
        refused(["--components", "between 0 and 1"], images[:1], components=share)


def read_boxes(workdir):
    content = json.loads((newest(workdir) / "boxes.json").read_text(encoding="utf-8"))
    names = {image["id"]: image["file_name"] for image in content["images"]}
    boxes = {name: [] for name in names.values()}
    for found in content["annotations"]:
        boxes[names[found["image_id"]]].append(found)
    return content, boxes


@pytest.mark.slow
def test_box_files_hold_the_boxes_of_the_table_and_its_probabilities(
    trained_images, images
):
    named = [images[0], images[1].parent]
    explain(trained_images, named, boxes=("coco", "voc", "yolo"), map="cam")
    rows, (content, boxes) = rows_of(trained_images), read_boxes(trained_images)
    # Names are relative to the folder that holds all that was named.
    assert list(boxes) == ["same.png", "folder/other.PNG", "folder/same.png"]
    names = {c["id"]: c["name"] for c in content["categories"]}
    assert tuple(names.values()) == load_net(trained_images).dataset.class_names
    for row, image, (found,) in zip(
        rows, content["images"], boxes.values(), strict=True
    ):
        with Image.open(row["image"]) as file:
            assert (image["width"], image["height"]) == file.size
        x, y, width, height = found["bbox"]
        told = [float(row[f"cam_{corner}"]) for corner in CORNERS]
        np.testing.assert_allclose([x, y, x + width, y + height], told, atol=0.06)
        assert names[found["category_id"]] == row["label"]
        assert found["score"] == pytest.approx(float(row["probability"]), abs=1e-6)
    folder = newest(trained_images)
    for kind, suffix in (("voc", "xml"), ("yolo", "txt")):
        assert (folder / kind / f"same.{suffix}").is_file()
        assert (folder / kind / "folder" / f"same.{suffix}").is_file()
    # One folder is the folder that a labeling tool opens.
    explain(trained_images, [images[1].parent])
    assert list(read_boxes(trained_images)[1]) == ["other.PNG", "same.png"]


@pytest.mark.slow
def test_boxes_follow_the_orientation_of_the_file(trained_images, images, tmp_path):
    """A turned file and its pixels as a person sees them have the same boxes."""
    with Image.open(images[1]) as image:
        shown = image.convert("RGB").resize((216, 100))
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees to the right
        turned = shown.transpose(Image.Transpose.ROTATE_90)
        shown.save(tmp_path / "shown.png")
        turned.save(tmp_path / "turned.png", exif=exif)
    explain(trained_images, [tmp_path / "shown.png", tmp_path / "turned.png"])
    content, boxes = read_boxes(trained_images)
    assert [(i["width"], i["height"]) for i in content["images"]] == [(216, 100)] * 2
    ((one,), (other,)) = boxes.values()
    assert one["bbox"] == other["bbox"]


@pytest.mark.slow
def test_every_part_of_a_map_gets_a_box(trained_images, images):
    explain(trained_images, images)
    largest = read_boxes(trained_images)[1]
    explain(trained_images, images, components=1e-6)
    every = read_boxes(trained_images)[1]
    explain(trained_images, images, components=0.99)
    assert read_boxes(trained_images)[1].keys() == largest.keys()
    for name, boxes in every.items():
        assert boxes[0]["bbox"] == largest[name][0]["bbox"]
    counts = [len(boxes) for boxes in read_boxes(trained_images)[1].values()]
    assert counts == [1, 1, 1]


def test_a_second_call_leaves_the_first_one_alone(tmp_path):
    parent = tmp_path / "evaluation" / "images"
    first = image_paths.new_folder(parent)
    (first / "a.png").write_text("")
    (parent / "old.png").write_text("")  # as earlier versions wrote it
    (parent / "12").mkdir()
    assert image_paths.new_folder(parent) == parent / "13"
    assert (first, list(first.iterdir())) == (parent / "1", [first / "a.png"])


@pytest.mark.slow
def test_workdirs_without_images_are_refused(tiny_config, run_script, images, tmp_path):
    commands.train(tiny_config(num_epochs=1), tmp_path / "mixture")
    with pytest.raises(UserError, match="is not a set of images"):
        explain(tmp_path / "mixture", [images[0]])
    (tmp_path / "rows").mkdir()
    config = '{"method": "cross_fit", "seed": 0, "data": {"path": "x.csv"}}'
    (tmp_path / "rows" / "config.json").write_text(config)
    for arguments, words in (
        (
            (f"--workdir={tmp_path}/rows", f"--images={images[0]}"),
            "a cross-fit of rows",
        ),
        ((f"--workdir={tmp_path}/rows", "--label=a"), "--label: give images too"),
        (
            (f"--workdir={tmp_path}/rows", "--boxes=voc", "--components=0.1"),
            "--boxes, --components: give images too",
        ),
        (
            ("--compare=a", "--ablation"),
            "--ablation, --compare: give one of these at a time",
        ),
        ((f"--workdir={tmp_path}/rows", "--images="), "--images: is empty"),
        ((f"--workdir={tmp_path}/none", f"--images={images[0]}"), "does not exist"),
    ):
        result = run_script("evaluate.py", *arguments, check=False)
        assert result.returncode == 2
        assert len(result.stderr.strip().splitlines()) == 1
        assert words in result.stderr


def test_gray_and_color_images_are_read_as_the_net_needs_them():
    from mi_classifier.decoding import decode, decode_gray

    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    np.testing.assert_array_equal(decode_gray(file.getvalue(), 28, 28)[..., 0], pixels)
    file = io.BytesIO()
    Image.fromarray(np.repeat(pixels[..., None], 3, -1)).save(file, "png")
    np.testing.assert_array_equal(decode_gray(file.getvalue(), 28, 28)[..., 0], pixels)
    assert decode_gray(file.getvalue(), 28, 56).shape == (28, 56, 1)
    assert decode(file.getvalue(), 28).shape == (28, 28, 3)
    with pytest.raises(ValueError, match="not an image"):
        decode_gray(b"nothing", 28, 28)
