"""Three images of labels, boxes and features that are known, for tests of maps."""

import numpy as np

from tests.evaluation.evaluators.on_arrays import priors_of

CONFIG = {"region": 2, "padding": "full", "rival": "region", "threshold": 0.3}
KERNEL = np.eye(3, dtype=np.float32)
PRIORS = priors_of(np.full(3, 0.4))


def split_of_three():
    """Images of 8 x 16: class 1 left and 0 right; class 2 on both sides; 2 right."""
    left, right = (1, 2, 5, 6), (10, 2, 14, 6)
    none = (0, 0, 0, 0)
    cells = {left: (0, 0, 8, 8), right: (8, 0, 16, 8), none: none}
    boxes = [[left, right], [left, right], [right, none]]
    return {
        "image": np.zeros((3, 8, 16, 1), np.uint8),
        "label": np.array([[1, 1, 0], [0, 0, 1], [0, 0, 1]], np.float32),
        "box_label": np.array([[1, 0], [2, 2], [2, -1]], np.int32),
        "boxes": np.array(boxes, np.float32),
        "cells": np.array([[cells[b] for b in row] for row in boxes], np.float32),
        "num_boxes": np.array([2, 2, 1], np.int32),
    }


def features_of(split, wrong=()):
    """One channel a class, bright where the class's boxes are; `wrong` elsewhere."""
    features = np.zeros((3, 8, 16, 3), np.float32)
    for i, count in enumerate(split["num_boxes"]):
        for k in range(count):
            x0, y0, x1, y1 = split["boxes"][i, k].astype(int)
            label = split["box_label"][i, k]
            if (i, label) in wrong:
                x0, x1 = 15, 16
            features[i, y0:y1, x0:x1, label] = 1
    return features


def sure_logits(split):
    """Logits that decide for the labels of each image."""
    return np.where(split["label"] > 0, 5.0, -5.0)
