"""What a trained net says of images of one's own, and where it sees it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from mi_classifier import activation_maps, localization
from mi_classifier.data import archive, tfds_store
from mi_classifier.errors import UserError, choose_nearest
from mi_classifier.evaluation import (
    calibration,
    localizing,
    multi_label,
    pictures,
    predictions,
)
from mi_classifier.evaluation import figures as drawing
from mi_classifier.evaluation.evaluators import Inference, Priors, paper_rule
from mi_classifier.evaluation.trained_net import Run, load_config, load_run
from mi_classifier.reporting.table import Table, print_table
from mi_classifier.storage.files import write_text
from mi_classifier.models import infer
from mi_classifier.progress import tracked

_BATCH = 16
_MOST_PRINTED = 20  # images
_TOP = 3  # classes of each
_LONGEST = 200  # bytes of a file's name that its picture's begins with


def find_images(paths: Sequence[str]) -> dict[Path, bool]:
    """Finds images among paths, and below those that are folders, in their order.

    Returns:
      For each file whether it was named itself, and must be an image.

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
        below = [
            file
            for name, file in archive.walk(path)
            if file.suffix.lower() in Image.EXTENSION
            and not any(part.startswith(".") for part in name.split("/"))
        ]
        if not below:
            raise UserError(f"--images: {path} holds no image")
        for file in below:
            files.setdefault(file, False)
    return files


def explain(
    workdir: str | Path, paths: Sequence[str], label: str = "", rival: str = ""
) -> None:
    """Prints the likeliest classes of images, and draws the maps of the first.

    Writes `evaluation/images/`: a picture of each image, and `predictions.csv`, a row
    for each image and class looked for, with boxes in pixels of the file.

    Args:
      workdir: a folder that `train.py` wrote.
      paths: image files, or folders of them.
      label: the class whose maps are drawn; "" for the likeliest, or where an example
        may have several labels, all that are decided to be present.
      rival: of a further map, infoCAM between `label` and it; "" for none.

    Raises:
      UserError: as `evaluate`; a path without images, an image that cannot be read, a
        class that does not exist, or a net of other things than images.
    """
    workdir = Path(workdir)
    if "method" in load_config(workdir):
        raise UserError(f"--images: {workdir} holds a cross-fit of rows, not of images")
    files = find_images(paths)
    run = load_run(workdir)
    dataset, names = run.dataset, run.dataset.class_names
    if dataset.read_image is None:
        raise UserError(f"--images: {dataset.name} is not a set of images")
    asked = choose_nearest(label, names, "--label") if label else None
    against = choose_nearest(rival, names, "--rival") if rival else None
    if against is not None and asked is None:
        raise UserError("--rival: say which class it is a rival of, by --label")
    if against is not None and asked == against:
        raise UserError(f"--rival: {rival} is the --label itself")
    maps_of = _settings(run)
    if rival and not maps_of:
        raise UserError(f"--rival: {run.config.model.name} has no maps to draw")
    apply = jax.jit(
        lambda variables, batch: infer(run.model, variables, dataset.preprocess(batch))
    )
    frequencies = dataset.log_prior()
    priors = Priors(frequencies, frequencies)
    folder = run.workdir / "evaluation" / "images"
    pictures_of = _picture_names(list(files))
    likeliest, rows = [], []
    for some in _batches(run, files):
        missing = min(_BATCH, len(files)) - len(some)  # one shape, one compilation
        batch = np.stack([image for _, image, _ in some + some[:1] * missing])
        output = apply(run.variables, batch)
        pmi = calibration.claims(
            output.logits, run.config.loss, dataset.multi_label, priors
        )
        probability = np.asarray(jnp.exp(pmi + frequencies))
        pmi = np.asarray(pmi)
        labels = _labels(run, np.asarray(output.logits), probability, asked)
        inference = Inference(output, {"image": batch}, priors, run.variables["params"])
        maps = _maps(maps_of, inference, labels, asked, against, names)
        for i, (path, image, size) in enumerate(some):
            order = np.argsort(-probability[i], kind="stable")[:_TOP].tolist()
            shown = [*order, *({asked} - {None, *order})]
            for c in shown:
                name = str(path) if c == order[0] else ""
                numbers = f"{probability[i, c]:.3f}", f"{pmi[i, c]:+.3f}"
                likeliest.append((name, names[c], *numbers))
            chosen = np.flatnonzero(labels[i] >= 0)
            of_image = {title: array[i, chosen] for title, array in maps.items()}
            found = _boxes(run, size, of_image, image.shape[:2])
            for k, c in enumerate(labels[i, chosen]):
                row = {"image": str(path), "likeliest": names[order[0]]}
                row |= {"picture": pictures_of[path]} if maps_of else {}
                row |= {"label": names[c], "probability": probability[i, c]}
                row |= {"pmi_nats": pmi[i, c]}
                rows.append(row | {name: boxes[k] for name, boxes in found.items()})
            if of_image:
                titles = [
                    f"{names[c]}\n{pmi[i, c]:+.2f} nats" for c in labels[i, chosen]
                ]
                picture = pictures.localized(
                    [image] * len(chosen),
                    titles,
                    [np.zeros((0, 4))] * len(chosen),
                    of_image,
                    run.config.localization.threshold,
                )
                figure = drawing.localization(picture, path.name)
                drawing.save(figure, folder / pictures_of[path])
    if not rows:
        raise UserError("--images: none of them can be decoded")
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    write_text(folder / "predictions.csv", predictions.to_csv(columns))
    _print(likeliest)
    what = "pictures and boxes" if maps_of else "predictions"
    print(f"{what}: {folder}")


def _batches(
    run: Run, files: Mapping[Path, bool]
) -> Iterator[list[tuple[Path, np.ndarray, tuple[int, int]]]]:
    """Yields some images at a time: path, image as stored, (width, height) of the file.

    What cannot be decoded is an error where it was named itself, else left out.
    """
    some = []
    for path, named in tracked(files.items(), "explaining"):
        try:
            content = path.read_bytes()
            size = tfds_store.size_of(content)
            some.append((path, run.dataset.read_image(content), size))
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


def _settings(run: Run) -> dict[str, localizing.Setting]:
    config = run.config
    return localizing.settings(config.localization) if "localization" in config else {}


def _labels(
    run: Run, logits: np.ndarray, probability: np.ndarray, asked: int | None
) -> np.ndarray:
    """Returns the classes to look for in each image, `[B, G]`, padded with -1."""
    if asked is not None:
        return np.full((len(logits), 1), asked)
    likeliest = probability.argmax(1)
    if not run.dataset.multi_label:
        return likeliest[:, None]
    loss = run.config.loss
    present = np.array(
        multi_label.decide(logits, loss, run.dataset.log_prior())[paper_rule(loss)]
    )
    present[np.arange(len(logits)), likeliest] |= ~present.any(1)
    order = np.argsort(~present, axis=1, kind="stable")
    padded = np.where(np.take_along_axis(present, order, 1), order, -1)
    return padded[:, : present.sum(1).max()]


def _maps(
    settings: Mapping[str, localizing.Setting],
    inference: Inference,
    labels: np.ndarray,
    asked: int | None,
    against: int | None,
    names: Sequence[str],
) -> dict[str, np.ndarray]:
    """Returns maps `[B, G, h, w]` by title; that of a label and its rival last."""
    known = np.maximum(labels, 0)
    maps = {
        activation_maps.TITLES[name]: np.asarray(setting.maps(inference, known))
        for name, setting in settings.items()
    }
    if against is not None:
        setting = settings["info_cam"]
        pair = inference.params["head"]["kernel"][:, np.array([asked, against])]
        difference = activation_maps.info_cam(
            inference.output.features,
            pair,
            np.zeros_like(labels),
            setting.region,
            setting.padding,
        )
        maps[f"{names[asked]},\nnot {names[against]}"] = np.asarray(difference)
    return maps


def _boxes(
    run: Run,
    file_size: tuple[int, int],
    maps: Mapping[str, np.ndarray],
    size: tuple[int, int],
) -> dict[str, Any]:
    """Returns columns of box corners in the file's pixels, for maps `[G, h, w]`."""
    columns: dict[str, Any] = {}
    keys = {title: name for name, title in activation_maps.TITLES.items()}
    x0, y0, x1, y1 = run.dataset.visible
    origin = np.tile((x0, y0), 2)
    scale = np.tile(((x1 - x0) / size[1], (y1 - y0) / size[0]), 2)
    for title, array in maps.items():
        boxes = localization.boxes_from_maps(
            array, size, run.config.localization.threshold
        )
        in_file = (origin + boxes * scale) * np.tile(file_size, 2)
        for corner, values in zip(localizing.CORNERS, in_file.T, strict=True):
            columns[f"{keys.get(title, 'rival')}_{corner}"] = values.round(1)
    return columns


def _picture_names(files: Sequence[Path]) -> dict[Path, str]:
    """Returns a name for each file's picture; files of one name are numbered."""
    names, counts = {}, dict.fromkeys((path.name for path in files), 0)
    for path in files:
        counts[path.name] += 1
        number = f"_{counts[path.name]}" if counts[path.name] > 1 else ""
        stem = os.fsdecode(os.fsencode(path.name)[:_LONGEST])
        names[path] = f"{stem}{number}.png"
    return names


def _print(likeliest: Sequence[tuple[str, ...]]) -> None:
    starts = [i for i, row in enumerate(likeliest) if row[0]]
    more = len(starts) - _MOST_PRINTED
    end = starts[_MOST_PRINTED] if more > 0 else len(likeliest)
    notes = ["by the class frequencies of the training set"]
    if more > 0:
        notes.append(f"{more:,} more images are in predictions.csv")
    columns = ("image", "likeliest", "probability", "PMI, nats")
    print_table(Table("what the net says", columns, likeliest[:end], notes))
