"""The small nets: their shapes and gradients, and values computed another way."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from scipy import special
from scipy.signal import correlate
from scipy.special import logsumexp

from mi_classifier import information
from mi_classifier.data import gaussian_mixture
from mi_classifier.errors import UserError
from mi_classifier.models import ModelOutput, create_model

INPUTS = {"mlp": (3, 10), "mnist_cnn": (3, 28, 28, 1), "gap_cnn": (3, 28, 56, 1)}
COUNTS = {
    "mlp": 10 * 100 + 100 + 2 * (100 * 100 + 100) + 100 * 7 + 7,
    "gap_cnn": 25 * 16
    + 16
    + 9 * 16 * 32
    + 32
    + 9 * 32 * 64
    + 64
    + 2 * (9 * 64 * 64 + 64)
    + 64 * 7
    + 7,
    "mnist_cnn": 25 * 20 + 20 + 500 * 50 + 50 + 800 * 500 + 500 + 500 * 7 + 7,
}


class ModelContractTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(*INPUTS)
    def test_contract(self, name):
        model = create_model(name, 7)
        images = jax.random.normal(jax.random.key(0), INPUTS[name])
        variables = jax.jit(model.init)(jax.random.key(1), images)
        output = self.variant(model.apply)(variables, images)
        assert isinstance(output, ModelOutput)
        chex.assert_shape(output.logits, (3, 7))
        pooled = output.features
        if name == "gap_cnn":
            chex.assert_shape(pooled, (3, 7, 14, 64))
            pooled = pooled.mean((1, 2))
        chex.assert_rank(pooled, 2)
        head = variables["params"]["head"]
        chex.assert_shape(head["kernel"], (pooled.shape[-1], 7))
        chex.assert_trees_all_close(
            output.logits, pooled @ head["kernel"] + head["bias"], atol=1e-5
        )
        assert (output.features >= 0).all()  # after the last ReLU
        count = sum(x.size for x in jax.tree.leaves(variables))
        assert count == COUNTS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", INPUTS)
def test_gradients_reach_every_parameter(name):
    model = create_model(name, 7)
    images = jax.random.normal(jax.random.key(0), (16, *INPUTS[name][1:]))
    variables = jax.jit(model.init)(jax.random.key(1), images)
    loss = jax.grad(lambda v: (model.apply(v, images).logits ** 2).sum())
    gradients = jax.jit(loss)(variables)
    chex.assert_tree_all_finite(gradients)
    assert all(np.any(x != 0) for x in jax.tree.leaves(gradients))


def test_the_cnn_equals_one_written_with_scipy():
    model = create_model("mnist_cnn", 10)
    images = np.random.default_rng(0).standard_normal((2, 16, 16, 1))
    variables = jax.jit(model.init)(jax.random.key(1), images)
    params = jax.tree.map(np.float64, variables["params"])
    x = images
    for name in ("conv0", "conv1"):
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        maps = [
            [
                sum(
                    correlate(image[..., c], kernel[..., c, o], "valid")
                    for c in range(x.shape[-1])
                )
                for o in range(kernel.shape[-1])
            ]
            for image in x
        ]
        x = np.maximum(np.moveaxis(maps, 1, -1) + bias, 0)
        corners = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        x = np.maximum.reduce(corners)
    x = x.reshape(len(x), -1)
    x = np.maximum(x @ params["hidden"]["kernel"] + params["hidden"]["bias"], 0)
    logits = x @ params["head"]["kernel"] + params["head"]["bias"]
    output = jax.jit(model.apply)(variables, images)
    np.testing.assert_allclose(output.features, x, atol=1e-4)
    np.testing.assert_allclose(output.logits, logits, atol=1e-4)


def published_weights(reference):
    """Return the authors' nets if they are here, else generated ones."""
    path = reference and reference / "reference" / "published_mlp.npz"
    if path and path.is_file():
        tensors = dict(np.load(path))
        return lambda setting, dim: {
            name: tensors[f"{setting}/{dim}/{name}"]
            for name in (
                f"fc{i}.{kind}" for i in range(1, 5) for kind in ("weight", "bias")
            )
        }

    def generate(setting, dim):
        generator = np.random.default_rng([len(setting), dim])
        sizes = [dim, 100, 100, 100, 5]
        weights = {}
        for i in range(1, 5):
            shape = (sizes[i], sizes[i - 1])
            weights[f"fc{i}.weight"] = generator.standard_normal(shape) / np.sqrt(
                shape[1]
            )
            weights[f"fc{i}.bias"] = 0.1 * generator.standard_normal(shape[0])
        return weights

    return generate


# The bounds of the authors' weights, in nats, by dimension (RECIPES.md).
PUBLISHED = {
    "balanced_softmax": {1: 0.989, 2: 1.285, 5: 1.482, 10: 1.539},
    "unbalanced_pc_softmax": {1: 0.942, 2: 1.208, 5: 1.318, 10: 1.339},
    "unbalanced_softmax": {1: 1.113, 2: 1.316, 5: 1.419, 10: 1.366},
}


@pytest.mark.slow
@pytest.mark.parametrize("dim", [1, 2, 5, 10])
@pytest.mark.parametrize("setting", PUBLISHED)
def test_published_weights_give_the_published_bound(setting, dim, reference):
    """Compare with float64 on some examples, and with the paper's program on many."""
    weights = published_weights(reference)(setting, dim)
    names = ("hidden0", "hidden1", "hidden2", "head")
    params = {
        name: {"kernel": weights[f"fc{i}.weight"].T, "bias": weights[f"fc{i}.bias"]}
        for i, name in enumerate(names, 1)
    }
    counts = np.array(
        gaussian_mixture.BALANCED
        if setting.startswith("balanced")
        else gaussian_mixture.UNBALANCED
    )
    published = reference and (reference / "reference" / "published_mlp.npz").is_file()
    generator = np.random.default_rng(0)
    count = 500_000 if published else 20_000
    labels = generator.choice(5, count, p=counts / counts.sum())
    split = gaussian_mixture.sample(labels, dim, generator)
    # The paper's softmax column adds log M for any prior.
    uses_prior = setting == "unbalanced_pc_softmax"
    prior = counts / counts.sum() if uses_prior else np.full(5, 0.2)
    model = create_model("mlp", 5)
    logits = jax.jit(model.apply)({"params": params}, split["image"]).logits
    pmi = information.pointwise_mutual_information(logits, labels, np.log(prior))

    x, labels = split["image"][:20_000].astype(np.float64), labels[:20_000]
    for name in names:
        x = x @ params[name]["kernel"] + params[name]["bias"]
        x = np.maximum(x, 0) if name != "head" else x
    expected = x[np.arange(len(x)), labels] - logsumexp(x, axis=-1, b=prior)
    np.testing.assert_allclose(pmi[:20_000], expected, atol=2e-3)
    assert abs(pmi[:20_000].mean() - expected.mean()) < 1e-4
    if published:
        assert abs(pmi.mean() - PUBLISHED[setting][dim]) < 0.005


def test_wrong_names_and_options_are_named():
    with pytest.raises(UserError, match=r"model\.name: unknown value 'mpl'.*'mlp'"):
        create_model("mpl", 5)
    with pytest.raises(UserError, match=r"model\.hiden: .*did you mean 'hidden'"):
        create_model("mlp", 5, hiden=(3,))
    with pytest.raises(UserError, match="num_classes: must be a whole number >= 1"):
        create_model("mlp", 0)
    for hidden in ((100, 0), (100.0,), 100, (True,)):
        with pytest.raises(UserError, match=r"model\.hidden: must be positive whole"):
            create_model("mlp", 5, hidden=hidden)


@pytest.mark.slow
def test_label_noise_is_a_channel_after_the_true_class():
    """For any image, the labels' distribution is a mixture of the channel's rows."""
    model = create_model("mnist_cnn", 4, label_noise=True)
    images = np.random.default_rng(0).standard_normal((6, 16, 16, 1), np.float32)
    params = jax.jit(model.init)(jax.random.key(0), images)["params"]
    plain = {k: v for k, v in params.items() if k != "confusion"}
    cnn = create_model("mnist_cnn", 4)
    logits = jax.jit(cnn.apply)({"params": plain}, images).logits
    channel = special.softmax(10 * np.asarray(params["confusion"]["kernel"]), axis=1)
    expected = special.softmax(np.asarray(logits), axis=1) @ channel

    @jax.jit
    def evaluate(params):
        def logit(params):
            output = model.apply({"params": params}, images)
            return output.logits[:, 1].sum(), output.logits

        return jax.grad(logit, has_aux=True)(params)

    _, noisy = evaluate(params)
    np.testing.assert_allclose(np.exp(noisy), expected, rtol=1e-5)
    # Certainty about the class does not make the label more certain.
    params["head"] = params["head"] | {"bias": jnp.array([1e4, 0, 0, 0])}
    gradient, sure = evaluate(params)
    np.testing.assert_allclose(np.exp(sure), np.tile(channel[0], (6, 1)), rtol=1e-4)
    chex.assert_tree_all_finite(gradient)


def test_a_cell_of_the_gap_cnn_sees_a_whole_digit():
    model = create_model("gap_cnn", 10)
    images = jax.random.uniform(jax.random.key(0), (1, 80, 80, 1))
    variables = jax.jit(model.init)(jax.random.key(1), images)

    def cell(images):
        return model.apply(variables, images).features[0, 10, 10].sum()

    seen = np.asarray(jax.jit(jax.grad(cell))(images))[0, ..., 0] != 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    for line in (rows, columns):
        assert 28 <= line[-1] - line[0] + 1 <= 36
        assert line[0] <= 41 - 14 and line[-1] >= 41 + 14  # around its middle
