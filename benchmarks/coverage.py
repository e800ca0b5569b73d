"""How often the 95% interval contains the learners' bound on the population."""

import dataclasses

import common
import distributions
import laws
import numpy as np
from distributions import Distribution

from mi_classifier import estimate

_FRESH = 20  # times as many rows stand for the population: 2% of the error bar


@dataclasses.dataclass(frozen=True)
class Case:
    """A law, and how it is sampled.

    Attributes:
      law: what the rows follow.
      rows: in each sample; 0 for as many as the caller says.
      group_size: rows of a group follow each other; 0 if rows are independent.
      least: a sample with fewer rows of some label is drawn again, as a user of so few
        rows would have to collect more. The target stays that of the population.
    """

    law: Distribution
    rows: int = 0
    group_size: int = 0
    least: int = 0

    def groups(self, rows: int) -> dict[str, np.ndarray]:
        """Return the keywords that tell `cross_fit` about groups."""
        size = self.group_size
        return {"groups": np.arange(rows) // size} if size else {}

    def sample(self, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Return inputs, labels, and how many samples had too few of a label."""
        generator = np.random.default_rng([seed, 3])
        for again in range(1_000):
            x, y = self.law.sample(rows, generator)
            if np.bincount(y, minlength=len(self.law.prior)).min() >= self.least:
                return x, y, again
        raise ValueError(
            f"{self.law.name}: {rows} rows never hold enough of each label"
        )


def far_apart(classes: int) -> Distribution:
    """Normal classes on the axes, 8 deviations from 0: I(X; Y) = H(Y)."""
    means, prior = 8 * np.eye(classes), np.full(classes, 1 / classes)
    return distributions.normal_classes(f"{classes} classes far apart", means, prior)


def grouped(size: int = 10, shift: float = 1.0) -> Distribution:
    """Groups of rows that share a shift of x, and a label that is frequent in them."""
    means, prior = np.array([[-1.0, 0.0], [1.0, 0.0]]), np.full(2, 0.5)

    def sample(n: int, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        group = np.arange(n) // size
        frequent = g.integers(2, size=group[-1] + 1)[group]
        y = np.where(g.random(n) < 0.7, frequent, 1 - frequent)
        shifts = shift * g.standard_normal((group[-1] + 1, 2))[group]
        return means[y] + shifts + g.standard_normal((n, 2)), y

    def log_density(x: np.ndarray) -> np.ndarray:  # of one row of a new group
        far = ((x[:, None] - means) ** 2).sum(-1)
        return -far / (2 * (1 + shift**2))

    return Distribution(f"groups of {size} rows", sample, log_density, prior)


CASES = (
    Case(distributions.table_2(2, balanced=True)),
    Case(distributions.table_2(5, balanced=False)),
    Case(distributions.student()),
    Case(distributions.exclusive_or()),
    Case(distributions.independent()),
    Case(far_apart(10)),
    Case(far_apart(100), rows=1_000),
    Case(distributions.many_classes(30, ratio=0.9), rows=1_000),
    Case(laws.rare(0.001), rows=5_000, least=2),
    Case(grouped(), rows=600, group_size=10),
)


def _one(number: int, rows: int, seed: int) -> list[float]:
    """Return what one sample of a case gives, as `coverage` reads it."""
    case = CASES[number]
    x, y, again = case.sample(rows, seed)
    fit = estimate.cross_fit(x, y, seed=seed, **case.groups(rows))
    fresh_x, fresh_y = case.law.sample(_FRESH * rows, np.random.default_rng(7))
    known = np.isin(fresh_y, fit.labels)  # a label that no net saw scores 0
    share = np.bincount(fit.fold) / rows
    scores = fit.score(fresh_x[known], fresh_y[known]).mean(1) * known.mean()
    found, population = fit.summary(), scores @ share
    low, high = found.confidence_interval
    return [
        low > population,
        high < population,
        found.nats - population,
        population,
        found.standard_error,
        again,
    ]


def coverage(rows: int, samples: int, only: str) -> None:
    """Count how often the 95% interval contains the nets' bound on the population."""
    print(
        f"95% intervals, {samples} samples; the target is the nets' bound on {_FRESH} N"
    )
    print(f"fresh rows; {common.machine()}")
    print(
        f"{'':28}{'N':>6}{'inside':>8}{'above':>7}{'below':>7}{'sd':>8}{'±':>8}"
        f"{'bias':>9}{'target':>8}{'truth':>8}{'redrawn':>8}"
    )
    for number, case in enumerate(CASES):
        if only and only not in case.law.name:
            continue
        size = case.rows or rows
        results = np.array([_one(number, size, seed) for seed in range(samples)])
        above, below, error, population, reported, again = results.T
        inside = 1 - above.mean() - below.mean()
        print(
            f"{case.law.name:28}{size:6,}{inside:8.1%}{above.mean():7.1%}"
            f"{below.mean():7.1%}{error.std():8.4f}{reported.mean():8.4f}"
            f"{error.mean():+9.4f}{population.mean():8.4f}"
            f"{case.law.truth():8.4f}{again.sum():8.0f}",
            flush=True,
        )
