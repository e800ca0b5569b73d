"""Classify a user's own images with a trained net, and show where it sees the class."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS
from mi_classifier.data import archive
from mi_classifier.errors import UserError, choose_nearest
from mi_classifier.evaluation import TrainedNet
from mi_classifier.evaluation.evaluators.localization import CORNERS, settings
from mi_classifier.reporting import figures, pictures, predictions
from mi_classifier.reporting.answers import Answer, Question, answers
from mi_classifier.reporting.table import Table, print_table
from mi_classifier.storage.files import write_text

_MOST_PRINTED = 20  # images that are printed
_LONGEST = 200  # bytes of a file's name that its picture's name starts with


def find_images(paths: Sequence[str]) -> dict[Path, bool]:
    """Finds image files: the paths that are files, and the images in folders.

    Returns:
      The files in order, and for each whether `paths` names it. A file that was named
      must be an image.

    Raises:
      UserError: a path does not exist, or a folder holds no image.
    """
    Image.init()
    files: dict[Path, bool] = {}
    for text in paths:
        path = Path(text)
        if not text or not path.exists():
            raise UserError(f"--images: no such file or folder: {text!r}")
        if not path.is_dir():
            files[path] = True
            continue
        inside = [
            file
            for name, file in archive.walk(path)
            if file.suffix.lower() in Image.EXTENSION
            and not any(part.startswith(".") for part in name.split("/"))
        ]
        if not inside:
            raise UserError(f"--images: {path} holds no image")
        for file in inside:
            files.setdefault(file, False)
    return files


def explain(
    net: TrainedNet, files: Mapping[Path, bool], label: str = "", rival: str = ""
) -> None:
    """Prints the likeliest classes of images, and draws the maps of the likeliest one.

    Writes into `evaluation/images/` a picture of each image, and `predictions.csv` with
    a row for each image and each class whose maps are drawn. Its boxes are in pixels of
    the file.

    Args:
      net: the net to ask.
      files: the result of `find_images`.
      label: the name of the class whose maps are drawn. "" for the likeliest class; if
        an example may have several labels, for all classes that the net decides for.
      rival: the name of a class for a further map, infoCAM of `label` against it; ""
        for no such map.

    Raises:
      UserError: an image cannot be read, a class does not exist, or the net is not one
        of images.
    """
    question = _ask(net, label, rival)
    folder = net.workdir / "evaluation" / "images"
    names = _picture_names(list(files))
    printed, rows = [], []
    for answer in answers(question, files):
        printed += _printed_rows(question, answer)
        rows += _csv_rows(question, answer, names[answer.path])
        if answer.maps:
            figure = _picture(question, answer)
            figures.save(figure, folder / names[answer.path])
    if not rows:
        raise UserError("--images: no file can be decoded; give PNG or JPEG files")
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    write_text(folder / "predictions.csv", predictions.to_csv(columns))
    _print(printed)
    what = "pictures and boxes" if question.settings else "predictions"
    print(f"{what}: {folder}")


def _ask(net: TrainedNet, label: str, rival: str) -> Question:
    names = net.dataset.class_names
    if net.dataset.read_image is None:
        raise UserError(f"--images: {net.dataset.name} is not a set of images")
    asked = choose_nearest(label, names, "--label") if label else None
    against = choose_nearest(rival, names, "--rival") if rival else None
    if against is not None and asked is None:
        raise UserError("--rival: give the class that it is compared with by --label")
    if against is not None and asked == against:
        raise UserError(f"--rival: {rival} is the --label itself; give another class")
    config = net.config.get("localization")
    if rival and config is None:
        raise UserError(f"--rival: {net.config.model.name} has no maps to draw")
    return Question(net, asked, against, settings(config) if config else {})


def _printed_rows(question: Question, answer: Answer) -> list[tuple[str, ...]]:
    names = question.net.dataset.class_names
    shown = answer.likeliest
    if question.label is not None and question.label not in shown:
        shown = [*shown, question.label]
    return [
        (
            "" if place else str(answer.path),
            names[c],
            f"{answer.probability[c]:.3f}",
            f"{answer.pmi[c]:+.3f}",
        )
        for place, c in enumerate(shown)
    ]


def _csv_rows(question: Question, answer: Answer, picture: str) -> list[dict[str, Any]]:
    names = question.net.dataset.class_names
    boxes = _boxes_in_file(question.net, answer)
    common = {"image": str(answer.path), "likeliest": names[answer.likeliest[0]]}
    if answer.maps:
        common["picture"] = picture
    return [
        {
            **common,
            "label": names[c],
            "probability": answer.probability[c],
            "pmi_nats": answer.pmi[c],
            **{name: values[k] for name, values in boxes.items()},
        }
        for k, c in enumerate(answer.labels)
    ]


def _boxes_in_file(net: TrainedNet, answer: Answer) -> dict[str, np.ndarray]:
    """Returns the corners of the boxes in pixels of the file, `[k]`, by column."""
    columns: dict[str, np.ndarray] = {}
    height, width = answer.image.shape[:2]
    x0, y0, x1, y1 = net.dataset.visible
    origin = np.tile((x0, y0), 2)
    scale = np.tile(((x1 - x0) / width, (y1 - y0) / height), 2)
    for name, maps in answer.maps.items():
        threshold = net.config.localization.threshold
        boxes = localization.boxes_from_maps(maps, (height, width), threshold)
        in_file = (origin + boxes * scale) * np.tile(answer.file_size, 2)
        for corner, values in zip(CORNERS, in_file.T, strict=True):
            columns[f"{name}_{corner}"] = values.round(1)
    return columns


def _picture(question: Question, answer: Answer) -> Figure:
    names = question.net.dataset.class_names
    titles = {name: MAPS[name].title for name in question.settings}
    if question.rival is not None:
        titles["rival"] = f"{names[question.label]},\nnot {names[question.rival]}"
    count = len(answer.labels)
    return pictures.draw(
        [answer.image] * count,
        [f"{names[c]}\n{answer.pmi[c]:+.2f} nats" for c in answer.labels],
        [np.zeros((0, 4))] * count,
        {titles[name]: maps for name, maps in answer.maps.items()},
        question.net.config.localization.threshold,
        answer.path.name,
    )


def _picture_names(files: Sequence[Path]) -> dict[Path, str]:
    """Returns a name for each file's picture, with a number if names are equal."""
    names, counts = {}, dict.fromkeys((path.name for path in files), 0)
    for path in files:
        counts[path.name] += 1
        number = f"_{counts[path.name]}" if counts[path.name] > 1 else ""
        stem = os.fsdecode(os.fsencode(path.name)[:_LONGEST])
        names[path] = f"{stem}{number}.png"
    return names


def _print(rows: Sequence[tuple[str, ...]]) -> None:
    starts = [i for i, row in enumerate(rows) if row[0]]
    more = len(starts) - _MOST_PRINTED
    end = starts[_MOST_PRINTED] if more > 0 else len(rows)
    notes = ["by the class frequencies of the training labels"]
    if more > 0:
        notes.append(f"{more:,} more images are in predictions.csv")
    columns = ("image", "likeliest", "probability", "PMI, nats")
    print_table(Table("predictions", columns, rows[:end], notes))
