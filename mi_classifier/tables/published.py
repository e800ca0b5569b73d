"""The results that the paper reports; nothing else in the package has them."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from mi_classifier.reporting.summary import Published

# Mutual information in nats, accuracy in percent.
TABLE_2: dict[str, dict[str, tuple[float, ...]]] = {
    "balanced": {
        "monte_carlo": (1.03, 1.30, 1.54, 1.60),
        "mine": (1.00, 1.22, 1.46, 1.54),
        "softmax": (0.99, 1.28, 1.48, 1.54),
        "softmax_accuracy": (74, 85, 94, 98),
    },
    "unbalanced": {
        "monte_carlo": (1.02, 1.23, 1.44, 1.48),
        "mine": (0.99, 1.17, 1.27, 1.22),
        "softmax": (1.11, 1.31, 1.41, 1.36),
        "pc_softmax": (0.96, 1.20, 1.31, 1.34),
        "softmax_accuracy": (79, 87, 93, 95),
        "pc_softmax_accuracy": (79, 88, 95, 96),
    },
}
# Table 3: micro and macro accuracy in percent; softmax, PC-softmax.
TABLE_3 = {
    "balanced": {"micro": (97.95, 97.91), "macro": (97.95, 97.91)},
    "unbalanced": {"micro": (96.81, 96.86), "macro": (95.05, 96.30)},
}
TABLE_3_CUB = {
    "balanced": {"micro": (89.23, 89.18), "macro": (89.21, 89.16)},
    "unbalanced": {"micro": (89.21, 89.73), "macro": (84.63, 87.69)},
}
# Table 5: accuracy by digit in percent, and localization accuracy by an unstated rule.
TABLE_5 = {
    "sigmoid": (100, 84, 86, 94, 89, 87, 87, 86, 100, 100),
    "pc_sigmoid": (100,) * 10,
}
# By the map that Section 6.3 describes: infoCAM of one label is CAM with regions.
TABLE_5_LOCALIZATION = {"cam": 91, "cam_region": 98}
VGG, RESNET, CUB, TINY = "vgg16_gap", "resnet50", "cub200", "tiny_imagenet"
# By backbone, data and ADL, in percent: top-1 and top-5 classification; then GT-known
# and Top-1 localization of CAM, infoCAM and infoCAM+ (Tables 6 and 7).
TABLES_6_7 = {
    (VGG, CUB, False): (73.97, 91.83, 42.49, 31.38, 52.96, 39.79, 59.43, 44.40),
    (VGG, CUB, True): (71.05, 90.20, 71.59, 53.01, 73.35, 53.80, 75.89, 54.35),
    (RESNET, CUB, False): (80.54, 94.09, 61.66, 50.84, 64.78, 53.22, 68.99, 55.83),
    (RESNET, CUB, True): (79.22, 94.02, 57.83, 46.56, 67.75, 54.71, 69.63, 55.20),
    (VGG, TINY, False): (55.25, 79.19, 53.49, 33.48, 55.50, 34.27, 55.25, 34.27),
    (VGG, TINY, True): (52.48, 78.75, 52.75, 32.26, 53.95, 33.05, 53.91, 32.94),
    (RESNET, TINY, False): (66.45, 86.22, 54.56, 40.55, 57.79, 43.34, 57.71, 43.07),
    (RESNET, TINY, True): (63.21, 83.47, 52.66, 36.88, 54.18, 37.79, 53.70, 37.71),
}
# By data: how the paper's protocol differs, and what trivial boxes reach by it.
PROTOCOLS = {
    TINY: "The paper's Tiny-ImageNet results are not comparable with results on the "
    "true boxes: the authors' program reads the corners x0, y0, x1, y1 of a box as x, "
    "y, width and height. Two thirds of these boxes leave the image. By its rule, the "
    "whole image scores 54.7, and a net that finds every true box 68.5.",
}
# GT-known and Top-1 localization with neither, the subtraction alone, and the region
# alone (Table 8; its second half is Tiny-ImageNet's, although its caption says CUB).
TABLE_8 = {
    (VGG, CUB, False): (42.49, 31.38, 47.59, 35.01, 53.40, 40.19),
    (VGG, CUB, True): (71.59, 53.01, 75.78, 54.28, 73.56, 53.94),
    (RESNET, TINY, False): (54.56, 40.55, 54.29, 40.51, 57.73, 43.34),
    (RESNET, TINY, True): (52.66, 36.88, 52.52, 37.08, 54.15, 37.76),
}


def protocol(config: ConfigDict) -> str:
    """Return how the paper's protocol differs from that of a config, or "".

    Examples:
      >>> protocol(ConfigDict({"data": {"name": "cub200"}}))
      ''
    """
    note = PROTOCOLS.get(config.data.name, "")
    if config.data.get("boxes") == "published":
        return f"{note} These results of ours are on such boxes, too."
    return note


def pair(values: Sequence[float] | None) -> str:
    """Return the text of the paper's values in a cell, such as "42.49/31.38"."""
    return "/".join(f"{value:.2f}" for value in values or ())


def localization(config: ConfigDict, num_classes: int) -> Published | None:
    """Return the paper's results of a config's net, in percent, if it has that net.

    The paper's data sets have 200 classes.
    """
    model, data = config.model, config.data
    key = (model.name, data.name, bool(model.get("adl")))
    if key not in TABLES_6_7 or num_classes != 200 or model.get("width", 64) != 64:
        return None
    values, ablation = TABLES_6_7[key], TABLE_8.get(key, ())
    classification, *maps = zip(values[::2], values[1::2], strict=True)
    ablation = zip(ablation[::2], ablation[1::2], strict=True)
    return Published(
        classification,
        dict(zip(("cam", "info_cam", "info_cam_plus"), maps, strict=True)),
        dict(zip(("neither", "subtraction", "region"), ablation, strict=False)),
        protocol(config),
    )
