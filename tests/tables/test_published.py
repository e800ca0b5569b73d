"""The paper's results are shown only beside the experiments that the paper has."""

from mi_classifier import config as configs
from mi_classifier.tables import published


def test_a_run_of_the_papers_setting_has_the_papers_results():
    theirs = published.localization(configs.get_config("cub_vgg:adl"), 200)
    assert theirs.classification == (71.05, 90.20)
    assert theirs.maps["info_cam_plus"] == (75.89, 54.35)
    assert theirs.ablation["subtraction"] == (75.78, 54.28)


def test_other_runs_have_none():
    config = configs.get_config("cub_vgg")
    assert published.localization(config, 4) is None
    config.model.width = 16
    assert published.localization(config, 200) is None
    assert published.localization(configs.get_config("gmm"), 200) is None


def test_the_protocol_of_tiny_imagenet_is_told():
    config = configs.get_config("tiny_imagenet_vgg")
    assert "x, y, width and height" in published.protocol(config)
    config.data.boxes = "published"
    assert published.protocol(config).endswith("on such boxes, too.")
    assert published.protocol(configs.get_config("cub_vgg")) == ""
