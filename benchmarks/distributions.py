"""Joint distributions of inputs and labels whose mutual information is known."""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import integrate, special, stats

Sampler = Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]
LogDensity = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Distribution:
    """A joint distribution of x and y.

    Attributes:
      name: for a table.
      sample: from a size N and a source of randomness to x `[N, D]` and y `[N]`.
      log_density: from x `[N, D]` to log p(x|y) `[N, M]`, up to a term without y.
      prior: P(y) `[M]`.
    """

    name: str
    sample: Sampler
    log_density: LogDensity
    prior: np.ndarray

    def pointwise(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Returns the true log p(x|y) - log p(x) of each example, `[N]` nats."""
        log_density = self.log_density(x)
        mixture = special.logsumexp(log_density + np.log(self.prior), axis=1)
        return np.take_along_axis(log_density, y[:, None], 1)[:, 0] - mixture

    def truth(self, samples: int = 2_000_000, seed: int = 2_026) -> float:
        """Returns I(X; Y) in nats by Monte Carlo (Eq. 11), in parts of 100,000."""
        generator = np.random.default_rng(seed)
        parts = [
            self.pointwise(*self.sample(100_000, generator)).mean()
            for _ in range(samples // 100_000)
        ]
        return float(np.mean(parts))


def _labels(prior: np.ndarray, n: int, generator: np.random.Generator) -> np.ndarray:
    return generator.choice(len(prior), n, p=prior)


def independent(dim: int = 5, classes: int = 5) -> Distribution:
    """Normal inputs that say nothing about the label; the truth is 0."""
    prior = np.full(classes, 1 / classes)
    return Distribution(
        "independence",
        lambda n, g: (g.standard_normal((n, dim)), _labels(prior, n, g)),
        lambda x: np.zeros((len(x), classes)),
        prior,
    )


def spirals(turns: float = 1.5, noise: float = 0.08) -> Distribution:
    """Two interleaved spirals in the plane, blurred by normal noise."""
    prior = np.array([0.5, 0.5])
    grid, step = np.linspace(0, 1, 801, retstep=True)
    weights = np.log(integrate.simpson(np.eye(len(grid)), dx=step))

    def curve(t: np.ndarray, label: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * turns * t + np.pi * label
        return ((0.2 + t)[..., None]) * np.stack([np.cos(angle), np.sin(angle)], -1)

    def sample(n: int, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        y = _labels(prior, n, g)
        return curve(g.random(n), y) + noise * g.standard_normal((n, 2)), y

    def log_density(x: np.ndarray) -> np.ndarray:
        columns = []
        for label in range(2):
            points = curve(grid, np.full(len(grid), label))
            parts = [
                special.logsumexp(
                    -((part[:, None] - points) ** 2).sum(-1) / (2 * noise**2) + weights,
                    axis=1,
                )
                for part in np.array_split(x, max(len(x) // 1_000, 1))
            ]
            columns.append(np.concatenate(parts))
        return np.stack(columns, 1)

    return Distribution("two spirals", sample, log_density, prior)


def student(degrees: float = 2.0, dim: int = 3, spread: float = 1.5) -> Distribution:
    """Three classes with independent Student-t coordinates, shifted and scaled."""
    prior = np.array([0.5, 0.3, 0.2])
    shift = spread * np.array([-1.0, 0.0, 1.0])
    scale = np.array([1.0, 0.5, 2.0])

    def sample(n: int, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        y = _labels(prior, n, g)
        t = g.standard_t(degrees, (n, dim))
        return t * scale[y, None] + shift[y, None], y

    def log_density(x: np.ndarray) -> np.ndarray:
        z = stats.t.logpdf((x[:, None] - shift[:, None]) / scale[:, None], degrees)
        return z.sum(-1) - dim * np.log(scale)

    return Distribution(f"Student t, {degrees:g} dof", sample, log_density, prior)


def exclusive_or(flip: float = 0.1, irrelevant: int = 0) -> Distribution:
    """The label is the XOR of two signs, flipped with some probability."""
    prior = np.array([0.5, 0.5])

    def sample(n: int, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x = g.standard_normal((n, 2 + irrelevant))
        y = (x[:, 0] > 0) ^ (x[:, 1] > 0) ^ (g.random(n) < flip)
        return x, y.astype(np.int64)

    def log_density(x: np.ndarray) -> np.ndarray:
        parity = (x[:, 0] > 0) ^ (x[:, 1] > 0)
        return np.log(np.where(parity[:, None] == np.arange(2), 1 - flip, flip))

    name = f"XOR + {irrelevant} irrelevant" if irrelevant else "XOR"
    return Distribution(name, sample, log_density, prior)


def normal_classes(
    name: str, means: np.ndarray, prior: np.ndarray, irrelevant: int = 0
) -> Distribution:
    """Normal classes of unit covariance, and columns of pure noise."""
    classes, dim = means.shape

    def sample(n: int, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        y = _labels(prior, n, g)
        x = g.standard_normal((n, dim + irrelevant))
        x[:, :dim] += means[y]
        return x, y

    def log_density(x: np.ndarray) -> np.ndarray:
        return -((x[:, None, :dim] - means) ** 2).sum(-1) / 2

    del classes
    return Distribution(name, sample, log_density, prior)


def irrelevant_dimensions(irrelevant: int = 50) -> Distribution:
    """Four normal classes in the plane, among columns of noise."""
    means = 1.5 * np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    name = f"2 relevant + {irrelevant} irrelevant"
    return normal_classes(name, means, np.full(4, 0.25), irrelevant)


def many_classes(classes: int = 20, ratio: float = 0.75) -> Distribution:
    """Normal classes in 3 dimensions, each `ratio` times as frequent as the last."""
    prior = ratio ** np.arange(classes)
    means = 2 * np.random.default_rng(0).standard_normal((classes, 3))
    return normal_classes(f"{classes} unequal classes", means, prior / prior.sum())


def table_2(dim: int, balanced: bool) -> Distribution:
    """The paper's Gaussian mixture."""
    counts = np.full(5, 12.0) if balanced else np.array([6.0, 12, 18, 24, 30])
    means = np.array([0.0, 2, -2, 4, -4])[:, None] * np.ones(dim)
    name = f"mixture, D = {dim}, {'' if balanced else 'un'}balanced"
    return normal_classes(name, means, counts / counts.sum())


SUITE = (
    independent(),
    spirals(),
    student(),
    exclusive_or(),
    irrelevant_dimensions(),
    many_classes(),
)
