"""Tables without information whose rows depend on each other, and innocent ones."""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import signal
from sklearn import datasets

from mi_classifier import estimate

Generator = np.random.Generator
Table = tuple[np.ndarray, ...]  # x, y, and the groups if rows depend on each other


@dataclasses.dataclass(frozen=True)
class Case:
    """A table that is drawn again and again."""

    name: str
    draw: Callable[[Generator], Table]
    repeats: bool = True  # False for a real table, which is always the same


def series(memory: float, block: int, rows: int = 4_000) -> Case:
    """Two independent series; groups are blocks of rows that follow each other."""

    def draw(g: Generator) -> Table:
        noise = g.standard_normal((rows, 2))
        walk = signal.lfilter([1], [1, -memory], noise, axis=0)
        y = walk[:, 1] > np.median(walk[:, 1])
        return walk[:, 0], y, np.arange(rows) // block

    name = "random walks" if memory == 1 else f"series, {memory:g}"
    return Case(f"{name}, blocks of {block}", draw)


def runs(block: int = 200, rows: int = 4_000) -> Case:
    """Labels come in runs, and five inputs drift."""

    def draw(g: Generator) -> Table:
        drift = signal.lfilter([1], [1, -0.98], g.standard_normal((rows, 5)), axis=0)
        y = (g.random(rows) < 0.02).cumsum() % 2
        return drift + 2 * g.standard_normal((rows, 5)), y, np.arange(rows) // block

    return Case(f"runs of labels, blocks of {block}", draw)


def subjects(count: int = 40, size: int = 50, shuffled: bool = False) -> Case:
    """Inputs and labels are both properties of a subject, drawn independently."""

    def draw(g: Generator) -> Table:
        subject = np.repeat(np.arange(count), size)
        subject = g.permutation(subject) if shuffled else subject
        x = g.standard_normal((count, 5))[subject]
        x += 0.3 * g.standard_normal(x.shape)
        return x, g.integers(2, size=count)[subject], subject

    order = ", shuffled" if shuffled else ""
    return Case(f"{count} subjects of {size} rows{order}", draw)


def copies(times: int, share: float = 1.0, near: float = 0.0, rows: int = 300) -> Case:
    """Noise, of which a share of the rows occurs several times; order is random."""

    def draw(g: Generator) -> Table:
        x, y = g.standard_normal((rows, 3)), g.integers(2, size=rows)
        counts = np.where(np.arange(rows) < share * rows, times, 1)
        group = g.permutation(np.repeat(np.arange(rows), counts))
        return x[group] + near * g.standard_normal((len(group), 3)), y[group], group

    what = "near copies" if near else "copies"
    part = f" of {share:.0%} of the rows" if share < 1 else ""
    return Case(f"{rows} rows, {times} {what}{part}", draw)


def classes(order: str) -> Case:
    """Independent rows of three normal classes, in some order."""

    def draw(g: Generator) -> Table:
        y = g.integers(3, size=1_000)
        x = g.standard_normal((1_000, 4)) + y[:, None] * np.array([1.0, 0.5, 0, 0])
        keys = {"random": np.arange(1_000), "by label": y, "by a column": x[:, 0]}
        rows = np.argsort(keys[order], kind="stable")
        return x[rows], y[rows]

    return Case(f"normal classes, order {order}", draw)


def levels(count: int, rows: int, columns: bool = False) -> Case:
    """Categories, as codes or as 0/1 columns; the label depends on the category."""

    def draw(g: Generator) -> Table:
        code = np.resize(np.arange(count), rows)
        code = g.permutation(code)
        y = g.integers(2, size=count)[code] ^ (g.random(rows) < 0.1)
        return (np.eye(count)[code] if columns else code[:, None]), y

    what = "0/1 columns" if columns else "codes"
    return Case(f"{count} categories, {rows:,} rows, {what}", draw)


def flags(count: int = 3, rows: int = 1_000) -> Case:
    """A few 0/1 columns, so that all rows are equal to others."""

    def draw(g: Generator) -> Table:
        x = g.integers(2, size=(rows, count))
        return x, x[:, 0] ^ (g.random(rows) < 0.2)

    return Case(f"{count} columns of 0/1", draw)


def real(name: str) -> Case:
    """A table of scikit-learn, in its own order."""
    load = getattr(datasets, f"load_{name}")
    return Case(name, lambda g: load(return_X_y=True), repeats=False)


DEPENDENT = (
    series(0.9, block=100),
    series(0.99, block=200),
    series(0.995, block=400),
    series(1.0, block=400),
    runs(),
    subjects(),
    subjects(shuffled=True),
    *(copies(times) for times in (5, 10, 11, 50)),
    copies(11, share=0.1),
    copies(10, near=0.01),
)
INNOCENT = (
    classes("random"),
    classes("by label"),
    classes("by a column"),
    levels(200, rows=2_000),
    levels(200, rows=2_200, columns=True),
    flags(),
    *(real(name) for name in ("iris", "wine", "breast_cancer", "digits")),
)


def dependence(samples: int, only: str) -> None:
    """Estimate what dependent rows say, with and without their groups."""
    print(f"no information, dependent rows; {samples} draws; nats are means of draws")
    print(f"{'':40}{'groups: hold 0':>15}{'nats':>9}{'without: warned':>17}{'nats':>9}")
    for number, case in enumerate(DEPENDENT):
        if only and only not in case.name:
            continue
        told, blind = [], []
        for seed in range(samples):
            x, y, groups = case.draw(np.random.default_rng([number, seed]))
            keywords = {"seed": seed, "groups": groups}
            told.append(estimate.estimate_mutual_information(x, y, **keywords))
            blind.append(estimate.estimate_mutual_information(x, y, seed=seed))
        held = sum(r.confidence_interval[0] <= 0 for r in told)
        warned = [r.warnings for r in blind if r.warnings]
        print(
            f"{case.name:40}{held:15}{np.mean([r.nats for r in told]):9.4f}"
            f"{len(warned):17}{np.mean([r.nats for r in blind]):9.4f}  {warned[:1]}",
            flush=True,
        )
    print("independent rows; no warning is due")
    for number, case in enumerate(INNOCENT):
        if only and only not in case.name:
            continue
        found = []
        for seed in range(samples if case.repeats else 1):
            x, y = case.draw(np.random.default_rng([99, number, seed]))
            found.append(estimate.estimate_mutual_information(x, y, seed=seed))
        warned = [r.warnings for r in found if r.warnings]
        nats = np.mean([r.nats for r in found])
        print(
            f"{case.name:40}{'':24}{len(warned):11} of{len(found):3}{nats:9.4f}"
            f"  {warned[:1] or ''}",
            flush=True,
        )
