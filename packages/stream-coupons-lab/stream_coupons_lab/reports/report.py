"""A report as one HTML file: interactive charts, no network, light and dark, for a desk, a phone and paper."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from stream_coupons_lab.reports.axes import (
    NUMBER,
    Axis,
    Bands,
    NamedInterval,
    NamedPoint,
    Points,
    format_interval,
    format_value,
    with_minus,
)

__all__ = ["Axis", "Bands", "HtmlReport", "NamedInterval", "NamedPoint", "Points", "format_value"]

PAGE = "page.html.j2"
FOLDER = "report_page"
MAX_TABLE_ROWS = 25
"""Maximum rows of the table under a line chart."""
MAX_COLUMNS = 4
"""Maximum number of key figures side by side."""

NUMBER_TEXT = re.compile(r"(?:[-−+]?[\d,]+(?:\.\d+)?(?: ?%)?|–|)")
"""Text that reads as a number, or as none."""
INTERVAL_TEXT = re.compile(r"[-−+]?[\d,.]+ ?%? to [-−+]?[\d,.]+ ?%?")
"""Text that reads as an interval: it is not broken into lines."""

# Altair and Jinja take half a second to import: they are, where a page is made, and not with this module.


class HtmlReport:
    """A page built from top to bottom; every text is escaped.

    Parameters
    ----------
    title, subtitle : str
        The head of the page.

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

    def __init__(self, title: str, subtitle: str = "") -> None:
        self._title = title
        self._subtitle = subtitle
        self._sections: list[str] = []
        self._parts: list[dict[str, Any]] = []

    @property
    def is_empty(self) -> bool:
        """True if nothing was added yet."""
        return not self._parts

    def section(self, title: str, text: str = "") -> None:
        """Start a section; blank lines part the paragraphs of `text`."""
        self._sections.append(title)
        paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
        self._parts.append({"kind": "section", "title": title, "number": len(self._sections), "paragraphs": paragraphs})

    def stats(self, figures: Sequence[tuple[str, str | float, str]]) -> None:
        """Add key figures side by side: label, value and a note that may be empty."""
        texts = [(label, _text(value), note) for label, value, note in figures]
        lines = math.ceil(len(texts) / MAX_COLUMNS) or 1
        self._parts.append({"kind": "stats", "figures": texts, "columns": math.ceil(len(texts) / lines)})

    def line_chart(
        self,
        title: str,
        series: Mapping[str, Points],
        x: Axis = NUMBER,
        y: Axis = NUMBER,
        bands: Bands | None = None,
        note: str = "",
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
        """
        from stream_coupons_lab.reports import charts

        if not any(math.isfinite(value) for points in series.values() for _, value in points):
            self._chart("line", title, note)
            return
        table = charts.moments(series, MAX_TABLE_ROWS)
        lines = (charts.values_at(line, table) if line else [math.nan] * len(table) for line in series.values())
        rows = [
            [format_value(at, x.unit), *(format_value(value, y.unit) for value in values)]
            for at, *values in zip(table, *lines, strict=True)
        ]
        self._chart(
            "line",
            title,
            note,
            spec=charts.line_spec(title, series, x, y, bands or {}),
            label=y.label,
            legend=[(name, _last(line, x, y)) for name, line in series.items()],
            table=_table([x.label or "at", *series], rows, numeric=True),
        )

    def bar_chart(
        self,
        title: str,
        bars: Mapping[str, float],
        axis: Axis = NUMBER,
        intervals: Mapping[str, tuple[float, float]] | None = None,
        highlight: str | None = None,
        note: str = "",
    ) -> None:
        """Add horizontal bars from zero in the order given, with optional intervals; `highlight` dims all others."""
        unknown = (math.nan, math.nan)
        rows = [(name, value, *(intervals or {}).get(name, unknown)) for name, value in bars.items()]
        self._rows("bar", title, rows, axis, highlight, note)

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
        self._rows("point", title, rows, axis, highlight, note)

    def scatter_chart(
        self,
        title: str,
        points: Sequence[NamedPoint],
        x: Axis = NUMBER,
        y: Axis = NUMBER,
        note: str = "",
        *,
        is_log: bool = False,
    ) -> None:
        """Add a dot for each (name, x, y, is quiet); x on a logarithmic scale with `is_log`.

        Points that are not finite are left out.
        """
        from stream_coupons_lab.reports import charts

        drawn = [point for point in points if math.isfinite(point[1]) and math.isfinite(point[2])]
        if not drawn:
            self._chart("scatter", title, note)
            return
        rows = [[name, format_value(at, x.unit), format_value(value, y.unit)] for name, at, value, _ in drawn]
        self._chart(
            "scatter",
            title,
            note,
            spec=charts.scatter_spec(title, drawn, x, y, is_log=is_log),
            label=y.label,
            table=_table(["", x.label or "x", y.label or "value"], rows, numeric=True),
        )

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str | float]]) -> None:
        """Add a table whose first column names the row; numbers are aligned to the right."""
        self._parts.append({"kind": "table", "table": _table(headers, rows)})

    def html(self) -> str:
        """Return the whole page."""
        import jinja2

        loader = jinja2.PackageLoader("stream_coupons_lab.reports", FOLDER)
        pages = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
        return pages.get_template(PAGE).render(
            title=self._title,
            subtitle=self._subtitle,
            sections=self._sections,
            parts=self._parts,
            has_charts=any(part.get("spec") for part in self._parts),
            script_json=_script_json,
            asset=lambda name: loader.get_source(pages, name)[0],
        )

    def write(self, path: str | Path) -> None:
        """Write the page to a file."""
        Path(path).write_text(self.html(), encoding="utf-8")

    def _rows(
        self,
        kind: Literal["bar", "point"],
        title: str,
        rows: Sequence[NamedInterval],
        axis: Axis,
        highlight: str | None,
        note: str,
    ) -> None:
        from stream_coupons_lab.reports import charts

        if not any(math.isfinite(row[1]) for row in rows):
            self._chart(kind, title, note)
            return
        draw = charts.bar_spec if kind == "bar" else charts.point_spec
        texts = [
            [name, format_value(value, axis.unit), format_interval(low, high, axis.unit)]
            for name, value, low, high in rows
        ]
        width = 3 if any(row[2] for row in texts) else 2
        headers = ["", axis.label or "value", "interval"][:width]
        table = _table(headers, [row[:width] for row in texts], numeric=True)
        self._chart(kind, title, note, spec=draw(title, rows, axis, highlight), table=table)

    def _chart(self, kind: str, title: str, note: str, **drawing: Any) -> None:
        """Add a figure; without `drawing` (spec, table and, of lines, label and legend) it has no data."""
        part = {"kind": kind, "title": title, "note": note, "spec": None, "label": "", "legend": [], **drawing}
        self._parts.append(part)


def _script_json(value: Mapping[str, Any]) -> str:
    """Return JSON that no text within can end the script element of."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _last(points: Points, x: Axis, y: Axis) -> str:
    """Return the last value of a series, which is meaningless where x is a rate and not a kind of time."""
    return "" if x.unit == "percent" else format_value(points[-1][1] if points else math.nan, y.unit)


def _table(headers: Sequence[str], rows: Sequence[Sequence[str | float]], *, numeric: bool = False) -> dict[str, Any]:
    """Return the texts of a table; columns of numbers are aligned to the right, with `numeric` all but the first."""
    columns = [[row[i] for row in rows] for i in range(len(headers))]
    decimals = [_finest(column) if _are_numbers(column) else None for column in columns]
    texts = [[_text(cell, decimals[i]) for i, cell in enumerate(row)] for row in rows]
    aligned = [bool(rows) and all(map(_reads_as_number, column)) for column in columns]
    return {"headers": headers, "numeric": [a or (numeric and i > 0) for i, a in enumerate(aligned)], "rows": texts}


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
