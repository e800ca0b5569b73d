"""Evaluate a trained net; print the results and write them into its workdir."""

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
    """Evaluates a net, prints the tables, and writes `evaluation/` in its workdir.

    Writes predictions.csv, figures, report.html and, last, metrics.json; an ablation
    writes only ablation.json.

    Args:
      net: the net and its data.
      published: the paper's results, shown beside ours; None if there are none.
      quiet: whether to print nothing, and to draw no figures and no report.
      ablation: whether to evaluate what each part of infoCAM adds instead.

    Raises:
      UserError: another process evaluates the workdir, or writing to it fails.
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
    """Locks a folder against other evaluations; only the first process does."""
    if not parallel.is_first():
        return contextlib.nullcontext()
    refusal = f"--workdir: another process writes to {folder}; wait for it"
    return hold(folder / ".lock", refusal=refusal, leftovers=[f".*{TEMPORARY}"])


def _write_evaluation(
    net: TrainedNet, evaluation: Evaluation, tables: Sequence[Table]
) -> None:
    """Writes predictions.csv, a report if there are tables, and metrics.json."""
    folder = net.workdir / "evaluation"
    if parallel.is_first():
        _remove_outdated(folder)
    write_text(folder / "predictions.csv", predictions.to_csv(evaluation.columns))
    if tables:
        # Importing Matplotlib takes a second, so import it only where it is needed.
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
    """Removes what an earlier evaluation wrote, so that nothing outdated stays."""
    for name in ("metrics.json", "report.html"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "figures", ignore_errors=True)
