"""report.html: summary, tables, figures and a gallery, in one file without network."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure

from mi_classifier import localization
from mi_classifier.activation_maps import TITLES
from mi_classifier.evaluation import figures as drawing
from mi_classifier.evaluation import gallery, pictures
from mi_classifier.evaluation.evaluators import RULES
from mi_classifier.evaluation.trained_net import Run
from mi_classifier.reporting.table import Table
from mi_classifier.storage.files import write_text

# Of the figures that the report shows; of images with their maps the gallery has more.
CAPTIONS = {
    "training": "Training: the loss, and what the validation split says, by epoch.",
    "calibration": "Is a pointwise mutual information of 2 nats worth 2 nats? Above "
    "the line a class is more frequent than claimed, below it less.",
    "recall": "Recall of each class by its share of training. The prior rule is what "
    "an ordinary softmax decides, the balanced rule what PC-softmax does.",
    "threshold": "Localization at every threshold, by the public WSOL evaluation; the "
    "peak is MaxBoxAcc. Its boxes are not quite those of the gallery, which are the "
    "paper's.",
}


def write(
    run: Run,
    figures: Mapping[str, Any],
    tables: Sequence[Table],
    columns: Mapping[str, Sequence[Any]],
    measures: Mapping[str, Any],
) -> Path:
    """Draws the figures of an evaluation, and writes its report.

    Args:
      run: the net and its data.
      figures: what `evaluate` returns.
      tables: of `summary.evaluation_tables`.
      columns: of the test split, `predictions.collect`.
      measures: of the test split, by evaluator.

    Returns:
      The path of report.html.

    Raises:
      UserError: the folder cannot be written to.
    """
    folder = run.workdir / "evaluation"
    drawn = draw(run, figures, measures)
    for name, figure in drawn.items():
        drawing.save(figure, folder / "figures" / f"{name}.png")
    test = figures["splits"]["test"]
    shown = [
        (
            gallery.to_url((folder / "figures" / f"{name}.png").read_bytes(), "png"),
            caption,
        )
        for name, caption in CAPTIONS.items()
        if name in drawn
    ]
    shown_images = None
    if run.dataset.read_image is not None:
        shown_images = gallery.make_gallery(run, columns, measures)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mi_classifier.evaluation", "assets"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    assets = resources.files("mi_classifier.evaluation") / "assets"
    html = environment.get_template("report.html").render(
        title=f"{figures['dataset']}: {figures['loss']}",
        epoch=figures["epoch"],
        information=test["information"]["mutual_information"],
        label_entropy=test["information"]["label_entropy"],
        each_label=run.dataset.multi_label,
        accuracy=test["accuracy"][test["accuracy"]["paper_rule"]],
        num_examples=test["num_examples"],
        tables=tables,
        figures=shown,
        gallery=shown_images,
        style=(assets / "report.css").read_text("utf-8"),
        script=(assets / "report.js").read_text("utf-8"),
    )
    path = folder / "report.html"
    write_text(path, html)
    return path


def draw(
    run: Run, figures: Mapping[str, Any], measures: Mapping[str, Any]
) -> dict[str, Figure]:
    """Returns the figures that there is something to show in, by name."""
    test = figures["splits"]["test"]
    title = figures["dataset"]
    drawn = {}
    if rows := run.rows:
        drawn["training"] = drawing.training_curves(rows, run.epoch)
    if bins := test["calibration"]["bins"]:
        drawn["calibration"] = drawing.reliability(bins, f"{title}: reliability")
    recall = {f"{rule} rule": _recall(test["accuracy"][rule]) for rule in RULES}
    drawn["recall"] = drawing.recall_by_frequency(
        figures["class_frequencies"], recall, f"{title}: recall"
    )
    if "localization" not in test:
        return drawn
    threshold, maps = (test["localization"][name] for name in ("threshold", "maps"))
    if maps:
        half = localization.IOUS.index(0.5)
        curves = {
            TITLES[name]: np.asarray(row["box_accuracy_curve"])[half]
            for name, row in maps.items()
        }
        drawn["threshold"] = drawing.threshold_curves(
            curves, localization.THRESHOLDS, f"{title}: public WSOL evaluation"
        )
    drawn["localization"] = pictures.draw_test_images(
        run.dataset, measures["localization"]["maps"], threshold
    )
    return drawn


def _recall(accuracy: Mapping[str, Any]) -> np.ndarray:
    """Of a single label, the accuracy of a class is its recall."""
    return np.asarray(accuracy.get("recall", accuracy["per_class"]), np.float64)
