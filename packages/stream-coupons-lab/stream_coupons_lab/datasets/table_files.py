"""Files of tables, CSV or Parquet."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stream_coupons.core.errors import BadConfig
from stream_coupons.ops.recordings import not_readable

if TYPE_CHECKING:  # of an optional extra, and slow to import
    import pandas as pd

CSV: Final = ".csv"
PARQUET: Final = ".parquet"


def is_table(path: Path) -> bool:
    """Return whether a file is a table by its name, not JSON lines."""
    return path.suffix.lower() in (CSV, PARQUET)


def is_parquet(path: Path) -> bool:
    """Return whether a file is a Parquet file by its name."""
    return path.suffix.lower() == PARQUET


def first_row(path: Path) -> int:
    """Return the number of the first row, for messages: of a CSV file its line, below the header."""
    return 1 if is_parquet(path) else 2


def require_frames(path: Path) -> None:
    """Refuse a table if the packages for it are not installed.

    Raises
    ------
    BadConfig
    """
    missing = [name for name in ("pandas", "pyarrow") if find_spec(name) is None]
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
    require_frames(path)
    import pandas as pd

    try:
        with path.open("rb"):
            pass
        if is_parquet(path):
            return pd.read_parquet(path)
        return pd.read_csv(path, keep_default_na=False, na_values=[""], encoding="utf-8-sig", low_memory=False)
    except OSError as error:
        if error.errno is None:  # pyarrow's errors are of this kind, too
            raise BadConfig(f"{path}: is no table: {error}") from None
        raise not_readable(path, error) from None
    except ValueError as error:  # of pandas' parsers, and of text that is no UTF-8
        raise BadConfig(f"{path}: is no table: {' '.join(str(error).split())}") from None


def item(value: Any) -> Any:
    """Return a value, or an array, of NumPy's as Python's own."""
    return value.tolist() if hasattr(value, "tolist") else value
