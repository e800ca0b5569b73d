"""Pictures of maps and boxes on images of a data set (Figures 2, 3, 4 and 9)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import activation_maps, localization
from mi_classifier.data import Dataset
from mi_classifier.evaluation import figures
from mi_classifier.evaluation.evaluators import Inference, Priors
from mi_classifier.evaluation.localizing import Setting, find_targets

_ROWS = 6


def draw_localization(
    path: Path,
    model: nn.Module,
    variables: Mapping[str, Any],
    dataset: Dataset,
    settings: Mapping[str, Setting],
    threshold: float,
) -> None:
    """Draws some test images, one label of each: its maps, true and found boxes.

    Args:
      path: of the PNG file.
      model: and
      variables: the net.
      dataset: with a "test" split that has boxes.
      settings: the maps to draw, by a name among `activation_maps.TITLES`.
      threshold: of `localization.boxes_from_maps`.

    Raises:
      UserError: the folder cannot be written to.
    """
    split = dataset.splits["test"]
    with_boxes = np.unique(find_targets(split).rows)
    # From all over the split, for its images may be in the order of their classes.
    places = np.linspace(0, len(with_boxes) - 1, min(_ROWS, len(with_boxes)))
    chosen_rows = with_boxes[places.astype(int)]
    some = {name: array[chosen_rows] for name, array in split.items()}
    targets = find_targets(some)
    log_prior = jnp.asarray(dataset.log_prior())
    labels = some["box_label"] if "box_label" in some else some["label"][:, None]

    @jax.jit
    def compute(variables: Mapping[str, Any], batch: Any) -> dict[str, jax.Array]:
        output = model.apply(variables, dataset.preprocess(batch["image"]), train=False)
        priors = Priors(log_prior, log_prior)
        inference = Inference(output, batch, priors, variables["params"])
        return {
            name: setting.maps(inference, labels) for name, setting in settings.items()
        }

    size = some["image"].shape[1:3]
    # Of an image with several labels the first, one row an image.
    _, firsts = np.unique(targets.rows, return_index=True)
    rows, columns = targets.rows[firsts], targets.columns[firsts]
    maps = {
        activation_maps.TITLES[name]: np.asarray(every)[rows, columns]
        for name, every in compute(variables, some).items()
    }
    found = {
        title: (
            localization.score_maps(chosen, size),
            localization.boxes_from_maps(chosen, size, threshold),
        )
        for title, chosen in maps.items()
    }
    pictures = [
        figures.Localized(
            image=some["image"][row],
            title=f"label {dataset.class_names[labels[row, column]]}",
            true_boxes=targets.truths["boxes"][i][: targets.num_boxes[i]],
            found={
                title: (scores[k], boxes[k]) for title, (scores, boxes) in found.items()
            },
        )
        for k, (i, row, column) in enumerate(zip(firsts, rows, columns, strict=True))
    ]
    title = f"{dataset.name}: test images, true and found boxes"
    figures.save(figures.localization(pictures, title), path)
