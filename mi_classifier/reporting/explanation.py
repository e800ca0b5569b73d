"""Classify a user's own images with a trained net, and show where it sees the class."""

import dataclasses
import io
import itertools
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS
from mi_classifier.components import components_from_maps
from mi_classifier.config import check_threshold
from mi_classifier.errors import UserError, choose, choose_nearest
from mi_classifier.evaluation import TrainedNet
from mi_classifier.evaluation.asking import (
    Reply,
    make_ask,
    maps_against,
    read_image,
    to_files,
)
from mi_classifier.evaluation.evaluators.accuracy import decide
from mi_classifier.evaluation.evaluators.localization import CORNERS, Setting, settings
from mi_classifier.progress import tracked
from mi_classifier.reporting import box_files, figures, pictures, predictions
from mi_classifier.reporting.box_files import Box, BoxedImage
from mi_classifier.reporting.image_paths import ImagePaths, new_folder, picture_names
from mi_classifier.reporting.options import ExplainOptions
from mi_classifier.reporting.table import Table, print_table
from mi_classifier.storage.files import write_text
from mi_classifier.text import tell

_BATCH = 16  # images
_TOP = 3  # likeliest classes of an image
_MOST_PRINTED = 20  # images that are printed


class Question(NamedTuple):
    """The question that the net answers for every image."""

    net: TrainedNet
    label: int | None  # class whose maps are drawn; None for what the net decides for
    rival: int | None  # class that a further map compares `label` with, by infoCAM
    settings: Mapping[str, Setting]  # by the map's name; empty if the net has none
    formats: Sequence[str]  # of the box files
    options: ExplainOptions


class Answer(NamedTuple):
    """The net's answer for one image."""

    path: Path  # the image file
    image: np.ndarray  # at the size that the net stores, uint8 [H, W, C]
    file_size: tuple[int, int]  # width and height in the file
    probability: np.ndarray  # of each class, [M]
    pmi: np.ndarray  # pointwise mutual information of each class in nats, [M]
    labels: np.ndarray  # the k classes whose maps are drawn
    maps: Mapping[str, np.ndarray]  # of these classes by the map's name, [k, h, w]

    @property
    def likeliest(self) -> list[int]:
        """The likeliest classes, most likely first."""
        return np.argsort(-self.probability, kind="stable")[:_TOP].tolist()


@figures.in_default_style()
def explain(net: TrainedNet, images: ImagePaths, options: ExplainOptions) -> None:
    """Print the likeliest classes of images, and draw the maps of the likeliest one.

    Write into a new folder, `evaluation/images/1/` and so on, a picture of each image;
    `predictions.csv` with a row for each image and each class whose maps are drawn; and
    the boxes of one map as labeling tools read them. Boxes are in pixels of the file.

    Args:
      net: the net to ask.
      images: the result of `image_paths.find_images`.
      options: what to draw and to write.

    Raises:
      UserError: an image cannot be read, a class, map or format does not exist, or the
        net is not one of images.
    """
    question, names = _ask(net, options), picture_names(images.files)
    printed, columns, boxed = [], defaultdict(list), []
    folder: Path | None = None
    for answer in _answers(question, images.files):
        folder = folder or new_folder(net.workdir / "evaluation" / "images")
        printed.append(_printed_rows(question, answer))
        boxed.append(_boxed(question, answer, images.name(answer.path)))
        for name, values in _columns(question, answer, names[answer.path]).items():
            columns[name] += list(values)
        if answer.maps:
            figure = _picture(question, answer)
            figures.save(figure, folder / names[answer.path])
    if not folder:
        raise UserError("--images: no file can be decoded; give PNG or JPEG files")
    write_text(folder / "predictions.csv", predictions.to_csv(columns))
    _print(printed)
    what = "pictures and boxes" if question.settings else "predictions"
    tell(f"{what}: {folder}")
    for name in question.formats:
        path = box_files.FORMATS[name](folder, boxed, net.dataset.class_names)
        tell(f"boxes of {MAPS[options.map].title} for labeling tools: {path}")


def _ask(net: TrainedNet, options: ExplainOptions) -> Question:
    names, (label, rival) = net.dataset.class_names, (options.label, options.rival)
    if net.dataset.read_image is None:
        raise UserError(f"--images: {net.dataset.name} is not a set of images")
    asked = choose_nearest(label, names, "--label") if label else None
    against = choose_nearest(rival, names, "--rival") if rival else None
    if rival and not label:
        raise UserError("--rival: give the class that it is compared with by --label")
    if rival and asked == against:
        raise UserError(f"--rival: {rival} is the --label itself; give another class")
    config = net.config.get("localization")
    if rival and config is None:
        raise UserError(f"--rival: {net.config.model.name} has no maps to draw")
    if options.boxes and config is None:
        raise UserError(
            f"--boxes: {net.config.model.name} has no maps to take them from"
        )
    choose(options.map, MAPS, "--map")
    formats = [choose(name, box_files.FORMATS, "--boxes") for name in options.boxes]
    if options.components is not None and not 0 < options.components < 1:
        raise UserError(
            f"--components: {options.components:g} is not a share of the image's area; "
            "give a number between 0 and 1, such as 0.01"
        )
    if config is None:
        return Question(net, asked, against, {}, (), options)
    if options.threshold is None:
        options = dataclasses.replace(options, threshold=config.threshold)
    check_threshold(options.threshold, "--threshold")
    formats = formats or ["coco"]
    return Question(net, asked, against, settings(config), formats, options)


def _answers(question: Question, files: Mapping[Path, bool]) -> Iterator[Answer]:
    """Yield the net's answer for each image; `files` are those of `ImagePaths`."""
    ask, decoded = make_ask(question.net), _decode(question.net, files)
    while some := list(itertools.islice(decoded, _BATCH)):
        batch = np.stack([image for _, image, _ in some])
        reply = ask(batch, min(_BATCH, len(files)))
        labels = _labels(question, reply)
        maps = _maps(question, reply, labels)
        for i, in_file in enumerate(some):
            own = i, np.flatnonzero(labels[i] >= 0)
            own_maps = {name: array[own] for name, array in maps.items()}
            numbers = reply.probabilities[i], reply.pmi[i]
            yield Answer(*in_file, *numbers, labels[own], own_maps)


@figures.in_default_style()
def picture_of(net: TrainedNet, image: Any, label: str = "", rival: str = "") -> bytes:
    """Draw an image with the maps and boxes of a class; return a PNG file's content.

    See `explain` for the words.

    Raises:
      UserError: the image cannot be read, a class is unknown, or the net has no maps.
    """
    question = _ask(net, ExplainOptions(label, rival))
    if not question.settings:
        raise UserError(f"{net.config.model.name} has no maps to draw")
    stored, size = read_image(net.dataset, image, "image")
    reply = make_ask(net)(stored[None], 1)
    labels = _labels(question, reply)
    maps = {name: array[0] for name, array in _maps(question, reply, labels).items()}
    numbers = reply.probabilities[0], reply.pmi[0]
    named = Path(image) if isinstance(image, str | os.PathLike) else Path()
    answer = Answer(named, stored, size, *numbers, labels[0], maps)
    file = io.BytesIO()
    _picture(question, answer).savefig(file, format="png")
    return file.getvalue()


def _decode(
    net: TrainedNet, files: Mapping[Path, bool]
) -> Iterator[tuple[Path, np.ndarray, tuple[int, int]]]:
    """Yield path, stored image and (width, height) in the file of what is an image."""
    for path, named in tracked(files.items(), "explaining"):
        try:
            image, size = read_image(net.dataset, path, str(path))
        except UserError as error:
            if named:
                raise
            tell(f"left out: {error}")
        else:
            yield path, image, size


def _labels(question: Question, reply: Reply) -> np.ndarray:
    """Return the classes whose maps each image gets, `[B, G]`, padded with -1."""
    if question.label is not None:
        return np.full((len(reply.pmi), 1), question.label)
    likeliest = reply.probabilities.argmax(1)
    loss = question.net.loss
    if not loss.multi_label:
        return likeliest[:, None]
    output, _, priors, _ = reply.inference
    present = np.array(decide(output.logits, loss, priors.training)[loss.rule])
    present[np.arange(len(present)), likeliest] |= ~present.any(1)
    order = np.argsort(~present, axis=1, kind="stable")
    padded = np.where(np.take_along_axis(present, order, 1), order, -1)
    return padded[:, : present.sum(1).max()]


def _maps(
    question: Question, reply: Reply, labels: np.ndarray
) -> dict[str, np.ndarray]:
    known, settings, inference = np.maximum(labels, 0), question.settings, reply[0]
    maps = {name: each.maps(inference, known) for name, each in settings.items()}
    if question.rival is not None:
        rivals = np.full(len(labels), question.rival)
        found = maps_against(settings["info_cam"], inference, labels[:, 0], rivals)
        maps["rival"] = found[:, None]
    return jax.device_get(maps)


def _printed_rows(question: Question, answer: Answer) -> list[tuple[str, ...]]:
    names, shown = question.net.dataset.class_names, answer.likeliest
    if question.label is not None and question.label not in shown:
        shown = [*shown, question.label]
    places = [str(answer.path)] + [""] * (len(shown) - 1)
    return [
        (place, names[c], f"{answer.probability[c]:.3f}", f"{answer.pmi[c]:+.3f}")
        for place, c in zip(places, shown, strict=True)
    ]


def _columns(
    question: Question, answer: Answer, picture: str
) -> dict[str, Sequence[Any]]:
    """Return a value of each drawn class, `[k]`, by the column of predictions.csv."""
    names, labels = question.net.dataset.class_names, answer.labels
    columns = {"image": str(answer.path), "likeliest": names[answer.likeliest[0]]}
    if answer.maps:
        columns["picture"] = picture
    columns = {name: [value] * len(labels) for name, value in columns.items()}
    columns["label"] = [names[c] for c in labels]
    columns["probability"] = answer.probability[labels]
    columns["pmi_nats"] = answer.pmi[labels]
    size = answer.image.shape[:2]
    for name, maps in answer.maps.items():
        threshold = question.options.threshold
        boxes = localization.boxes_from_maps(maps, size, threshold)
        in_file = _in_file(question, answer, boxes)
        for corner, values in zip(CORNERS, in_file.T, strict=True):
            columns[f"{name}_{corner}"] = values.round(1)
    return columns


def _in_file(question: Question, answer: Answer, boxes: np.ndarray) -> np.ndarray:
    """Move boxes `[N, 4]` from pixels of the net's input to pixels of the file."""
    size = answer.image.shape[:2]
    return to_files(question.net.dataset, boxes, size, answer.file_size)


def _boxed(question: Question, answer: Answer, name: str) -> BoxedImage:
    """Return the boxes of the chosen map; each has the probability of its label."""
    found, options = [], question.options
    if question.formats:
        maps, size = answer.maps[options.map], answer.image.shape[:2]
        threshold = question.options.threshold
        if options.components is None:
            boxes = localization.boxes_from_maps(maps, size, threshold)[:, None]
        else:
            boxes = components_from_maps(maps, size, threshold, options.components)
        for label, of_label in zip(answer.labels.tolist(), boxes, strict=True):
            real = of_label[:, 2] > of_label[:, 0]  # no box of maps that are not finite
            for corners in _in_file(question, answer, of_label[real]):
                found.append(Box(corners, label, float(answer.probability[label])))
    return BoxedImage(name, answer.file_size, found)


def _picture(question: Question, answer: Answer) -> Figure:
    names = question.net.dataset.class_names
    titles = {name: MAPS[name].title for name in question.settings}
    if question.rival is not None:
        titles["rival"] = f"{names[question.label]},\nnot {names[question.rival]}"
    count = len(answer.labels)
    image = pictures.with_aspect(answer.image, answer.file_size)
    return pictures.draw(
        [image] * count,
        [f"{names[c]}\n{answer.pmi[c]:+.2f} nats" for c in answer.labels],
        [np.zeros((0, 4))] * count,
        {titles[name]: maps for name, maps in answer.maps.items()},
        question.options.threshold,
        answer.path.name,
    )


def _print(of_images: Sequence[Sequence[tuple[str, ...]]]) -> None:
    rows = list(itertools.chain(*of_images[:_MOST_PRINTED]))
    notes = [
        "P(y) before a photo is seen: the class frequencies in training.",
        "Each map is scaled by its own range: it says nothing if the PMI is negative.",
    ]
    if more := len(of_images[_MOST_PRINTED:]):
        notes.append(f"{more:,} more images are in predictions.csv")
    columns = ("image", "likeliest", "probability", "PMI, nats")
    print_table(Table("predictions", columns, rows, notes))
