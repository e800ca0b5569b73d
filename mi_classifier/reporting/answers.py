"""Ask a trained net about a user's own images: classes, PMI and maps."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier.data import tfds_store
from mi_classifier.errors import UserError
from mi_classifier.evaluation import Priors, TrainedNet
from mi_classifier.evaluation.evaluators import Inference
from mi_classifier.evaluation.evaluators.accuracy import decide
from mi_classifier.evaluation.evaluators.calibration import claimed_pmi
from mi_classifier.evaluation.evaluators.localization import Setting
from mi_classifier.models import infer
from mi_classifier.progress import tracked

_BATCH = 16  # images
_TOP = 3  # likeliest classes of an answer


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


def answers(question: Question, files: Mapping[Path, bool]) -> Iterator[Answer]:
    """Yield the net's answer for each image that can be decoded.

    `files` tells for each file whether it must be an image; a line on the terminal
    names any other file that is left out.
    """
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
    """Yield path, image as stored, and (width, height) in the file."""
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
