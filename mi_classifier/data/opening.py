"""Open a user's container: hand over NumPy, SciPy or pandas, whatever it is made of."""

import warnings
from collections.abc import Mapping
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import scipy.sparse

from mi_classifier.errors import UserError


def opened(x: Any, what: str) -> Any:
    """Return a NumPy array, a sparse matrix, or a pandas object or dict as it is.

    Masked values become NaN or None, narrow floats float32 and wide ones float64.
    """
    if scipy.sparse.issparse(x) or isinstance(x, Mapping | pd.DataFrame | pd.Series):
        return x
    if isinstance(x, pd.MultiIndex):
        raise UserError(
            f"{what}: is an index of {x.nlevels} levels; give one of them, such as "
            "index.get_level_values(0)"
        )
    if isinstance(x, pd.Index | pd.api.extensions.ExtensionArray):
        return pd.Series(x)
    if isinstance(x, np.memmap) and x.dtype.kind in "biuf" and x.dtype.itemsize <= 8:
        return x
    if (frame := _as_pandas(x)) is not None:
        return frame
    try:
        array = _as_array(x)
    except (TypeError, ValueError, RuntimeError) as error:
        # Rows of different lengths, or a tensor that another library refuses to give.
        raise UserError(f"{what}: must be an array or a table ({error})") from None
    if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 and narrower
        return array.astype(np.float32)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array


def _as_pandas(x: Any) -> pd.DataFrame | pd.Series | None:
    """Return a DataFrame or Series of another library as one of pandas."""
    native = nw.from_native(x, pass_through=True, allow_series=True)
    if isinstance(native, nw.LazyFrame):
        native = native.collect()
    elif not isinstance(native, nw.DataFrame | nw.Series):
        if not hasattr(x, "__arrow_c_stream__"):
            return None
        # Such as a record batch, or DuckDB's result.
        native = nw.DataFrame.from_arrow(x, backend="pyarrow")
    if isinstance(native, nw.Series):
        return _of_narwhals(native)
    columns = [_of_narwhals(column) for column in native.iter_columns()]
    return pd.concat(columns, axis=1) if columns else pd.DataFrame()


def _of_narwhals(column: nw.Series) -> pd.Series:
    """Return a column of pandas, in which whole numbers stay whole."""
    wide = column.dtype in (nw.Int128, nw.UInt128)
    if not wide and not (column.dtype.is_integer() and column.is_null().any()):
        native = column.to_native()
        if isinstance(native, pd.Series):
            return native
        # Not by narwhals, which gives a missing value of a dictionary a word.
        return native.to_pandas().rename(column.name)
    whole = "UInt64" if column.dtype.is_unsigned_integer() else "Int64"
    dtype = object if wide else whole
    return pd.Series(column.to_list(), name=column.name, dtype=dtype)


def _as_array(x: Any) -> np.ndarray:
    """Return an array; words in a list keep what is missing among them."""
    if isinstance(x, list | tuple):
        x = [_as_array(v) if hasattr(v, "detach") else v for v in x]
        if any(isinstance(value, np.ma.MaskedArray) and value.ndim for value in x):
            x = np.ma.stack(list(map(np.ma.asarray, x)))
    if hasattr(x, "detach"):  # a tensor of PyTorch
        x = x.detach().cpu()
        x = x.float() if "bfloat16" in str(x.dtype) else x
    if isinstance(x, np.ma.MaskedArray):
        if x.dtype.names or not np.ma.getmaskarray(x).any():
            return x if x.dtype.names else x.data
        if x.dtype.kind not in "biuf":
            return np.where(np.ma.getmaskarray(x), None, x.data.astype(object))
        narrow = x.dtype.kind == "f" and x.dtype.itemsize <= 4
        return x.astype(np.float32 if narrow else np.float64).filled(np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a masked element becomes NaN, as it should
        array = np.asarray(x)
    # NumPy joins words and numbers of a list to words, so that 1 equals "1".
    if isinstance(x, list | tuple) and array.dtype.kind in "SU":
        return np.asarray(x, dtype=object)
    return array
