import json

import chex
import jax
import numpy as np
import pytest
from scipy.special import logsumexp

from mi_classifier import evaluation, parallel
from mi_classifier.storage import workdirs
from mi_classifier.data import load_dataset
from mi_classifier.errors import UserError
from mi_classifier.evaluation import summary
from mi_classifier.models import create_model
from mi_classifier.training import train


@pytest.fixture(scope="module")
def untrained():
    dataset = load_dataset(
        {"name": "gaussian_mixture", "dim": 2, "balanced": False, "seed": 0}
    )
    model = create_model("mlp", 5, hidden=(16,))
    params = model.init(jax.random.key(0), dataset.example_input())
    return dataset, model, parallel.replicate(params)


def test_figures_do_not_depend_on_the_batch_size(untrained):
    dataset, model, variables = untrained
    figures = [
        evaluation.make_evaluation(
            model, dataset, evaluation.for_dataset(dataset, "pc_softmax"), batch_size
        )(variables, "test")
        for batch_size in (9_000, 1_000, 777, 100_000)
    ]
    assert {f["num_examples"] for f in figures} == {9_000}
    for other in figures[1:]:
        chex.assert_trees_all_close(
            jax.tree.map(
                np.asarray, {k: figures[0][k] for k in ("information", "truth")}
            ),
            jax.tree.map(np.asarray, {k: other[k] for k in ("information", "truth")}),
            rtol=1e-5,
        )
        np.testing.assert_equal(figures[0]["accuracy"], other["accuracy"])


def test_figures_are_those_of_numpy(untrained):
    dataset, model, variables = untrained
    figures = evaluation.make_evaluation(
        model, dataset, evaluation.for_dataset(dataset, "pc_softmax"), 1_000
    )(variables, "validation")
    split = dataset.splits["validation"]
    labels, rows = split["label"], np.arange(len(split["label"]))
    prior = np.bincount(labels) / len(labels)
    logits = np.float64(model.apply(variables, split["image"]).logits)
    pmi = logits[rows, labels] - logsumexp(logits, axis=-1, b=prior)
    bound = figures["information"]["mutual_information"]
    np.testing.assert_allclose(bound["nats"], pmi.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        bound["standard_error"], pmi.std(ddof=1) / np.sqrt(len(pmi)), rtol=1e-5
    )
    means = np.array([0, 2, -2, 4, -4.0])
    density = -0.5 * ((split["image"][:, None] - means[:, None]) ** 2).sum(-1)
    truth = density[rows, labels] - logsumexp(density, axis=-1, b=prior)
    np.testing.assert_allclose(
        figures["truth"]["mutual_information"]["nats"], truth.mean(), rtol=1e-5
    )
    error = figures["truth"]["error"]
    np.testing.assert_allclose(error["nats"], (pmi - truth).mean(), atol=1e-5)
    np.testing.assert_allclose(
        error["standard_error"],
        (pmi - truth).std(ddof=1) / np.sqrt(len(pmi)),
        rtol=1e-4,
    )
    np.testing.assert_allclose(
        figures["truth"]["balanced"]["micro"], (density.argmax(-1) == labels).mean()
    )


def test_a_workdir_alone_is_enough(tiny_config, tmp_path, capsys):
    config = tiny_config("mnist", "unbalanced,pc_softmax")
    train(config, tmp_path / "run")
    figures = evaluation.evaluate(tmp_path / "run")
    written = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())
    assert written["splits"].keys() == {"validation", "test", "authors_test"}
    test = written["splits"]["test"]
    assert test["num_examples"] == 100
    assert set(test["accuracy"]) == {"prior", "balanced", "paper_rule"}
    assert len(test["accuracy"]["prior"]["per_class"]) == 10
    assert test["information"]["mutual_information"]["nats"] == pytest.approx(
        figures["splits"]["test"]["information"]["mutual_information"]["nats"]
    )
    printed = capsys.readouterr().out
    assert "mutual information" in printed and "balanced rule *" in printed
    assert "test accuracy by class" in printed


def test_the_best_epoch_is_the_one_evaluated(tiny_config, tmp_path):
    """The figures of the best epoch's row, not of the last one's."""
    config = tiny_config(num_epochs=4)
    config.optimizer.learning_rate = 0.3  # so high that the bound goes up and down
    config.optimizer.schedule = "constant"
    train(config, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    scores = [row["validation_mutual_information"] for row in rows]
    figures = evaluation.evaluate(tmp_path)
    assert figures["epoch"] == 1 + int(np.argmax(scores))
    assert figures["splits"]["validation"]["information"]["mutual_information"][
        "nats"
    ] == pytest.approx(max(scores), rel=1e-6)


def test_no_checkpoint_yet(tiny_config, tmp_path):
    from mi_classifier.storage import workdirs

    workdirs.open_for(tiny_config(), tmp_path / "run")
    with pytest.raises(UserError, match="no checkpoint yet"):
        evaluation.evaluate(tmp_path / "run")


def test_table_of_many_classes_shows_the_lowest():
    accuracy = {
        "micro": 0.5,
        "macro": 0.5,
        "per_class": np.append(np.linspace(0, 1, 29), np.nan),
    }
    split = {
        "num_examples": 3,
        "information": {
            "mutual_information": {"nats": 1.0, "bits": 2.0, "standard_error": 0.1},
            "label_entropy": 1.0,
            "cross_entropy": 1.0,
        },
        "accuracy": {"prior": accuracy, "balanced": accuracy, "paper_rule": "prior"},
    }
    names = [f"class{i}" for i in range(30)]
    figures = {"dataset": "d", "loss": "l", "epoch": 1, "splits": {"test": split}}
    figures["true_mutual_information"] = None
    _, by_class = summary.evaluation_tables(figures | {"class_names": names})
    shown = [name for name, *_ in by_class.rows]
    assert shown == [f"class{i}" for i in range(20)]


def test_an_ablation_needs_boxes(tiny_config, tmp_path):
    workdirs.open_for(tiny_config(), tmp_path)
    with pytest.raises(UserError, match="--ablation: gaussian_mixture has no boxes"):
        evaluation.evaluate(tmp_path, ablation=True)
