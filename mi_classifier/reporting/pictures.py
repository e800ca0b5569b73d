"""Pictures of maps and boxes on images of a data set (Figures 2, 3, 4 and 9)."""

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.figure import Figure

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS
from mi_classifier.data import Dataset
from mi_classifier.evaluation.targets import find_targets, labels_of
from mi_classifier.reporting import figures

_ROWS = 6


def localized(
    images: Iterable[np.ndarray],
    titles: Iterable[str],
    true_boxes: Iterable[np.ndarray],
    maps: Mapping[str, np.ndarray],
    threshold: float,
) -> list[figures.Localized]:
    """Returns images with their maps and boxes, ready to be drawn.

    Args:
      images: B uint8 images `[H, W, C]`.
      titles: what is looked for in each.
      true_boxes: `[G, 4]` of each, G any number.
      maps: by title, `[B, h, w]`.
      threshold: of `localization.boxes_from_maps`.
    """
    images = list(images)
    size = images[0].shape[:2]
    found = {
        title: (
            localization.score_maps(array, size),
            localization.boxes_from_maps(array, size, threshold),
        )
        for title, array in maps.items()
    }
    return [
        figures.Localized(
            image=image,
            title=title,
            true_boxes=boxes,
            found={name: (scores[i], b[i]) for name, (scores, b) in found.items()},
        )
        for i, (image, title, boxes) in enumerate(
            zip(images, titles, true_boxes, strict=True)
        )
    ]


def draw_test_images(
    dataset: Dataset, maps: Mapping[str, np.ndarray], threshold: float
) -> Figure:
    """Draws some test images, one label of each: its maps, true and found boxes.

    Args:
      dataset: with a "test" split.
      maps: of its images and labels `[N, G, h, w]`, by a name among
        `activation_maps.MAPS`.
      threshold: of `localization.boxes_from_maps`.
    """
    split = dataset.splits["test"]
    targets = find_targets(split)
    if not len(targets.rows):
        targets = find_targets(split, all_images=True)
    # The first label of each image, and images from all over the split, because they
    # may be in the order of their classes.
    _, firsts = np.unique(targets.rows, return_index=True)
    places = np.linspace(0, len(firsts) - 1, min(_ROWS, len(firsts))).astype(int)
    chosen = firsts[places]
    rows, columns = targets.rows[chosen], targets.columns[chosen]
    names = [dataset.class_names[label] for label in labels_of(split)[rows, columns]]
    some = localized(
        split["image"][rows],
        [f"label {name}" for name in names],
        [targets.truths["boxes"][i][: targets.num_boxes[i]] for i in chosen],
        {MAPS[n].title: array[rows, columns] for n, array in maps.items()},
        threshold,
    )
    return figures.localization(some, f"{dataset.name}: test images and their boxes")
