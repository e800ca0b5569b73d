"""Tables 4, 6, 7 and 8: CAM, infoCAM and infoCAM+ on CUB-200-2011 and Tiny-ImageNet."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mi_classifier.evaluation import load_net
from mi_classifier.evaluation.trivial import TITLES, measures, unbeaten
from mi_classifier.reporting import summary
from mi_classifier.reporting.table import Table, mean_deviation, p_value, seeds_note
from mi_classifier.reporting.writing import evaluate_and_write
from mi_classifier.storage.files import read_json
from mi_classifier.tables import published, reruns
from mi_classifier.tables.reruns import Cell, Cells, Options, numbers, percent

_DATA = {"cub200": "CUB-200-2011", "tiny_imagenet": "Tiny-ImageNet"}
_NETS = {
    "vgg16_gap": "VGG16-GAP",
    "resnet50": "ResNet50",
    "efficientnet_lite0": "EfficientNet-Lite0",
}
# The last word of a cell's name, and what it adds to the net's title.
_VARIANTS = {
    "plain": "",
    "adl": ", ADL",
    "frozen": ", frozen",
    "finetune": ", fine-tuned",
}
_PRETRAINED = {  # which install with the package
    "cub200": "cub_efficientnet",
    "tiny_imagenet": "tiny_imagenet_efficientnet",
}
_CONFIGS = {
    ("cub200", "vgg16_gap"): "cub_vgg",
    ("cub200", "resnet50"): "cub_resnet",
    ("tiny_imagenet", "vgg16_gap"): "tiny_imagenet_vgg",
    ("tiny_imagenet", "resnet50"): "tiny_imagenet_resnet",
}
# Table 8 has only these.
_ABLATED = (("cub200", "vgg16_gap"), ("tiny_imagenet", "resnet50"))
_RESULTS = ("localization", "information", "accuracy")
_HEADS = ("net", "map", "GT-known", "Top-1", "paper's", "p", "pointing", "MaxBoxAcc")
_NOTE = (
    "p of the two-sided Mann-Whitney U test of GT-known against CAM's, * below 0.05. "
    "The paper's: GT-known/Top-1 of localization, top-1/top-5 of classification. "
    "The whole image, the centered square (the best on validation), the centered "
    "Gaussian and the middle see no image; every map is held against them."
)


def table_4(options: Options) -> tuple[list[Table], dict[str, Any]]:
    """Return localization on both sets."""
    cells = _gather(options, _CONFIGS)
    tables = [_localization_table("4", cells, data, _HEADS[:6]) for data in _DATA]
    return [table for table in tables if table.rows], reruns.on_test_split(
        cells, *_RESULTS
    )


def table_pretrained(options: Options) -> tuple[list[Table], dict[str, Any]]:
    """Return classification and localization by EfficientNet-Lite0, not in the paper.

    Each seed has an even split of its own.
    """

    def name_of(config: ConfigDict) -> str:
        variant = "frozen" if config.get("cache_features") else "finetune"
        return f"{config.data.name},{config.model.name},{variant}"

    wanted = {
        f"{data}/{variant}": Cell(f"{config}:{variant}", seeds_data=True)
        for data, config in _PRETRAINED.items()
        for variant in ("frozen", "finetune")
    }
    cells = reruns.gather(wanted, name_of, options)
    tables = []
    for data in _DATA:
        own = {name: runs for name, runs in cells.items() if name.startswith(data)}
        if own:
            tables += [
                _classification_table("pretrained", own, data),
                _localization_table("pretrained", own, data, _HEADS),
            ]
    return tables, reruns.on_test_split(cells, *_RESULTS)


def table_8(options: Options) -> tuple[list[Table], dict[str, Any]]:
    """Return what the region and the subtraction add, with and without ADL."""
    cells = _gather(options, _ABLATED)
    rows, found, sentences = [], {}, []
    for name, runs in cells.items():
        net = ", ".join(_titles(name))
        found[name] = [a for run in runs if (a := _ablation(run, options.collect))]
        theirs = _published(runs).ablation
        for kind, parts in summary.TABLE_8.items():
            row = [net, *("yes" if part else "no" for part in parts[1:])]
            row += percent(found[name], f"{kind}.gt_known", f"{kind}.top1")
            rows.append([*row, published.pair(theirs.get(kind))])
        for kind, title in TITLES.items():
            if any(kind in each for each in found[name]):  # older runs lack them
                both = percent(found[name], f"{kind}.gt_known", f"{kind}.top1")
                rows.append([net, title, "", *both, ""])
        means = {
            kind: numbers(found[name], f"{kind}.gt_known").mean()
            for kind in (*summary.TABLE_8, *TITLES)
            if found[name]
        }
        ours = {p.title: means[k] for k, p in summary.TABLE_8.items() if k in means}
        trivial = {title: means[k] for k, title in TITLES.items() if k in means}
        texts = unbeaten("GT-known", ours, trivial, np.nan)
        sentences += [f"{net}: {text}" for text in texts]
    heads = ("", "R", "subtraction", "GT-known", "Top-1", "paper's")
    notes = [
        f"{seeds_note(found)}. Ours are of the validation split, the paper's of test.",
        "The paper captions its second half, on Tiny-ImageNet, as CUB-200-2011.",
        *sentences,
    ]
    return [Table("Table 8: ablation, in percent", heads, rows, notes)], found


def table_of_set(
    options: Options, number: str, data: str
) -> tuple[list[Table], dict[str, Any]]:
    """Return classification and localization on one data set."""
    cells = _gather(options, [key for key in _CONFIGS if key[0] == data])
    tables = [
        _classification_table(number, cells, data),
        _localization_table(number, cells, data, _HEADS),
    ]
    return tables, reruns.on_test_split(cells, *_RESULTS)


def _classification_table(number: str, cells: Cells, data: str) -> Table:
    rows = []
    for name, runs in cells.items():
        _, net = _titles(name)
        tests = [run.test for run in runs]
        tops = (f"localization.classification.{top}" for top in ("top1", "top5"))
        theirs = published.pair(_published(runs).classification)
        bound = numbers(tests, "information.mutual_information.nats")
        rows.append([net, *percent(tests, *tops), theirs, mean_deviation(bound, ".3f")])
    title = f"Table {number}: classification of {_DATA[data]} in percent"
    heads = ("net", "top-1", "top-5", "paper's", "nats")
    return Table(title, heads, rows)


def _localization_table(
    number: str, cells: Cells, data: str, heads: Sequence[str]
) -> Table:
    """Return the rows of each net and map, cut to the columns of `heads`."""
    rows, sentences = [], []
    for cell, runs in cells.items():
        data_title, net = _titles(cell)
        if data_title != _DATA[data]:
            continue
        tests, theirs = [run.test for run in runs], _published(runs).maps
        cam = numbers(tests, "localization.maps.cam.gt_known")
        for path, map_title in reruns.localized(runs).items():
            _, kind, name = path.split(".")
            is_map = kind == "maps"
            gt_known = numbers(tests, f"{path}.gt_known")
            row = [net, map_title, *percent(tests, f"{path}.gt_known", f"{path}.top1")]
            row.append(published.pair(theirs.get(name) if is_map else None))
            tested = is_map and name != "cam"
            row.append(p_value(gt_known, cam) if tested else "")
            row += percent(tests, f"{path}.pointing", f"{path}.max_box_accuracy")
            if any(row[2 : len(heads)]):  # Table 4 has no measure of the middle
                rows.append(row[: len(heads)])
        sentences += [f"{net}: {text}" for text in _unbeaten(runs)]
        sentences += filter(None, [_published(runs).protocol])
    title = f"Table {number}: localization on {_DATA[data]} in percent"
    return Table(
        title, heads, rows, [f"{seeds_note(cells)}; {_NOTE}", *dict.fromkeys(sentences)]
    )


def _unbeaten(runs: Sequence[reruns.FinishedRun]) -> list[str]:
    """Return sentences about the maps that beat no trivial box, by means over seeds."""
    tests, paths = [run.test for run in runs], reruns.localized(runs)
    count = numbers(tests, "localization.num_labels").mean()
    sentences = []
    threshold = runs[0].config.localization.threshold
    for field, heading in measures(threshold).items():
        maps, trivial = (
            {
                title: numbers(tests, f"{path}.{field}").mean()
                for path, title in paths.items()
                if path.startswith(f"localization.{kind}.")
            }
            for kind in ("maps", "trivial")
        )
        sentences += unbeaten(heading, maps, trivial, count)
    return sentences


def _gather(options: Options, nets: Iterable[tuple[str, str]]) -> Cells:
    """Gather runs; all tables share them, in a folder beside their own."""
    wanted = {
        f"{data}/{net}_{adl or 'plain'}": Cell(f"{_CONFIGS[data, net]}:{adl}")
        for data, net in nets
        for adl in ("", "adl")
    }
    root = options.root.with_name("localization")
    return reruns.gather(wanted, _name_of, dataclasses.replace(options, root=root))


def _name_of(config: ConfigDict) -> str:
    adl = "adl" if config.model.get("adl") else "plain"
    return f"{config.data.name},{config.model.name},{adl}"


def _titles(name: str) -> tuple[str, str]:
    """Return the titles of a cell's data set and net."""
    data, net, variant = name.split(",")
    return _DATA[data], _NETS[net] + _VARIANTS[variant]


def _published(runs: Sequence[reruns.FinishedRun]) -> summary.Published:
    """Return the paper's results of a net, which may be empty."""
    num_classes = len(runs[0].results["class_names"])
    theirs = published.localization(runs[0].config, num_classes)
    return theirs or summary.Published((), {}, {})


def _ablation(run: reruns.FinishedRun, collect: bool) -> dict[str, Any] | None:
    """Read the ablation of a run; make it first if it is missing and may be made."""
    path = run.workdir / "evaluation" / "ablation.json"
    remedy = "remove it, and it is made again"
    known = reruns.is_current(path, run.workdir) and read_json(path, remedy)
    if known and "table_8" in known:  # version 0.1 did not write it
        return known["table_8"]
    if collect:
        print(f"{run.workdir}: left out; run evaluate.py --ablation on it")
        return None
    evaluate_and_write(load_net(run.workdir), published=None, quiet=True, ablation=True)
    return read_json(path, remedy)["table_8"]
