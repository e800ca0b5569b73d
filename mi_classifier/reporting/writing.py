"""Prints the results of an evaluation, and writes them below a workdir."""

import contextlib
import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from mi_classifier import parallel
from mi_classifier.evaluation import (
    Evaluation,
    Results,
    TrainedNet,
    ablate_net,
    evaluate_net,
)
from mi_classifier.reporting import predictions, summary
from mi_classifier.reporting.summary import Published
from mi_classifier.reporting.table import Table, print_table
from mi_classifier.storage.files import (
    TEMPORARY,
    hold,
    to_json,
    write_hashed,
    write_text,
)


def evaluate_and_write(
    net: TrainedNet,
    published: Published | None,
    quiet: bool = False,
    ablation: bool = False,
) -> Results:
    """Evaluates a net, prints the tables, and writes `evaluation/` of its workdir.

    Writes predictions.csv, figures, report.html and metrics.json, the latter last; or,
    of an ablation, ablation.json.

    Args:
      net: the net and its data.
      published: to be shown beside ours.
      quiet: whether to print nothing, and to draw no figures and no report.
      ablation: whether to evaluate the parts of infoCAM instead.

    Raises:
      UserError: another process evaluates the workdir, or it cannot be written to.
    """
    quiet = quiet or not parallel.is_first()
    with _hold(net.workdir / "evaluation"):
        if ablation:
            results = ablate_net(net)
            _write_ablation(net, results)
            tables = summary.ablation_tables(results, published)
        else:
            evaluation = evaluate_net(net)
            results = evaluation.results
            tables = summary.evaluation_tables(results, published)
        if not quiet:
            for table in tables:
                print_table(table)
        if not ablation:
            _write_evaluation(net, evaluation, () if quiet else tables)
    return results


def _hold(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Keeps other evaluations out of a folder; the first of several processes does."""
    if not parallel.is_first():
        return contextlib.nullcontext()
    refusal = f"--workdir: another process writes to {folder}; wait for it"
    return hold(folder / ".lock", refusal=refusal, leftovers=[f".*{TEMPORARY}"])


def _write_evaluation(
    net: TrainedNet, evaluation: Evaluation, tables: Sequence[Table]
) -> None:
    """Writes predictions, a report of the tables if there are any, and metrics.json."""
    folder = net.workdir / "evaluation"
    if parallel.is_first():
        _remove_outdated(folder)
    write_text(folder / "predictions.csv", predictions.to_csv(evaluation.columns))
    if tables:
        # Matplotlib takes a second to import, which no other command pays.
        from mi_classifier.reporting import report

        path = report.write(net, evaluation, tables)
        print(f"figures, predictions and report: {path}")
    rows = [dataclasses.asdict(r) for r in summary.compared_rows(evaluation.results)]
    content = evaluation.results.to_dict() | {"rows": rows}
    write_hashed(folder / "metrics.json", to_json(content, indent=2))


def _write_ablation(net: TrainedNet, results: Results) -> None:
    cells = summary.ablation_cells(results.splits["validation"]["ablation"])
    path = net.workdir / "evaluation" / "ablation.json"
    write_hashed(path, to_json(results.to_dict() | {"table_8": cells}, indent=2))


def _remove_outdated(folder: Path) -> None:
    """Removes what another evaluation wrote, so that nothing outdated stays."""
    for name in ("metrics.json", "report.html"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "figures", ignore_errors=True)
