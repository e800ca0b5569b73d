"""Tables on a terminal, in a file and as Markdown; means and tests over seeds."""

import numpy as np
import pytest

from mi_classifier.reporting import table
from mi_classifier.reporting.table import Table

EXAMPLE = Table("title", ("", "a", "b"), [("row", "1", "2")], ["note"])


def test_a_printed_table_has_title_cells_and_notes(capsys):
    table.print_table(EXAMPLE)
    printed = capsys.readouterr().out
    assert printed.split() == ["title", "a", "b", "─" * 9, "row", "1", "2", "note"]


def test_a_table_in_a_file_is_as_wide_as_it_needs(capsys):
    names = [f"a long name of column {i}" for i in range(20)]
    table.print_table(Table("wide", names, [names]))
    assert all(name in capsys.readouterr().out for name in names[:1])
    table.print_table(Table("wide", names, [names]))
    lines = capsys.readouterr().out.splitlines()
    assert any(names[0] in line and names[-1] in line for line in lines)


def test_text_is_neither_markup_nor_lost(capsys):
    table.print_table(Table("[red]t[/red]", ("[b] a long heading",), [("caf\udce9",)]))
    printed = capsys.readouterr().out
    assert (
        "[red]t[/red]" in printed
        and "[b] a long heading" in printed
        and "caf?" in printed
    )


def test_markdown():
    assert table.markdown(EXAMPLE).splitlines() == [
        "**title**",
        "",
        "|  | a | b |",
        "|---|---|---|",
        "| row | 1 | 2 |",
        "",
        "note",
    ]


def test_a_share_in_percent():
    assert table.percent(0.12345) == "12.35"
    assert table.percent(None) == table.percent(np.nan) == ""


def test_mean_and_deviation_over_seeds():
    assert table.mean_deviation(np.array([1.0, 3.0]), "+.2f") == "+2.00 ± 1.41"
    assert table.mean_deviation(np.array([1.0]), ".1f") == "1.0"
    assert table.mean_deviation(np.array([]), ".1f") == ""
    assert table.mean_deviation(np.array([1.0, np.nan]), ".1f") == ""


def test_the_note_on_seeds():
    assert table.seeds_note({"a": [1]}).startswith("1 seed a cell")
    assert table.seeds_note({"a": [1, 2], "b": [1]}).startswith("1 to 2 seeds a cell")


def test_the_p_value_is_that_of_mann_and_whitney():
    low, high = np.arange(4.0), np.arange(4.0) + 10
    assert float(table.p_value(low, high).rstrip("*")) == pytest.approx(
        2 / 70, abs=1e-4
    )
    assert table.p_value(low, high).endswith("*")
    assert not table.p_value(low, low + 0.5).endswith("*")
    assert table.p_value(low[:1], high) == ""
