"""Arrays in memory become a data set, and a run on them is asked without them."""

import chex
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mi_classifier as mi
from mi_classifier.data import from_arrays, load_blank
from mi_classifier.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 32, 32, 3), np.uint8)
WORDS = np.array(["cat", "dog"])[np.arange(40) % 2]
ROWS = RNG.standard_normal((40, 3)).astype(np.float32) * [1, 5, 0.1]


def test_what_is_not_given_is_held_out_by_class():
    splits = from_arrays((IMAGES, WORDS), hold_out=0.5, seed=1).splits
    assert [len(splits[k]["label"]) for k in ("train", "validation", "test")] == [
        *(20, 10, 10)
    ]
    rows = np.concatenate([split["image"] for split in splits.values()])
    assert len(np.unique(rows.reshape(40, -1), axis=0)) == 40
    assert all(
        np.bincount(s["label"]).tolist()[0] * 2 == len(s["label"])
        for s in splits.values()
    )
    own = from_arrays((IMAGES, WORDS), test=(IMAGES[:4], WORDS[:4])).splits
    assert len(own["validation"]["label"]) == 8
    np.testing.assert_array_equal(own["test"]["image"], IMAGES[:4])


def test_images_of_any_size_and_their_boxes_are_resized(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[5:15, 10:20] = 250
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images = [pixels, Image.fromarray(pixels), tmp_path / "a.png", pixels[..., :1]] * 5
    boxes = np.tile([10, 5, 20, 15], (20, 1))
    train = {"image": images, "label": [0, 1] * 10, "boxes": boxes}
    dataset = from_arrays(train, class_names=["no", "yes"], side=16)
    split = dataset.splits["train"]
    assert dataset.class_names == ("no", "yes") and split["image"].shape[1:] == (
        16,
        16,
        3,
    )
    np.testing.assert_allclose(split["boxes"][:, 0], [[4, 4, 8, 12]] * 16)
    assert split["num_boxes"].tolist() == [1] * 16
    assert (split["image"][:, 6:10, 5:7] > 200).all()
    assert dataset.read_image((tmp_path / "a.png").read_bytes()).shape == (16, 16, 3)


def test_rows_are_scaled_by_the_training_rows():
    dataset = from_arrays((ROWS, WORDS))
    scaled = np.asarray(dataset.preprocess(dataset.splits["train"]["image"]))
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(0), 1, atol=1e-5)
    blank = load_blank({"name": "memory", **dataset.description}, 2)
    chex.assert_trees_all_close(blank.preprocess(ROWS), dataset.preprocess(ROWS))


@pytest.mark.slow
def test_a_run_on_arrays_is_loaded_without_them(tmp_path):
    dataset = from_arrays((IMAGES, WORDS))
    config = mi.get_config("image_folder:scratch,small")
    config.model = {"name": "gap_cnn"}
    config.optimizer.warmup_epochs = 0
    config.num_epochs, config.batch_size = 1, 16
    mi.train(config, tmp_path / "run", dataset=dataset)
    run = mi.load(tmp_path / "run")
    with_data = mi.load(tmp_path / "run", dataset=dataset)
    assert run.class_names == ("cat", "dog")
    chex.assert_trees_all_equal(run.predict(IMAGES), with_data.predict(IMAGES))
    chex.assert_trees_all_equal(run.boxes(IMAGES[:2]), with_data.boxes(IMAGES[:2]))
    with pytest.raises(UserError, match="give dataset=, the same data"):
        mi.evaluate(tmp_path / "run")


@pytest.mark.parametrize(
    ("train", "options", "words"),
    [
        ((IMAGES / 255, WORDS), {}, r"give \(255 \* images\)"),
        ((IMAGES.transpose(0, 3, 1, 2), WORDS), {}, "transpose"),
        ((IMAGES, WORDS[:9]), {}, "40 inputs and 9 labels"),
        ((IMAGES, [0] * 40), {}, "has one label, 0"),
        (
            (IMAGES, 1 + np.arange(40) % 2),
            {"class_names": ["a", "b"]},
            "give labels - 1",
        ),
        ((IMAGES, WORDS), {"class_names": ["cat"]}, "'dog' is not in class_names"),
        ((IMAGES, WORDS), {"test": (IMAGES, ["cow"] * 40)}, "test: label 'cow'"),
        ((IMAGES, WORDS), {"hold_out": 1.0}, "hold_out: must be in"),
        (IMAGES, {}, r"train: give \(inputs, labels\)"),
        ({"image": IMAGES, "labels": WORDS}, {}, "unknown array 'labels'"),
        ({"image": IMAGES}, {}, "train: has no 'label'"),
        (None, {}, r"train: give \(inputs, labels\)"),
        ((IMAGES, None), {}, "'label' must be an array"),
        ({"image": IMAGES, "label": WORDS, "num_boxes": [1] * 40}, {}, "but no boxes"),
        (
            {"image": IMAGES, "label": WORDS, "boxes": np.full((40, 4), 5.0)},
            {},
            "x0 < x1",
        ),
        ((IMAGES, WORDS), {"class_names": ["cat", "dog", "cat"]}, "'cat' is there 2"),
        ((IMAGES, WORDS), {"class_names": "cat"}, "must be a list of names"),
        ((IMAGES, WORDS), {"pad": 1.5}, "pad: must be a whole number"),
        ((IMAGES, WORDS), {"seed": -1}, "seed: must be a whole number >= 0, not -1"),
        ((IMAGES, WORDS), {"side": "32"}, "side: must be a whole number"),
        ((IMAGES, WORDS), {"hold_out": "0.1"}, "hold_out: must be a number"),
        ({"images": IMAGES, "label": WORDS}, {}, "did you mean 'image'"),
        (
            {"image": IMAGES, "label": WORDS, "boxes": np.full((40, 4), [1, 2, 99, 9])},
            {},
            "of image 0 leaves it, which is 32 pixels wide",
        ),
        ((ROWS, WORDS), {"test": (ROWS[:, :2], WORDS)}, "test: rows of 2 numbers"),
        (([["a", "b"]] * 40, WORDS), {}, "rows must be numbers"),
        (
            {"image": ROWS, "label": WORDS, "boxes": np.ones((40, 4))},
            {},
            "rows have no boxes",
        ),
        ((["none.jpg"] * 40, WORDS), {}, "image 0 cannot be read"),
        ((np.where(ROWS > 2, np.nan, ROWS), WORDS), {}, "is not finite"),
        (
            {"image": IMAGES, "label": WORDS, "boxes": np.full((40, 4), 0.5)},
            {},
            "fractions of the image",
        ),
    ],
)
def test_wrong_arrays_are_told_by_what_they_look_like(train, options, words):
    with pytest.raises(UserError, match=words):
        from_arrays(train, **options)


def test_turned_and_cmyk_images_are_those_of_their_files(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 250
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "a.png", exif=exif)
    opened = Image.open(tmp_path / "a.png")
    boxes = np.tile([0, 0, 20, 20], (20, 1))
    found = [
        from_arrays(
            {"image": [one] * 20, "label": [0, 1] * 10, "boxes": boxes}, side=16
        )
        for one in (tmp_path / "a.png", opened)
    ]
    splits = [dataset.splits["train"] for dataset in found]
    np.testing.assert_allclose(splits[0]["boxes"][0, 0], [0, 0, 16, 8])
    chex.assert_trees_all_equal(dict(splits[0]), dict(splits[1]))
    from_arrays(([image.convert("CMYK")] * 20, [0, 1] * 10))


def test_a_data_frame_holds_rows():
    frame = pd.DataFrame(ROWS, columns=["a", "b", "c"])
    np.testing.assert_array_equal(
        from_arrays((frame, WORDS)).splits["train"]["image"],
        from_arrays((ROWS, WORDS)).splits["train"]["image"],
    )
