"""Joint distributions of inputs and labels whose mutual information is known."""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import spatial, special, stats

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
        """Return the true log p(x|y) - log p(x) of each example, `[N]` nats."""
        log_density = self.log_density(x)
        mixture = special.logsumexp(log_density + np.log(self.prior), axis=1)
        return np.take_along_axis(log_density, y[:, None], 1)[:, 0] - mixture

    def truth(self, samples: int = 200_000, seed: int = 2_026) -> float:
        """Return I(X; Y) in nats: the mean over x of the divergence of P(y|x)."""
        x, _ = self.sample(samples, np.random.default_rng(seed))
        log_prior = np.log(self.prior)
        posterior = special.log_softmax(self.log_density(x) + log_prior, axis=1)
        return float((np.exp(posterior) * (posterior - log_prior)).sum(1).mean())


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
    # Simpson's rule; at the outer end, points are 0.4 deviations apart.
    grid = np.linspace(0, 1, 1 + 2 * int(10 * turns / noise))
    weights = np.where(np.arange(len(grid)) % 2, 4.0, 2.0)
    weights[[0, -1]] = 1

    def curve(t: np.ndarray, label: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * turns * t + np.pi * label
        return ((0.2 + t)[..., None]) * np.stack([np.cos(angle), np.sin(angle)], -1)

    def sample(n: int, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        y = _labels(prior, n, g)
        return curve(g.random(n), y) + noise * g.standard_normal((n, 2)), y

    def log_density(x: np.ndarray) -> np.ndarray:
        log_densities = np.empty((len(x), 2))
        for label in range(2):
            points = curve(grid, np.full(len(grid), label))
            for start in range(0, len(x), 1_000):
                part = x[start : start + 1_000]
                far = spatial.distance.cdist(part, points, "sqeuclidean")
                nearest = far.min(1)
                near = np.exp((nearest[:, None] - far) / (2 * noise**2)) @ weights
                of_part = np.log(near) - nearest / (2 * noise**2)
                log_densities[start : start + 1_000, label] = of_part
        return log_densities

    name = f"two spirals, {turns:g} turns"
    return Distribution(name, sample, log_density, prior)


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
    dim = means.shape[1]

    def sample(n: int, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        y = _labels(prior, n, g)
        x = g.standard_normal((n, dim + irrelevant))
        x[:, :dim] += means[y]
        return x, y

    def log_density(x: np.ndarray) -> np.ndarray:
        # Without the square of x, which is the same for each class.
        return x[:, :dim] @ means.T - (means**2).sum(1) / 2

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
