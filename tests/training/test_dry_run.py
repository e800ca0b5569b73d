"""The dry run finds mistakes in a config before any image is decoded."""

import pytest

from mi_classifier import get_config
from mi_classifier.errors import UserError
from mi_classifier.training import train
from mi_classifier.training.dry_run import check_step


def image_config(reference="cub_resnet", **changes):
    config = get_config(reference)
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
def test_mistakes_are_found_before_the_data_is_read(changes, message, tmp_path):
    missing = {"data.archive_path": str(tmp_path / "none.tgz")}
    with pytest.raises(UserError, match=message):
        train(image_config(**missing, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "reference",
    [
        "cub_vgg:adl",
        "cub_resnet:adl",
        "tiny_imagenet_vgg",
        "cub_inception",
        "cub_inception:authors,unbalanced",
    ],
)
def test_configs_of_the_paper_pass(reference):
    check_step(image_config(reference), starts=True)


@pytest.mark.slow
def test_a_resumed_run_does_not_read_its_pretrained_weights_again():
    check_step(image_config(pretrained="none.safetensors"), starts=False)
