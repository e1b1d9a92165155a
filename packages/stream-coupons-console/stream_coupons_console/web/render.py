"""Pages from templates: every text is escaped, money and times are written for people."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from stream_coupons.core.currencies import money
from stream_coupons.core.plurals import counted
from stream_coupons_console.web.security import COOKIE, Sessions, is_signed_in

PART = "x-part"
"""Header of a request for a page's changing parts, without its frame."""
DASH = "–"
COLOURS = 6
"""Colours of lines in the style sheet."""


def utc(at: float) -> str:
    """Return a time in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S") if math.isfinite(at) else DASH


def percent(share: float | None, places: int = 1) -> str:
    """Return a share in per cent."""
    return DASH if share is None or not math.isfinite(share) else f"{share:.{places}%}"


def figure(value: float | None) -> str:
    """Return a plotted value as text.

    Examples
    --------
    >>> figure(1234.0), figure(0.125), figure(None)
    ('1,234', '0.125', '–')
    """
    return DASH if value is None else f"{value:,.6g}"


def ago(seconds: float) -> str:
    """Return a duration in words, in its largest unit.

    Examples
    --------
    >>> ago(5), ago(7200), ago(200000)
    ('5 s', '2 h', '2 d')
    """
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"


def interval(low: float, mid: float, high: float, currency: str | None, more: int = 0) -> str:
    """Return a value of money with its interval in words."""
    write = partial(money, currency=currency, sign="+", more=more)
    ends = "too early for an interval" if math.isnan(low) else f"{write(low)} to {write(high)}"
    return f"{write(mid)} ({ends})"


def line_chart(x: Sequence[float], lines: Mapping[str, Mapping[str, Sequence[float]]], **axis: Any) -> dict[str, Any]:
    """Return the data of a chart over days, as the script of the page draws it.

    Parameters
    ----------
    x : sequence of float
        UTC epoch seconds.
    lines : mapping of str to mapping
        By name, the columns `y`, and `low` and `high` for a band.
    **axis
        `label` and `unit` of the values: money (in major units), percent or none.
    """
    series = [
        {"name": name, "colour": f"c{place % COLOURS}"}
        | {part: [_number(value) for value in column] for part, column in columns.items()}
        for place, (name, columns) in enumerate(lines.items())
    ]
    y = {"label": axis.get("label", ""), "unit": axis.get("unit", ""), "from_zero": True}
    return {"x": {"label": "", "unit": "date", "from_zero": False, "values": list(x)}, "y": y, "series": series}


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def environment() -> Environment:
    """Return the environment of the templates."""
    found = Environment(
        loader=PackageLoader("stream_coupons_console.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "money": money,
        "utc": utc,
        "percent": percent,
        "ago": ago,
        "figure": figure,
        "counted": counted,
        "path": partial(quote, safe=""),
    }
    found.globals |= {"interval": interval, "dash": DASH}
    return found


def page(request: Request, name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page, or if the request asks for them, only its changing parts.

    Parameters
    ----------
    name : str
        The template, without its ending.
    status : int
        HTTP status.
    **values
        Its variables.
    """
    state, sessions = request.app.state, request.app.state.sessions
    assert isinstance(sessions, Sessions)
    may_write = sessions.can_write and is_signed_in(request)
    frame = {
        "layout": "part.html" if PART in request.headers else "base.html",
        "route": request.url.path,
        "may_write": may_write,
        "can_write": sessions.can_write,
        "csrf": sessions.csrf(request.cookies.get(COOKIE, "")) if may_write else "",
        "is_caught_up": state.follower.is_caught_up,
        "is_away": state.follower.is_away,
        "silent_s": state.follower.contact.silent_s,
        "bootstrap": state.settings.kafka.bootstrap,
    }
    return HTMLResponse(state.templates.get_template(f"{name}.html").render(frame | values), status)
