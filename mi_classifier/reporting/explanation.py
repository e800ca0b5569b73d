"""Classify a user's own images with a trained net, and show where it sees the class."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

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
    """Return the files that are named and the images in folders, in order.

    The values tell which files are named, and must be images.
    """
    files: dict[Path, bool] = {}
    for text in paths:
        path = Path(text)
        if not text or not path.exists():
            raise UserError(f"--images: no such file or folder: {text!r}")
        if not path.is_dir():
            files[path] = True
            continue
        inside = [file for _, file in archive.walk_images(path)]
        if not inside:
            raise UserError(f"--images: {path} holds no image")
        for file in inside:
            files.setdefault(file, False)
    return files


def explain(
    net: TrainedNet, files: Mapping[Path, bool], label: str = "", rival: str = ""
) -> None:
    """Print the likeliest classes of images, and draw the maps of the likeliest one.

    Write into `evaluation/images/` a picture of each image, and `predictions.csv` with
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
    names = _picture_names(files)
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
    names, shown = question.net.dataset.class_names, answer.likeliest
    if question.label is not None and question.label not in shown:
        shown = [*shown, question.label]
    places = [str(answer.path)] + [""] * (len(shown) - 1)
    return [
        (place, names[c], f"{answer.probability[c]:.3f}", f"{answer.pmi[c]:+.3f}")
        for place, c in zip(places, shown, strict=True)
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
    """Return the corners of the boxes in pixels of the file, `[k]`, by column."""
    columns: dict[str, np.ndarray] = {}
    size = answer.image.shape[:2]
    visible = np.reshape(net.dataset.visible, (2, 2))  # shares of the stored image
    scale = (visible[1] - visible[0]) / size[::-1]
    for name, maps in answer.maps.items():
        threshold = net.config.localization.threshold
        corners = localization.boxes_from_maps(maps, size, threshold).reshape(-1, 2, 2)
        in_file = (visible[0] + corners * scale) * answer.file_size
        for corner, values in zip(CORNERS, in_file.reshape(-1, 4).T, strict=True):
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


def _picture_names(files: Iterable[Path]) -> dict[Path, str]:
    """Return a name for each file's picture, with a number if names are equal."""
    names, counts = {}, Counter()
    for path in files:
        counts[path.name] += 1
        number = f"_{counts[path.name]}" if counts[path.name] > 1 else ""
        stem = os.fsdecode(os.fsencode(path.name)[:_LONGEST])
        names[path] = f"{stem}{number}.png"
    return names


def _print(rows: Sequence[tuple[str, ...]]) -> None:
    starts = [i for i, row in enumerate(rows) if row[0]]
    notes = ["by the class frequencies of the training labels"]
    if more := starts[_MOST_PRINTED:]:
        rows = rows[: more[0]]
        notes.append(f"{len(more):,} more images are in predictions.csv")
    columns = ("image", "likeliest", "probability", "PMI, nats")
    print_table(Table("predictions", columns, rows, notes))
