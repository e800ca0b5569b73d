"""Notice rows that are equal but for columns of their own, as visits of a person."""

import numpy as np
import scipy.sparse

from mi_classifier.cross_fitting.dependence import (
    find_groups,
    least_extra,
    mixed_bits,
    odd_numbers,
)
from mi_classifier.data.containers import Rows

_MOST_VALUES = 5_000_000  # in larger tables nobody looks
_MOST_COLUMNS = 256
_NAMED = 3  # columns in a sentence


def repeated_warning(rows: Rows) -> str:
    """Return a warning if rows are equal in all but a few columns, else "".

    The visits of a person have the same age and town, and differ in date and result.
    Columns that differ in most rows are ignored, and one more.

    Examples:
      >>> person = np.random.default_rng(0).standard_normal((100, 2)).repeat(3, axis=0)
      >>> repeated_warning(Rows(np.c_[person, np.arange(300) % 3]))[:57]
      '200 of 300 rows are equal to others in all columns but 2;'
    """
    values = rows.values
    table = not scipy.sparse.issparse(values) and values.ndim == 2
    if not table or values.size > _MOST_VALUES or values.shape[1] > _MOST_COLUMNS:
        return ""
    columns = [np.asarray(values[:, c]) for c in range(values.shape[1])]
    odd = odd_numbers(len(columns))
    terms = [mixed_bits(x, odd[:, c]) for c, x in enumerate(columns)]
    half = values.shape[0] / 2
    shared = [c for c, term in enumerate(terms) if len(np.unique(term)) <= half]
    total = np.sum([terms[c] for c in shared], 0, dtype=np.uint64)
    least, found = least_extra(values.shape[0]), (0, -1)
    for out in (-1, *shared):
        rest = total - terms[out] if out >= 0 else total
        kept = [c for c in shared if c != out]
        if kept and values.shape[0] - len(np.unique(rest)) > max(least, found[0]):
            levels = {k: rows.levels[c] for k, c in enumerate(kept) if c in rows.levels}
            extra = _num_extra(Rows(values[:, kept], (), levels))
            if extra > max(least, found[0]):
                found = extra, out
    if (found[1] < 0 and len(shared) == len(columns)) or not found[0]:
        return ""
    own = [c for c in range(len(columns)) if c not in shared or c == found[1]]
    names = ", ".join(str(rows.names[c] if rows.names else c) for c in own[:_NAMED])
    return (
        f"{found[0]:,} of {values.shape[0]:,} rows are equal to others in all columns "
        f"but {names}{', ...' * (len(own) > _NAMED)}; if they are of the same "
        "subjects, give groups="
    )


def _num_extra(rows: Rows) -> int:
    """Return how many rows are copies of others."""
    group = find_groups(rows).group
    return len(group) - int(group.max()) - 1
