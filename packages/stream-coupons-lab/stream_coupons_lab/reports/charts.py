"""Data of a report's charts: what the page's script draws with uPlot, and rows of dots in HTML."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import starmap
from typing import Any

import numpy as np

from stream_coupons_lab.reports.axes import (
    Axis,
    Bands,
    NamedInterval,
    Points,
    Unit,
    factor,
    format_interval,
    format_value,
)
from stream_coupons_lab.reports.markup import Markup, each, fill, joined

MAX_POINTS = 400
DASHES = 4
"""Number of dash patterns in `page.js` and `page.css`."""
DIGITS = 6
"""Significant digits of plotted values: more cannot be seen."""


def looks_of(names: Sequence[str], highlight: str | None) -> dict[str, dict[str, Any]]:
    """Return name, colour and dash of each series: the highlighted one alone is in colour.

    Examples
    --------
    >>> list(looks_of(["random", "ours"], "ours").values())
    [{'name': 'random', 'colour': 'quiet', 'dash': 0}, {'name': 'ours', 'colour': 'c0', 'dash': 0}]
    """
    if highlight is None:
        return {name: {"name": name, "colour": f"c{i % 6}", "dash": i // 6 % DASHES} for i, name in enumerate(names)}
    quiet = {name: i % DASHES for i, name in enumerate(name for name in names if name != highlight)}
    return {
        name: {"name": name, "colour": "quiet" if name in quiet else "c0", "dash": quiet.get(name, 0)} for name in names
    }


def line_spec(
    series: Mapping[str, Points], x: Axis, y: Axis, bands: Bands, looks: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return lines with bands on common x.

    Parameters
    ----------
    series : mapping of str to sequence of (float, float)
        Points in order of x; a value that is not finite leaves a gap.
    bands : mapping of str to sequence of (float, float, float)
        x, low and high, around the series of the same name.
    looks : mapping of str to mapping
        Name, colour and dash of each series, as of `looks_of`.
    """
    lines: dict[tuple[str, str], Points] = {(name, "y"): thinned(points) for name, points in series.items()}
    for name, band in bands.items():
        lines[name, "low"] = [(at, low) for at, low, _ in band]
        lines[name, "high"] = [(at, high) for at, _, high in band]
    at, columns = aligned(list(lines.values()))
    drawn: dict[str, dict[str, Any]] = {name: {**looks[name]} for name in series}
    for (name, part), column in zip(lines, columns, strict=True):
        drawn[name][part] = [_plotted(value, y.unit) for value in column]
    return {"x": _axis(x, at), "y": _axis(y), "series": list(drawn.values())}


def rows_html(rows: Sequence[NamedInterval], axis: Axis, highlight: str | None) -> Markup:
    """Return a dot for each row on one scale, with its interval where both ends are finite."""
    marks = [value for _, *values in rows for value in values if math.isfinite(value)]
    if axis.from_zero:
        marks.append(0.0)
    low, high = min(marks), max(marks)
    pad = (high - low or abs(high) or 1.0) / 20
    low, high = low - pad, high + pad

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    def span(kind: str, begin: float, end: float) -> Markup:
        left, right = sorted((place(begin), place(end)))
        return fill("mark", kind=kind, left=left, width=round(right - left, 2))

    def drawn(name: str, value: float, begin: float, end: float) -> dict[str, object]:
        found = [span("zero", 0.0, 0.0)] if low <= 0 <= high else []
        if math.isfinite(value):
            found.append(span("dot", value, value))
        if math.isfinite(begin) and math.isfinite(end):
            found.append(span("whisker", begin, end))
        return {
            "quiet": " quiet" if highlight not in (None, name) else "",
            "name": name,
            "text": format_value(value, axis.unit),
            "interval": format_interval(begin, end, axis.unit),
            "marks": joined(found),
        }

    ends = {"low": format_value(low, axis.unit), "label": axis.label, "high": format_value(high, axis.unit)}
    return fill("rows", rows=each("row", starmap(drawn, rows)), **ends)


def aligned(lines: Sequence[Points]) -> tuple[list[float], list[list[float]]]:
    """Return the x of all lines in order, and the height of each line there; NaN beyond its ends.

    An x that a line has twice is kept twice, so vertical steps stay.

    Examples
    --------
    >>> aligned([[(0.0, 0.0), (0.0, 1.0), (2.0, 1.0)], [(0.0, 0.0), (1.0, 1.0)]])
    ([0.0, 0.0, 1.0, 2.0], [[0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, nan]])
    """
    known: list[dict[tuple[float, int], float]] = []
    for line in lines:
        seen: Counter[float] = Counter()
        heights = {}
        for x, y in line:
            heights[x, seen[x]] = y
            seen[x] += 1
        known.append(heights)
    places = sorted(set().union(*known))
    at = [x for x, _ in places]
    columns = []
    for line, heights in zip(lines, known, strict=True):
        xs, ys = [x for x, _ in line] or [math.nan], [y for _, y in line] or [math.nan]
        between = np.interp(at, xs, ys, left=math.nan, right=math.nan).tolist()
        columns.append([heights.get(key, y) for key, y in zip(places, between, strict=True)])
    return at, columns


def thinned(points: Points) -> list[tuple[float, float]]:
    """Return at most some `MAX_POINTS` points, with the least and the greatest of each stretch: no spike is lost."""
    if len(points) <= MAX_POINTS:
        return list(points)
    size = math.ceil(2 * len(points) / MAX_POINTS)
    kept = [points[0]]
    for start in range(1, len(points) - 1, size):
        stretch = points[start : min(start + size, len(points) - 1)]
        kept += sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})
    return [*kept, points[-1]]


def _axis(axis: Axis, values: Sequence[float] = ()) -> dict[str, Any]:
    plotted = [_plotted(value, axis.unit) for value in values]
    return {"label": axis.label, "unit": axis.unit, "from_zero": axis.from_zero, "values": plotted}


def _plotted(value: float, unit: Unit) -> float | None:
    """Return a value in the unit that its axis shows: major units of money, per cent; None unless it is finite."""
    if not math.isfinite(value):
        return None
    return value if unit == "date" else float(f"{value * factor(unit):.{DIGITS}g}")
