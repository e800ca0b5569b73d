"""Ask a trained net about a user's own images: classes, PMI and maps."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mi_classifier.activation_maps import MAPS, info_cam
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


@dataclasses.dataclass(frozen=True)
class Question:
    """The question that the net answers for every image.

    Attributes:
      net: the net to ask.
      label: the class whose maps are drawn. None for the likeliest class; if an example
        may have several labels, for all classes that the net decides for.
      rival: the class of a further map, infoCAM of `label` against it, or None.
      settings: the settings of the maps, by the map's name; empty if the net has none.
    """

    net: TrainedNet
    label: int | None
    rival: int | None
    settings: Mapping[str, Setting]


@dataclasses.dataclass(frozen=True)
class Answer:
    """The net's answer for one image.

    Attributes:
      path: the image file.
      image: the image at the size that the net stores, uint8 `[H, W, C]`.
      file_size: (width, height) of the image in the file.
      probability: the probability of each class, `[M]`.
      pmi: the pointwise mutual information of each class in nats, `[M]`.
      labels: the k classes whose maps are drawn.
      maps: the maps of these classes by the map's name, `[k, h, w]`; "rival" is the map
        of the label against its rival.
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
        """The likeliest classes, most likely first."""
        return np.argsort(-self.probability, kind="stable")[:_TOP].tolist()


def answers(question: Question, files: Mapping[Path, bool]) -> Iterator[Answer]:
    """Yields the net's answer for each image, and prints which files are left out.

    Args:
      question: the question to answer.
      files: image files, and for each whether it must be an image; if not, a file that
        cannot be decoded is left out.

    Raises:
      UserError: a file that must be an image cannot be decoded.
    """
    net = question.net
    preprocess = net.dataset.preprocess
    apply = jax.jit(lambda v, batch: infer(net.model, v, preprocess(batch)))
    frequencies = net.dataset.log_prior()
    priors = Priors(frequencies, frequencies)
    for some in _batches(net, files):
        missing = min(_BATCH, len(files)) - len(some)  # pad: one shape compiles once
        batch = np.stack([image for _, image, _ in some + some[:1] * missing])
        output = apply(net.variables, batch)
        pmi = claimed_pmi(output.logits, net.loss, priors)
        probability = np.asarray(jnp.exp(pmi + frequencies))
        labels = _labels(question, output.logits, probability)
        inference = Inference(output, {"image": batch}, priors, net.variables["params"])
        maps = _maps(question, inference, labels)
        for i, (path, image, file_size) in enumerate(some):
            chosen = np.flatnonzero(labels[i] >= 0)
            yield Answer(
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
    """Yields batches of (path, image as stored, (width, height) in the file).

    A file that cannot be decoded is left out if it comes from a folder.
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
    question: Question, logits: jax.Array, probability: np.ndarray
) -> np.ndarray:
    """Returns the classes whose maps each image gets, `[B, G]`, padded with -1."""
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
