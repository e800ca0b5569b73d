import numpy as np
import pytest
from PIL import Image

from mi_classifier.errors import UserError
from mi_classifier.evaluation import figures


def test_a_figure_is_written_whole_or_told(tmp_path):
    values = {"truth": np.ones(3), "ours": np.random.default_rng(0).random((4, 3))}
    figure = figures.curves({"title": values}, (1, 2, 5), "dimension")
    figures.save(figure, tmp_path / "deep" / "a.png")
    assert Image.open(tmp_path / "deep" / "a.png").format == "PNG"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.png"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        figures.save(figure, tmp_path / "file" / "a.png")
    axis = figure.axes[0]
    assert axis.get_xlabel() == "dimension" and "nats" in axis.get_ylabel()
    line = next(line for line in axis.get_lines() if line.get_label() == "truth")
    assert line.get_ydata().tolist() == [1, 1, 1]


def test_principal_components_are_those_of_the_covariance():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((500, 4)) @ generator.standard_normal((4, 4)) + 7
    values, vectors = np.linalg.eigh(np.cov(x.T))
    points = figures.principal_components(x)
    assert points.var(0, ddof=1) == pytest.approx(values[::-1][:2])
    for i in range(2):
        expected = (x - x.mean(0)) @ vectors[:, -1 - i]
        assert np.abs(points[:, i]) == pytest.approx(np.abs(expected))
    assert figures.principal_components(x[:, :1]).shape == (500, 2)
