"""Notice columns that count the rows, name subjects, or are the label itself."""

from collections.abc import Iterator

import numpy as np
import scipy.sparse

from mi_classifier.data.containers import Rows, blocks

_FEWEST_ROWS = 20  # in which a column can be seen to count
_MOST_COUNTING = 10_000  # columns; in wider tables nobody looks
_MOST_GAPS = 5  # in a column that counts
_FEWEST_SUBJECTS = 10  # fewer values may well tell the label
_MOST_SUBJECT_COLUMNS = 256
_LABEL_ROWS = 500  # in which a column can be seen to be the label


def label_columns(rows: Rows, label: np.ndarray) -> tuple[str, ...]:
    """Return a warning for each column that is the label `[N]` under other names."""
    values, size = rows.values, len(label)
    table = not scipy.sparse.issparse(values) and values.ndim == 2
    if not table or values.shape[1] > _MOST_COUNTING or not label.max():
        return ()
    some = np.linspace(0, size - 1, min(size, _LABEL_ROWS)).astype(int)
    block, count = np.asarray(values[some], np.float64), label.max() + 1
    one_each = np.ones(block.shape[1], bool)
    for k in np.unique(label[some]):
        own = block[label[some] == k]
        one_each &= (own == own[0]).all(0)
    found = list(_of_one_label(rows, label, some, block))
    for c in np.flatnonzero(one_each):
        x = np.asarray(values[:, c], np.float64)
        pairs = np.unique(np.stack([x, label]), axis=1)
        if pairs.shape[1] == count and len(np.unique(x)) == count:
            found.append(
                f"{rows.column(int(c))} has one value for each label, and tells it; if "
                "it is the label itself, leave it out of x"
            )
    return tuple(found)


def _of_one_label(
    rows: Rows, label: np.ndarray, some: np.ndarray, block: np.ndarray
) -> Iterator[str]:
    """Yield a warning for columns each of whose many values comes with one label.

    `block` holds some rows. Along the order of numbers, labels must change about as
    often as by chance: otherwise the column tells the label, as a number may.
    """
    for c in range(min(block.shape[1], _MOST_SUBJECT_COLUMNS)):
        if not _are_pure(block[:, c], label[some]) or rows.names_rows(c):
            continue
        x = np.asarray(rows.values[:, c], np.float64)
        values, first = np.unique(x, return_index=True)
        many = _FEWEST_SUBJECTS <= len(values) <= len(x) / 2
        if not many or not _are_pure(x, label):
            continue
        of_value = label[first]
        share = np.bincount(of_value) / len(values)
        changes = (of_value[1:] != of_value[:-1]).mean()
        if c in rows.levels or changes > 0.5 * (1 - (share**2).sum()):
            yield (
                f"each of the {len(values)} values of {rows.column(c)} has one label "
                "only; if they name subjects, give them as groups=, and leave the "
                "column out"
            )


def _are_pure(x: np.ndarray, label: np.ndarray) -> bool:
    """Return whether each value comes with one label."""
    values, code = np.unique(x, return_inverse=True)
    both = code * (label.max() + 1) + label
    return len(np.unique(both)) == len(values)


def counting_columns(rows: Rows) -> tuple[str, ...]:
    """Return a sentence for each column that counts the rows, or names each row."""
    values = rows.values
    size = values.shape[0]
    table = values.ndim == 2 and not scipy.sparse.issparse(values)
    if not table or size < _FEWEST_ROWS or values.shape[1] > _MOST_COUNTING:
        return ()
    counting = [c for c in range(values.shape[1]) if c not in rows.levels]
    counting = np.array(counting, int)
    breaks, steps, last = 0, None, None
    rising, falling = np.ones((2, len(counting)), bool)
    for _, block in blocks(values):
        x = np.asarray(block[:, counting], np.float64)
        x = x if last is None else np.concatenate([last, x])
        last = x[-1:]
        gaps = np.diff(x, axis=0)
        steps = np.median(gaps, 0) if steps is None else steps
        whole = (x == np.rint(x)).all(0)
        rising &= whole & (gaps > 0).all(0)
        falling &= whole & (gaps < 0).all(0)
        breaks = breaks + np.where(whole & (steps != 0), (gaps != steps).sum(0), size)
        kept = rising | falling | (breaks <= _MOST_GAPS)
        if not kept.all():
            counting, last, steps = counting[kept], last[:, kept], steps[kept]
            rising, falling, breaks = rising[kept], falling[kept], breaks[kept]
        if not len(counting):
            break
    sentences = [
        f"{rows.column(int(c))} counts the rows; leave it out, for a row's place in "
        "the table says nothing about a new row"
        if even
        else f"rows are sorted by {rows.column(int(c))}, whose values all differ; if "
        "it is a number of the row, leave it out"
        for c, even in zip(counting, breaks <= _MOST_GAPS, strict=True)
    ]
    sentences += [
        f"{rows.column(column)} differs in nearly every row and cannot say anything "
        "about another row; it was ignored"
        for column in rows.levels
        if rows.names_rows(column)
    ]
    return tuple(sentences)
