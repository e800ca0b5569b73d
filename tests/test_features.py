"""The features of a net give what the net itself gives, whoever has trained it."""

import dataclasses

import jax
import numpy as np
import pytest

import mi_classifier as mi
from mi_classifier import commands
from mi_classifier.data import exported
from mi_classifier.errors import UserError
from mi_classifier.evaluation import load_net
from mi_classifier.models import infer

RNG = np.random.default_rng(0)
FEATURES = RNG.random((12, 5, 5, 8)).astype(np.float32)
KERNEL = RNG.standard_normal((8, 3)).astype(np.float32)
LABELS = np.arange(12) % 3
BOXES = np.tile(np.array([2.0, 3, 30, 35]), (12, 1))


@pytest.fixture(scope="module")
def of_a_net(trained_images):
    """What another program would export from the trained net, and its evaluation."""
    net = load_net(trained_images)
    split, dataset = net.dataset.splits["test"], net.dataset
    variables = jax.tree.map(np.asarray, net.variables)
    output = infer(net.model, variables, dataset.preprocess(split["image"]))
    head = variables["params"]["head"]
    arrays = {
        "features": np.asarray(output.features),
        "head_kernel": head["kernel"],
        "labels": split["label"],
        "head_bias": head["bias"],
        "log_prior": dataset.log_prior(),
        "class_names": np.array(dataset.class_names),
        "images": split["image"],
        "boxes": split["boxes"],
        "num_boxes": split["num_boxes"],
        "names": np.array(dataset.image_names["test"]),
    }
    options = {"localization": net.config.localization.to_dict()}
    return arrays, options, mi.evaluate(trained_images, quiet=True).splits["test"]


def numbers_of(result):
    """The numbers of a result; trivial boxes that need a validation split left out."""
    found = dataclasses.asdict(result)
    found.pop("trivial", None), found.pop("warnings", None)
    return [leaf for leaf in jax.tree.leaves(found) if not isinstance(leaf, str | bool)]


@pytest.mark.slow
def test_the_tables_are_those_of_the_net(of_a_net, tmp_path, capsys):
    arrays, options, expected = of_a_net
    results = mi.evaluate_features(**arrays, **options, workdir=tmp_path)
    found = results.splits["test"]
    for name in ("information", "accuracy", "calibration", "localization"):
        own, other = numbers_of(found[name]), numbers_of(expected[name])
        assert len(own) == len(other) >= 2
        for a, b in zip(own, other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    text = capsys.readouterr().out
    assert "infoCAM" in text and "report.html" in text
    report = (tmp_path / "evaluation" / "report.html").read_text("utf-8")
    assert "gallery" in report and arrays["names"][0].rpartition("/")[2] in report


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_gives_what_its_arrays_give(tmp_path, capsys, save):
    arrays = {"features": FEATURES, "head_kernel": KERNEL, "labels": LABELS}
    arrays |= {"boxes": BOXES, "image_size": (40, 36)}
    save(tmp_path / "a.npz", **arrays)
    read = exported.read(tmp_path / "a.npz")
    assert isinstance(read["features"], np.memmap) == (save is np.savez)
    np.testing.assert_array_equal(read["features"], FEATURES)
    commands.evaluate_features(str(tmp_path / "a.npz"), None)
    printed = capsys.readouterr().out
    mi.evaluate_features(**{**arrays, "image_size": (40, 36)})
    assert capsys.readouterr().out == printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz"]


def test_features_come_in_batches_or_from_a_file(tmp_path):
    np.save(tmp_path / "features.npy", FEATURES)

    def batches():
        yield FEATURES[:5]
        yield jax.numpy.asarray(FEATURES[5:])

    expected = mi.evaluate_features(FEATURES, KERNEL, LABELS, quiet=True)
    for features in (batches, tmp_path / "features.npy"):
        found = mi.evaluate_features(features, KERNEL, LABELS, quiet=True)
        assert str(found.to_dict()) == str(expected.to_dict())
    for wrong, words in (
        (lambda: [FEATURES[:5]], "the batches hold 5 rows, and labels 12"),
        (lambda: [FEATURES, FEATURES], "after 12 rows, a batch is"),
        (list, "the batches hold 0 rows"),
        (lambda: [FEATURES[:5], FEATURES[5:, :3]], "after 5 rows, a batch is"),
        (tmp_path / "none.npy", "none.npy: cannot be read"),
    ):
        with pytest.raises(UserError, match=words):
            mi.evaluate_features(wrong, KERNEL, LABELS, quiet=True)


def test_what_is_missing_is_left_out(tmp_path, capsys):
    arguments = (FEATURES, KERNEL, LABELS)
    without_boxes = mi.evaluate_features(*arguments, workdir=tmp_path)
    assert not without_boxes.splits["test"]["localization"].maps
    assert not (tmp_path / "evaluation" / "figures" / "localization.png").exists()
    pooled = mi.evaluate_features(FEATURES.mean((1, 2)), KERNEL, LABELS, quiet=True)
    assert "localization" not in pooled.splits["test"]
    one, other = (r.splits["test"]["information"] for r in (without_boxes, pooled))
    assert one.mutual_information.nats == pytest.approx(other.mutual_information.nats)


def test_the_bound_is_that_of_the_formula():
    """By Eq. 5, with the training prior in n(x) taken out and the sample's put in."""
    prior = np.array([0.5, 0.3, 0.2])
    results = mi.evaluate_features(
        FEATURES, KERNEL, LABELS, log_prior=np.log(prior), quiet=True
    )
    logits = FEATURES.mean((1, 2), dtype=np.float64) @ KERNEL - np.log(prior)
    ratio = logits - np.log((np.exp(logits) / 3).sum(1, keepdims=True))
    expected = ratio[np.arange(12), LABELS].mean()
    found = results.splits["test"]["information"].mutual_information.nats
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": FEATURES.transpose(0, 3, 1, 2)}, "looks like .N, K, h, w."),
        ({"head_kernel": KERNEL.T}, "give head_kernel.T"),
        ({"head_kernel": KERNEL.T[..., None, None]}, r"kernel\[:, :, 0, 0\].T"),
        ({"features": FEATURES[:, 0, 0, :3]}, "looks like logits"),
        ({"features": FEATURES[0]}, r"must be \[N, h, w, K\]"),
        ({"features": np.where(FEATURES > 0.99, np.nan, FEATURES)}, "is not finite"),
        ({"labels": LABELS + 1}, "give labels - 1"),
        ({"labels": np.eye(3)[LABELS]}, "give labels.argmax"),
        ({"labels": LABELS.astype(float)}, r"give labels.astype\(int\)"),
        ({"labels": LABELS[:5]}, r"labels: must be \[12\]"),
        ({"boxes": BOXES / 40}, "fractions of the image"),
        ({"boxes": BOXES[:, [2, 3, 0, 1]]}, "x0 < x1 and y0 < y1"),
        ({"boxes": BOXES, "image_size": (20, 20)}, "20 pixels wide"),
        ({"images": np.zeros((12, 40, 40, 3))}, r"\(255 \* images\)"),
        ({"images": np.zeros((12, 3, 40, 40), np.uint8)}, "transpose"),
        ({"class_names": ["a", "b"]}, "class_names: 2 for 3 classes"),
        ({"class_names": ["a", "b", "a"]}, "'a' is there 2 times"),
        (
            {"image_size": (40,)},
            r"image_size: must be \(height, width\), .*, not \(40,\)",
        ),
        ({"image_size": (40, 0)}, "image_size: must be .* whole numbers"),
        ({"image_size": (40, 36.5)}, "image_size: must be .* whole numbers"),
        ({"log_prior": [0.5, 0.3, 0.2]}, "give its logarithm"),
        ({"head_bias": [1.0]}, r"head_bias: must be \[3\]"),
        (
            {"features": FEATURES.transpose(0, 3, 1, 2), "head_kernel": KERNEL.T},
            r"features.transpose\(0, 2, 3, 1\) and head_kernel.T",
        ),
        ({"features": [FEATURES[:5], FEATURES[5:]]}, "join batches by np.concatenate"),
        ({"features": (f for f in [FEATURES])}, "give the function that yields"),
        ({"features": "a.npz"}, "evaluate --features=a.npz"),
        ({"labels": np.array(["a"] * 12)}, "the place of each word in class_names"),
        ({"log_prior": [20, 30, 10]}, r"of counts, give np.log\(counts"),
        ({"boxes": [[[1, 2, 3, 4]], []] * 6}, "pad each image's boxes with zeros"),
        ({"boxes": np.zeros((12, 2, 4))}, "if it is padding, give num_boxes"),
        ({"localization": {"threshold": 20}}, r"threshold: must be in \[0, 1\)"),
        ({"localization": {"region": 0}}, "localization.region: must be a whole"),
        ({"localization": {"padding": "valid"}}, "localization.padding: unknown value"),
        ({"names": ["a"]}, "names: 1 for 12 rows"),
        ({"num_boxes": [2] * 12}, "num_boxes: must be"),
        ({"localization": {"treshold": 0.1}}, "did you mean 'threshold'"),
    ],
)
def test_wrong_arrays_are_told_by_what_they_look_like(changes, words):
    given = {"features": FEATURES, "head_kernel": KERNEL, "labels": LABELS}
    given |= {"boxes": BOXES, "image_size": (40, 36), **changes}
    if "images" in changes:
        del given["image_size"]
    with pytest.raises(UserError, match=words):
        mi.evaluate_features(**given)


def test_wrong_files_are_told(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        exported.read(tmp_path / "none.npz")
    (tmp_path / "a.csv").write_text("a,b")
    with pytest.raises(UserError, match=r"a\.csv: cannot be read: not an \.npz"):
        exported.read(tmp_path / "a.csv")
    np.savez(tmp_path / "a.npz", features=FEATURES, kernel=KERNEL)
    with pytest.raises(UserError, match=r"unknown array 'kernel'.*head_kernel"):
        exported.read(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", features=FEATURES)
    with pytest.raises(UserError, match="has no array 'head_kernel'"):
        exported.read(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="cannot be read"):
        exported.read(tmp_path / "a.npz")


def test_a_run_is_not_overwritten_and_a_pooled_net_has_no_boxes(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", features=FEATURES, head_kernel=KERNEL, labels=LABELS)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a run, whose evaluation would be"):
        commands.evaluate_features(tmp_path / "a.npz", str(tmp_path))
    pooled = FEATURES.mean((1, 2))
    results = mi.evaluate_features(
        -pooled, 40 * KERNEL, LABELS, boxes=BOXES, image_size=40
    )
    assert "localization" not in results.splits["test"].found
    printed = capsys.readouterr()
    assert "features have no map" in printed.err
    assert "check that features are those after the last activation" in " ".join(
        printed.out.split()
    )
    assert "epoch" not in printed.out


def test_unequal_classes_without_a_prior_are_told(capsys):
    labels = np.array([0] * 40 + [1, 2] * 4)
    features = np.tile(FEATURES, (4, 1, 1, 1))
    mi.evaluate_features(features, KERNEL, labels)
    told = capsys.readouterr().err
    assert "log_prior is not given" in told and "83% of these labels are '0'" in told
    mi.evaluate_features(features, KERNEL, labels, log_prior=np.log([0.8, 0.1, 0.1]))
    mi.evaluate_features(FEATURES, KERNEL, LABELS)  # equally frequent, or by chance
    assert "log_prior" not in capsys.readouterr().err
