"""Twenty laws of known mutual information: fine structure, high dimension, others.

    python benchmarks/laws.py

checks every law against its own samples.
"""

from collections.abc import Callable

import distributions
import numpy as np
from distributions import Distribution
from scipy import spatial, special, stats

Probabilities = Callable[[np.ndarray], np.ndarray]  # x [N, D] to P(y|x) [N, M]


def cells(name: str, dim: int, of: Probabilities, prior: np.ndarray) -> Distribution:
    """Inputs are uniform in a unit cube, and labels follow P(y|x)."""

    def sample(n: int, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x = g.random((n, dim))
        above = of(x).cumsum(1)[:, :-1] <= g.random(n)[:, None]
        return x, above.sum(1)

    return Distribution(name, sample, lambda x: np.log(of(x) / prior), prior)


def _noisy(label: np.ndarray, classes: int, flips: float) -> np.ndarray:
    """Return P(y|x) `[N, M]` if a share of the labels becomes another label."""
    same = label[:, None] == np.arange(classes)
    return np.where(same, 1 - flips, flips / (classes - 1))


def wave(frequency: tuple[int, ...]) -> Distribution:
    """P(y = 1|x) is a sine of so many periods along each axis."""

    def of(x: np.ndarray) -> np.ndarray:
        p = 0.5 + 0.45 * np.sin(2 * np.pi * x @ np.array(frequency, float))
        return np.stack([1 - p, p], 1)

    name = "wave, " + " x ".join(map(str, frequency)) + " periods"
    return cells(name, len(frequency), of, np.full(2, 0.5))


def chirp(rate: float = 12.0) -> Distribution:
    """P(y = 1|x) is a sine of x squared; at the end it has 2 `rate` periods a unit."""
    end = 2 * np.sqrt(rate)
    mean = 0.5 + 0.45 * special.fresnel(end)[0] / end

    def of(x: np.ndarray) -> np.ndarray:
        p = 0.5 + 0.45 * np.sin(2 * np.pi * rate * x[:, 0] ** 2)
        return np.stack([1 - p, p], 1)

    return cells("chirp", 1, of, np.array([1 - mean, mean]))


def checkerboard(side: int, dim: int, flips: float = 0.05) -> Distribution:
    """The label is the color of a square, with some flips."""

    def of(x: np.ndarray) -> np.ndarray:
        return _noisy((side * x).astype(int).sum(1) % 2, 2, flips)

    name = "checkerboard, " + " x ".join([str(side)] * dim)
    return cells(name, dim, of, np.full(2, 0.5))


def stripes(count: int = 30, classes: int = 3, flips: float = 0.05) -> Distribution:
    """Intervals of unequal width, whose labels take turns."""
    edges = np.cumsum(np.random.default_rng(0).dirichlet(np.full(count, 3.0)))

    def of(x: np.ndarray) -> np.ndarray:
        return _noisy(np.searchsorted(edges[:-1], x[:, 0]) % classes, classes, flips)

    widths = np.diff(edges, prepend=0)
    prior = widths @ of(edges[:, None] - widths[:, None] / 2)
    return cells(f"{count} stripes, {classes} classes", 1, of, prior)


def mosaic(count: int = 40, classes: int = 4, flips: float = 0.05) -> Distribution:
    """Voronoi cells of random points in the unit square, with random labels."""
    g = np.random.default_rng(1)
    points, labels = g.random((count, 2)), g.integers(classes, size=count)
    # Mirror images of the points make the square's sides borders of cells.
    mirrored = [points] + [points * s + t for s, t in zip(_SIGNS, _SHIFTS, strict=True)]
    diagram = spatial.Voronoi(np.concatenate(mirrored))
    regions = [diagram.regions[r] for r in diagram.point_region[:count]]
    areas = [spatial.ConvexHull(diagram.vertices[r]).volume for r in regions]
    tree = spatial.KDTree(points)

    def of(x: np.ndarray) -> np.ndarray:
        return _noisy(labels[tree.query(x)[1]], classes, flips)

    prior = np.array(areas) @ _noisy(labels, classes, flips)
    return cells(f"mosaic of {count} cells", 2, of, prior)


_SIGNS = np.array([[-1, 1], [-1, 1], [1, -1], [1, -1]])
_SHIFTS = np.array([[0, 0], [2, 0], [0, 0], [0, 2]])


def rings(count: int = 6, classes: int = 3, noise: float = 0.2) -> Distribution:
    """Concentric rings in the plane, whose labels take turns, blurred by noise."""
    prior = np.bincount(np.arange(count) % classes) / count

    def sample(n: int, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        ring, angle = g.integers(count, size=n), 2 * np.pi * g.random(n)
        radius = 1 + ring + noise * g.standard_normal(n)
        x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        return x, ring % classes

    def log_density(x: np.ndarray) -> np.ndarray:
        radius = np.hypot(*x.T)[:, None] * np.array([1, -1])  # a negative one turns
        z = (radius[..., None] - 1 - np.arange(count)) / noise
        of_ring = special.logsumexp(-(z**2) / 2, axis=1)
        columns = [of_ring[:, c::classes] for c in range(classes)]
        sums = [special.logsumexp(c, axis=1) - np.log(c.shape[1]) for c in columns]
        return np.stack(sums, 1)

    return Distribution(f"{count} rings, {classes} classes", sample, log_density, prior)


def normal_grid(side: int = 5, noise: float = 0.2) -> Distribution:
    """Small normal clouds on a grid in the plane, with labels as in a Latin square."""
    row, column = np.divmod(np.arange(side**2), side)
    label = (row + 2 * column) % side
    centers = np.stack([row, column], 1).astype(float)

    def sample(n: int, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        cloud = g.integers(len(centers), size=n)
        return centers[cloud] + noise * g.standard_normal((n, 2)), label[cloud]

    def log_density(x: np.ndarray) -> np.ndarray:
        of_cloud = -((x[:, None] - centers) ** 2).sum(-1) / (2 * noise**2)
        of_label = [of_cloud[:, label == c] for c in range(side)]
        return np.stack([special.logsumexp(c, axis=1) for c in of_label], 1)

    name = f"{side**2} clouds, {side} classes"
    return Distribution(name, sample, log_density, np.full(side, 1 / side))


def linear(dim: int = 100, distance: float = 2.0) -> Distribution:
    """Two normal classes; every column says a little."""
    half = distance / 2 * np.full(dim, dim**-0.5)
    means = np.stack([-half, half])
    return distributions.normal_classes(f"linear, D = {dim}", means, np.full(2, 0.5))


def correlated(classes: int = 20, dim: int = 30) -> Distribution:
    """Normal classes in correlated columns."""
    g = np.random.default_rng(2)
    means = 0.4 * g.standard_normal((classes, dim))
    mixing = g.standard_normal((dim, dim)) + 2 * np.eye(dim)
    prior = np.full(classes, 1 / classes)
    plain = distributions.normal_classes("", means, prior)

    def sample(n: int, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x, y = plain.sample(n, g)
        return x @ mixing, y

    def log_density(x: np.ndarray) -> np.ndarray:
        return plain.log_density(np.linalg.solve(mixing.T, x.T).T)

    name = f"{classes} classes, {dim} correlated columns"
    return Distribution(name, sample, log_density, prior)


def words(count: int = 100, topics: int = 4, own: int = 8) -> Distribution:
    """0/1 columns: whether a word occurs; each topic has some words of its own."""
    chance = np.tile(np.random.default_rng(3).uniform(0.01, 0.1, count), (topics, 1))
    for topic in range(topics):
        chance[topic, own * topic : own * (topic + 1)] = 0.25
    prior = np.array([0.4, 0.3, 0.2, 0.1])

    def sample(n: int, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        y = g.choice(topics, n, p=prior)
        return (g.random((n, count)) < chance[y]).astype(float), y

    def log_density(x: np.ndarray) -> np.ndarray:
        return x @ np.log(chance).T + (1 - x) @ np.log1p(-chance).T

    return Distribution(f"{count} words, {topics} topics", sample, log_density, prior)


def cauchy(scales: tuple[float, ...] = (1.0, 5.0, 25.0)) -> Distribution:
    """Classes of Cauchy inputs that differ by the scale alone."""
    scale = np.array(scales)
    prior = np.full(len(scale), 1 / len(scale))

    def sample(n: int, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        y = g.integers(len(scale), size=n)
        return (g.standard_cauchy(n) * scale[y])[:, None], y

    def log_density(x: np.ndarray) -> np.ndarray:
        return stats.cauchy.logpdf(x, scale=scale)

    return Distribution("Cauchy, three scales", sample, log_density, prior)


def categories(levels: int = 50, classes: int = 4) -> Distribution:
    """Codes of categories, which have no order; each has its own P(y|x)."""
    g = np.random.default_rng(4)
    frequency = g.dirichlet(np.full(levels, 2.0))
    table = g.dirichlet(np.full(classes, 0.5), levels)
    table = 0.98 * table + 0.02 / classes  # no probability is 0
    prior = frequency @ table

    def sample(n: int, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        level = g.choice(levels, n, p=frequency)
        above = table[level].cumsum(1)[:, :-1] <= g.random(n)[:, None]
        return level[:, None], above.sum(1)

    def log_density(x: np.ndarray) -> np.ndarray:
        return np.log(table / prior)[x[:, 0].astype(int)]

    return Distribution(f"codes of {levels} categories", sample, log_density, prior)


def rare(ratio: float = 0.01, dim: int = 3, distance: float = 3.0) -> Distribution:
    """Two normal classes; one is rare."""
    means = distance * dim**-0.5 * np.array([[0.0], [1.0]]) * np.ones(dim)
    prior = np.array([1, ratio]) / (1 + ratio)
    return distributions.normal_classes(f"1 : {1 / ratio:,.0f}", means, prior)


FINE = (
    wave((15,)),
    wave((8, 5)),
    checkerboard(8, dim=2),
    checkerboard(4, dim=3),
    distributions.spirals(turns=4, noise=0.03),
    rings(),
    stripes(),
    normal_grid(),
    chirp(),
    mosaic(),
)
HIGH = (
    distributions.irrelevant_dimensions(50),
    distributions.exclusive_or(irrelevant=20),
    linear(),
    correlated(),
    words(),
)
OTHER = (
    distributions.student(),
    cauchy(),
    distributions.many_classes(),
    categories(),
    rare(),
)


def check(law: Distribution, rows: int = 200_000) -> dict[str, float]:
    """Compare a law's densities with its samples.

    Returns:
      How far each of these is from what it must be, in standard errors: the labels'
      frequencies and the mean of P(y|x) from P(y) (the farthest label); the means of
      PMI and of P(y|x) from their expectations under P(y|x).
    """
    x, y = law.sample(rows, np.random.default_rng(5))
    joint = law.log_density(x) + np.log(law.prior)
    posterior = special.softmax(joint, axis=1)
    ratio = special.log_softmax(joint, axis=1) - np.log(law.prior)
    pmi = law.pointwise(x, y)

    def far(values: np.ndarray) -> float:
        error = values.std(0) / np.sqrt(rows) + 1e-9  # of rounding
        return float((np.abs(values.mean(0)) / error).max())

    return {
        "frequencies": far((y[:, None] == np.arange(len(law.prior))) - law.prior),
        "mean of P(y|x)": far(posterior - law.prior),
        "PMI": far(pmi - (posterior * ratio).sum(1)),
        "P(y|x)": far(posterior[np.arange(rows), y] - (posterior**2).sum(1)),
    }


if __name__ == "__main__":
    for law in (*FINE, *HIGH, *OTHER):
        found = check(law)
        worst = max(found.values())
        cells_ = "  ".join(f"{name} {value:.1f}" for name, value in found.items())
        print(f"{law.name:34}{law.truth(200_000):8.4f}  {cells_}", flush=True)
        assert worst < 5, "the density is not that of the samples"
