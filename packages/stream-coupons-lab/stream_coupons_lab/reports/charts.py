"""Vega-Lite specifications of a report's charts.

Colours are CSS variables of the page and texts are written here, so one specification serves light, dark and print.
Altair checks every specification against the schema of the Vega-Lite version that the page carries.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import altair as alt
import numpy as np

from stream_coupons_lab.reports.axes import (
    Axis,
    Bands,
    NamedInterval,
    NamedPoint,
    Points,
    Unit,
    format_interval,
    format_value,
)

COLOURS = tuple(f"var(--c{number})" for number in range(6))
DASHES = ([1, 0], [6, 4], [2, 3])
MAX_POINTS = 400
MAX_HOVERS = 120
HEIGHT = 300
ROW_HEIGHT = 46
LABEL_RISE, MARK_DROP = -8, 11
"""Pixels from the middle of a row to its label and to its mark."""
DIGITS = 6
"""Significant digits of plotted values: more cannot be seen."""
CHOSEN = "chosen"
"""The parameter that the page's legend sets: names of the highlighted series, none for all."""
TICK_FORMATS: dict[Unit, Any] = {"percent": ".3~p"}
TICK_WIDTH = 110
"""Pixels along x for each tick."""
CONFIG = {
    "font": 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "gridColor": "var(--line)",
        "domainColor": "var(--axis)",
        "tickColor": "var(--axis)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "axisX": {"labelFlush": True, "labelOverlap": True, "labelSeparation": 10, "titleAnchor": "end", "titlePadding": 8},
    "axisY": {"domain": False, "ticks": False, "labelPadding": 6},
}

Row = dict[str, str | float | bool | None]


def line_spec(title: str, series: Mapping[str, Points], x: Axis, y: Axis, bands: Bands) -> dict[str, Any]:
    """Return a chart of lines with bands, a rule under the pointer and zoom along x.

    Parameters
    ----------
    title : str
        For screen readers.
    series : mapping of str to sequence of (float, float)
        Points in order of x; a value that is not finite leaves a gap.
    x, y : Axis
        The label of y is not drawn: it stands above the chart.
    bands : mapping of str to sequence of (float, float, float)
        x, low and high, around the series of the same name.
    """
    names = list(series)
    rows = [row for name in names for row in _line_rows(name, series[name], x, y)]
    across = alt.X("x", type=_type(x), axis=_x_axis(x), scale=_x_scale(x))
    up = alt.Y("y:Q", axis=_y_axis(y), scale=alt.Scale(zero=y.from_zero))
    palette = [COLOURS[number % len(COLOURS)] for number in range(len(names))]
    colour = alt.Color("series:N", legend=None, scale=alt.Scale(domain=names, range=palette))
    base = _chart(rows).encode(x=across, y=up, color=colour)
    layers: list[alt.Chart] = []
    if any(bands.get(name) for name in names):
        ribbon = [row for name in names for row in _band_rows(name, bands.get(name, ()), x, y)]
        area = _chart(ribbon).mark_area(clip=True).encode(x=across, y=alt.Y("low:Q"), y2="high:Q", color=colour)
        layers.append(area.encode(opacity=_if_chosen(0.18, 0.04)))
    lines = base.mark_line(strokeWidth=2, strokeCap="round", strokeJoin="round", clip=True)
    if len(names) > len(COLOURS):
        dashes = [DASHES[number // len(COLOURS) % len(DASHES)] for number in range(len(names))]
        scale = alt.Scale(domain=names, range=dashes)
        lines = lines.encode(strokeDash=alt.StrokeDash("series:N", legend=None, scale=scale))
    layers.append(lines.encode(opacity=_if_chosen(1.0, 0.15)))
    if alone := [row for row in rows if row["alone"]]:
        dots = _chart(alone).mark_circle(size=36, clip=True).encode(x=across, y=up, color=colour)
        layers.append(dots.encode(opacity=_if_chosen(1.0, 0.15)))
    zoom = alt.selection_interval(
        name="zoom",
        bind="scales",
        encodings=["x"],
        zoom="wheel![event.ctrlKey || event.metaKey]",  # the wheel alone scrolls the page
        translate="[mousedown, window:mouseup] > window:mousemove!",  # and so does a finger
    )
    layers[0] = layers[0].add_params(zoom, alt.param(name=CHOSEN, value=[]))
    return _finished([*layers, *_hover_layers(series, x, y, (across, up, colour))], title, HEIGHT)


def bar_spec(title: str, rows: Sequence[NamedInterval], axis: Axis, highlight: str | None) -> dict[str, Any]:
    """Return horizontal bars from zero, each under its name and its value; ends that are not finite are left out.

    Parameters
    ----------
    title : str
        For screen readers.
    rows : sequence of (str, float, float, float)
        At least one, from the top to the bottom.
    highlight : str, optional
        Name of the one bar in colour; all are unless it is given.
    """
    base = _named_rows(rows, axis, highlight)
    scale = alt.Scale(zero=True, domainMin=0, domainMax=1) if not any(row[1] for row in rows) else alt.Scale(zero=True)
    across = alt.X("x:Q", axis=_x_axis(axis, grid=True), scale=scale)
    opacity = 0.55 if _has_ends(rows) else 1.0  # an interval is to be seen on its bar
    bars = base.mark_bar(height=14, yOffset=MARK_DROP, cornerRadius=3, opacity=opacity).encode(
        x=across, x2=alt.datum(0)
    )
    layers = [bars, *_interval_layers(base, _has_ends(rows)), *_label_layers(base)]
    return _finished(layers, title, ROW_HEIGHT * len(rows))


def point_spec(title: str, rows: Sequence[NamedInterval], axis: Axis, highlight: str | None) -> dict[str, Any]:
    """Return a dot for each row on a line from low to high; the parameters are those of `bar_spec`."""
    base = _named_rows(rows, axis, highlight)
    across = alt.X("x:Q", axis=_x_axis(axis, grid=True), scale=alt.Scale(zero=axis.from_zero, padding=10))
    dots = base.mark_circle(size=120, opacity=1, yOffset=MARK_DROP).encode(x=across)
    layers: list[alt.Chart] = [*_interval_layers(base, _has_ends(rows)), dots, *_label_layers(base)]
    ends = [end for _, *values in rows for end in values if math.isfinite(end)]
    if axis.from_zero or min(ends, default=1) <= 0 <= max(ends, default=1):
        zero = _chart([{"x": 0}]).mark_rule(color="var(--axis)", strokeDash=[4, 3])
        layers.insert(0, zero.encode(x=alt.X("x:Q")))
    return _finished(layers, title, ROW_HEIGHT * len(rows))


def scatter_spec(title: str, points: Sequence[NamedPoint], x: Axis, y: Axis, *, is_log: bool) -> dict[str, Any]:
    """Return dots, each with its name under the pointer; quiet ones are pale.

    Parameters
    ----------
    points : sequence of (str, float, float, bool)
        Name, x, y, and whether it is quiet.
    is_log : bool
        Whether x has a logarithmic scale; every x is above 0 then.
    """
    rows: list[Row] = [
        {
            "name": name,
            "x": _plotted(at, x.unit),
            "y": _plotted(value, y.unit),
            "quiet": is_quiet,
            "at": format_value(at, x.unit),
            "value": format_value(value, y.unit),
        }
        for name, at, value, is_quiet in points
    ]
    tips = [alt.Tooltip("name:N", title=" "), alt.Tooltip("at:N", title=x.label or "x")]
    dots = _chart(rows).encode(
        x=alt.X("x:Q", axis=_x_axis(x), scale=alt.Scale(type="log") if is_log else alt.Scale(zero=x.from_zero)),
        y=alt.Y("y:Q", axis=_y_axis(y), scale=alt.Scale(zero=y.from_zero)),
        color=alt.condition("datum.quiet", alt.value("var(--quiet)"), alt.value(COLOURS[0])),
        tooltip=[*tips, alt.Tooltip("value:N", title=y.label or "value")],
    )
    return _finished([dots.mark_circle(size=64, opacity=0.85)], title, HEIGHT)


def values_at(points: Points, at: Sequence[float]) -> list[float]:
    """Return the heights of the line through points in order of x; beyond its ends, of the nearer end."""
    return [float(height) for height in np.interp(at, *np.transpose(points))]


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


def moments(series: Mapping[str, Points], at_most: int) -> list[float]:
    """Return at most `at_most` of the x of all series, evenly chosen and in order, with the last.

    Examples
    --------
    >>> moments({"a": [(0.0, 1.0), (2.0, 1.0)], "b": [(1.0, 1.0), (3.0, 1.0)]}, 2)
    [1.0, 3.0]
    """
    xs = sorted({x for points in series.values() for x, _ in points})
    every = math.ceil(len(xs) / at_most) or 1
    return xs[::-every][::-1]


def _chart(rows: Sequence[Row]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=list(rows)))


def _if_chosen(opacity: float, faded: float) -> Any:
    test = f"!length({CHOSEN}) || indexof({CHOSEN}, datum.series) >= 0"
    return alt.condition(test, alt.value(opacity), alt.value(faded))


def _line_rows(name: str, points: Points, x: Axis, y: Axis) -> list[Row]:
    kept = thinned(points)
    is_drawn = [False, *(math.isfinite(value) for _, value in kept), False]
    return [
        {
            "series": name,
            "x": _plotted(at, x.unit),
            "y": _plotted(value, y.unit),
            # A line needs two points: one without neighbours is drawn as a dot.
            "alone": is_drawn[i + 1] and not (is_drawn[i] or is_drawn[i + 2]),
        }
        for i, (at, value) in enumerate(kept)
    ]


def _band_rows(name: str, band: Sequence[tuple[float, float, float]], x: Axis, y: Axis) -> list[Row]:
    finite = [point for point in band if all(map(math.isfinite, point))]
    finite = finite[:: math.ceil(len(finite) / MAX_POINTS) or 1]
    return [
        {"series": name, "x": _plotted(at, x.unit), "low": _plotted(low, y.unit), "high": _plotted(high, y.unit)}
        for at, low, high in finite
    ]


def _hover_layers(series: Mapping[str, Points], x: Axis, y: Axis, channels: tuple[Any, ...]) -> list[alt.Chart]:
    """Return strips that show, under the pointer, a rule, a dot on each line and the values of all.

    Strips, and not the nearest point of a selection: for those Vega-Lite 6.4 reads tooltips from the wrong row.
    """
    across, up, colour = channels
    drawn = {name: points for name, points in series.items() if points}
    at = moments(drawn, MAX_HOVERS)
    edges = [at[0], *((a + b) / 2 for a, b in pairwise(at)), at[-1]]
    strips: list[Row] = []
    points: list[Row] = []
    heights = {name: values_at(line, at) for name, line in drawn.items()}
    for number, moment in enumerate(at):
        place = {"moment": number, "x": _plotted(moment, x.unit)}
        ends = {"start": _plotted(edges[number], x.unit), "end": _plotted(edges[number + 1], x.unit)}
        words = {f"v{index}": format_value(each[number], y.unit) for index, each in enumerate(heights.values())}
        strips.append({**place, **ends, "at": format_value(moment, x.unit), **words})
        points += [{**place, "series": name, "y": _plotted(each[number], y.unit)} for name, each in heights.items()]
    under = alt.selection_point(name="under", on="pointerover", clear="pointerout", fields=["moment"], empty=False)
    seen = alt.condition(under, alt.value(1), alt.value(0))
    tips = [alt.Tooltip("at:N", title=x.label or "at")]
    tips += [alt.Tooltip(f"v{index}:N", title=name) for index, name in enumerate(drawn)]
    strip = _chart(strips)
    return [
        strip.mark_rule(color="var(--axis)", clip=True).encode(x=across, opacity=seen),
        _chart(points).mark_circle(size=64, clip=True).encode(x=across, y=up, color=colour, opacity=seen),
        strip.mark_rect(opacity=0, clip=True)
        .encode(x=alt.X("start", type=_type(x)), x2="end", tooltip=tips)
        .add_params(under),
    ]


def _named_rows(rows: Sequence[NamedInterval], axis: Axis, highlight: str | None) -> alt.Chart:
    values: list[Row] = [
        {
            "row": number,
            "name": name,
            "x": _plotted(value, axis.unit),
            "low": _plotted(low, axis.unit),
            "high": _plotted(high, axis.unit),
            "text": format_value(value, axis.unit),
            "interval": format_interval(low, high, axis.unit),
            "quiet": highlight not in (None, name),
        }
        for number, (name, value, low, high) in enumerate(rows)
    ]
    tips = [alt.Tooltip("name:N", title=" "), alt.Tooltip("text:N", title=axis.label or "value")]
    tips += [alt.Tooltip("interval:N", title="interval")] if _has_ends(rows) else []
    return _chart(values).encode(
        y=alt.Y("row:O", axis=None, scale=alt.Scale(padding=0)),
        color=alt.condition("datum.quiet", alt.value("var(--quiet)"), alt.value(COLOURS[0])),
        tooltip=tips,
    )


def _has_ends(rows: Sequence[NamedInterval]) -> bool:
    return any(math.isfinite(low) and math.isfinite(high) for *_, low, high in rows)


def _interval_layers(base: alt.Chart, has_ends: bool) -> list[alt.Chart]:
    if not has_ends:
        return []
    ends = base.transform_filter("isValid(datum.low) && isValid(datum.high)").encode(color=alt.value("var(--ink)"))
    whisker = ends.mark_rule(strokeWidth=1.6, yOffset=MARK_DROP).encode(x=alt.X("low:Q"), x2="high:Q")
    caps = [
        ends.mark_tick(thickness=1.6, height=9, yOffset=MARK_DROP).encode(x=alt.X(f"{end}:Q"))
        for end in ("low", "high")
    ]
    return [whisker, *caps]


def _label_layers(base: alt.Chart) -> list[alt.Chart]:
    """Return the name at the left and the value at the right above each mark: long names fit on a phone."""
    ink = base.encode(color=alt.value("var(--ink)"))
    limit: Any = {"expr": "max(60, width - 12 - 8 * length(datum.text))"}
    name = ink.mark_text(align="left", dy=LABEL_RISE, limit=limit, fontSize=13)
    value = ink.mark_text(align="right", dy=LABEL_RISE, fontSize=13, fontWeight=600)
    return [name.encode(x=alt.value(0), text="name:N"), value.encode(x=alt.value("width"), text="text:N")]


def _finished(layers: Sequence[alt.Chart], title: str, height: int) -> dict[str, Any]:
    fitted = alt.AutoSizeParams(type="fit-x", contains="padding")
    size: Any = {"width": "container", "height": height, "autosize": fitted}
    spec: dict[str, Any] = alt.layer(*layers, **size, description=title, background="transparent").to_dict()
    del spec["$schema"]  # an address, which the page does not need
    return {**spec, "config": CONFIG}


def _type(axis: Axis) -> Literal["temporal", "quantitative"]:
    return "temporal" if axis.unit == "date" else "quantitative"


def _x_axis(axis: Axis, *, grid: bool = False) -> alt.Axis:
    count: Any = {"expr": f"max(2, floor(width / {TICK_WIDTH}))"}
    return alt.Axis(
        title=axis.label or None, grid=grid, tickCount=count, format=TICK_FORMATS.get(axis.unit, alt.Undefined)
    )


def _y_axis(axis: Axis) -> alt.Axis:
    return alt.Axis(title=None, tickCount=5, format=TICK_FORMATS.get(axis.unit, alt.Undefined))


def _x_scale(x: Axis) -> alt.Scale:
    return alt.Scale(type="utc", nice=False) if x.unit == "date" else alt.Scale(zero=x.from_zero, nice=False)


def _plotted(value: float, unit: Unit) -> float | None:
    """Return a value in what its axis shows: major units of money, milliseconds of dates; None unless it is finite."""
    if not math.isfinite(value):
        return None
    if unit == "date":
        return round(value * 1000)
    return float(f"{value / 100 if unit == 'money' else value:.{DIGITS}g}")
