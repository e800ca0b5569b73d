"""What a trained net says of a user's own images, and where it sees it."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS, info_cam
from mi_classifier.data import archive, tfds_store
from mi_classifier.errors import UserError, choose_nearest
from mi_classifier.evaluation import Priors, TrainedNet
from mi_classifier.evaluation.evaluators import Inference
from mi_classifier.evaluation.evaluators.accuracy import decide
from mi_classifier.evaluation.evaluators.calibration import claimed_pmi
from mi_classifier.evaluation.evaluators.localization import CORNERS, Setting, settings
from mi_classifier.models import infer
from mi_classifier.progress import tracked
from mi_classifier.reporting import figures, pictures, predictions
from mi_classifier.reporting.table import Table, print_table
from mi_classifier.storage.files import write_text

_BATCH = 16
_MOST_PRINTED = 20  # images
_TOP = 3  # classes of each
_LONGEST = 200  # bytes of a file's name that start its picture's name


def find_images(paths: Sequence[str]) -> dict[Path, bool]:
    """Finds images among paths and in the folders among them, in their order.

    Returns:
      For each file whether it was named itself, and so must be an image.

    Raises:
      UserError: a path that does not exist, or a folder that holds no image.
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


@dataclasses.dataclass(frozen=True)
class _Question:
    """What is asked of every image.

    Attributes:
      net: that is asked.
      label: the class whose maps are drawn; None for the likeliest, or where an example
        may have several labels, for all that are decided to be present.
      rival: of a further map, infoCAM between `label` and it; None for none.
      settings: of the maps that are drawn, by the map's name.
    """

    net: TrainedNet
    label: int | None
    rival: int | None
    settings: Mapping[str, Setting]


@dataclasses.dataclass(frozen=True)
class _Answer:
    """What the net says of an image.

    Attributes:
      path: of its file.
      image: as stored, uint8 `[H, W, C]`.
      file_size: (width, height) of the file.
      probability: of each class, `[M]`.
      pmi: of each class in nats, `[M]`.
      labels: the k classes that are looked for.
      maps: of these by the map's name, `[k, h, w]`; that of label and rival by "rival".
    """

    path: Path
    image: np.ndarray
    file_size: tuple[int, int]
    probability: np.ndarray
    pmi: np.ndarray
    labels: np.ndarray
    maps: Mapping[str, np.ndarray]

    @property
    def likeliest(self) -> list[int]:
        """The likeliest classes, the first of them first."""
        return np.argsort(-self.probability, kind="stable")[:_TOP].tolist()


def explain(
    net: TrainedNet, files: Mapping[Path, bool], label: str = "", rival: str = ""
) -> None:
    """Prints the likeliest classes of images, and draws the maps of the first.

    Writes `evaluation/images/`: a picture of each image, and `predictions.csv`, a row
    for each image and class looked for, with boxes in pixels of the file.

    Args:
      net: that is asked.
      files: of `find_images`.
      label: name of the class whose maps are drawn; "" for the likeliest, or where an
        example may have several labels, for all that are decided to be present.
      rival: name of a class for a further map, infoCAM between `label` and it; "" for
        none.

    Raises:
      UserError: an image that cannot be read, a class that does not exist, or a net of
        other things than images.
    """
    question = _ask(net, label, rival)
    folder = net.workdir / "evaluation" / "images"
    names = _picture_names(list(files))
    printed, rows = [], []
    for answer in _answers(question, files):
        printed += _printed_rows(question, answer)
        rows += _csv_rows(question, answer, names[answer.path])
        if answer.maps:
            figure = _picture(question, answer)
            figures.save(figure, folder / names[answer.path])
    if not rows:
        raise UserError("--images: none of them can be decoded")
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    write_text(folder / "predictions.csv", predictions.to_csv(columns))
    _print(printed)
    what = "pictures and boxes" if question.settings else "predictions"
    print(f"{what}: {folder}")


def _ask(net: TrainedNet, label: str, rival: str) -> _Question:
    names = net.dataset.class_names
    if net.dataset.read_image is None:
        raise UserError(f"--images: {net.dataset.name} is not a set of images")
    asked = choose_nearest(label, names, "--label") if label else None
    against = choose_nearest(rival, names, "--rival") if rival else None
    if against is not None and asked is None:
        raise UserError("--rival: say which class it is a rival of, by --label")
    if against is not None and asked == against:
        raise UserError(f"--rival: {rival} is the --label itself")
    config = net.config.get("localization")
    if rival and config is None:
        raise UserError(f"--rival: {net.config.model.name} has no maps to draw")
    return _Question(net, asked, against, settings(config) if config else {})


def _answers(question: _Question, files: Mapping[Path, bool]) -> Iterator[_Answer]:
    net = question.net
    preprocess = net.dataset.preprocess
    apply = jax.jit(lambda v, batch: infer(net.model, v, preprocess(batch)))
    frequencies = net.dataset.log_prior()
    priors = Priors(frequencies, frequencies)
    for some in _batches(net, files):
        missing = min(_BATCH, len(files)) - len(some)  # one shape, one compilation
        batch = np.stack([image for _, image, _ in some + some[:1] * missing])
        output = apply(net.variables, batch)
        pmi = claimed_pmi(output.logits, net.loss, priors)
        probability = np.asarray(jnp.exp(pmi + frequencies))
        labels = _labels(question, output.logits, probability)
        inference = Inference(output, {"image": batch}, priors, net.variables["params"])
        maps = _maps(question, inference, labels)
        for i, (path, image, file_size) in enumerate(some):
            chosen = np.flatnonzero(labels[i] >= 0)
            yield _Answer(
                path,
                image,
                file_size,
                probability[i],
                np.asarray(pmi)[i],
                labels[i, chosen],
                {name: array[i, chosen] for name, array in maps.items()},
            )


def _batches(
    net: TrainedNet, files: Mapping[Path, bool]
) -> Iterator[list[tuple[Path, np.ndarray, tuple[int, int]]]]:
    """Yields some images at a time: path, image as stored, (width, height) of the file.

    A file that cannot be decoded is an error if it was named itself, else left out.
    """
    some = []
    for path, named in tracked(files.items(), "explaining"):
        try:
            content = path.read_bytes()
            size = tfds_store.size_of(content)
            some.append((path, net.dataset.read_image(content), size))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            message = f"{path}: cannot be decoded: {reason}"
            if named:
                raise UserError(message) from error
            print(f"left out: {message}")
        if len(some) == _BATCH:
            yield some
            some = []
    if some:
        yield some


def _labels(
    question: _Question, logits: jax.Array, probability: np.ndarray
) -> np.ndarray:
    """Returns the classes to look for in each image, `[B, G]`, padded with -1."""
    if question.label is not None:
        return np.full((len(logits), 1), question.label)
    likeliest = probability.argmax(1)
    loss = question.net.loss
    if not loss.multi_label:
        return likeliest[:, None]
    log_prior = question.net.dataset.log_prior()
    present = np.array(decide(logits, loss, log_prior)[loss.rule])
    present[np.arange(len(logits)), likeliest] |= ~present.any(1)
    order = np.argsort(~present, axis=1, kind="stable")
    padded = np.where(np.take_along_axis(present, order, 1), order, -1)
    return padded[:, : present.sum(1).max()]


def _maps(
    question: _Question, inference: Inference, labels: np.ndarray
) -> dict[str, np.ndarray]:
    known = np.maximum(labels, 0)
    maps = {
        name: np.asarray(setting.maps(inference, known))
        for name, setting in question.settings.items()
    }
    if question.rival is not None:
        pair = np.array([question.label, question.rival])
        options = MAPS["info_cam"].options(question.net.config.localization)
        difference = info_cam(
            inference.output.features,
            inference.params["head"]["kernel"][:, pair],
            np.zeros_like(labels),
            **options,
        )
        maps["rival"] = np.asarray(difference)
    return maps


def _printed_rows(question: _Question, answer: _Answer) -> list[tuple[str, ...]]:
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


def _csv_rows(
    question: _Question, answer: _Answer, picture: str
) -> list[dict[str, Any]]:
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


def _boxes_in_file(net: TrainedNet, answer: _Answer) -> dict[str, np.ndarray]:
    """Returns columns of box corners in pixels of the file, `[k]` each."""
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


def _picture(question: _Question, answer: _Answer) -> figures.Figure:
    names = question.net.dataset.class_names
    titles = {name: MAPS[name].title for name in question.settings}
    if question.rival is not None:
        titles["rival"] = f"{names[question.label]},\nnot {names[question.rival]}"
    count = len(answer.labels)
    rows = pictures.localized(
        [answer.image] * count,
        [f"{names[c]}\n{answer.pmi[c]:+.2f} nats" for c in answer.labels],
        [np.zeros((0, 4))] * count,
        {titles[name]: maps for name, maps in answer.maps.items()},
        question.net.config.localization.threshold,
    )
    return figures.localization(rows, answer.path.name)


def _picture_names(files: Sequence[Path]) -> dict[Path, str]:
    """Returns a name for each file's picture; files of one name are numbered."""
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
    notes = ["by the class frequencies of the training set"]
    if more > 0:
        notes.append(f"{more:,} more images are in predictions.csv")
    columns = ("image", "likeliest", "probability", "PMI, nats")
    print_table(Table("predictions", columns, rows[:end], notes))
