"""Results print as the tables of the evaluation, and a notebook shows these."""

import json

import pytest

import mi_classifier as mi
from tests.conftest import MARKUP


@pytest.mark.slow
def test_results_show_the_tables_that_the_evaluation_prints(trained_images, capsys):
    results = mi.evaluate(trained_images)
    printed = " ".join(capsys.readouterr().out.split())
    assert " ".join(str(results).split()) in printed
    assert repr(results) == str(results)
    html = results._repr_html_()
    assert html.count("<table>") == len(results.tables) > 2
    assert "infoCAM" in html and MARKUP not in html
    metrics = json.loads((trained_images / "evaluation/metrics.json").read_text())
    assert metrics.keys() - {"rows"} == results.to_dict().keys()


def test_estimates_and_rankings_keep_their_lines_in_a_notebook():
    from mi_classifier.ranking import RankedColumn, Ranking

    ranking = Ranking((RankedColumn("<b>", 0.5, 0.1, 0.2, 0.1),))
    assert ranking._repr_html_().startswith("<pre>column")
    assert "&lt;b&gt;" in ranking._repr_html_()
