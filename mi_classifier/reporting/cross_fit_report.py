"""Write report.html of a cross-fit: figures and tables in one file, for use offline."""

import dataclasses
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mi_classifier.reporting import cross_fit_figures, figures, pages
from mi_classifier.reporting.cross_fit_results import (
    CrossFitResults,
    columns_table,
    surprising_table,
)
from mi_classifier.reporting.gallery import to_url
from mi_classifier.reporting.table import Table
from mi_classifier.storage.files import write_text
from mi_classifier.text import printable, shown

_MEANING = (
    "A lower bound in expectation: nets scored only rows that they had not seen. ± one "
    "standard error."
)
_CAPTIONS = {
    "columns": "What each column tells alone, and what is lost without it. A column "
    "that tells much alone and costs nothing to lose repeats what others tell.",
    "pmi": "How many nats the inputs of each row add to the log-probability of its "
    "label, on a logarithmic scale of counts. The mean is the estimate. Below 0 the "
    "inputs speak against the label, which is then surprising, or wrong.",
    "calibration": "Is a prediction of 80% right in 80% of cases? Held-out rows with "
    "about the same predicted probability, and below how many rows these are.",
}


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the report; `figure` is a data URL, empty if there is none."""

    title: str
    figure: str
    caption: str
    table: Table | None


@figures.in_default_style()
def write(folder: Path, title: str, results: CrossFitResults, pmi: np.ndarray) -> Path:
    """Draw the figures of a cross-fit, and write its report.html; return its path.

    Args:
      folder: where to write, `evaluation/` of the workdir.
      title: of the report.
      results: what the cross-fit found.
      pmi: of each row, nats `[N]`.
    """

    def section(heading: str, name: str, figure: Figure, table: Table | None) -> None:
        path = folder / "figures" / f"{name}.png"
        figures.save(figure, path)
        url = to_url(path.read_bytes(), "png")
        table = table if table and table.rows else None
        sections.append(Section(heading, url, _CAPTIONS[name], table))

    sections: list[Section] = []
    if columns := results.columns:
        figure = cross_fit_figures.columns_by_information(columns)
        section("Columns", "columns", figure, columns_table(columns))
    surprising = results.most_surprising
    figure = cross_fit_figures.rows_by_pmi(pmi, [row.pmi_nats for row in surprising])
    section("Rows", "pmi", figure, surprising_table(surprising))
    if bins := results.calibration:
        figure = cross_fit_figures.calibration(bins)
        section("Calibration", "calibration", figure, None)
    html = pages.render(
        "cross_fit.html",
        title=shown(title),
        lines=str(dataclasses.replace(results.estimate, warnings=())).splitlines(),
        warnings=[printable(text) for text in results.estimate.warnings],
        notes=[printable(text) for text in results.notes],
        meaning=_MEANING,
        sections=sections,
    )
    path = folder / "report.html"
    write_text(path, html)
    return path
