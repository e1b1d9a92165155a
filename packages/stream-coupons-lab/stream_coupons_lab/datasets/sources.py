"""Logs of other systems by the form of their file: JSON lines, or a table with its mapping."""

from pathlib import Path

from stream_coupons.core.errors import BadConfig
from stream_coupons_lab.datasets import foreign, tables
from stream_coupons_lab.datasets.foreign import ForeignLog
from stream_coupons_lab.datasets.mapping import MappingSource, mapping_of
from stream_coupons_lab.datasets.table_files import is_table


def read(path: Path, window_s: float, mapping: MappingSource | None = None) -> ForeignLog:
    """Read a log; a table with its mapping.

    Raises
    ------
    BadConfig
    """
    if mapping is not None:
        return tables.read_log(path, mapping_of(mapping), window_s)
    if is_table(path):
        raise BadConfig(
            f"{path}: a table needs --mapping, a TOML file that names its columns, at least "
            'arm = "..." and one of click, purchase and order_value'
        )
    return foreign.read(path, window_s)
