"""Figure 4: what each map keeps of an image with several labels; the rest is erased."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS
from mi_classifier.data import Dataset
from mi_classifier.evaluation.targets import find_targets, target_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Section 6.3 takes each label as a binary classification. The difference of its PMI,
# present minus absent, is the label's own logit, so infoCAM of one label is CAM with
# regions. `info_cam` subtracts other labels, as if the labels excluded each other.
TITLES = {
    "cam_region": "infoCAM of the label alone",
    "info_cam": "infoCAM minus the other labels",
}
_IMAGES = 4  # in a figure
_GRAY = 96  # of what is erased; digits are white on black


def title_of(name: str, settings: Mapping[str, Any]) -> str:
    """Return the title of a map where an image may have several labels.

    Args:
      name: a key of `activation_maps.MAPS`.
      settings: the config's group "localization".

    Examples:
      >>> settings = {"region": 3, "rival": "region"}
      >>> title_of("cam", settings), title_of("cam_region", settings)
      ('CAM', 'infoCAM of the label alone')
    """
    entry = MAPS[name]
    title = TITLES.get(name, entry.title)
    return dataclasses.replace(entry, title=title).title_with(settings)


def erase(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """Return an image with every pixel outside of a box in gray.

    Args:
      image: uint8 `[H, W, C]`.
      box: half-open `(x0, y0, x1, y1)` in its pixels, rounded to whole ones.

    Examples:
      >>> erase(np.zeros((1, 3, 1), np.uint8), (1, 0, 2, 1))[0, :, 0].tolist()
      [96, 0, 96]
    """
    x0, y0, x1, y1 = np.rint(box).astype(int)
    kept = np.full_like(image, _GRAY)
    kept[y0:y1, x0:x1] = image[y0:y1, x0:x1]
    return kept


def draw_test_images(
    dataset: Dataset, maps: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> "Figure":
    """Draw some test images, once for each of their labels and maps.

    Args:
      dataset: its test split has boxes with labels.
      maps: of the labels of all test images, `[N, G, h, w]`, by the map's name.
      settings: the config's group "localization"; boxes at its threshold are kept.
    """
    # Importing Matplotlib takes a third of a second, and titles do not need it.
    from matplotlib.figure import Figure

    from mi_classifier.reporting.figures import plain

    split = dataset.splits["test"]
    targets = find_targets(split)
    with_labels = np.unique(targets.rows)
    places = np.linspace(0, len(with_labels) - 1, min(_IMAGES, len(with_labels)))
    chosen = np.flatnonzero(np.isin(targets.rows, with_labels[places.astype(int)]))
    images = split["image"][targets.rows[chosen]]
    size = height, width = images.shape[1:3]
    columns = {"image": images}
    for name, array in maps.items():
        own = targets.of(array)[chosen]
        boxes = localization.boxes_from_maps(own, size, settings["threshold"])
        columns[title_of(name, settings)] = list(map(erase, images, boxes))
    names = np.array(target_names(targets, split, dataset.class_names))[chosen]
    inches = (2.2 * len(columns), max(2.2 * height / width, 1.1) * len(chosen) + 0.9)
    figure = Figure(figsize=inches, layout="constrained")
    axes = figure.subplots(len(chosen), len(columns), squeeze=False)
    for (title, shown), line in zip(columns.items(), axes.T, strict=True):
        line[0].set_title(plain(title), fontsize=9, wrap=True)
        for image, axis in zip(shown, line, strict=True):
            axis.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, "gray")
            axis.images[0].set_clim(0, 255)
            axis.set(xticks=[], yticks=[])
    for name, axis in zip(names, axes[:, 0], strict=True):
        axis.set_ylabel(plain(f"label {name}"), fontsize=8)
    what = f"{dataset.name}: what each map keeps of a label; gray is erased"
    figure.suptitle(plain(what), fontsize=10)
    return figure
