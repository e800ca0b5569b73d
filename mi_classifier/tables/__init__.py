"""Reruns a table of the paper, ours beside the paper's.

python -m mi_classifier.tables 2 --seeds=10

Each cell trains in a workdir of its own below `--workdir`; finished workdirs are not
trained again. With `--collect` nothing is trained: finished runs in any folder below
`--workdir` fill the cells that their configs belong to. The command writes TABLE.md,
TABLE.json and figures.

* 2: mutual information of the Gaussian mixture
* 3, 3-cub: classification of MNIST, and of CUB-200-2011
* 4, 6, 7: localization on CUB-200-2011 and Tiny-ImageNet; 8: its ablation
* 5: double-digit MNIST
* channel: mutual information of real images and labels of known noise; not in the paper
* pretrained: EfficientNet-Lite0 on CUB-200-2011 and Tiny-ImageNet; not in the paper
"""

import functools
from collections.abc import Callable

from mi_classifier.reporting.table import markdown, print_table
from mi_classifier.storage.files import to_json, write_text
from mi_classifier.tables.channel import table_channel
from mi_classifier.tables.classification import table_3, table_3_cub
from mi_classifier.tables.double_digits import table_5
from mi_classifier.tables.localization import (
    table_4,
    table_8,
    table_of_set,
    table_pretrained,
)
from mi_classifier.tables.mutual_information import table_2
from mi_classifier.tables.reruns import Options

__all__ = ["TABLES", "Options", "rerun"]

# Each takes `Options`, and returns tables and the results that they show.
TABLES: dict[str, Callable] = {
    "2": table_2,
    "3": table_3,
    "3-cub": table_3_cub,
    "4": table_4,
    "5": table_5,
    "6": functools.partial(table_of_set, number="6", data="cub200"),
    "7": functools.partial(table_of_set, number="7", data="tiny_imagenet"),
    "8": table_8,
    "channel": table_channel,
    "pretrained": table_pretrained,
}


def rerun(name: str, options: Options) -> None:
    """Rerun a table of `TABLES`, print it, and write it as Markdown and JSON."""
    tables, results = TABLES[name](options)
    for table in tables:
        print_table(table)
    text = "\n".join(map(markdown, tables))
    write_text(options.root.with_suffix(".md"), text)
    write_text(options.root.with_suffix(".json"), to_json(results, indent=1))
    print(f"written: {options.root}.md, {options.root}.json")
