"""Pictures of images with their maps and boxes (Figures 2, 3, 4 and 9)."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS
from mi_classifier.data import Dataset
from mi_classifier.evaluation.targets import find_targets, target_names
from mi_classifier.reporting.figures import COLORS, plain

_ROWS = 6  # test images in a picture


def draw(
    images: Sequence[np.ndarray],
    labels: Sequence[str],
    true_boxes: Sequence[np.ndarray],
    maps: Mapping[str, np.ndarray],
    threshold: float,
    title: str,
) -> Figure:
    """Draws images with their true boxes, their maps, and the boxes of the maps.

    Args:
      images: B uint8 images `[H, W, C]` of one size, C 1 or 3, at least one.
      labels: the text beside each image.
      true_boxes: `[G, 4]` for each image, G any number.
      maps: the maps of the images, `[B, h, w]`, by their title.
      threshold: the threshold of `localization.boxes_from_maps`.
      title: the title of the figure.

    Returns:
      A figure with a row for each image: the image, and the image under each map.
    """
    size = height, width = images[0].shape[:2]
    scores = [localization.score_maps(array, size) for array in maps.values()]
    boxes = [
        localization.boxes_from_maps(array, size, threshold) for array in maps.values()
    ]
    row_height = max(2.2 * height / width, 1.1)
    figure = Figure(
        figsize=(2.2 * (1 + len(maps)), row_height * len(images) + 0.9),
        layout="constrained",
    )
    axes = figure.subplots(len(images), 1 + len(maps), squeeze=False)
    for i, (image, line) in enumerate(zip(images, axes, strict=True)):
        shown = image[..., 0] if image.shape[-1] == 1 else image
        for axis, name in zip(line, ["image", *maps], strict=True):
            axis.imshow(shown, cmap="gray", vmin=0, vmax=255)
            axis.set_title(plain(name), fontsize=9)
            axis.set(xticks=[], yticks=[])
            _draw_boxes(axis, true_boxes[i], COLORS[1], "true box", "dashed")
        for axis, score, box in zip(line[1:], scores, boxes, strict=True):
            axis.imshow(score[i], cmap="viridis", vmin=0, vmax=1, alpha=0.55)
            _draw_boxes(axis, box[i][None], "white", "found box", "solid")
        line[0].set_ylabel(plain(labels[i]), fontsize=8)
    handles, names = axes[0, -1].get_legend_handles_labels()
    by_name = dict(zip(names, handles, strict=True))
    figure.legend(
        by_name.values(),
        by_name.keys(),
        loc="outside lower center",
        ncols=2,
        fontsize=8,
        facecolor="0.6",
    )
    figure.suptitle(plain(title), fontsize=10)
    return figure


def draw_test_images(
    dataset: Dataset, maps: Mapping[str, np.ndarray], threshold: float
) -> Figure:
    """Draws some test images, with the maps and boxes of one label of each.

    Args:
      dataset: a data set with a "test" split.
      maps: the maps of its images and labels, `[N, G, h, w]`, by a name among
        `activation_maps.MAPS`.
      threshold: the threshold of `localization.boxes_from_maps`.
    """
    split = dataset.splits["test"]
    targets = find_targets(split)
    if not len(targets.rows):
        targets = find_targets(split, all_images=True)
    # The images may be in the order of their classes, so take some from all over the
    # split.
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
    axis: Axes, boxes: np.ndarray, color: str, label: str, line: str
) -> None:
    for x0, y0, x1, y1 in boxes:
        axis.add_patch(
            Rectangle(
                (x0 - 0.5, y0 - 0.5),  # Matplotlib centers a pixel on its number
                x1 - x0,
                y1 - y0,
                fill=False,
                edgecolor=color,
                linewidth=1.5,
                linestyle=line,
                label=label,
                clip_on=False,  # shows the box of a whole image, too
            )
        )
