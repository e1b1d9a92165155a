"""Elements of a report's charts and texts: axes, points, and values as a person writes them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from stream_coupons.core.currencies import decimals
from stream_coupons.models.metrics import Interval

Unit = str
"""`number`, `percent` of ratios, `date` of UTC epoch seconds, or money: by the ISO 4217 code of its currency,
`MINOR_UNITS`, or `money` for hundredths of units without a name."""
MINOR_UNITS: Unit = "minor units"
FACTORS: Mapping[Unit, float] = {"number": 1.0, "date": 1.0, "percent": 100.0, "money": 0.01, MINOR_UNITS: 1.0}
Points = Sequence[tuple[float, float]]
Bands = Mapping[str, Sequence[tuple[float, float, float]]]
NamedInterval = tuple[str, float, float, float]
"""Name, value, low and high; NaN for ends that are not known."""

DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a chart.

    Parameters
    ----------
    label : str
        Quantity shown; may be empty.
    unit : str
        Format of values: a `Unit`.
    from_zero : bool
        Keep zero in view.
    """

    label: str = ""
    unit: Unit = "number"
    from_zero: bool = False


NUMBER = Axis()


def format_value(value: float, unit: Unit = "number") -> str:
    """Return a value as a person writes it; a dash for what is not finite.

    Examples
    --------
    >>> [format_value(x) for x in (0.08342, 12.0, 1234567.0)]
    ['0.0834', '12', '1,234,567']
    >>> format_value(0.1234, "percent"), format_value(123456, "money"), format_value(0, "date")
    ('12.3%', '1,234.56', '1 Jan 1970')
    >>> format_value(12.34, "EUR"), format_value(12.34, "JPY"), format_value(12.34, MINOR_UNITS)
    ('0.123', '12.3', '12.3')
    """
    if not math.isfinite(value):
        return "–"
    if unit == "date":
        at = datetime.fromtimestamp(value, UTC)
        return f"{at.day} {at:%b %Y}" if value % DAY_S == 0 else f"{at.day} {at:%b %Y, %H:%M}"
    if unit == "money":
        return with_minus(f"{value / 100:,.2f}")
    return _plain(value * factor(unit)) + "%" * (unit == "percent")


def factor(unit: Unit) -> float:
    """Return the factor from a value to the unit in which it is shown."""
    return FACTORS.get(unit) or 10.0 ** -decimals(unit)


def format_interval(low: float, high: float, unit: Unit = "number") -> str:
    """Return both ends of an interval; nothing unless both are finite.

    Examples
    --------
    >>> format_interval(0.1, 0.25, "percent"), format_interval(math.nan, 1.0)
    ('10% to 25%', '')
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{format_value(low, unit)} to {format_value(high, unit)}"


def compared(difference: Interval, scale: float = 1.0) -> tuple[str, str]:
    """Return the size of a difference with its interval, and `more`, `less`, or nothing if 0 is within.

    Examples
    --------
    >>> compared(Interval(-310.0, -400.0, -220.0), 0.01), compared(Interval(1.0, -1.0, 3.0))
    (('3.1 (2.2 to 4)', 'less'), ('1 (−1 to 3)', ''))
    """
    side = "more" if difference.low > 0 else "less" if difference.high < 0 else ""
    sign = -scale if side == "less" else scale
    low, high = sorted((sign * difference.low, sign * difference.high))
    return f"{format_value(sign * difference.value)} ({format_interval(low, high)})", side


def with_minus(text: str) -> str:
    """Return a number's text with a minus sign in place of a leading hyphen."""
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def _plain(value: float) -> str:
    return with_minus(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}")
