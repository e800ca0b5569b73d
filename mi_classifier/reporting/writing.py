"""Evaluate a trained net; print the results and write them into its workdir."""

import contextlib
import dataclasses
import shutil
from collections.abc import Sequence

from mi_classifier import parallel
from mi_classifier.evaluation import (
    Evaluation,
    TrainedNet,
    ablate_net,
    evaluate_net,
)
from mi_classifier.reporting import learning_curves, predictions, summary
from mi_classifier.reporting.shown import ShownResults
from mi_classifier.reporting.summary import Published
from mi_classifier.reporting.table import Table, print_table
from mi_classifier.storage import files
from mi_classifier.text import tell


def evaluate_and_write(
    net: TrainedNet,
    published: Published | None,
    quiet: bool = False,
    ablation: bool = False,
) -> ShownResults:
    """Evaluate a net, print the tables, and write `evaluation/` in its workdir.

    Write predictions.csv, figures, report.html and, last, metrics.json; an ablation
    writes only ablation.json.

    Args:
      net: the net and its data.
      published: the paper's results, shown beside ours; None if there are none.
      quiet: whether to print nothing, and to draw no figures and no report.
      ablation: whether to evaluate what each part of infoCAM adds instead.

    Raises:
      UserError: another process evaluates the workdir, or writing to it fails.
    """
    folder = net.workdir / "evaluation"
    quiet = quiet or not parallel.is_first()
    refusal = f"--workdir: another process writes to {folder}; wait for it"
    leftovers = [f".*{files.TEMPORARY}"]
    lock = files.hold(folder / ".lock", refusal=refusal, leftovers=leftovers)
    with lock if parallel.is_first() else contextlib.nullcontext():
        if ablation:
            results = ablate_net(net)
            tables = summary.ablation_tables(results, published)
            found = results.splits["validation"]["ablation"]
            content = {"table_8": summary.ablation_cells(found)}
        else:
            evaluation = evaluate_net(net)
            results = evaluation.results
            tables = summary.evaluation_tables(results, published)
            if net.rows:
                training = learning_curves.judge(net.rows, net.epoch)
                notes = [*tables[0].notes, f"training: {training}"]
                tables[0] = dataclasses.replace(tables[0], notes=notes)
            rows = map(dataclasses.asdict, summary.compared_rows(results))
            content = {"rows": list(rows)}
        if not quiet:
            for table in tables:
                print_table(table)
        if not ablation:
            _write_details(net, evaluation, () if quiet else tables)
        name = "ablation.json" if ablation else "metrics.json"
        text = files.to_json(results.to_dict() | content, indent=2)
        files.write_hashed(folder / name, text)
    return ShownResults.of(results, tables)


def _write_details(
    net: TrainedNet, evaluation: Evaluation, tables: Sequence[Table]
) -> None:
    """Write predictions.csv, and a report if there are tables."""
    folder = net.workdir / "evaluation"
    if parallel.is_first():  # leave nothing of an earlier evaluation
        for name in ("metrics.json", "report.html"):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "figures", ignore_errors=True)
    files.write_text(folder / "predictions.csv", predictions.to_csv(evaluation.columns))
    if tables:
        # Importing Matplotlib takes a second, so import it only where it is needed.
        from mi_classifier.reporting import report

        path = report.write(net, evaluation, tables)
        tell(f"figures, predictions and report: {path}")
