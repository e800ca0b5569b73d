"""Results that print as tables, in a terminal and in a notebook."""

import dataclasses
from collections.abc import Sequence
from typing import Self

from mi_classifier.evaluation import Results
from mi_classifier.reporting import pages
from mi_classifier.reporting.table import Table, text_of


@dataclasses.dataclass(frozen=True, repr=False)
class ShownResults(Results):
    """Results with the tables that show them. `print` shows these, a notebook, too."""

    tables: Sequence[Table] = ()

    @classmethod
    def of(cls, results: Results, tables: Sequence[Table]) -> Self:
        """Return the results with their tables."""
        return cls(**vars(results), tables=tuple(tables))

    def __str__(self) -> str:
        return "\n".join(map(text_of, self.tables))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return pages.render("tables.html", tables=self.tables)
