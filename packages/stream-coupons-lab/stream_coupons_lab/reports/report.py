"""A report as one HTML file: interactive charts, no network, light and dark, for a desk, a phone and paper."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stream_coupons_lab.reports import charts
from stream_coupons_lab.reports.axes import (
    NUMBER,
    Axis,
    Bands,
    NamedInterval,
    Points,
    format_interval,
    format_value,
    with_minus,
)
from stream_coupons_lab.reports.markup import Markup, asset, each, fill, joined

__all__ = ["Axis", "Bands", "HtmlReport", "NamedInterval", "Points", "format_value"]

MAX_TABLE_ROWS = 25
"""Maximum rows of the table under a line chart."""
MAX_COLUMNS = 4
"""Maximum number of key figures side by side."""

NUMBER_TEXT = re.compile(r"(?:[-−+]?[\d,]+(?:\.\d+)?(?: ?%)?|–|)")
"""Text that reads as a number, or as none."""
INTERVAL_TEXT = re.compile(r"[-−+]?[\d,.]+ ?%? to [-−+]?[\d,.]+ ?%?")
"""Text that reads as an interval: it is not broken into lines."""


class HtmlReport:
    """A page built from top to bottom; every text is escaped.

    Parameters
    ----------
    title, subtitle, footer : str
        The head of the page, and its last lines: blank lines part them.

    Examples
    --------
    >>> report = HtmlReport("Redemptions", "One week")
    >>> report.section("Quality", "Scored before it is learnt.")
    >>> report.stats([("AUC", 0.871, "95% interval 0.86 to 0.88")])
    >>> report.line_chart("Log loss", {"model": [(0, 0.2), (1, 0.1)]}, x=Axis("example"))
    >>> report.point_chart("Margin", [("learned", 1200, 900, 1500), ("random", 400, 200, 600)], Axis(unit="money"))
    >>> report.html().count("<figure")
    2
    """

    def __init__(self, title: str, subtitle: str = "", footer: str = "") -> None:
        self._texts = {"title": title, "subtitle": subtitle, "footer": _paragraphs(footer)}
        self._sections: list[str] = []
        self._parts: list[Markup] = []
        self._has_scripts = False

    def section(self, title: str, text: str = "") -> None:
        """Start a section; blank lines part the paragraphs of `text`."""
        self._sections.append(title)
        self._parts.append(fill("section", number=len(self._sections), title=title))
        self._parts.append(_paragraphs(text))

    def stats(self, figures: Sequence[tuple[str, str | float, str]]) -> None:
        """Add key figures side by side: label, value and a note that may be empty."""
        cards = each("stat", ({"label": label, "value": _text(value), "note": note} for label, value, note in figures))
        lines = math.ceil(len(figures) / MAX_COLUMNS) or 1
        self._parts.append(fill("stats", columns=math.ceil(len(figures) / lines), cards=cards))

    def line_chart(  # noqa: PLR0913 - the parts of a chart
        self,
        title: str,
        series: Mapping[str, Points],
        x: Axis = NUMBER,
        y: Axis = NUMBER,
        bands: Bands | None = None,
        note: str = "",
        highlight: str | None = None,
    ) -> None:
        """Add lines of (x, y) points.

        Parameters
        ----------
        title, note : str
            The heading, and a sentence under it.
        series : mapping of str to sequence of (float, float)
            Points in order of x; a NaN leaves a gap.
        x, y : Axis
            What is shown, and in which unit.
        bands : mapping of str to sequence of (float, float, float), optional
            x, low and high, such as an interval around the series of the same name.
        highlight : str, optional
            The one series in colour; all others are grey.
        """
        if not any(math.isfinite(value) for points in series.values() for _, value in points):
            self._figure(title, note)
            return
        at, columns = charts.aligned(list(series.values()))
        every = math.ceil(len(at) / MAX_TABLE_ROWS)
        rows = [
            [format_value(at[i], x.unit), *(format_value(column[i], y.unit) for column in columns)]
            for i in range(len(at))[::-every][::-1]
        ]
        looks = charts.looks_of([*series], highlight)
        legend = each("name", ({**looks[name], "last": _last(line, x, y)} for name, line in series.items()))
        table = _table([x.label or "at", *series], rows, numeric=True)
        self._has_scripts = True
        spec = _script_json(charts.line_spec(series, x, y, bands or {}, looks))
        drawing = fill("drawn", legend=legend, title=title, label=y.label, spec=spec)
        self._figure(title, note, drawing, fill("values", title=title, table=table))

    def point_chart(
        self,
        title: str,
        rows: Sequence[NamedInterval],
        axis: Axis = NUMBER,
        note: str = "",
        highlight: str | None = None,
    ) -> None:
        """Add a dot with its interval for each (name, value, low, high); `highlight` dims all others.

        An end that is NaN leaves the interval out.
        """
        if not any(math.isfinite(row[1]) for row in rows):
            self._figure(title, note)
            return
        texts = [
            [name, format_value(value, axis.unit), format_interval(low, high, axis.unit)]
            for name, value, low, high in rows
        ]
        width = 3 if any(row[2] for row in texts) else 2
        headers = ["", axis.label or "value", "interval"][:width]
        table = _table(headers, [row[:width] for row in texts], numeric=True)
        drawing = charts.rows_html(rows, axis, highlight)
        self._figure(title, note, drawing, fill("values", title=title, table=table))

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str | float]]) -> None:
        """Add a table whose first column names the row; numbers are aligned to the right."""
        self._parts.append(fill("card", about=", ".join(headers), table=_table(headers, rows)))

    def html(self) -> str:
        """Return the whole page."""
        head = []
        if len(self._sections) > 2:
            rows = ({"number": number, "title": title} for number, title in enumerate(self._sections, 1))
            head.append(fill("contents", links=each("link", rows)))
        style, scripts = asset("page.css"), Markup()
        if self._has_scripts:
            head.append(fill("hint"))
            style = joined([asset("uPlot.css"), style])
            scripts = fill("scripts", library=asset("uPlot.js"), own=asset("charts.js"))
        parts = {"style": style, "head": joined(head), "parts": joined(self._parts), "scripts": scripts}
        return fill("page", **self._texts, **parts)

    def write(self, path: str | Path) -> None:
        """Write the page to a file."""
        Path(path).write_text(self.html(), encoding="utf-8")

    def _figure(self, title: str, note: str, *drawings: Markup) -> None:
        """Add a figure; without a drawing it has no data."""
        drawing = joined(drawings or [fill("empty")])
        self._parts.append(fill("figure", title=title, note=note, drawing=drawing))


def _paragraphs(text: str) -> Markup:
    """Return the paragraphs of a text, which blank lines part."""
    return each("paragraph", ({"text": part.strip()} for part in text.split("\n\n") if part.strip()))


def _script_json(value: Mapping[str, Any]) -> Markup:
    """Return JSON that no text within can end the script element of."""
    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c"))


def _last(points: Points, x: Axis, y: Axis) -> str:
    """Return the last value of a series, which is meaningless where x is a rate and not a kind of time."""
    return "" if x.unit == "percent" else format_value(points[-1][1] if points else math.nan, y.unit)


def _table(headers: Sequence[str], rows: Sequence[Sequence[str | float]], *, numeric: bool = False) -> Markup:
    """Return a table; columns of numbers are aligned to the right, with `numeric` all but the first."""
    columns = [[row[i] for row in rows] for i in range(len(headers))]
    decimals = [_finest(column) if _are_numbers(column) else None for column in columns]
    aligned = [bool(rows) and all(map(_reads_as_number, column)) for column in columns]
    marks = [Markup(' class="n"' if a or (numeric and i > 0) else "") for i, a in enumerate(aligned)]

    def cells(texts: Sequence[str], first: str, other: str) -> Markup:
        pairs = enumerate(zip(texts, marks, strict=True))
        return Markup("".join(fill(other if i else first, text=text, mark=mark) for i, (text, mark) in pairs))

    shown = ([_text(cell, decimals[i]) for i, cell in enumerate(row)] for row in rows)
    lines = each("cells", ({"cells": cells(row, "first", "cell")} for row in shown))
    return fill("table", headers=cells(headers, "header", "header"), rows=lines)


def _are_numbers(column: Sequence[str | float]) -> bool:
    return bool(column) and all(isinstance(cell, int | float) for cell in column)


def _reads_as_number(cell: str | float) -> bool:
    return not isinstance(cell, str) or NUMBER_TEXT.fullmatch(cell) is not None


def _text(value: str | float, decimals: int | None = None) -> str:
    if isinstance(value, str):
        if INTERVAL_TEXT.fullmatch(value):
            return value.replace(" ", "\N{NO-BREAK SPACE}")
        return with_minus(value) if NUMBER_TEXT.fullmatch(value) else value
    return (
        with_minus(f"{value:,.{decimals}f}") if decimals is not None and math.isfinite(value) else format_value(value)
    )


def _finest(column: Sequence[str | float]) -> int:
    """Return the decimals, at most four, that a column of numbers needs."""
    fractions = (f"{float(value):.4f}".partition(".")[2].rstrip("0") for value in column)
    return max(map(len, fractions), default=0)
