"""What a trained net says of images of one's own, and where it sees it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from mi_classifier import activation_maps, localization
from mi_classifier import workdir as workdirs
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
from mi_classifier.evaluation.run import Run, load_config, load_run
from mi_classifier.evaluation.table import Table, print_table

_BATCH = 16
_MOST_PRINTED = 20  # images
_TOP = 3  # classes of each


def find_images(paths: Sequence[str]) -> list[Path]:
    """Returns the image files among paths, and below those that are folders, sorted.

    Raises:
      UserError: a path that does not exist, or a folder that holds no image.
    """
    Image.init()
    files = []
    for path in map(Path, paths):
        if path.is_dir():
            below = [
                file
                for _, file in archive.walk(path)
                if file.suffix.lower() in Image.EXTENSION
            ]
            if not below:
                raise UserError(f"--images: {path} holds no image")
            files += below
        elif path.exists():
            files.append(path)
        else:
            raise UserError(f"--images: no such file or folder: {path}")
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
    if against is not None and asked in (None, against):
        raise UserError("--rival: give another class by --label")
    maps_of = _settings(run)
    if rival and not maps_of:
        raise UserError(f"--rival: {run.config.model.name} has no maps to draw")
    contents = [_read(path) for path in files]
    images = [_decode(run, *each) for each in zip(files, contents, strict=True)]

    apply = jax.jit(
        lambda variables, batch: run.model.apply(
            variables, dataset.preprocess(batch), train=False
        )
    )
    frequencies = dataset.log_prior()
    priors = Priors(frequencies, frequencies)
    folder = run.workdir / "evaluation" / "images"
    pictured = _picture_names(files)
    likeliest, rows = [], []
    for start in track(
        range(0, len(files), _BATCH),
        "explaining",
        console=Console(stderr=True),
        transient=True,
    ):
        some = images[start : start + _BATCH]
        missing = min(_BATCH, len(files)) - len(some)  # one shape, one compilation
        batch = np.stack([*some, *[some[0]] * missing])
        output = apply(run.variables, batch)
        pmi = calibration.claims(
            output.logits, run.config.loss, dataset.multi_label, priors
        )
        probability = np.asarray(jnp.exp(pmi + frequencies))
        pmi = np.asarray(pmi)
        labels = _labels(run, np.asarray(output.logits), probability, asked)
        inference = Inference(output, {"image": batch}, priors, run.variables["params"])
        maps = _maps(maps_of, inference, labels, asked, against, names)
        for i, image in enumerate(some):
            path = files[start + i]
            order = np.argsort(-probability[i], kind="stable")[:_TOP].tolist()
            shown = [*order, *({asked} - {None, *order})]
            for c in shown:
                name = str(path) if c == order[0] else ""
                numbers = f"{probability[i, c]:.3f}", f"{pmi[i, c]:+.3f}"
                likeliest.append((name, names[c], *numbers))
            chosen = np.flatnonzero(labels[i] >= 0)
            of_image = {title: array[i, chosen] for title, array in maps.items()}
            found = _boxes(run, contents[start + i], of_image, image.shape[:2])
            for k, column in enumerate(chosen):
                c = labels[i, column]
                row = {"image": str(path), "label": names[c]}
                row |= {"probability": probability[i, c], "pmi_nats": pmi[i, c]}
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
                drawing.save(figure, folder / pictured[start + i])
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    workdirs.write_text(folder / "predictions.csv", predictions.to_csv(columns))
    _print(files, likeliest)
    what = "pictures and boxes" if maps_of else "predictions"
    print(f"{what}: {folder}")


def _settings(run: Run) -> dict[str, localizing.Setting]:
    config = run.config
    return localizing.settings(config.localization) if "localization" in config else {}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _decode(run: Run, path: Path, content: bytes) -> np.ndarray:
    try:
        return run.dataset.read_image(content)
    except ValueError as error:
        raise UserError(f"{path}: cannot be decoded: {error}") from error


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
    run: Run, content: bytes, maps: Mapping[str, np.ndarray], size: tuple[int, int]
) -> dict[str, Any]:
    """Returns columns of box corners in the file's pixels, for maps `[G, h, w]`."""
    columns: dict[str, Any] = {}
    keys = {title: name for name, title in activation_maps.TITLES.items()}
    x0, y0, x1, y1 = run.dataset.visible
    file_size = np.array(tfds_store.size_of(content))
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


def _picture_names(files: Sequence[Path]) -> list[str]:
    """Returns a name for each file's picture; files of one name are numbered."""
    names, counts = [], dict.fromkeys((path.name for path in files), 0)
    for path in files:
        counts[path.name] += 1
        number = f"_{counts[path.name]}" if counts[path.name] > 1 else ""
        names.append(f"{path.name}{number}.png")
    return names


def _print(files: Sequence[Path], likeliest: Sequence[tuple[str, ...]]) -> None:
    starts = [i for i, row in enumerate(likeliest) if row[0]]
    end = starts[_MOST_PRINTED] if len(files) > _MOST_PRINTED else len(likeliest)
    more = len(files) - _MOST_PRINTED
    notes = ["by the class frequencies of the training set"]
    if more > 0:
        notes.append(f"{more:,} more images are in predictions.csv")
    columns = ("image", "likeliest", "probability", "PMI, nats")
    print_table(Table("what the net says", columns, likeliest[:end], notes))
