"""A table of texts, which the terminal, Markdown and HTML can show."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mi_classifier.text import printable

if TYPE_CHECKING:
    from rich.console import Console

_WIDEST = 1_000  # characters of a line in a file


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
      title: the text above the table.
      columns: the headings; the first column names the rows.
      rows: the cells of each row, as many as there are columns.
      notes: the lines below the table.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def text_of(table: Table) -> str:
    """Return a table and its notes as `print_table` prints them into a file."""
    from rich.console import Console

    text = io.StringIO()
    print_table(table, Console(file=text, width=80, force_jupyter=False))
    return text.getvalue()


def print_table(table: Table, console: "Console | None" = None) -> None:
    """Print a table and its notes, on standard output by default."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    def shown_text(text: str) -> Text:
        # A name may hold bytes that are not text, or codes of terminals.
        return Text("\n".join(map(printable, text.split("\n"))))

    shown = RichTable(
        title=shown_text(table.title),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # three splits fit into 80 columns
        pad_edge=False,
    )
    for index, column in enumerate(table.columns):
        justify = "right" if index else "left"
        shown.add_column(shown_text(column), justify=justify, overflow="fold")
    for row in table.rows:
        shown.add_row(*map(shown_text, row))
    # Text for a notebook, too: results have HTML of their own.
    console = console or Console(force_jupyter=False)
    needed = Console(width=_WIDEST).measure(shown).maximum
    width = console.width if console.is_terminal else max(console.width, needed)
    # A file has room for the whole table.
    wide = Console(file=console.file, width=width, force_jupyter=False)
    wide.print(shown)
    for note in table.notes:
        console.print(shown_text(note))


def markdown(table: Table) -> str:
    """Return a table and its notes as Markdown."""
    lines = [f"**{table.title}**", "", "| " + " | ".join(table.columns) + " |"]
    lines.append("|" + "---|" * len(table.columns))
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join([*lines, "", *table.notes, ""])


def percent(value: float | None) -> str:
    """Return a share in percent with two decimals; "" for None or NaN."""
    return "" if value is None or np.isnan(value) else f"{100 * value:.2f}"


def mean_deviation(values: np.ndarray, spec: str) -> str:
    """Return "mean ± deviation" of values in a format; "" if none or one is NaN."""
    if not len(values) or np.isnan(values).any():
        return ""
    text = format(values.mean(), spec)
    if len(values) == 1:
        return text
    return f"{text} ± {format(values.std(ddof=1), spec.replace('+', ''))}"


def seeds_note(cells: Mapping[str, Sequence[Any]]) -> str:
    """Return a note such as "2 to 3 seeds a cell; ± the standard deviation"."""
    counts = sorted({len(runs) for runs in cells.values()})
    few = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    seeds = "seed" if few == "1" else "seeds"
    return f"{few} {seeds} a cell; ± the standard deviation over seeds"


def p_value(a: np.ndarray, b: np.ndarray) -> str:
    """Return p of the two-sided Mann-Whitney U test; "" if a side has one value."""
    from scipy import stats

    if min(len(a), len(b)) < 2:
        return ""
    p = stats.mannwhitneyu(a, b, alternative="two-sided").pvalue
    return f"{p:.4f}{'*' if p < 0.05 else ' '}"
