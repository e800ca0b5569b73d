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
    fields, schema = about.schema_arrow, about.schema
    # Lists may have any number of values, and nobody needs them, so they stay unread.
    flat = {field.name for field in fields if not pa.types.is_nested(field.type)}
    leaves = [schema.column(i) for i in range(len(schema))]
    leaves = [leaf for leaf in leaves if leaf.path in flat]
    bits = sum(
        _BITS.get(leaf.physical_type, 8 * max(leaf.length, 4)) for leaf in leaves
    )
    cell = bits / 8 + _BYTES_OF_CELL * len(leaves)
    room.check(file, about.metadata.num_rows * cell, _REMEDY)
    # A few bytes may stand for one long word in all rows, so words are counted first.
    words = [
        leaf.path
        for leaf in leaves
        if leaf.physical_type == "BYTE_ARRAY" and leaf.converted_type != "DECIMAL"
    ]
    opened = pa_parquet.ParquetFile(file, read_dictionary=words)
    wanted = [field.name for field in fields if field.name in flat]
    table = opened.read(None if len(flat) == len(fields) else wanted)
    for index, field in enumerate(fields):
        if field.name not in flat:
            nulls = pa.nulls(table.num_rows, field.type)
            table = table.add_column(index, field.name, nulls)
            continue
        column = table.column(index)
        was_words = not pa.types.is_dictionary(field.type)
        if was_words and pa.types.is_dictionary(column.type):
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
        buffers = batch.get_total_buffer_size()  # `nbytes` follows damaged offsets
        needed += buffers + _BYTES_OF_CELL * batch.num_rows * batch.num_columns
        room.check(file, needed, _REMEDY)
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema)
