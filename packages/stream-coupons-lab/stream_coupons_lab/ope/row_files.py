"""Files of rows of decisions, written batch by batch: Parquet, CSV or JSON lines by the suffix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, get_args, get_type_hints

from stream_coupons.contracts.docstrings import attribute_docs
from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka.codec import encode
from stream_coupons_lab.datasets.table_files import CSV, PARQUET, require_frames
from stream_coupons_lab.ope.decision_rows import DecisionRow, WriteRows

if TYPE_CHECKING:  # of an optional extra, and slow to import
    import pyarrow as pa

JSON_LINES = ".jsonl"


def schema() -> pa.Schema:
    """Return the columns with their types; each has its docstring as `description`."""
    import pyarrow as pa

    types = {
        str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), datetime: pa.timestamp("us", "UTC"),
    }  # fmt: skip
    texts = attribute_docs(DecisionRow)
    fields = []
    for name, hint in get_type_hints(DecisionRow).items():
        plain, *others = get_args(hint) or (hint,)
        fields.append(pa.field(name, types[plain], bool(others), {"description": texts[name]}))
    return pa.schema(fields)


@contextmanager
def row_writer(path: Path, sink: IO[bytes]) -> Iterator[WriteRows]:
    """Yield a function that appends a batch of rows to a file; each batch is a row group of Parquet.

    Parameters
    ----------
    path : Path
        Its suffix states the kind of the file.
    sink : binary file
        Receives the bytes.

    Raises
    ------
    BadConfig
        If the kind is unknown, or needs what is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in (PARQUET, CSV, JSON_LINES):
        raise BadConfig(f"{path}: expected a name that ends in {PARQUET}, {CSV} or {JSON_LINES}")
    if suffix == JSON_LINES:
        yield lambda rows: sink.writelines(encode(row._asdict()) + b"\n" for row in rows)
        return
    require_frames(path)
    import pyarrow as pa
    from pyarrow import csv, parquet

    writer = partial(parquet.ParquetWriter, compression="zstd") if suffix == PARQUET else csv.CSVWriter
    columns = schema()
    with writer(sink, columns) as file:
        yield lambda rows: file.write_table(pa.table([list(column) for column in zip(*rows, strict=True)], columns))
