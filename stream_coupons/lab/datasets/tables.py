"""Tables of decisions of another system, as CSV, Parquet or data frames: a foreign log of one row per decision.

What the columns are, a `Mapping` states. A row that cannot be used is refused with its number, column, value and what
was expected, and the rest goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.core.messages.fields import END_OF_TIME, NO_COUPON
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.codec import encode
from stream_coupons.lab.datasets.foreign import WINDOW_S, ForeignLog
from stream_coupons.lab.datasets.foreign_records import DEFAULT_DOMAIN, FeedbackLine, IssueLine
from stream_coupons.lab.datasets.mapping import COUPON_FIELDS, Mapping
from stream_coupons.lab.recordings import Line, Refusals, not_readable

if TYPE_CHECKING:  # of an optional extra, and slow to import
    import pandas as pd

CSV: Final = {".csv": ",", ".tsv": "\t"}
"""Separators by suffix; `.gz` and the like may follow."""
PARQUET: Final = ".parquet"
COMPRESSED: Final = (".gz", ".bz2", ".xz", ".zst")
YES: Final = frozenset({"1", "true", "yes", "y", "t"})
NO: Final = frozenset({"0", "false", "no", "n", "f", ""})
LISTS: Final = ("categories", "brands", "items")
FIRST_AT: Final = 946_684_800.0
"""Time of the first row of a table without times: 2000-01-01."""
UNTIMED_WINDOW_S: Final = 1.0
SHOWN: Final = 60


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
            f"{path}: tables need an optional extra, from the clone: pip install -e '.[frames]' "
            f"(no {', '.join(missing)})"
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


def read_log(path: Path, mapping: Mapping, window_s: float = WINDOW_S) -> ForeignLog:
    """Read a table from a file.

    Raises
    ------
    BadConfig
    """
    return log_of(read_table(path), mapping, str(path), window_s, first_row(path))


def log_of(frame: pd.DataFrame, mapping: Mapping, name: str, window_s: float = WINDOW_S, first: int = 1) -> ForeignLog:
    """Return the foreign log that a table is.

    Parameters
    ----------
    frame : DataFrame
        One row per decision.
    name : str
        Name of the table, for messages.
    window_s : float
        Seconds after which an outcome is known, unless the mapping states it.
    first : int
        Number of the first row, for messages.

    Raises
    ------
    BadConfig
        If a column is missing, or no row can be used.
    """
    frame = frame.rename(columns=str)
    if (twice := frame.columns[frame.columns.duplicated()]).size:
        raise BadConfig(f"{name}: has the column {twice[0]!r} twice, expected each name once")
    mapping.check(list(frame.columns), name)
    window = UNTIMED_WINDOW_S if mapping.time is None else mapping.window_s or window_s
    log = ForeignLog(window, Refusals())
    rows = _Rows(frame, mapping, name)
    for row in range(len(frame)):
        number = first + row
        try:
            lines = rows.lines(row, number)
        except _Unusable as error:
            log.refusals.add(Line(number, b"", 0, "row"), BadMessage(Rejection.INVALID, str(error)))
            continue
        refused = log.refusals.count
        for line in lines:
            log.take(Line(number, encode(line), 0, "row"))
            if log.refusals.count > refused:  # feedback on an issue that is not there would be refused, too
                break
    log.close()
    if not log.counts["issue"]:
        raise BadConfig(f"{name}: {_nothing_in(log, len(frame))}")
    return log


def _nothing_in(log: ForeignLog, rows: int) -> str:
    if not rows:
        return "the table has no row"
    first = log.refusals.first[0]
    return f"none of its {rows} rows can be used; row {first.line}: {first.detail}"


class _Unusable(Exception):
    """A cell that cannot be used; its text names the column, the value and what was expected."""

    def __init__(self, column: str, value: object, expected: str) -> None:
        text = "is empty" if value is None else f"is {str(value)[:SHOWN]!r}"
        super().__init__(f"column {column!r} {text}, expected {expected}")


Read = Callable[[Any], Any]


class _Rows:
    """The rows of a table as lines of a foreign log."""

    def __init__(self, frame: pd.DataFrame, mapping: Mapping, name: str) -> None:
        self._mapping = mapping
        self._cells = {column: _plain(frame[column]) for column in frame.columns}
        self._context = mapping.context_columns(list(frame.columns))
        self._times = None if mapping.time is None else _times(frame[mapping.time], mapping, name)
        self._expiries = None if mapping.expires is None else _times(frame[mapping.expires], mapping, name)
        self._terms: dict[str, dict[str, Any]] = {arm: dict(terms) for arm, terms in mapping.coupons.items()}
        if isinstance(mapping.arms, list):
            self._arms: list[str] | None = [self._arm(arm) for arm in mapping.arms]
        else:
            self._arms = None

    def lines(self, row: int, number: int) -> list[msgspec.Struct]:
        """Return the issue of a row, and the feedback on it.

        Raises
        ------
        _Unusable
        """
        mapping = self._mapping
        arm = self._arm(self._need(mapping.arm, row, _text, "an arm"))
        is_control = arm == NO_COUPON
        issue_id = self._need(mapping.issue, row, _text, "an id") if mapping.issue else f"row-{number}"
        shopper = self._need(mapping.shopper, row, _text, "an id") if mapping.shopper else f"row-{number}"
        at = FIRST_AT + 2 * UNTIMED_WINDOW_S * row if mapping.time is None else self._time(mapping.time, row)
        domain = self._need(mapping.domain, row, _text, "a domain") if mapping.domain else DEFAULT_DOMAIN
        issue = IssueLine(
            issue_id=issue_id,
            user_id=shopper,
            occurred_at=at,
            coupon=None if is_control else self._coupon(arm, domain, row),
            arms=self._arms_of(arm, row),
            propensity=self._propensity(row),
            expires_at=self._expiry(row),
            domain=domain,
            context={name: value for name in self._context if (value := self._context_value(name, row)) is not None},
        )
        return [issue, *self._feedback(issue_id, at, row)]

    def _need(self, column: str, row: int, read: Read, expected: str) -> Any:
        value = self._cells[column][row]
        found = None if value is None else read(value)
        if found is None or found in ("", []):
            raise _Unusable(column, value, expected)
        return found

    def _arm(self, value: str) -> str:
        return NO_COUPON if value in self._mapping.controls else value

    def _arms_of(self, arm: str, row: int) -> list[str] | None:
        column = self._mapping.arms
        if not isinstance(column, str):
            arms = self._arms
        else:
            found = self._need(column, row, self._parts, "the arms that could be chosen")
            arms = [self._arm(part) for part in found]
        if arms is not None and arm not in arms:
            where = column if isinstance(column, str) else self._mapping.arm
            value = self._cells[where][row]
            raise _Unusable(where, value, f"{arm!r} among the arms" if where == column else f"one of {arms}")
        return arms

    def _parts(self, value: Any) -> list[str]:
        """The values within a cell: a list, or text that is parted by the separator."""
        parts = value if isinstance(value, list) else _text(value).split(self._mapping.separator)
        return [text for part in parts if (text := _text(part))]

    def _propensity(self, row: int) -> float | None:
        said = self._mapping.propensity
        if not isinstance(said, str):
            return said
        value = self._cells[said][row]
        number = None if value is None else _number(value)
        if value is not None and (number is None or not 0 < number <= 1):
            raise _Unusable(said, value, "a probability above 0 and at most 1")
        return number

    def _time(self, column: str, row: int) -> float:
        assert self._times is not None
        if math.isnan(self._times[row]):
            raise _Unusable(column, self._cells[column][row], _expected_time(self._mapping))
        return self._times[row]

    def _expiry(self, row: int) -> float | None:
        column = self._mapping.expires
        if column is None or self._expiries is None or self._cells[column][row] is None:
            return None
        if math.isnan(self._expiries[row]):
            raise _Unusable(column, self._cells[column][row], _expected_time(self._mapping))
        return self._expiries[row]

    def _coupon(self, arm: str, domain: str, row: int) -> dict[str, Any]:
        terms: dict[str, Any] = {"coupon_id": arm, "domain": domain, **self._terms.get(arm, {})}
        for name, column in self._mapping.coupon.items():
            value = self._cells[column][row]
            if value is None:
                continue
            if name in LISTS:
                value = self._parts(value)
            elif name in COUPON_FIELDS and isinstance(value, float) and value.is_integer():
                value = int(value)
            terms[name] = value
        return terms

    def _context_value(self, column: str, row: int) -> str | float | bool | None:
        value = self._cells[column][row]
        if isinstance(value, Decimal):
            return float(value)
        return value if value is None or isinstance(value, str | bool | int | float) else str(value)

    def _feedback(self, issue_id: str, at: float, row: int) -> list[FeedbackLine]:
        mapping, found = self._mapping, []
        value = self._money(mapping.order_value, row)
        is_purchase = self._flag(mapping.purchase, row) if mapping.purchase else bool(value)
        if mapping.click and self._flag(mapping.click, row):
            found.append(FeedbackLine(issue_id=issue_id, occurred_at=at, kind="click"))
        if is_purchase:
            discount = self._money(mapping.discount, row)
            found.append(
                FeedbackLine(
                    issue_id=issue_id,
                    occurred_at=at,
                    kind="purchase",
                    order_value_minor=value,
                    discount_minor=discount,
                )
            )
        return found

    def _flag(self, column: str, row: int) -> bool:
        value = self._cells[column][row]
        text = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value).strip().lower()
        if text not in YES and text not in NO:
            raise _Unusable(column, value, "1 or 0, true or false, yes or no; an empty cell is no")
        return text in YES

    def _money(self, column: str | None, row: int) -> int | None:
        value = None if column is None else self._cells[column][row]
        if value is None or column is None:
            return None
        number = _number(value)
        if number is None or number < 0:
            raise _Unusable(column, value, "an amount of at least 0, or an empty cell")
        return round(number * self._mapping.minor_units)


def _plain(column: pd.Series[Any]) -> list[Any]:
    """Return the cells as Python's own values, None for what is missing."""
    values = column.astype(object)
    return [item(one) for one in values.where(column.notna(), None).tolist()]


def item(value: Any) -> Any:
    """Return a value, or an array, of NumPy's as Python's own."""
    return value.tolist() if hasattr(value, "tolist") else value


def _times(column: pd.Series[Any], mapping: Mapping, name: str) -> list[float]:
    """Return UTC epoch seconds, NaN for what is no time."""
    import pandas as pd

    try:
        zone = ZoneInfo(mapping.time_zone) if mapping.time_zone != "UTC" else UTC
    except (ZoneInfoNotFoundError, ValueError):
        raise BadConfig(f"{name}: the mapping's time_zone is {mapping.time_zone!r}, expected a name as UTC") from None
    if pd.api.types.is_numeric_dtype(column) and mapping.time_format is None:
        seconds = column.astype("float64")
    else:
        times = column if pd.api.types.is_datetime64_any_dtype(column) else _parsed(column, mapping)
        if times.dt.tz is None:
            times = times.dt.tz_localize(zone, ambiguous=False, nonexistent="shift_forward")
        since = times - pd.Timestamp(0, tz="UTC")
        seconds = since.dt.total_seconds()
    return seconds.where(seconds.between(0, END_OF_TIME)).tolist()


def _parsed(column: pd.Series[Any], mapping: Mapping) -> pd.Series[Any]:
    import pandas as pd

    # Times with different zones become one column only in UTC; those without any are of the mapping's zone.
    texts, time_format = column.astype("string"), mapping.time_format
    if time_format is None:
        has_zone = bool(texts.str.contains(r":.*(?:Z|[+-]\d\d:?\d\d)$", regex=True, na=False).any())
    else:
        has_zone = "%z" in time_format
    return pd.to_datetime(texts, format=time_format or "ISO8601", errors="coerce", utc=has_zone)


def _expected_time(mapping: Mapping) -> str:
    if mapping.time_format is not None:
        return f"a time like {mapping.time_format!r}"
    return "a time from 1970 to 2100: ISO 8601, or UTC epoch seconds; state another time_format in the mapping"


def _text(value: Any) -> str:
    """Return text; 12.0 is 12, as a column of numbers with gaps has it."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def template(frame: pd.DataFrame, name: str) -> str:
    """Return a mapping for a table as TOML, to be completed: its columns with what they hold, in comments.

    A field whose name a column has is filled in; nothing else is guessed.
    """
    columns = [str(column) for column in frame.columns]
    lines = [
        f"# Mapping of {name}: names the columns. Complete it, then give it by --mapping.",
        "# The columns are:",
        *(f"#   {column}: {_holds(frame[column])}" for column in frame.columns),
        "",
    ]
    for field, text in FIELDS:
        known = next((column for column in (field, *ALIASES.get(field, ())) if column in columns), None)
        line = f"{field} = {_toml(known if known is not None else DEFAULTS.get(field, ''))}"
        lines += [f"# {text}", line if known is not None or field == "arm" else f"# {line}"]
    taken = {column for field, _ in FIELDS for column in (field, *ALIASES.get(field, ()))}
    others = [column for column in columns if column not in taken]
    lines += [
        "# Context: columns that were known before the decision, and only those. Outcomes in here would be cheating.",
        f"# context = {_toml(others)}",
        "",
        "# Fields and attributes of the coupon that a column states, by the catalogue's name or any other:",
        "# [coupon]",
        '# discount_percent = "..."',
        "",
        "# Fields of the coupon of one arm that no column states:",
        '# [coupons."..."]',
        "# discount_percent = 10",
    ]
    return "\n".join(lines) + "\n"


FIELDS: Final = (
    ("arm", "What was given. Required."),
    ("control", "The value of that column, or a list of values, that means that nothing was given."),
    ("shopper", "Who it was. Without it every row is another shopper."),
    ("time", "When it was decided. Without it the rows are in order, each outcome known before the next row."),
    ("time_format", "Format of that column; ISO 8601 and epoch seconds need none."),
    ("propensity", "Probability with which the arm was chosen: a column, or one number."),
    ("arms", 'All arms that could be chosen: a column such as "a|b|none", or a list for all rows.'),
    ("click", "Outcomes, for every arm, the control too; at least one of these three. Was it clicked?"),
    ("purchase", "Was there a purchase, or any other outcome with yes or no?"),
    ("order_value", "Value of the order."),
    ("minor_units", "Minor units (cents) in one unit of that column."),
    ("discount", "What the coupon took off."),
    ("expires", "Until when the coupon could be used. Without it window_s counts, else --window."),
    ("window_s", "Seconds after which the outcome is known."),
)
ALIASES: Final = {
    "arm": ("coupon_id",),
    "shopper": ("user_id",),
    "time": ("occurred_at",),
    "click": ("clicked",),
    "purchase": ("purchased",),
    "order_value": ("order_value_minor",),
}
DEFAULTS: Final[dict[str, str | float]] = {
    "control": NO_COUPON,
    "minor_units": 100,
    "window_s": WINDOW_S,
    "time_format": "%d.%m.%Y %H:%M",
}


def _holds(column: pd.Series[Any]) -> str:
    known = column.dropna()
    examples = ", ".join(str(item(value))[:20] for value in known.unique()[:3])
    missing = len(column) - len(known)
    return f"{known.nunique()} values, such as {examples}" + (f"; {missing} empty" if missing else "")


def _toml(value: str | float | Sequence[str]) -> str:
    """Return a value as TOML, which has JSON's strings, numbers and lists."""
    return msgspec.json.encode(value).decode()
