"""Functions meet any input with a right answer or with the error that they state.

Hypothesis makes the inputs. The second half proves that a config with a field of a
wrong type is refused in one line.
"""

import contextlib
import warnings

import hypothesis
import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import special

import mi_classifier as mi
from mi_classifier import commands, config as configs
from mi_classifier.data import DATASETS
from mi_classifier.errors import UserError, check_options, choose
from mi_classifier.models import create_model
from mi_classifier.training.checks import check_config
from mi_classifier.training.optimizer import Span, create_optimizer
from tests.conftest import REPOSITORY

hypothesis.settings.register_profile(
    "suite", max_examples=25, deadline=None, derandomize=True, database=None
)
hypothesis.settings.load_profile("suite")
STATED = (ValueError, TypeError, UserError)
# Few sizes, because JAX compiles a program for each shape; many values.
SIDES = st.sampled_from([0, 1, 2, 3, 5])
HOSTILE = st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 1e-45, 3e38, -3e38, np.inf, -np.inf, np.nan, 255, 1e-3]
)
DTYPES = st.sampled_from(["f2", "f4", "f8", "i1", "u1", "i4", "i8", "?"])
OTHERS = st.sampled_from(
    [None, "text", b"bytes", [], [[1], [1, 2]], {}, 1j, object(), np.array("a")]
)


@st.composite
def arrays(draw, ndims=(0, 1, 2, 3, 4)):
    """Generates arrays of any shape, dtype, layout and value."""
    shape = tuple(draw(SIDES) for _ in range(draw(st.sampled_from(ndims))))
    values = draw(npst.arrays("f8", shape, elements=HOSTILE, fill=st.just(1.0)))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        array = values.astype(draw(DTYPES))
    layout = draw(st.sampled_from(["C", "Fortran", "reversed", "every second"]))
    if layout == "Fortran":
        return np.asfortranarray(array)
    if layout == "reversed" and array.ndim:
        return array[::-1]
    if layout == "every second" and array.ndim:
        return np.repeat(array, 2, 0)[::2]
    return array


ANY = arrays() | OTHERS | st.integers(-3, 300) | st.floats()
FUNCTIONS = {
    "log_pc_softmax": (ANY, ANY),
    "pointwise_mutual_information": (ANY, ANY, ANY),
    "variational_bound": (ANY, ANY, ANY),
    "label_entropy": (ANY,),
    "log_label_prior": (ANY, ANY),
    "optimal_decision": (ANY, ANY, st.sampled_from(["prior", "balanced", "", 3])),
    "softmax_to_pc_logits": (ANY, ANY),
    "softmax_cross_entropy": (ANY, ANY),
    "pc_softmax_cross_entropy": (ANY, ANY, ANY),
    "sigmoid_cross_entropy": (ANY, ANY),
    "pc_sigmoid_cross_entropy": (ANY, ANY, ANY),
    "class_activation_map": (ANY, ANY, ANY),
    "info_cam": (ANY, ANY, ANY),
    "info_cam_plus": (ANY, ANY, ANY),
    "boxes_from_maps": (ANY, ANY),
    "peaks_from_maps": (ANY, ANY),
    "score_maps": (ANY, ANY),
    "iou": (ANY, ANY),
    "best_iou": (ANY, ANY, ANY),
    "localization_accuracy": (ANY, ANY, ANY),
    "pointing_accuracy": (ANY, ANY, ANY),
    "boxes_at_thresholds": (ANY,),
    "box_accuracy_curve": (ANY, ANY, ANY),
    "estimate_mutual_information": (ANY, ANY),
    "mutual_information_score": (ANY, ANY),
    "rank_columns": (ANY, ANY),
    "conditional_mutual_information": (ANY, ANY, ANY),
    "cross_fit": (ANY, ANY),
    "from_arrays": (st.tuples(ANY, ANY) | ANY,),
    "evaluate_features": (ANY, ANY, ANY),
    "get_config": (ANY | st.text(max_size=8),),
    "load_dataset": (ANY | st.dictionaries(st.just("name"), ANY),),
    "create_model": (st.sampled_from(["mlp", "resnet50", "x"]) | ANY, ANY),
    "train": (ANY, ANY),
    "evaluate": (ANY | st.text("ab", min_size=1, max_size=8),),
    "load": (ANY | st.text("ab", min_size=1, max_size=8),),
}
# Functions whose errors say what to do.
GUIDING = list(FUNCTIONS)[list(FUNCTIONS).index("estimate_mutual_information") :]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_arguments_give_an_answer_or_a_stated_error(name):
    function = getattr(mi, name)

    @hypothesis.given(st.tuples(*FUNCTIONS[name]))
    def check(arguments):
        try:
            function(*arguments)
        except STATED as error:
            assert str(error)
            assert name not in GUIDING or type(error) is UserError

    check()


RNG = np.random.default_rng(0)
PHOTOS = RNG.integers(0, 256, (12, 16, 16, 3), np.uint8)
WHOLE = {  # arguments that fit each other
    "evaluate_features": {
        "features": RNG.random((12, 4, 4, 5), np.float32),
        "head_kernel": RNG.random((5, 3)),
        "labels": np.arange(12) % 3,
        "head_bias": np.zeros(3),
        "log_prior": np.log(np.ones(3) / 3),
        "class_names": ("a", "b", "c"),
        "images": PHOTOS,
        "image_size": (16, 16),
        "boxes": np.tile([1, 2, 10, 11], (12, 1, 1)),
        "num_boxes": np.ones(12, int),
        "names": [str(i) for i in range(12)],
        "localization": {"threshold": 0.2},
    },
    "from_arrays": {
        "train": (PHOTOS, np.arange(12) % 3),
        "validation": None,
        "class_names": ("a", "b", "c"),
        "side": 16,
        "normalization": "efficientnet",
        "pad": 0,
        "hold_out": 0.3,
        "seed": 0,
    },
    "cross_fit": {
        "x": RNG.random((60, 2)),
        "y": np.arange(60) % 2,
        "groups": None,
        "missing": "error",
        "seed": 0,
        "model": None,
        "plan": None,
    },
}


@pytest.mark.parametrize("name", WHOLE)
def test_one_wrong_argument_is_told_or_taken(name):
    whole = WHOLE[name]

    @hypothesis.settings(max_examples=15)
    @hypothesis.given(st.sampled_from(list(whole)), ANY)
    def check(argument, value):
        with contextlib.suppress(UserError):
            getattr(mi, name)(**{**whole, argument: value})

    check()


RIGHT = (
    RNG.standard_normal((4, 3)).astype("f4"),
    np.arange(4) % 3,
    np.log(np.array([0.5, 0.3, 0.2], "f4")),
)


@pytest.mark.parametrize(
    ("argument", "dtype"),
    [(0, ">f4"), (0, ">f8"), (0, np.longdouble), (1, ">i4"), (1, ">i8"), (2, ">f4")],
)
def test_numbers_of_other_bytes_are_read_right(argument, dtype):
    arguments = list(RIGHT)
    arguments[argument] = arguments[argument].astype(dtype)
    for function in (mi.pc_softmax_cross_entropy, mi.pointwise_mutual_information):
        expected = np.asarray(function(*RIGHT))  # from here on JAX knows the shapes
        np.testing.assert_allclose(function(*arguments), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (RIGHT[1] + 2**40, "do not fit into 32 bits"),
        (np.ma.masked_array(RIGHT[1], RIGHT[1] > 1), "masked arrays"),
        (np.array(["a"] * 4), "must be of real numbers, not <U1"),
        (np.array([None] * 4), "must be of real numbers, not object"),
    ],
)
def test_arrays_that_jax_would_misread_are_refused(labels, words):
    mi.softmax_cross_entropy(*RIGHT[:2])
    with pytest.raises((TypeError, ValueError), match=words):
        mi.softmax_cross_entropy(RIGHT[0], labels)


@st.composite
def classified(draw):
    """Generates logits `[N, M]`, labels `[N]` and log P(y) `[M]`, -inf for some."""
    rows, classes = draw(st.sampled_from([(1, 1), (4, 2), (3, 5)]))
    size = draw(st.sampled_from([1e-3, 1.0, 30.0, 1e4, 1e30]))
    logits = draw(
        npst.arrays("f4", (rows, classes), elements=st.floats(-1, 1, width=32))
    )
    labels = draw(npst.arrays("i4", rows, elements=st.integers(0, classes - 1)))
    weights = draw(
        npst.arrays("f8", classes, elements=st.sampled_from([0, 1e-6, 1, 3]))
    )
    weights[labels] += 1e-3  # no label has a prior of 0
    with np.errstate(divide="ignore"):
        log_prior = np.log(weights / weights.sum()).astype("f4")
    return np.float32(size) * logits, labels, log_prior


def reference_pmi(logits, labels, log_prior):
    """Computes PMI in float64 by its definition."""
    logits, log_prior = logits.astype("f8"), log_prior.astype("f8")
    normalizer = special.logsumexp(logits + log_prior, axis=-1)
    return logits[np.arange(len(labels)), labels] - normalizer


@hypothesis.given(classified())
def test_pointwise_mutual_information_agrees_with_float64(example):
    logits, labels, log_prior = example
    expected = reference_pmi(*example)
    tolerance = {"rtol": 1e-5, "atol": 1e-5 * max(1, np.abs(logits).max())}
    found = np.asarray(mi.pointwise_mutual_information(logits, labels, log_prior))
    np.testing.assert_allclose(found, expected, **tolerance)
    loss = np.asarray(mi.pc_softmax_cross_entropy(logits, labels, log_prior))
    np.testing.assert_allclose(loss, -expected, **tolerance)
    bound = float(mi.variational_bound(logits, labels, log_prior))
    np.testing.assert_allclose(bound, expected.mean(), **tolerance)
    # PMI is at most log 1 / P(y).
    assert (found <= -log_prior[labels] + 1e-5 * max(1, np.abs(logits).max())).all()


@hypothesis.given(classified(), st.sampled_from(["prior", "balanced"]))
def test_decisions_have_the_highest_score_of_their_rule(example, rule):
    logits, _, log_prior = example
    decided = np.asarray(mi.optimal_decision(logits, log_prior, rule))
    assert (log_prior[decided] > -np.inf).all()
    scores = logits.astype("f8") - logits.max(-1, keepdims=True)
    scores = scores + log_prior if rule == "prior" else scores
    scores = np.where(np.isneginf(log_prior), -np.inf, scores)
    chosen = scores[np.arange(len(scores)), decided]
    # Near ties may go either way: float32 rounds, and devices read 1e-45 as 0.
    np.testing.assert_allclose(chosen, scores.max(-1), rtol=0, atol=1e-5)


BOXES = npst.arrays("f4", (4, 4), elements=st.floats(-50, 300, width=16))


@hypothesis.given(BOXES, BOXES)
def test_iou_is_symmetric_and_between_0_and_1(a, b):
    found = mi.iou(a, b)
    np.testing.assert_array_equal(found, mi.iou(b, a))
    assert ((found >= 0) & (found <= 1)).all()
    whole = (a[:, 2:] > a[:, :2]).all(1)
    np.testing.assert_array_equal(mi.iou(a, a), whole.astype("f4"))
    moved = mi.iou(a + 64, b + 64)
    np.testing.assert_allclose(moved, found, atol=1e-4)


@hypothesis.given(
    npst.arrays("f4", (3, 4, 5), elements=HOSTILE | st.floats(-5, 5, width=32)),
    st.sampled_from([1, 7, 16, (6, 20)]),
    st.sampled_from([0.0, 0.2, 0.99]),
)
def test_boxes_lie_in_the_image_and_flat_maps_give_all_of_it(maps, size, threshold):
    height, width = (size, size) if isinstance(size, int) else size
    boxes = mi.boxes_from_maps(maps, size, threshold)
    assert ((boxes[:, :2] >= 0) & (boxes[:, 2:] <= [width, height])).all()
    finite = np.isfinite(maps).all((1, 2))
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    np.testing.assert_array_equal(area > 0, finite)
    flat = finite & (maps.max((1, 2)) == maps.min((1, 2)))
    np.testing.assert_array_equal(area[flat], height * width)
    scores = mi.score_maps(maps, size)
    assert ((scores >= -1e-6) & (scores <= 1 + 1e-5)).all()


@hypothesis.given(
    npst.arrays("f4", (2, 3, 3, 4), elements=st.floats(0, 8, width=16)),
    npst.arrays("f4", (4, 5), elements=st.floats(-4, 4, width=16)),
    st.sampled_from([1, 2, 3]),
    st.sampled_from(["full", "same"]),
)
def test_maps_follow_their_equations(features, kernel, region, padding):
    labels = np.array([4, 0])
    cells = np.einsum("bhwk,km->bmhw", features, kernel, dtype="f8")
    before = region - 1 if padding == "full" else (region - 1) // 2
    after = region - 1 if padding == "full" else region // 2
    cells = np.pad(cells, [(0, 0), (0, 0), (before, after), (before, after)])
    windows = np.lib.stride_tricks.sliding_window_view(cells, (region,) * 2, (2, 3))
    every = windows.sum((-2, -1))
    own = every[[0, 1], labels]
    others = (every.sum(1) - own) / 4
    options = {"region": region, "padding": padding}
    arguments = (features, kernel, labels)
    for name, expected in (
        ("class_activation_map", own),
        ("info_cam", own - others),
        ("info_cam_plus", own - every.min(1)),
    ):
        found = getattr(mi, name)(*arguments, **options)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-3)


FILES = (REPOSITORY / "configs").glob("*.py")
CONFIGS = sorted(path.stem for path in FILES if path.stem != "common")
WRONG = [
    None,
    "words",
    -1,
    0,
    1.5,
    float("nan"),
    True,
    (),
    ("a",),
    [1],
    {"a": 1},
    10**30,
]


def check_all(config, workdir):
    """Checks all of a config that a run checks before it trains."""
    if "method" in config:  # an estimate, which checks before it reads
        commands.train(config, workdir)
        return
    check_config(config)
    options = dict(config.data)
    loader = DATASETS[choose(options.pop("name"), DATASETS, "data.name")]
    check_options(loader, options, "data")
    create_model(num_classes=10, **config.model)
    create_optimizer(config.optimizer, Span(100, 10))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_with_a_field_of_a_wrong_type_is_refused_in_one_line(name, tmp_path):
    path = f"{REPOSITORY}/configs/{name}.py"
    fields = configs.flatten(configs.load(path))
    accepted = []
    for field, right in fields.items():
        for wrong in WRONG:
            whole = type(wrong) is int and type(right) is float  # 1 for 1.0
            if type(wrong) is type(right) or whole:
                continue
            if isinstance(right, tuple) and isinstance(wrong, (tuple, list)):
                continue
            content = configs.load(path).to_dict()
            group = content
            *groups, leaf = field.split(".")
            for part in groups:
                group = group[part]
            group[leaf] = wrong
            config = ConfigDict(content)
            try:
                check_all(config, tmp_path)
            except UserError as error:
                assert "\n" not in str(error)
            except Exception as error:  # noqa: BLE001 (the assertion lists them)
                accepted.append((field, wrong, error))
            else:
                accepted.append((field, wrong))
    assert not accepted
