"""TFDS's folders: damage is noticed, and boxes are fractions of upright images."""

import io

import pytest
from PIL import Image

from mi_classifier.data import load_dataset, tfds_store
from mi_classifier.decoding import size_of
from mi_classifier.errors import UserError


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 20, 40), (0, 0, 1, 1)),
        ((-1, 5, 10, 41), (0, 0.125, 0.5, 1)),
        ((20, 0, 21, 40), None),
        ((5, 5, 5, 9), None),
        ((float("nan"), 0, 1, 1), None),
        ((-30, 0, 20, 40), None),
    ],
)
def test_boxes_are_clipped_to_their_image_and_refused_outside(box, expected):
    if expected:
        assert tfds_store.fractions(box, (20, 40), "x") == pytest.approx(expected)
    else:
        with pytest.raises(UserError, match=r"x: its box .* outside of the image"):
            tfds_store.fractions(box, (20, 40), "x")


@pytest.mark.parametrize("form", ["tiff", "jpeg", "png"])
def test_size_of_follows_the_exif_orientation(form):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (40, 20)).save(file, form, exif=exif)
    assert size_of(file.getvalue()) == (20, 40)


def test_a_changed_list_of_class_names_is_noticed(rehearsal_sets, tmp_path):
    options = {"archive_path": str(rehearsal_sets["cub200"]), "data_dir": str(tmp_path)}
    config = {"name": "cub200", "stored_side": 32, "side": 32, **options}
    config |= {"normalization": "imagenet"}
    sound = load_dataset(config)
    (names,) = tmp_path.rglob("label.labels.txt")
    text = names.read_text()
    names.write_text(text.replace("001", "010", 1))
    with pytest.raises(UserError, match=r"label.labels.txt is not what was written"):
        load_dataset(config)
    names.write_text(text)
    assert load_dataset(config).fingerprints() == sound.fingerprints()
    (names.parent / "hashes.json").unlink()  # as where others prepared it
    assert load_dataset(config).class_names == sound.class_names
