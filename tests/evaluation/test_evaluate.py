"""A trained net is evaluated from its workdir alone; nothing is printed or written."""

import dataclasses
import json

import numpy as np
import pytest

from mi_classifier import losses, training
from mi_classifier.activation_maps import MAPS
from mi_classifier.errors import UserError
from mi_classifier.evaluation import ablate_net, evaluate_net, load_net
from mi_classifier.losses import Loss, pc_softmax_cross_entropy


def files_below(folder):
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if not path.name.startswith(".")
    }


@pytest.mark.slow
def test_evaluation_prints_nothing_and_writes_nothing(trained_images, capsys):
    net = load_net(trained_images)
    before = files_below(trained_images.parent)
    capsys.readouterr()
    evaluation = evaluate_net(net)
    ablate_net(net)
    assert capsys.readouterr() == ("", "")
    assert files_below(trained_images.parent) == before
    test = evaluation.results.splits["test"]
    assert test.num_examples == 8
    for frozen in (evaluation, evaluation.results, test, *test.found.values()):
        field = dataclasses.fields(frozen)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(frozen, field, None)


@pytest.mark.slow
def test_results_equal_metrics_json(trained_digits):
    results = evaluate_net(load_net(trained_digits)).results
    written = json.loads((trained_digits / "evaluation" / "metrics.json").read_text())
    assert written["splits"].keys() == results.splits.keys() == {"validation", "test"}
    for name, split in results.splits.items():
        bound = written["splits"][name]["information"]["mutual_information"]
        assert bound == pytest.approx(
            dataclasses.asdict(split["information"].mutual_information)
        )
        maps = written["splits"][name]["localization"]["maps"]
        assert list(maps) == [*MAPS]
        for key, found in split["localization"].maps.items():
            assert maps[key]["gt_known"] == pytest.approx(found.gt_known)


@pytest.mark.slow
def test_the_best_epoch_is_evaluated_not_the_last(tiny_config, tmp_path):
    config = tiny_config(num_epochs=4)
    config.optimizer.learning_rate = 0.3  # so high that the bound goes up and down
    config.optimizer.schedule = "constant"
    training.train(config, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    scores = [row["validation_mutual_information"] for row in rows]
    results = evaluate_net(load_net(tmp_path)).results
    assert results.epoch == 1 + int(np.argmax(scores))
    bound = results.splits["validation"]["information"].mutual_information
    assert bound.nats == pytest.approx(max(scores), rel=1e-6)


@pytest.mark.slow
def test_pc_softmax_registered_by_another_name_gives_the_same_results(
    tiny_config, tmp_path, monkeypatch
):
    monkeypatch.setitem(
        losses.LOSSES, "other", Loss(pc_softmax_cross_entropy, True, False)
    )
    contents = []
    for name in ("pc_softmax", "other"):
        config = tiny_config(num_epochs=1, loss=name)
        config.data.fresh = False
        training.train(config, tmp_path / name)
        evaluation = evaluate_net(load_net(tmp_path / name))
        contents.append(evaluation.results.to_dict())
        assert contents[-1].pop("loss") == name
    np.testing.assert_equal(contents[1], contents[0])
    assert contents[0]["splits"]["test"]["accuracy"]["paper_rule"] == "balanced"


@pytest.mark.slow
def test_a_net_without_maps_has_no_ablation(trained_digits):
    net = load_net(trained_digits)
    config = net.config.copy_and_resolve_references()
    with config.unlocked():
        del config.localization
    with pytest.raises(UserError, match=r"--ablation.*has no boxes in its validation"):
        ablate_net(dataclasses.replace(net, config=config))
