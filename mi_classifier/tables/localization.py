"""Tables 4, 6, 7 and 8: CAM, infoCAM and infoCAM+ on CUB-200-2011 and Tiny-ImageNet."""

from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from mi_classifier.activation_maps import MAPS
from mi_classifier.evaluation import load_net
from mi_classifier.reporting import summary
from mi_classifier.reporting.table import (
    Table,
    column,
    mean_deviation,
    p_value,
    seeds_note,
)
from mi_classifier.reporting.writing import evaluate_and_write
from mi_classifier.storage.files import read_json
from mi_classifier.tables import published, reruns
from mi_classifier.tables.reruns import FinishedRun

_DATA = {"cub200": "CUB-200-2011", "tiny_imagenet": "Tiny-ImageNet"}
_NETS = {"vgg16_gap": "VGG16-GAP", "resnet50": "ResNet50"}
_FILES = {
    ("cub200", "vgg16_gap"): "cub_vgg",
    ("cub200", "resnet50"): "cub_resnet",
    ("tiny_imagenet", "vgg16_gap"): "tiny_imagenet_vgg",
    ("tiny_imagenet", "resnet50"): "tiny_imagenet_resnet",
}
_ADL = ("plain", "adl")
# Table 8 has only these.
_ABLATED = (("cub200", "vgg16_gap"), ("tiny_imagenet", "resnet50"))


def table_4(options: reruns.Options) -> tuple[list[Table], dict[str, Any]]:
    """Localization on both sets."""
    cells = _gather(options, _FILES)
    tables = []
    for data, data_title in _DATA.items():
        rows = [
            [_title(net, adl), entry.title, *_map_cells(runs, name)]
            for net in _NETS
            for adl in _ADL
            if (runs := cells.get(f"{data},{net},{adl}"))
            for name, entry in MAPS.items()
        ]
        title = f"Table 4: localization on {data_title} in percent"
        columns = ("net", "map", "GT-known", "Top-1", "paper's", "p")
        tables += [Table(title, columns, rows, _notes(cells))] if rows else []
    return tables, _results(cells)


def table_6(options: reruns.Options) -> tuple[list[Table], dict[str, Any]]:
    """Classification and localization on CUB-200-2011."""
    return _one_set(options, "6", "cub200")


def table_7(options: reruns.Options) -> tuple[list[Table], dict[str, Any]]:
    """Classification and localization on Tiny-ImageNet."""
    return _one_set(options, "7", "tiny_imagenet")


def table_8(options: reruns.Options) -> tuple[list[Table], dict[str, Any]]:
    """What the region and the subtraction bring, with and without ADL."""
    cells = _gather(options, _ABLATED)
    rows, cells_of = [], {}
    for name, runs in cells.items():
        data, net, adl = name.split(",")
        ablations = [c for run in runs if (c := _ablation(run, options.collect))]
        cells_of[name] = ablations
        theirs = _published(runs)
        for kind, (map_name, has_region) in summary.TABLE_8.items():
            row = [f"{_DATA[data]}, {_title(net, adl)}"]
            row += ["yes" if has_region else "no"]
            row += ["no" if map_name == "cam" else "yes"]
            for figure in ("gt_known", "top1"):
                values = 100 * column([a[kind] for a in ablations], figure)
                row.append(mean_deviation(values, ".2f"))
            rows.append([*row, _pair(theirs.ablation.get(kind) if theirs else None)])
    columns = ("", "R", "subtraction", "GT-known", "Top-1", "paper's")
    notes = [
        f"{seeds_note(cells)}. Ours are of the validation split, the paper's of test.",
        "The paper captions its second half, on Tiny-ImageNet, as CUB-200-2011.",
    ]
    return [Table("Table 8: ablation, in percent", columns, rows, notes)], cells_of


def _one_set(
    options: reruns.Options, number: str, data: str
) -> tuple[list[Table], dict[str, Any]]:
    cells = _gather(options, [key for key in _FILES if key[0] == data])
    classification, localization = [], []
    for name, runs in cells.items():
        _, net, adl = name.split(",")
        title = _title(net, adl)
        of_test = [run.results["splits"]["test"] for run in runs]
        shares = [t["localization"]["classification"] for t in of_test]
        row = [title]
        for top in ("top1", "top5"):
            row.append(mean_deviation(100 * column(shares, top), ".2f"))
        bounds = [t["information"]["mutual_information"] for t in of_test]
        theirs = _published(runs)
        row += [_pair(theirs.classification if theirs else None)]
        classification.append([*row, mean_deviation(column(bounds, "nats"), ".3f")])
        for map_name, entry in MAPS.items():
            maps = [t["localization"]["maps"][map_name] for t in of_test]
            gentle = [
                mean_deviation(100 * column(maps, rule), ".2f")
                for rule in ("pointing", "max_box_accuracy")
            ]
            row = [title, entry.title, *_map_cells(runs, map_name), *gentle]
            localization.append(row)
    tables = [
        Table(
            f"Table {number}: classification of {_DATA[data]} in percent",
            ("net", "top-1", "top-5", "paper's", "nats"),
            classification,
        ),
        Table(
            f"Table {number}: localization on {_DATA[data]} in percent",
            (
                "net",
                "map",
                "GT-known",
                "Top-1",
                "paper's",
                "p",
                "pointing",
                "MaxBoxAcc",
            ),
            localization,
            _notes(cells),
        ),
    ]
    return tables, _results(cells)


def _gather(
    options: reruns.Options, pairs: Sequence[tuple[str, str]]
) -> dict[str, list[FinishedRun]]:
    """Runs are shared by the tables: they lie in a folder of their own."""
    root = options.root.with_name("localization")
    wanted = {}
    for seed in range(options.seeds):
        for data, net in pairs:
            for adl in _ADL:
                words = ":adl" if adl == "adl" else ""
                config = reruns.config(f"{_FILES[data, net]}{words}", seed, options)
                wanted[root / data / f"{net}_{adl}" / f"seed{seed}"] = config
    return reruns.gather(wanted, _name_of, options)


def _name_of(config: ConfigDict) -> str:
    adl = "adl" if config.model.get("adl") else "plain"
    return f"{config.data.name},{config.model.name},{adl}"


def _title(net: str, adl: str) -> str:
    return f"{_NETS[net]}{', ADL' if adl == 'adl' else ''}"


def _map_cells(runs: Sequence[FinishedRun], name: str) -> list[str]:
    """GT-known and Top-1 of a map, the paper's, and whether it differs from CAM."""
    maps = [run.results["splits"]["test"]["localization"]["maps"] for run in runs]
    values = {
        rule: 100 * column([m[name] for m in maps], rule)
        for rule in ("gt_known", "top1")
    }
    cells = [mean_deviation(value, ".2f") for value in values.values()]
    theirs = _published(runs)
    cells.append(_pair(theirs.maps.get(name) if theirs else None))
    cam = 100 * column([m["cam"] for m in maps], "gt_known")
    return [*cells, "" if name == "cam" else p_value(values["gt_known"], cam)]


def _published(runs: Sequence[FinishedRun]) -> summary.Published | None:
    num_classes = len(runs[0].results["class_names"])
    return published.localization(runs[0].config, num_classes)


def _pair(values: Sequence[float] | None) -> str:
    return "/".join(f"{value:.2f}" for value in values) if values else ""


def _ablation(run: FinishedRun, collect: bool) -> dict[str, Any] | None:
    """Reads the ablation of a run, made if it is missing and may be."""
    path = run.workdir / "evaluation" / "ablation.json"
    if not reruns.is_current(path, run.workdir):
        if collect:
            print(f"{run.workdir}: left out; run evaluate.py --ablation on it")
            return None
        net = load_net(run.workdir)
        evaluate_and_write(net, published=None, quiet=True, ablation=True)
    return read_json(path, "remove it, and it is made anew").get("table_8")


def _notes(cells: dict[str, list[FinishedRun]]) -> list[str]:
    note = (
        f"{seeds_note(cells)}; p of the two-sided Mann-Whitney U test of GT-known "
        "against CAM's, * below 0.05. The paper's: GT-known/Top-1 of localization, "
        "top-1/top-5 of classification."
    )
    return [note]


def _results(cells: dict[str, list[FinishedRun]]) -> dict[str, Any]:
    names = ("localization", "information", "accuracy")
    return {
        name: [{n: run.results["splits"]["test"][n] for n in names} for run in runs]
        for name, runs in cells.items()
    }
