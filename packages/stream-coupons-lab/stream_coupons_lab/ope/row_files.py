"""Files of rows of decisions, written batch by batch: Parquet, CSV or JSON lines by the suffix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, get_args, get_type_hints

from stream_coupons.contracts.docstrings import attribute_docs
from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka.codec import encode
from stream_coupons_lab.datasets.table_files import CSV, PARQUET, require_frames
from stream_coupons_lab.ope.decision_rows import DecisionRow

if TYPE_CHECKING:  # of an optional extra, and slow to import
    import pyarrow as pa

JSON_LINES = ".jsonl"
Write = Callable[[Sequence[DecisionRow]], None]


def require_suffix(path: Path) -> None:
    """Refuse a file whose kind is unknown, or needs what is not installed.

    Raises
    ------
    BadConfig
    """
    if path.suffix.lower() not in (PARQUET, CSV, JSON_LINES):
        raise BadConfig(f"{path}: expected a name that ends in {PARQUET}, {CSV} or {JSON_LINES}")
    if path.suffix.lower() != JSON_LINES:
        require_frames(path)


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
def row_writer(path: Path, sink: IO[bytes]) -> Iterator[Write]:
    """Yield a function that appends a batch of rows to a file; each batch is a row group of Parquet.

    Parameters
    ----------
    path : Path
        Its suffix states the kind of the file.
    sink : binary file
        Receives the bytes.
    """
    if path.suffix.lower() == JSON_LINES:
        yield lambda rows: sink.writelines(encode(row._asdict()) + b"\n" for row in rows)
        return
    import pyarrow as pa
    from pyarrow import csv, parquet

    names = schema()
    to_parquet = path.suffix.lower() == PARQUET
    with parquet.ParquetWriter(sink, names, compression="zstd") if to_parquet else csv.CSVWriter(sink, names) as file:

        def write(rows: Sequence[DecisionRow]) -> None:
            columns = [
                pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), names, strict=True)
            ]
            file.write_table(pa.table(columns, schema=names))

        yield write
