"""Reruns a table of the paper, ours beside the paper's.

python -m mi_classifier.tables 2 --seeds=10

Each cell is a run of train.py's in a workdir of its own below `--workdir`; those that
are there and finished are not run again. With `--collect` nothing is run: finished runs
below `--workdir`, wherever they lie, fill the cells that their configs say. Table 2 is
mutual information on the Gaussian mixture; 3 classification of MNIST, and "3-cub" of
CUB-200-2011; 4, 6 and 7 localization on CUB-200-2011 and Tiny-ImageNet, 8 its ablation;
5 double-digit MNIST; and "channel", which the paper does not have, mutual information
on real images with labels of known noise. Written are TABLE.md, TABLE.json and figures.
"""

from collections.abc import Callable

from mi_classifier.reporting.table import markdown, print_table
from mi_classifier.storage.files import to_json, write_text
from mi_classifier.tables.channel import table_channel
from mi_classifier.tables.classification import table_3, table_3_cub
from mi_classifier.tables.double_digits import table_5
from mi_classifier.tables.localization import table_4, table_6, table_7, table_8
from mi_classifier.tables.mutual_information import table_2
from mi_classifier.tables.reruns import Options

TABLES: dict[str, Callable] = {
    "2": table_2,
    "3": table_3,
    "3-cub": table_3_cub,
    "4": table_4,
    "5": table_5,
    "6": table_6,
    "7": table_7,
    "8": table_8,
    "channel": table_channel,
}


def rerun(name: str, options: Options) -> None:
    """Reruns a table, prints it, and writes it as Markdown and JSON.

    Args:
      name: a key of `TABLES`.
      options: how.

    Raises:
      UserError: data or workdirs that cannot be used.
    """
    tables, figures = TABLES[name](options)
    for table in tables:
        print_table(table)
    text = "\n".join(map(markdown, tables))
    write_text(options.root.with_suffix(".md"), text)
    json_text = to_json(figures, indent=1)
    write_text(options.root.with_suffix(".json"), json_text)
    print(f"written: {options.root}.md, {options.root}.json")
