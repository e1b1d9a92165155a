"""Files of tables, CSV or Parquet."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stream_coupons.core.errors import BadConfig
from stream_coupons.ops.recordings import not_readable

if TYPE_CHECKING:  # of an optional extra, and slow to import
    import pandas as pd

CSV: Final = {".csv": ",", ".tsv": "\t"}
"""Separators by suffix; `.gz` and the like may follow."""
PARQUET: Final = ".parquet"
COMPRESSED: Final = (".gz", ".bz2", ".xz", ".zst")


def is_table(path: Path) -> bool:
    """Return whether a file is a table by its name, not JSON lines."""
    suffix = _suffix(path)
    return suffix in CSV or suffix == PARQUET


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def first_row(path: Path) -> int:
    """Return the number of the first row, for messages: of a CSV file its line, below the header."""
    return 1 if _suffix(path) == PARQUET else 2


def require_extra(path: Path) -> None:
    """See that what a table takes is installed: pandas, and for Parquet pyarrow.

    Raises
    ------
    BadConfig
    """
    needed = ["pandas", *(["pyarrow"] if _suffix(path) == PARQUET else [])]
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise BadConfig(
            f"{path}: tables need an optional extra, from the clone: "
            f"pip install -e 'packages/stream-coupons-lab[frames]' (no {', '.join(missing)})"
        )


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV or Parquet file. Only empty cells of a CSV file are missing: `none` and `NA` are values.

    Raises
    ------
    BadConfig
    """
    require_extra(path)
    import pandas as pd

    try:
        with path.open("rb"):
            pass
        if _suffix(path) == PARQUET:
            return pd.read_parquet(path)
        options: dict[str, Any] = {"keep_default_na": False, "na_values": [""], "encoding": "utf-8-sig"}
        separator = CSV.get(_suffix(path), ",")
        [*names] = pd.read_csv(path, sep=separator, nrows=0, **options)
        if len(names) == 1:  # spreadsheets of many countries write semicolons
            separator = next((other for other in (";", "\t") if other in names[0]), separator)
        frame: pd.DataFrame = pd.read_csv(path, sep=separator, low_memory=False, **options)
        return frame
    except OSError as error:
        if error.errno is None:  # pyarrow's errors are of this kind, too
            raise BadConfig(f"{path}: is no table: {error}") from None
        raise not_readable(path, error) from None
    except (ValueError, EOFError) as error:  # of pandas' parsers, and of text that is no UTF-8
        raise BadConfig(f"{path}: is no table: {' '.join(str(error).split())}") from None


def item(value: Any) -> Any:
    """Return a value, or an array, of NumPy's as Python's own."""
    return value.tolist() if hasattr(value, "tolist") else value
