import pytest

from mi_classifier import config as configs
from mi_classifier.errors import UserError
from mi_classifier.training import loop, train
from mi_classifier.training.dry_run import check_step
from tests.conftest import REPOSITORY


def image_config(reference="cub_resnet", **changes):
    name, _, words = reference.partition(":")
    path = f"{REPOSITORY}/configs/{name}.py" + (f":{words}" if words else "")
    config = configs.load(path)
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.dtype": "floot"}, "model: .*'floot'"),
        ({"model.width": 0}, "model: "),
        ({"loss": "sigmoid"}, "loss: an example of this data set has one label"),
        ({"data.side": 16}, "model: resnet50 needs images of 32 pixels"),
        ({"data.side": 300}, "data.side: "),
        ({"data.normalization": "imagnet"}, "data.normalization: "),
        ({"optimizer.full_rate": ("layer5",)}, "optimizer.full_rate: .*'layer5'"),
        ({"pretrained": "none.safetensors"}, "pretrained: no such file"),
    ],
)
def test_mistakes_come_before_any_image_is_decoded(
    changes, message, monkeypatch, tmp_path
):
    monkeypatch.setattr(loop, "load_dataset", lambda _: pytest.fail("decodes"))
    with pytest.raises(UserError, match=message):
        train(image_config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "reference",
    ["cub_vgg:adl", "cub_resnet:adl", "tiny_imagenet_vgg", "cub_inception"],
)
def test_what_can_be_trained_passes(reference):
    check_step(image_config(reference), starts=True)


def test_weights_are_not_read_again_by_a_run_that_goes_on():
    check_step(image_config(pretrained="none.safetensors"), starts=False)
