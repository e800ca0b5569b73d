"""Write report.html: tables, figures and a gallery in one file, for use offline."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mi_classifier import localization
from mi_classifier.activation_maps import MAPS
from mi_classifier.evaluation import Evaluation, TrainedNet
from mi_classifier.evaluation.evaluators.base import rule_titles
from mi_classifier.reporting import (
    erased,
    figures,
    gallery,
    learning_curves,
    pages,
    pictures,
)
from mi_classifier.reporting.table import Table
from mi_classifier.storage.files import write_text

# Captions of the figures that the report shows. Instead of the figure "localization" it
# has the gallery.
CAPTIONS = {
    "training": "Loss, accuracy and bound by epoch. Training values are means over the "
    "epoch's batches, with augmentation and dropout.",
    "calibration": "Is a pointwise mutual information of 2 nats worth 2 nats? Above "
    "the line a class is more frequent than the net claims, below it less frequent.",
    "recall": "Recall of each class by its share of the training labels. An ordinary "
    "softmax decides by the prior rule, PC-softmax by the balanced rule.",
    "threshold": "Localization at every threshold, by the public WSOL evaluation; the "
    "highest value is MaxBoxAcc. Its boxes differ a little from those of the gallery, "
    "which follow the paper.",
    "erased": "What each map keeps of a label: all outside of its box is erased, as in "
    "the paper's Figure 4.",
}


@figures.in_default_style()
def write(net: TrainedNet, evaluation: Evaluation, tables: Sequence[Table]) -> Path:
    """Draw the figures of an evaluation, and write its report.html; return its path."""
    folder = net.workdir / "evaluation"
    verdict = learning_curves.judge(net.rows, net.epoch)
    training = f"{CAPTIONS['training']} The verdict: {verdict}."
    captions = CAPTIONS | {"training": training}
    shown = []
    for name, figure in draw(net, evaluation).items():
        path = folder / "figures" / f"{name}.png"
        figures.save(figure, path)
        if name in captions:
            url = gallery.to_url(path.read_bytes(), "png")
            shown.append((url, captions[name]))
    has_images = net.dataset.read_image is not None
    html = pages.render(
        "report.html",
        results=evaluation.results,
        test=evaluation.results.splits["test"],
        each_label=net.dataset.multi_label,
        tables=tables,
        figures=shown,
        gallery=gallery.make_gallery(net, evaluation) if has_images else None,
    )
    path = folder / "report.html"
    write_text(path, html)
    return path


def draw(net: TrainedNet, evaluation: Evaluation) -> Mapping[str, Figure]:
    """Return the figures of an evaluation, by name."""
    results = evaluation.results
    test, title = results.splits["test"], results.dataset
    drawn = {}
    if net.rows:
        drawn["training"] = figures.training_curves(net.rows, net.epoch)
    if "calibration" in test and test["calibration"].bins:
        bins = test["calibration"].bins
        drawn["calibration"] = figures.reliability(bins, f"{title}: reliability")
    recall = {}
    for rule, rule_title in rule_titles(test["accuracy"].equal_rules).items():
        each = test["accuracy"].by_rule(rule)
        # With one label an example, `per_class` is the recall.
        shares = each.per_class if each.recall is None else each.recall
        recall[rule_title] = np.asarray(shares)
    drawn["recall"] = figures.recall_by_frequency(
        results.class_frequencies, recall, results.class_names, f"{title}: recall"
    )
    if "localization" not in test:
        return drawn
    found = test["localization"]
    if found.maps:
        half = localization.IOUS.index(0.5)
        curves = {
            MAPS[name].title: each.box_accuracy_curve[half]
            for name, each in found.maps.items()
        }
        drawn["threshold"] = figures.threshold_curves(
            curves, localization.THRESHOLDS, f"{title}: public WSOL evaluation"
        )
    if net.dataset.multi_label and found.maps:
        drawn["erased"] = erased.draw_test_images(
            net.dataset,
            evaluation.measurements["localization"]["maps"],
            net.config.localization,
        )
    if net.dataset.read_image is not None:
        maps = evaluation.measurements["localization"]["maps"]
        drawn["localization"] = pictures.draw_test_images(
            net.dataset, maps, found.threshold
        )
    return drawn
