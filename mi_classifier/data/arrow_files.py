"""Read .parquet and .feather files that fit in memory and are sound."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as pa_feather
import pyarrow.parquet as pa_parquet

from mi_classifier.data import room

_BITS = {"BOOLEAN": 1, "INT32": 32, "INT64": 64, "INT96": 96, "FLOAT": 32, "DOUBLE": 64}
_BYTES_OF_CELL = 16  # beside Arrow's own: one number each in pandas and in our inputs
_REMEDY = "use fewer rows or columns"


class ArrowTable(NamedTuple):
    """What a file holds.

    Attributes:
      table: its columns; of those that hold lists or structs, nulls.
      nested: the names of the latter.
    """

    table: pa.Table
    nested: tuple[str, ...]


def read(file: Path) -> ArrowTable:
    """Read a .parquet or .feather file.

    Raises:
      UserError: it takes more memory than there is.
      Exception: of any kind, if the file is damaged.
    """
    parquet = file.suffix.lower() == ".parquet"
    table = _of_parquet(file) if parquet else _of_feather(file)
    table.validate(full=True)  # offsets of a damaged file lead anywhere in memory
    nested = []
    for index, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            nested.append(field.name)
            table = table.set_column(index, field.name, pa.nulls(table.num_rows))
    return ArrowTable(table, tuple(nested))


def _of_parquet(file: Path) -> pa.Table:
    about = pa_parquet.ParquetFile(file)
    leaves = [about.schema.column(i) for i in range(len(about.schema))]
    groups = [about.metadata.row_group(i) for i in range(about.num_row_groups)]
    needed = 0.0
    for index, leaf in enumerate(leaves):
        # Lists have more values than the file has rows.
        values = sum(group.column(index).num_values for group in groups)
        own = _BITS.get(leaf.physical_type, 8 * max(leaf.length, 4)) / 8
        needed += values * (own + _BYTES_OF_CELL)
    room.check(file, needed, _REMEDY)
    # A few bytes may stand for one long word in all rows, so words are counted first.
    words = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    table = pa_parquet.ParquetFile(file, read_dictionary=words).read()
    for index, field in enumerate(about.schema_arrow):
        column = table.column(index)
        if pa.types.is_dictionary(column.type) and not pa.types.is_dictionary(
            field.type
        ):
            room.check(file, 2 * _bytes_of_words(column), _REMEDY)
            is_text = pa.types.is_string(column.type.value_type)
            plain = column.cast(pa.large_string() if is_text else pa.large_binary())
            table = table.set_column(index, field.name, plain)
    return table


def _bytes_of_words(column: pa.ChunkedArray) -> float:
    """Return the bytes of a column's words, each as often as it occurs."""
    total = 0.0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary.cast(pa.binary())).to_numpy(
            zero_copy_only=False
        )
        indices = chunk.indices.drop_null().to_numpy(zero_copy_only=False)
        times = np.bincount(indices, minlength=len(lengths))
        total += float(np.nan_to_num(lengths.astype(np.float64)) @ times)
    return total


def _of_feather(file: Path) -> pa.Table:
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(file)))
    except pa.ArrowInvalid:  # of the first version of the format
        return pa_feather.read_table(file)
    batches, needed = [], 0.0
    for index in range(reader.num_record_batches):
        batch = reader.get_batch(index)
        needed += batch.nbytes + _BYTES_OF_CELL * batch.num_rows * batch.num_columns
        room.check(file, needed, _REMEDY)
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema)
