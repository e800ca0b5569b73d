"""Pictures of images with their maps and boxes (Figures 2, 3, 4 and 9)."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS
from mi_classifier.data import Dataset
from mi_classifier.evaluation.targets import find_targets, target_names
from mi_classifier.reporting.figures import COLORS, plain

_ROWS = 6  # test images in a picture
_TRUE = {"edgecolor": COLORS[1], "linestyle": "dashed"}
_FOUND = {"edgecolor": "white", "linestyle": "solid"}
_UNDER = patheffects.withStroke(linewidth=3, foreground="black")  # of every line
# Share of the longer side; half of the black line's width, as pictures are 2 inches.
_INSET = 0.01


def draw(
    images: Sequence[np.ndarray],
    labels: Sequence[str],
    true_boxes: Sequence[np.ndarray],
    maps: Mapping[str, np.ndarray],
    threshold: float,
    title: str,
) -> Figure:
    """Draw B uint8 images `[H, W, C]`, each in a row with its maps and their boxes.

    `labels` are the texts beside the images, `true_boxes` `[G, 4]` for each, and `maps`
    `[B, h, w]` by their title. `threshold` is that of `localization.boxes_from_maps`.
    """
    size = height, width = images[0].shape[:2]
    scores = [localization.score_maps(array, size) for array in maps.values()]
    find = localization.boxes_from_maps
    boxes = [find(array, size, threshold) for array in maps.values()]
    row_height = max(2.2 * height / width, 1.1)
    inches = (2.2 * (1 + len(maps)), row_height * len(images) + 0.9)
    figure = Figure(figsize=inches, layout="constrained")
    axes = figure.subplots(len(images), 1 + len(maps), squeeze=False)
    for i, (image, line) in enumerate(zip(images, axes, strict=True)):
        shown = image[..., 0] if image.shape[-1] == 1 else image
        for axis, name in zip(line, ["image", *maps], strict=True):
            axis.imshow(shown, cmap="gray", vmin=0, vmax=255)
            axis.set_title(plain(name), fontsize=9)
            axis.set(xticks=[], yticks=[])
        for axis, score, box in zip(line[1:], scores, boxes, strict=True):
            axis.imshow(score[i], cmap="viridis", vmin=0, vmax=1, alpha=0.55)
            _draw_boxes(axis, box[i][None], size, "found box", **_FOUND)
        for axis in line:  # dashes over the found box show both where they are equal
            _draw_boxes(axis, true_boxes[i], size, "true box", **_TRUE)
        line[0].set_ylabel(plain(labels[i]), fontsize=8)
    handles, names = axes[0, -1].get_legend_handles_labels()
    by_name = dict(zip(names, handles, strict=True))
    style = {"ncols": 2, "fontsize": 8, "facecolor": "0.6"}
    place = "outside lower center"
    figure.legend(by_name.values(), by_name.keys(), loc=place, **style)
    if title:
        figure.suptitle(plain(title), fontsize=10)
    return figure


def with_aspect(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Stretch an image `[H, W, C]` to the aspect of a size (width, height).

    Nets see photos as squares. The longer side stays; the shorter one is at least a
    third of it.

    Examples:
      >>> with_aspect(np.zeros((224, 224, 3), np.uint8), (400, 300)).shape
      (168, 224, 3)
    """
    shares = np.clip(np.array(size) / max(size), 1 / 3, 1)
    width, height = np.maximum(shares * max(image.shape[:2]), 1).round().astype(int)
    stretched = cv2.resize(
        image, (int(width), int(height)), interpolation=cv2.INTER_AREA
    )
    return stretched.reshape(height, width, image.shape[2])


def draw_test_images(
    dataset: Dataset, maps: Mapping[str, np.ndarray], threshold: float
) -> Figure:
    """Draw a label of some test images; `maps`, by name, are of all `[N, G, h, w]`."""
    split = dataset.splits["test"]
    targets = find_targets(split)
    if not len(targets.rows):
        targets = find_targets(split, all_images=True)
    # The images may be in the order of their classes: take some from all over.
    _, firsts = np.unique(targets.rows, return_index=True)
    places = np.linspace(0, len(firsts) - 1, min(_ROWS, len(firsts))).astype(int)
    chosen = firsts[places]
    names = target_names(targets, split, dataset.class_names)
    return draw(
        split["image"][targets.rows[chosen]],
        [f"label {names[i]}" for i in chosen],
        [targets.truths["boxes"][i, : targets.num_boxes[i]] for i in chosen],
        {MAPS[name].title: targets.of(array)[chosen] for name, array in maps.items()},
        threshold,
        f"{dataset.name}: test images and their boxes",
    )


def _draw_boxes(
    axis: Axes, boxes: np.ndarray, size: tuple[int, int], label: str, **style: str
) -> None:
    """Draw boxes; lines at the image's border move inside, where they can be seen."""
    inset = _INSET * max(size)
    lowest, highest = np.full(2, inset), np.array(size[::-1]) - inset
    for box in boxes:
        x0, y0 = np.clip(box[:2], lowest, highest)
        x1, y1 = np.clip(box[2:], lowest, highest)
        corner = (x0 - 0.5, y0 - 0.5)  # Matplotlib centers a pixel on its number
        drawn = Rectangle(corner, x1 - x0, y1 - y0, fill=False, label=label, **style)
        drawn.set(linewidth=1.5, path_effects=[_UNDER])
        axis.add_patch(drawn)
