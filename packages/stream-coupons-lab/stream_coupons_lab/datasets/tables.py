"""Tables of decisions of another system: a foreign log of one row per decision.

What the columns are, a `Mapping` states. A row that cannot be used is refused with its number, column, value and what
was expected, and the rest goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.core.messages.fields import END_OF_TIME, NO_COUPON
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.codec import encode
from stream_coupons.ops.recordings import Line, Refusals
from stream_coupons_lab.datasets.foreign import WINDOW_S, ForeignLog
from stream_coupons_lab.datasets.known_context import require_known_context
from stream_coupons_lab.datasets.log_records import DEFAULT_DOMAIN, FeedbackLine, IssueLine
from stream_coupons_lab.datasets.mapping import Mapping
from stream_coupons_lab.datasets.table_files import first_row, item, read_table

if TYPE_CHECKING:  # of an optional extra, and slow to import
    import pandas as pd

YES: Final = frozenset({"1", "true", "yes", "y", "t"})
NO: Final = frozenset({"0", "false", "no", "n", "f", ""})
LISTS: Final = ("categories", "brands", "items")
FIRST_AT: Final = 946_684_800.0
"""Time of the first row of a table without times: 2000-01-01."""
UNTIMED_WINDOW_S: Final = 1.0
SHOWN: Final = 60


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
    rows = _Rows(frame, mapping)
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
    require_known_context(log.records(), name)
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

    def __init__(self, frame: pd.DataFrame, mapping: Mapping) -> None:
        self._mapping = mapping
        self._cells = {column: _plain(frame[column]) for column in frame.columns}
        self._context = mapping.context_columns(list(frame.columns))
        timed = {column for column in (mapping.time, mapping.expires) if column is not None}
        self._times = {column: _times(frame[column], mapping) for column in timed}
        self._arms = [self._arm(arm) for arm in mapping.arms] if isinstance(mapping.arms, list) else None

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
        at = self._times[column][row]
        if math.isnan(at):
            raise _Unusable(column, self._cells[column][row], _expected_time(self._mapping))
        return at

    def _expiry(self, row: int) -> float | None:
        column = self._mapping.expires
        return None if column is None or self._cells[column][row] is None else self._time(column, row)

    def _coupon(self, arm: str, domain: str, row: int) -> dict[str, Any]:
        terms: dict[str, Any] = {"coupon_id": arm, "domain": domain, **self._mapping.coupons.get(arm, {})}
        for name, column in self._mapping.coupon.items():
            value = self._cells[column][row]
            if value is None:
                continue
            terms[name] = self._parts(value) if name in LISTS else value
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


def _times(column: pd.Series[Any], mapping: Mapping) -> list[float]:
    """Return UTC epoch seconds, NaN for what is no time."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) and mapping.time_format is None:
        seconds = column.astype("float64")
    else:
        texts = column if pd.api.types.is_datetime64_any_dtype(column) else column.astype("string")
        times = pd.to_datetime(texts, format=mapping.time_format or "ISO8601", errors="coerce", utc=True)
        seconds = (times - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    return seconds.where(seconds.between(0, END_OF_TIME)).tolist()


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
