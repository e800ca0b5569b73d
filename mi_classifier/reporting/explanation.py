"""Classify a user's own images with a trained net, and show where it sees the class."""

import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS
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

_BATCH = 16  # images
_TOP = 3  # likeliest classes of an image
_MOST_PRINTED = 20  # images that are printed
_LONGEST = 200  # bytes of a file's name that its picture's name starts with


class Question(NamedTuple):
    """The question that the net answers for every image."""

    net: TrainedNet
    label: int | None  # class whose maps are drawn; None for what the net decides for
    rival: int | None  # class that a further map compares `label` with, by infoCAM
    settings: Mapping[str, Setting]  # by the map's name; empty if the net has none


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


def find_images(paths: Sequence[str]) -> dict[Path, bool]:
    """Return the files that are named, True, and the images in folders, False."""
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
    printed, columns = [], defaultdict(list)
    for answer in _answers(question, files):
        printed.append(_printed_rows(question, answer))
        for name, values in _columns(question, answer, names[answer.path]).items():
            columns[name] += list(values)
        if answer.maps:
            figure = _picture(question, answer)
            figures.save(figure, folder / names[answer.path])
    if not printed:
        raise UserError("--images: no file can be decoded; give PNG or JPEG files")
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
    if rival and not label:
        raise UserError("--rival: give the class that it is compared with by --label")
    if rival and asked == against:
        raise UserError(f"--rival: {rival} is the --label itself; give another class")
    config = net.config.get("localization")
    if rival and config is None:
        raise UserError(f"--rival: {net.config.model.name} has no maps to draw")
    return Question(net, asked, against, settings(config) if config else {})


def _answers(question: Question, files: Mapping[Path, bool]) -> Iterator[Answer]:
    """Yield the net's answer for each image; `files` are those of `find_images`."""
    net = question.net
    preprocess = net.dataset.preprocess
    apply = jax.jit(lambda v, batch: infer(net.model, v, preprocess(batch)))
    frequencies = net.dataset.log_prior()
    priors = Priors(frequencies, frequencies)
    decoded = _decode(net, files)
    while some := list(itertools.islice(decoded, _BATCH)):
        missing = min(_BATCH, len(files)) - len(some)  # pad: one shape compiles once
        batch = np.stack([image for _, image, _ in some + some[:1] * missing])
        output = apply(net.variables, batch)
        pmi = claimed_pmi(output.logits, net.loss, priors)
        probability = np.asarray(jnp.exp(pmi + frequencies))
        labels = _labels(question, output.logits, probability)
        inference = Inference(output, {"image": batch}, priors, net.variables["params"])
        maps = _maps(question, inference, labels)
        for i, in_file in enumerate(some):
            own = i, np.flatnonzero(labels[i] >= 0)
            own_maps = {name: array[own] for name, array in maps.items()}
            own_pmi = np.asarray(pmi)[i]
            yield Answer(*in_file, probability[i], own_pmi, labels[own], own_maps)


def _decode(
    net: TrainedNet, files: Mapping[Path, bool]
) -> Iterator[tuple[Path, np.ndarray, tuple[int, int]]]:
    """Yield path, stored image and (width, height) in the file of what is an image."""
    for path, named in tracked(files.items(), "explaining"):
        try:
            content = path.read_bytes()
            image = net.dataset.read_image(content)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            message = f"{path}: cannot be decoded: {reason}"
            if named:
                raise UserError(message) from error
            print(f"left out: {message}")
        else:
            yield path, image, tfds_store.size_of(content)


def _labels(
    question: Question, logits: jax.Array, probability: np.ndarray
) -> np.ndarray:
    """Return the classes whose maps each image gets, `[B, G]`, padded with -1."""
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
    question: Question, inference: Inference, labels: np.ndarray
) -> dict[str, np.ndarray]:
    known, settings = np.maximum(labels, 0), question.settings
    maps = {name: each.maps(inference, known) for name, each in settings.items()}
    if question.rival is not None:
        pair = np.array([question.label, question.rival])
        kernel = inference.params["head"]["kernel"][:, pair]
        two_classes = inference._replace(params={"head": {"kernel": kernel}})
        first = np.zeros_like(labels)
        maps["rival"] = settings["info_cam"].maps(two_classes, first)
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
    dataset, labels = question.net.dataset, answer.labels
    names = dataset.class_names
    columns = {"image": str(answer.path), "likeliest": names[answer.likeliest[0]]}
    if answer.maps:
        columns["picture"] = picture
    columns = {name: [value] * len(labels) for name, value in columns.items()}
    columns["label"] = [names[c] for c in labels]
    columns["probability"] = answer.probability[labels]
    columns["pmi_nats"] = answer.pmi[labels]
    size = answer.image.shape[:2]
    start, end = np.reshape(dataset.visible, (2, 2))  # shares of width and height
    for name, maps in answer.maps.items():
        threshold = question.net.config.localization.threshold
        corners = localization.boxes_from_maps(maps, size, threshold).reshape(-1, 2, 2)
        in_file = (start + corners * ((end - start) / size[::-1])) * answer.file_size
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


def _print(of_images: Sequence[Sequence[tuple[str, ...]]]) -> None:
    rows = list(itertools.chain(*of_images[:_MOST_PRINTED]))
    notes = ["by the class frequencies of the training labels"]
    if more := len(of_images[_MOST_PRINTED:]):
        notes.append(f"{more:,} more images are in predictions.csv")
    columns = ("image", "likeliest", "probability", "PMI, nats")
    print_table(Table("predictions", columns, rows, notes))
