"""One messy table of known truth, coded as people code their tables."""

import dataclasses

import numpy as np
import pandas as pd
import polars as pl
from scipy import special

from mi_classifier import estimate

_PRIOR = np.array([0.5, 0.3, 0.2])
_LABELS = np.array(["ape", "bee", "cat"])
_TOWNS = np.array(
    ["Oslo", "Bern", "Lima", "Rome", "Kyiv", "Riga", "Doha", "Male", "Baku", "Suva"]
)
_MEAN = np.array([0.0, 1.5, -1.5])  # of the length if the flag is set, else negative
_MISSING = np.array([0.05, 0.15, 0.4])  # share of lengths that are not known
_LOG_PRICE = np.array([0.0, 0.5, 1.0])
_FLAG = np.array([0.5, 0.5, 0.7])
_TOWN = np.random.default_rng(8).dirichlet(np.full(len(_TOWNS), 0.7), 3) * 0.95
_TOWN += 0.05 / len(_TOWNS)


@dataclasses.dataclass(frozen=True)
class Messy:
    """A sample of the table; a length and a town may be missing.

    Attributes:
      length: normal, NaN where it is missing, which depends on the label, `[N]`.
      price: log-normal, `[N]`.
      flag: bool, `[N]`; it turns the sign of the mean length.
      town: codes, -1 where it is missing, by chance alone, `[N]`.
      noise: a column that says nothing, `[N]`.
      label: index into the labels, `[N]`.
    """

    length: np.ndarray
    price: np.ndarray
    flag: np.ndarray
    town: np.ndarray
    noise: np.ndarray
    label: np.ndarray

    def pointwise(self) -> np.ndarray:
        """Return the true pointwise mutual information of each row, `[N]` nats."""
        sign = np.where(self.flag, 1.0, -1.0)[:, None]
        gone = np.isnan(self.length)[:, None]
        seen = -((np.nan_to_num(self.length)[:, None] - sign * _MEAN) ** 2) / 2
        density = np.where(gone, np.log(_MISSING), np.log1p(-_MISSING) + seen)
        density += -((np.log(self.price)[:, None] - _LOG_PRICE) ** 2) / 2
        density += np.log(np.where(self.flag[:, None], _FLAG, 1 - _FLAG))
        of_town = np.log(_TOWN.T)[self.town]
        density += np.where(self.town[:, None] < 0, 0, of_town)
        total = special.logsumexp(density + np.log(_PRIOR), axis=1)
        return density[np.arange(len(total)), self.label] - total


def draw(rows: int, g: np.random.Generator) -> Messy:
    """Draw a sample."""
    label = g.choice(3, rows, p=_PRIOR)
    flag = g.random(rows) < _FLAG[label]
    length = np.where(flag, 1, -1) * _MEAN[label] + g.standard_normal(rows)
    length[g.random(rows) < _MISSING[label]] = np.nan
    town = (_TOWN[label].cumsum(1)[:, :-1] <= g.random(rows)[:, None]).sum(1)
    town[g.random(rows) < 0.03] = -1
    price = np.exp(_LOG_PRICE[label] + g.standard_normal(rows))
    return Messy(length, price, flag, town, g.standard_normal(rows), label)


def tables(messy: Messy) -> dict[str, pd.DataFrame | pl.DataFrame | np.ndarray]:
    """Code the same rows in several ways, by name; all of them have an index."""
    numbers = {"id": np.arange(len(messy.label)), "length": messy.length}
    numbers |= {"price": messy.price, "noise": messy.noise}
    base = pd.DataFrame(numbers)
    gone = messy.town < 0
    words = np.where(gone, None, _TOWNS[messy.town])
    integers = np.where(gone, np.nan, 100 + messy.town)
    columns = pd.get_dummies(pd.Series(words, name="town"), prefix="town")
    yes_no = np.where(messy.flag, "yes", "no")
    filled = base.assign(
        length=base["length"].fillna(0), known=base["length"].notna().astype(int)
    )
    number_flag = base.assign(flag=messy.flag.astype(int))
    indicators = filled.assign(flag=messy.flag.astype(int)).join(columns.astype(int))
    return {
        "words": base.assign(flag=messy.flag, town=words),
        "words, flag as yes and no": base.assign(flag=yes_no, town=words),
        "pandas categories": base.assign(flag=messy.flag, town=pd.Categorical(words)),
        "nullable columns": base.assign(flag=messy.flag, town=words).convert_dtypes(),
        "polars, words": pl.DataFrame(
            numbers | {"flag": messy.flag, "town": words.tolist()}
        ),
        "integers": number_flag.assign(town=integers),
        "integers, NumPy array": number_flag.assign(town=integers).to_numpy(float),
        "0/1 columns": number_flag.join(columns.astype(int)),
        "bool columns": base.assign(flag=messy.flag).join(columns),
        "filled by hand, 0/1 columns": indicators,
        "the same without the index": indicators.drop(columns="id"),
    }


def codings(rows: int, only: str) -> None:
    """Estimate the same information from each coding."""
    messy = draw(rows, np.random.default_rng(1))
    population = draw(1_000_000, np.random.default_rng(2)).pointwise().mean()
    truth, y = messy.pointwise().mean(), _LABELS[messy.label]
    print(
        f"messy table, N = {rows:,}; truth {truth:.4f} on these rows, "
        f"{population:.4f} in the population"
    )
    print(f"{'':32}{'ours':>9}{'±':>8}{'error':>9}")
    found = {}
    for name, x in tables(messy).items():
        if only and only not in name:
            continue
        result = estimate.estimate_mutual_information(x, y, missing="keep")
        found[name] = result.nats
        print(
            f"{name:32}{result.nats:9.4f}{result.standard_error:8.4f}"
            f"{result.nats - truth:+9.4f}  {result.warnings or ''}",
            flush=True,
        )
    print(f"largest minus smallest {max(found.values()) - min(found.values()):.4f}")
