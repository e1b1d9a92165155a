"""Files of tables, CSV or Parquet, and a mapping for one of them to be completed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.ops.recordings import not_readable
from stream_coupons_lab.datasets.foreign import WINDOW_S

if TYPE_CHECKING:  # of an optional extra, and slow to import
    import pandas as pd

CSV: Final = {".csv": ",", ".tsv": "\t"}
"""Separators by suffix; `.gz` and the like may follow."""
PARQUET: Final = ".parquet"
COMPRESSED: Final = (".gz", ".bz2", ".xz", ".zst")
DEFAULTS: Final[dict[str, str | float]] = {
    "control": NO_COUPON,
    "separator": "|",
    "minor_units": 100,
    "window_s": WINDOW_S,
    "time_zone": "UTC",
    "time_format": "%d.%m.%Y %H:%M",
}
ENDING: Final = """
# [coupon]
# discount_percent = "..."

# [coupons."..."]
# discount_percent = 10
"""


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


def template(frame: pd.DataFrame, name: str, fields: Mapping[str, str]) -> str:
    """Return a mapping for a table as TOML, to be completed: its columns with what they hold, in comments.

    A field whose name a column has is filled in; nothing else is guessed.

    Parameters
    ----------
    fields : mapping of str to str
        What each field of a mapping names.
    """
    columns = [str(column) for column in frame.columns]
    lines = [
        f"# Mapping of {name}: names the columns. Complete it, then give it by --mapping.",
        "# The columns are:",
        *(f"#   {column}: {_holds(frame[column])}" for column in frame.columns),
        "",
    ]
    others = [column for column in columns if column not in fields]
    for field, text in fields.items():
        lines.append(f"# {text}")
        if field in ("coupon", "coupons"):
            continue
        default = others if field == "context" else DEFAULTS.get(field, "")
        known = not default and field in columns
        line = f"{field} = {_toml(field if known else default)}"
        lines.append(line if known or field == "arm" else f"# {line}")
    return "\n".join(lines) + ENDING


def _holds(column: pd.Series[Any]) -> str:
    known = column.dropna()
    examples = ", ".join(str(item(value))[:20] for value in known.unique()[:3])
    missing = len(column) - len(known)
    return f"{known.nunique()} values, such as {examples}" + (f"; {missing} empty" if missing else "")


def item(value: Any) -> Any:
    """Return a value, or an array, of NumPy's as Python's own."""
    return value.tolist() if hasattr(value, "tolist") else value


def _toml(value: str | float | Sequence[str]) -> str:
    """Return a value as TOML, which has JSON's strings, numbers and lists."""
    return msgspec.json.encode(value).decode()
