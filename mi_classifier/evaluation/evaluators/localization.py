"""Whether maps find the objects in the true boxes (Tables 4, 6 and 7)."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS, region_warning
from mi_classifier.data import Split
from mi_classifier.evaluation.evaluators import base
from mi_classifier.evaluation.evaluators.accuracy import decide
from mi_classifier.evaluation.results import Result, mean
from mi_classifier.evaluation.targets import Targets, find_targets, target_names
from mi_classifier.evaluation.trivial import (
    TrivialAccuracy,
    best_of_curves,
    measures,
    trivial_accuracies,
    unbeaten,
)
from mi_classifier.losses import Loss
from mi_classifier.progress import tracked

CORNERS = ("x0", "y0", "x1", "y1")


@dataclasses.dataclass(frozen=True)
class Setting:
    """A map and the options that it is computed with."""

    map: str  # a key of `activation_maps.MAPS`
    options: Mapping[str, Any]  # of that map's function, by name

    def __str__(self) -> str:
        return ", ".join([MAPS[self.map].title, *self.details])

    @property
    def title(self) -> str:
        """The map's name in tables of one setting of each map."""
        return MAPS[self.map].title_with(self.options)

    @property
    def details(self) -> tuple[str, ...]:
        """The text of each option; without a region, its padding does not matter."""
        options, words = dict(self.options), MAPS[self.map].words
        padding, texts = options.pop("padding", ""), []
        if (region := options.pop("region", 1)) > 1:
            texts.append(f"R={region} {padding}".rstrip())
        for name, value in options.items():
            texts.append(words[name][value] if name in words else f"{name}={value}")
        return tuple(texts)

    def region_warning(self, shape: tuple[int, ...]) -> str:
        """Return `activation_maps.region_warning`, given the shape of the map."""
        region = self.options.get("region", 1)
        more = region - 1 if self.options.get("padding", "full") == "full" else 0
        return region_warning(region, (shape[-2] - more, shape[-1] - more))

    def maps(
        self, inference: base.Inference, labels: jax.typing.ArrayLike
    ) -> jax.Array:
        """Return the maps `[B, G, h, w]` of labels `[B, G]`."""
        entry, output, options = MAPS[self.map], inference.output, dict(self.options)
        if entry.needs_logits:
            options["logits"] = output.logits
        kernel = inference.params["head"]["kernel"]
        return entry.function(output.features, kernel, labels, **options)


def settings(config: Mapping[str, Any]) -> dict[str, Setting]:
    """Return each map's setting by a config's group "localization", by map name."""
    return {name: Setting(name, entry.options(config)) for name, entry in MAPS.items()}


@dataclasses.dataclass(frozen=True)
class MapAccuracy:
    """How well one map finds the labels, as shares of the labels in [0, 1]."""

    title: str  # the map's name in tables
    gt_known: float  # the map's box meets a true box at IoU 0.5
    top1: float  # and the net decides for the label
    pointing: float  # the map's peak is inside a true box
    mean_iou: float  # of the map's box with the true box that it meets best, the mean
    max_box_accuracy: float  # MaxBoxAcc of the public WSOL evaluation
    max_box_accuracy_v2: float  # MaxBoxAccV2 of the public WSOL evaluation
    box_accuracy_curve: np.ndarray  # of both: IoU thresholds by thresholds of the map
    top5: float | None = None  # as `top1`, among the five likeliest; if one label each
    cell: float | None = None  # MaxBoxAcc of the half of the image with the digit


@dataclasses.dataclass(frozen=True)
class LocalizationResult(Result):
    """How well each map finds the labels, and how well trivial boxes do.

    `maps` and `trivial` are empty if there is no true box.
    """

    num_labels: int  # labels with a true box, over all images
    num_images: int  # with or without a true box
    threshold: float  # of `localization.boxes_from_maps`
    # Accuracy "top1", of all images or labels, and, with one label an image, "top5".
    classification: Mapping[str, float]
    maps: Mapping[str, MapAccuracy]  # by the map's name
    # By the names of `trivial.TITLES`; the square is the best of the validation split.
    trivial: Mapping[str, TrivialAccuracy] = dataclasses.field(default_factory=dict)
    warnings: Sequence[str] = ()  # sentences; none if nothing is odd


def create(
    subject: base.Subject, chosen: Mapping[str, Setting] | None = None
) -> base.Evaluator | None:
    """Create the evaluator of the maps, if the config has a group "localization".

    The maps are `chosen`, by name, or by default those of the config.
    """
    config = subject.localization
    if config is None:
        return None
    threshold, validation = config["threshold"], subject.validation
    chosen = settings(config) if chosen is None else chosen

    def summarize(measured: base.Measured, split: Split, priors: base.Priors) -> Result:
        targets, size = find_targets(split), split["image"].shape[1:3]
        decided = {name: v for name, v in measured.items() if name != "maps"}
        correct = {name: targets.of(values) for name, values in decided.items()}
        # With several labels, the padding of an image does not count.
        counted = correct if "box_label" in split else decided
        maps, trivial = {}, {}
        if len(targets.rows):
            for name, setting in tracked(chosen.items(), "localizing"):
                own = targets.of(measured["maps"][name])
                found = _map_accuracy(own, size, targets, correct, threshold)
                maps[name] = MapAccuracy(setting.title, **found)
            trivial = trivial_accuracies(targets, size, correct, validation)
        shares = {name: mean(values) for name, values in counted.items() if len(values)}
        counts = len(targets.rows), len(split["image"])
        warnings = [
            each.region_warning(measured["maps"][name].shape)
            for name, each in chosen.items()
        ]
        warnings = [*filter(None, dict.fromkeys(warnings))]
        warnings += _unbeaten(maps, trivial, counts[0], threshold)
        return LocalizationResult(*counts, threshold, shares, maps, trivial, warnings)

    measure = functools.partial(measure_maps, loss=subject.loss, chosen=chosen)
    columns = functools.partial(_box_columns, threshold, list(chosen))
    return base.Evaluator(measure, summarize, columns)


def measure_maps(
    inference: base.Inference, loss: Loss, chosen: Mapping[str, Setting]
) -> base.Measured:
    """Compute maps of the labels in a batch, and whether the net decides for them.

    Return "maps" `[B, G, h, w]` by the setting's name, "top1" `[B, G]` and, with one
    label an image, "top5": whether the label is among the five likeliest.
    """
    batch, log_prior = inference.batch, inference.priors.training
    logits = inference.output.logits
    decided = decide(logits, loss, log_prior)[loss.rule]
    if loss.multi_label:
        labels = batch["box_label"]
        # The padding's label is out of range; its values are not used.
        correct = {"top1": jnp.take_along_axis(decided, labels, axis=-1)}
    else:
        labels = batch["label"][:, None]
        top1 = decided[:, None] == labels
        seen = jnp.where(jnp.isneginf(log_prior), -jnp.inf, logits)
        _, likeliest = jax.lax.top_k(seen, min(5, logits.shape[-1]))
        among = (likeliest == labels).any(-1, keepdims=True)
        known = ~jnp.isnan(jnp.take_along_axis(logits, labels, axis=-1))
        correct = {"top1": top1, "top5": top1 | (among & known)}
    maps = {name: setting.maps(inference, labels) for name, setting in chosen.items()}
    return correct | {"maps": maps}


def _map_accuracy(
    maps: np.ndarray,
    size: tuple[int, int],
    targets: Targets,
    correct: Mapping[str, np.ndarray],
    threshold: float,
) -> dict[str, Any]:
    """Score the maps `[I, h, w]` of at least one target, for a `MapAccuracy`.

    The images have the size `size`.
    """

    def boxes_at_thresholds(some: slice) -> np.ndarray:
        return localization.boxes_at_thresholds(
            localization.score_maps(maps[some], size)
        )

    curves = targets.curves(boxes_at_thresholds, size)
    boxes = localization.boxes_from_maps(maps, size, threshold)
    return {
        "gt_known": targets.accuracy(boxes),
        **{name: targets.accuracy(boxes, counted) for name, counted in correct.items()},
        "pointing": targets.pointing(maps, size),
        "mean_iou": float(localization.best_iou(boxes, *targets.boxes).mean()),
        "box_accuracy_curve": curves["boxes"],
        **best_of_curves(curves),
    }


def _unbeaten(
    maps: Mapping[str, MapAccuracy],
    trivial: Mapping[str, TrivialAccuracy],
    count: int,
    threshold: float,
) -> list[str]:
    sentences = []
    for field, heading in measures(threshold).items():
        ours, theirs = (
            {each.title: getattr(each, field) for each in some.values()}
            for some in (maps, trivial)
        )
        theirs = {title: value for title, value in theirs.items() if value is not None}
        sentences += unbeaten(heading, ours, theirs, count)
    return sentences


def _box_columns(
    threshold: float,
    names: Sequence[str],
    measured: base.Measured,
    split: Split,
    class_names: Sequence[str],
) -> base.Columns:
    """Return the box of each named map for each label, and its IoU with the true box.

    With several labels an image, their columns are "label1", "label1_cam_x0" and so on.
    """
    targets = find_targets(split, all_images=True)
    size, several = split["image"].shape[1:3], "box_label" in split
    found = {}  # the values of the targets, [I]
    if several:
        found[""] = np.array(target_names(targets, split, class_names), object)
    if targets.num_boxes.any():
        pairs = zip(*targets.boxes, strict=True)
        found["true_boxes"] = np.array([_box_text(b[:count]) for b, count in pairs])
    for name in names:
        maps = targets.of(measured["maps"][name])
        boxes = localization.boxes_from_maps(maps, size, threshold)
        for corner, numbers in zip(CORNERS, boxes.T, strict=True):
            found[f"{name}_{corner}"] = numbers.astype(int)
        overlaps = localization.best_iou(boxes, *targets.boxes)
        found[f"{name}_iou"] = np.where(targets.num_boxes > 0, overlaps, None)
    columns: dict[str, np.ndarray] = {}
    for place in range(split["box_label"].shape[1] if several else 1):
        own = targets.columns == place
        for name, values in found.items():
            if several:
                name = f"label{place + 1}_{name}".removesuffix("_")
            columns[name] = np.full(len(split["image"]), None, object)
            columns[name][targets.rows[own]] = values[own].tolist()
    return columns


def _box_text(boxes: np.ndarray) -> str:
    """Return boxes as "x0 y0 x1 y1", with semicolons between several."""
    return "; ".join(" ".join(f"{value:g}" for value in box) for box in boxes)
