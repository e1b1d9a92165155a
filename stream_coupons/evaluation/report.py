"""A report as one HTML file: no script, no network, charts as inline SVG, light and dark, wide and narrow.

Every chart is drawn twice, for a desk and for a phone, and the style sheet shows one: scaling a single drawing
down to a phone would leave its labels unreadable.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Literal

Unit = Literal["number", "percent", "money", "seconds", "bytes", "date"]
Points = Sequence[tuple[float, float]]
Bands = Mapping[str, Sequence[tuple[float, float, float]]]

WIDE, NARROW = (880.0, 340.0), (360.0, 270.0)
COLOURS = 6
MAX_POINTS = 400
MAX_HOVERS = 80
CHAR_WIDTH = 6.9  # of a 12 px digit, rounded up: SVG text cannot be measured without a browser
DAY_S = 86400.0
DURATIONS_S = (60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, DAY_S, 2 * DAY_S, 7 * DAY_S, 28 * DAY_S)
CLOCK_S = (1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10800, 21600, 43200, DAY_S, 2 * DAY_S, 7 * DAY_S, 14 * DAY_S)
MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)
A_MONDAY = 4 * DAY_S


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows.

    `unit` says how values are written: percent takes ratios, money minor units, seconds durations, date UTC
    epoch seconds. `log` needs positive values; `from_zero` keeps zero in view.
    """

    label: str = ""
    unit: Unit = "number"
    log: bool = False
    from_zero: bool = False


NUMBER = Axis()


def format_value(value: float, unit: Unit = "number", step: float | None = None) -> str:
    """A value as a person writes it; `step`, the distance of ticks, sets the decimals.

    Examples
    --------
    >>> [format_value(x) for x in (0.08342, 12.0, 1234567.0)]
    ['0.0834', '12', '1,234,567']
    >>> format_value(0.1234, "percent"), format_value(0.0042, "seconds"), format_value(123456, "money")
    ('12.3%', '4.2 ms', '1,234.56')
    """
    if not math.isfinite(value):
        return "–"
    if unit == "date":
        return _format_date(value, step)
    if unit == "percent":
        return f"{_plain(value * 100, step and step * 100)}%"
    if unit == "money":
        whole = step is not None and step >= 100
        return _plain(value / 100, step and step / 100) if whole else _minus(f"{value / 100:,.2f}")
    if unit == "seconds":
        scales = ((DAY_S, 2, "d"), (3600, 2, "h"), (60, 2, "min"), (1, 1, "s"), (1e-3, 1, "ms"), (1e-6, 0, "µs"))
        if step and step >= 60:
            return _scaled(value, [(size, 0, name) for size, _, name in scales if size <= step])  # one for all ticks
        return _scaled(value, scales)
    if unit == "bytes":
        return _scaled(value, ((2.0**30, 1, "GiB"), (2.0**20, 1, "MiB"), (2.0**10, 1, "KiB"), (1, 0, "B")))
    return _plain(value, step)


def _scaled(value: float, scales: Sequence[tuple[float, float, str]]) -> str:
    if value == 0:
        return "0"
    size, _, name = next(scale for scale in scales if abs(value) >= scale[0] * scale[1])
    return f"{_plain(value / size, None)} {name}"


def _plain(value: float, step: float | None) -> str:
    if step:
        for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= size and step * 1000 >= size:
                return _minus(f"{value / size:.4g}{name}")
        return _minus(f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}")
    return _minus(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}")


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def _format_date(value: float, step: float | None) -> str:
    at = datetime.fromtimestamp(value, UTC)
    day = f"{at.day} {at:%b}"
    if step is None:
        return f"{day} {at:%Y}" if value % DAY_S == 0 else f"{day} {at:%Y, %H:%M}"
    if step < DAY_S:
        return day if value % DAY_S == 0 else at.strftime("%H:%M" if step >= 60 else "%H:%M:%S")
    if step < 28 * DAY_S:
        return day
    return at.strftime("%b %Y" if step < 360 * DAY_S else "%Y")


def ticks(low: float, high: float, axis: Axis, at_most: int) -> list[tuple[float, str]]:
    """Round values within [low, high] with their labels, about `at_most` of them.

    Examples
    --------
    >>> ticks(0, 1, Axis(unit="percent"), 5)
    [(0.0, '0%'), (0.2, '20%'), (0.4, '40%'), (0.6, '60%'), (0.8, '80%'), (1.0, '100%')]
    """
    if axis.log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        digits = (1, 2, 5) if last - first <= 2 else (1,)
        values = [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
        kept = [value for value in values if low * 0.999 <= value <= high * 1.001]
        kept = kept[:: max(1, math.ceil(len(kept) / (at_most + 2)))]
        return [(value, format_value(value, axis.unit)) for value in kept]
    raw = (high - low) / at_most
    if axis.unit == "date" and raw > 20 * DAY_S:
        return _month_ticks(low, high, raw / (30.4 * DAY_S))
    step = _step(raw, axis.unit)
    anchor = A_MONDAY if axis.unit == "date" and step >= 7 * DAY_S else 0.0
    first, last = math.ceil((low - anchor) / step - 1e-9), math.floor((high - anchor) / step + 1e-9)
    values = [anchor + round(i * step, 12) for i in range(first, last + 1)]
    return [(value, format_value(value, axis.unit, step)) for value in values]


def _fitting_ticks(scale: "_Scale", axis: Axis) -> list[tuple[float, str]]:
    """The most ticks, ten at most, whose labels fit side by side."""
    best: list[tuple[float, str]] = []
    for at_most in range(2, 11):
        marks = ticks(scale.low, scale.high, axis, at_most)
        taken = sum(CHAR_WIDTH * len(label) + 18 for _, label in marks)
        if len(marks) > len(best) and taken <= scale.end - scale.start:
            best = marks
    return best


def _step(raw: float, unit: Unit) -> float:
    """The least round distance that is not under `raw`."""
    fixed = {"date": CLOCK_S, "seconds": DURATIONS_S}.get(unit, ())
    if fixed and raw > (0 if unit == "date" else 20):
        return float(next((step for step in fixed if step >= raw), fixed[-1]))
    base = 1024.0 ** max(0, math.floor(math.log(raw, 1024))) if unit == "bytes" else 1.0
    power = 10.0 ** math.floor(math.log10(raw / base))
    return base * power * next(digit for digit in (1, 2, 5, 10) if digit * power * base >= raw * 0.999)


def _month_ticks(low: float, high: float, months: float) -> list[tuple[float, str]]:
    every = next((step for step in MONTHS if step >= months), MONTHS[-1])
    start, end = (datetime.fromtimestamp(x, UTC) for x in (low, high))
    numbers = range(start.year * 12 // every * every, end.year * 12 + end.month, every)
    values = [datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp() for number in numbers]
    return [(x, format_value(x, "date", every * 30.4 * DAY_S)) for x in values if low <= x <= high]


@dataclass(frozen=True, slots=True)
class _Scale:
    """Data to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def _extent(values: Sequence[float], axis: Axis, at_most: int) -> tuple[float, float, list[tuple[float, str]]]:
    """The range of an axis, out to the ticks around the data (and zero, if wanted), and these ticks."""
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not axis.log)] or [1.0]
    low, high = min(finite), max(finite)
    if axis.log:
        low, high = low / 1.15, high * 1.15
        return low, high, ticks(low, high, axis, at_most)
    if axis.from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    step = _step((high - low) / at_most, axis.unit)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    values = [round(i * step, 12) for i in range(first, last + 1)]
    return values[0], values[-1], [(value, format_value(value, axis.unit, step)) for value in values]


def _thin(points: Points) -> list[tuple[float, float]]:
    """At most some MAX_POINTS points, with the least and the greatest of each stretch, so no spike is lost."""
    if len(points) <= MAX_POINTS:
        return list(points)
    size = math.ceil(2 * len(points) / MAX_POINTS)
    kept = [points[0]]
    for start in range(1, len(points) - 1, size):
        stretch = points[start : min(start + size, len(points) - 1)]
        kept += sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})
    return [*kept, points[-1]]


@dataclass(frozen=True, slots=True)
class _LineChart:
    """Lines over a common x; a NaN leaves a gap."""

    title: str
    series: Mapping[str, Points]
    x: Axis
    y: Axis
    bands: Bands

    def svg(self, width: float, height: float, css: str) -> str:
        xs = [x for points in self.series.values() for x, _ in points]
        if not xs:
            text = f'<text class="label" x="{width / 2:.0f}" y="48" text-anchor="middle">no data yet</text>'
            return _svg(self.title, (width, 96, css), [text])
        ys = [y for points in self.series.values() for _, y in points]
        ys += [y for band in self.bands.values() for _, *ends in band for y in ends]
        x_low = min(xs)
        x_high = max(xs) if max(xs) > x_low else x_low + 1.0
        low, high, y_ticks = _extent(ys, self.y, 5)
        left = 14 + CHAR_WIDTH * max((len(label) for _, label in y_ticks), default=1)
        to_x = _Scale(x_low, x_high, left, width - 14, self.x.log)
        to_y = _Scale(low, high, height - 44, 30, self.y.log)
        x_ticks = _fitting_ticks(to_x, self.x)
        return _svg(
            self.title,
            (width, height, css),
            [
                *_axes(to_x, to_y, (x_ticks, y_ticks), (self.x.label, self.y.label)),
                *(self._band(i, name, to_x, to_y) for i, name in enumerate(self.series) if name in self.bands),
                *(self._line(i, points, to_x, to_y) for i, points in enumerate(self.series.values())),
                *self._hovers(to_x, to_y),
            ],
        )

    def _line(self, index: int, points: Points, to_x: _Scale, to_y: _Scale) -> str:
        path, pen_up = [], True
        for x, y in _thin(points):
            if math.isfinite(y):
                # A length of zero after each M: a point without neighbours shows as a round dot.
                path.append(f"{'M{0}h0' if pen_up else 'L{0}'}".format(f"{to_x(x):.1f} {to_y(y):.1f}"))
            pen_up = not math.isfinite(y)
        return f'<path class="line {_colour(index)}" d="{"".join(path)}"/>'

    def _band(self, index: int, name: str, to_x: _Scale, to_y: _Scale) -> str:
        band = [point for point in self.bands[name] if all(map(math.isfinite, point))]
        band = band[:: max(1, len(band) // MAX_POINTS)]
        edge = [(x, low) for x, low, _ in band] + [(x, high) for x, _, high in reversed(band)]
        return f'<polygon class="band {_colour(index)}" points="{" ".join(_at(to_x(x), to_y(y)) for x, y in edge)}"/>'

    def _hovers(self, to_x: _Scale, to_y: _Scale) -> list[str]:
        """Strips that show a rule, the points and their values under the pointer."""
        all_xs = sorted({x for points in self.series.values() for x, _ in points})
        xs = all_xs[:: math.ceil(len(all_xs) / MAX_HOVERS) or 1]
        sorted_series = [(name, sorted(points)) for name, points in self.series.items() if points]
        strips = []
        for i, x in enumerate(xs):
            start = (to_x(xs[i - 1]) + to_x(x)) / 2 if i else to_x.start
            end = (to_x(x) + to_x(xs[i + 1])) / 2 if i + 1 < len(xs) else to_x.end
            lines, dots = [format_value(x, self.x.unit)], []
            for index, (name, points) in enumerate(sorted_series):
                y = _value_at(points, x)
                lines.append(f"{name}: {format_value(y, self.y.unit)}")
                if math.isfinite(y):
                    dots.append(f'<circle class="{_colour(index)}" cx="{to_x(x):.1f}" cy="{to_y(y):.1f}" r="4"/>')
            strips.append(
                f'<g class="hover"><title>{escape(chr(10).join(lines))}</title>'
                f'<rect x="{start:.1f}" y="{to_y.end:.1f}" width="{end - start:.1f}" '
                f'height="{to_y.start - to_y.end:.1f}"/>'
                f'<path d="M{to_x(x):.1f} {to_y.start:.1f}V{to_y.end:.1f}"/>{"".join(dots)}</g>'
            )
        return strips

    def legend(self) -> str:
        last = {name: points[-1][1] for name, points in self.series.items() if points}
        items = (
            f'<li><i class="{_colour(i)}"></i>{escape(name)}'
            f" <b>{escape(format_value(last.get(name, math.nan), self.y.unit))}</b></li>"
            for i, name in enumerate(self.series)
        )
        return f'<ul class="legend">{"".join(items)}</ul>'


def _value_at(points: Points, x: float) -> float:
    """Where a line through some points, in order of x, is at x; beyond its ends where it ends."""
    after = bisect_left(points, (x, -math.inf))
    if after == len(points):
        return points[-1][1]
    (end, y), (start, before) = points[after], points[max(after - 1, 0)]
    return y if end == x or after == 0 else before + (y - before) * (x - start) / (end - start)


@dataclass(frozen=True, slots=True)
class _BarChart:
    """Horizontal bars from zero, each with its value and, if known, its interval."""

    title: str
    bars: Mapping[str, float]
    axis: Axis
    intervals: Mapping[str, tuple[float, float]]
    highlight: str | None

    def svg(self, width: float, css: str) -> str:
        longest = CHAR_WIDTH * max(map(len, self.bars), default=0)
        above = longest > width * 0.4
        row, left = (46.0 if above else 34.0), (8.0 if above else longest + 22)
        values = [*self.bars.values(), *(end for ends in self.intervals.values() for end in ends), 0.0]
        texts = {name: format_value(value, self.axis.unit) for name, value in self.bars.items()}
        margin = 14 + CHAR_WIDTH * max(map(len, texts.values()), default=0)
        low, high, x_ticks = _extent(values, self.axis, max(3, int(width / 140)))
        start = left + (margin if low < 0 else 0)
        to_x = _Scale(low, high, start, width - margin)
        bottom = 12 + row * len(self.bars)
        parts = [
            f'<path class="grid" d="M{to_x(x):.1f} 8V{bottom:.1f}"/>'
            f'<text class="tick" x="{to_x(x):.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{escape(text)}</text>'
            for x, text in x_ticks
        ]
        for i, name in enumerate(self.bars):
            parts.append(self._bar(name, texts[name], 8 + row * i, (to_x, above, left)))
        parts.append(f'<path class="axis" d="M{to_x(0):.1f} 8V{bottom:.1f}"/>')
        if self.axis.label:
            parts.append(
                f'<text class="label" x="{to_x.end:.1f}" y="{bottom + 38:.1f}" text-anchor="end">'
                f"{escape(self.axis.label)}</text>"
            )
        return _svg(self.title, (width, bottom + (46 if self.axis.label else 28), css), parts)

    def _bar(self, name: str, text: str, top: float, layout: tuple[_Scale, bool, float]) -> str:
        to_x, above, left = layout
        value = self.bars[name]
        y, size = (top + 20, 18.0) if above else (top + 7, 20.0)
        ends = self.intervals.get(name, (value, value))
        zero, tip = to_x(0), to_x(value)
        beyond = max(tip, to_x(ends[1])) + 7 if value >= 0 else min(tip, to_x(ends[0])) - 7
        label = (0.0 if not above else left, top + 13, "start") if above else (left - 12, y + 15, "end")
        muted = "" if self.highlight in (None, name) else " muted"
        span = "" if name not in self.intervals else f" ({' to '.join(format_value(x, self.axis.unit) for x in ends)})"
        whisker = (
            ""
            if not span
            else (
                f'<path class="whisker" d="M{to_x(ends[0]):.1f} {y + size / 2}H{to_x(ends[1]):.1f}'
                f'M{to_x(ends[0]):.1f} {y + 5}v{size - 10}M{to_x(ends[1]):.1f} {y + 5}v{size - 10}"/>'
            )
        )
        return (
            f"<g><title>{escape(f'{name}: {text}{span}')}</title>"
            f'<text class="name" x="{label[0]:.1f}" y="{label[1]:.1f}" text-anchor="{label[2]}">{escape(name)}</text>'
            f'<rect class="bar{muted}" x="{min(zero, tip):.1f}" y="{y}" width="{abs(tip - zero):.1f}" '
            f'height="{size}" rx="3"/>{whisker}'
            f'<text class="value" x="{beyond:.1f}" y="{y + size / 2 + 4.5:.1f}" '
            f'text-anchor="{"start" if value >= 0 else "end"}">{escape(text)}</text></g>'
        )


def _svg(title: str, frame: tuple[float, float, str], parts: Sequence[str]) -> str:
    width, height, css = frame
    return (
        f'<svg class="{css}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _axes(
    to_x: _Scale,
    to_y: _Scale,
    marks: tuple[list[tuple[float, str]], list[tuple[float, str]]],
    labels: tuple[str, str],
) -> list[str]:
    x_marks, y_marks = marks
    parts = [
        f'<path class="grid" d="M{to_x.start:.1f} {to_y(y):.1f}H{to_x.end:.1f}"/>'
        f'<text class="tick" x="{to_x.start - 8:.1f}" y="{to_y(y) + 4:.1f}" text-anchor="end">{escape(text)}</text>'
        for y, text in y_marks
    ]
    for x, text in x_marks:
        half = len(text) * CHAR_WIDTH / 2
        middle = min(max(to_x(x), half), to_x.end + 12 - half)
        parts.append(
            f'<path class="axis" d="M{to_x(x):.1f} {to_y.start:.1f}v5"/>'
            f'<text class="tick" x="{middle:.1f}" y="{to_y.start + 20:.1f}" text-anchor="middle">{escape(text)}</text>'
        )
    parts.append(f'<path class="axis" d="M{to_x.start:.1f} {to_y.start:.1f}H{to_x.end:.1f}"/>')
    parts.append(f'<text class="label" x="2" y="14">{escape(labels[1])}</text>')
    parts.append(
        f'<text class="label" x="{to_x.end:.1f}" y="{to_y.start + 39:.1f}" text-anchor="end">{escape(labels[0])}</text>'
    )
    return parts


def _at(x: float, y: float) -> str:
    return f"{x:.1f},{y:.1f}"


def _colour(index: int) -> str:
    """The class of a series: colours first, then the same ones dashed."""
    return f"c{index % COLOURS}" + (" dashed" if index >= COLOURS else "")


STYLE = """
:root { color-scheme: light dark; --page: #f6f5f1; --card: #fff; --ink: #1b2027; --muted: #5b6470; --line: #e3e1da;
  --axis: #a9a79f; --bar: #1d5fc4; --quiet: #b9bec6;
  --c0: #1d5fc4; --c1: #c04d12; --c2: #0b7a6b; --c3: #7a3cc2; --c4: #b3246b; --c5: #766700 }
@media (prefers-color-scheme: dark) { :root { --page: #0f1317; --card: #171c22; --ink: #e9ecef; --muted: #9ca7b3;
  --line: #29313a; --axis: #55606c; --bar: #5b97f5; --quiet: #47525e;
  --c0: #6ea6ff; --c1: #ff9960; --c2: #40c9b4; --c3: #c29bff; --c4: #ff86b7; --c5: #d8c34d } }
.c0 { color: var(--c0) } .c1 { color: var(--c1) } .c2 { color: var(--c2) }
.c3 { color: var(--c3) } .c4 { color: var(--c4) } .c5 { color: var(--c5) }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: clamp(1.25rem, 4vw, 3.5rem) clamp(.75rem, 3vw, 2rem) 4rem }
h1 { font-size: clamp(1.7rem, 5vw, 2.5rem); line-height: 1.15; letter-spacing: -.02em; margin: 0 0 .5rem }
h2 { font-size: 1.4rem; line-height: 1.25; letter-spacing: -.01em; margin: 3rem 0 .5rem }
h3 { font-size: 1rem; margin: 0 }
p { margin: .35rem 0 .8rem; max-width: 46rem; text-wrap: pretty }
.subtitle { font-size: 1.1rem; color: var(--muted); margin-bottom: 1.5rem; text-wrap: balance }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: .6rem 0; font-size: .9rem;
  border-block: 1px solid var(--line) }
a { color: var(--c0); text-decoration: none } a:hover { text-decoration: underline }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; margin: 1rem 0;
  padding: 1.1rem 1.25rem }
figcaption p, .stats small { color: var(--muted); font-size: .875rem; line-height: 1.45 }
figcaption p { margin: .1rem 0 0 }
.stats { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1.25rem 0 }
.stats > div, .stats dd { margin: 0 } .stats dt { color: var(--muted); font-size: .875rem }
.stats b, .stats small { display: block; margin-top: .15rem }
.stats b { font-size: 1.75rem; line-height: 1.2; letter-spacing: -.02em }
.stats, .legend, svg, table { font-variant-numeric: tabular-nums }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.25rem; list-style: none; margin: .7rem 0 .4rem; padding: 0;
  font-size: .875rem }
.legend i { display: inline-block; width: 1.15rem; border-top: 3px solid; vertical-align: middle; margin-right: .45rem }
.legend i.dashed { border-top-style: dashed } .legend b { font-weight: 500; color: var(--muted) }
svg { display: block; width: 100%; height: auto; overflow: visible; font-size: 12px }
figcaption + svg { margin-top: .6rem }
.grid { stroke: var(--line) } .axis { stroke: var(--axis) } .tick, .label { fill: var(--muted) }
.name, .value { fill: var(--ink); font-size: 13px; paint-order: stroke; stroke: var(--card); stroke-width: 4px }
.value { font-weight: 600 }
.line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.line.dashed { stroke-dasharray: 6 4 } .band { fill: currentColor; opacity: .16 }
.bar { fill: var(--bar) } .bar.muted { fill: var(--quiet) }
.whisker { fill: none; stroke: var(--ink); stroke-width: 1.5 }
.hover rect { fill: transparent } .hover path, .hover circle { opacity: 0; pointer-events: none }
.hover path { stroke: var(--axis) } .hover circle { fill: currentColor; stroke: var(--card); stroke-width: 2 }
.hover:hover path, .hover:hover circle { opacity: 1 }
.scroll { overflow-x: auto; padding-block: .4rem } table { border-collapse: collapse; width: 100%; font-size: .9rem }
th, td { padding: .5rem .75rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top }
thead th { color: var(--muted); font-weight: 500; white-space: nowrap } tbody th { font-weight: 500; min-width: 8rem }
.n { text-align: right; white-space: nowrap } tbody tr:last-child > * { border-bottom: 0 }
.narrow { display: none }
@media (max-width: 40rem) { .wide { display: none } .narrow { display: block } .card { padding: .9rem .8rem }
  .stats { grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)) } .stats b { font-size: 1.45rem } }
@media print { body { background: none } .card, svg { break-inside: avoid } }
"""


class Report:
    """A page built from top to bottom; every text is escaped.

    Parameters
    ----------
    title, subtitle : str
        The head of the page.

    Examples
    --------
    >>> report = Report("Redemptions", "One week")
    >>> report.section("Quality", "Scored before it is learnt.")
    >>> report.stats([("AUC", 0.871, "95% interval 0.86 to 0.88")])
    >>> report.line_chart("Log loss", {"model": [(0, 0.2), (1, 0.1)]}, x=Axis("example"))
    >>> "<script" in report.html()
    False
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self._title = title
        self._subtitle = subtitle
        self._sections: list[str] = []
        self._body: list[str] = []

    def section(self, title: str, text: str = "") -> None:
        """Start a section; blank lines part the paragraphs of `text`."""
        number = len(self._sections) + 1
        self._sections.append(f'<a href="#s{number}">{escape(title)}</a>')
        self._body.append(f'<h2 id="s{number}">{escape(title)}</h2>{_paragraphs(text)}')

    def stats(self, figures: Sequence[tuple[str, str | float, str]]) -> None:
        """Key figures side by side: label, value and a note that may be empty."""
        cards = "".join(
            f'<div class="card"><dt>{escape(label)}</dt><dd><b>{_text(value)}</b>'
            f"<small>{escape(note)}</small></dd></div>"
            for label, value, note in figures
        )
        self._body.append(f'<dl class="stats">{cards}</dl>')

    def line_chart(
        self,
        title: str,
        series: Mapping[str, Points],
        x: Axis = NUMBER,
        y: Axis = NUMBER,
        bands: Bands | None = None,
        note: str = "",
    ) -> None:
        """Lines of (x, y) points, sorted by x; a band is (x, low, high) around the series of its name."""
        chart = _LineChart(title, series, x, y, bands or {})
        drawings = chart.svg(*WIDE, "wide") + chart.svg(*NARROW, "narrow")
        self._figure(title, note, chart.legend() + drawings)

    def bar_chart(
        self,
        title: str,
        bars: Mapping[str, float],
        axis: Axis = NUMBER,
        intervals: Mapping[str, tuple[float, float]] | None = None,
        highlight: str | None = None,
        note: str = "",
    ) -> None:
        """Horizontal bars in the order given, with optional intervals; `highlight` dims all others."""
        chart = _BarChart(title, bars, axis, intervals or {}, highlight)
        self._figure(title, note, chart.svg(WIDE[0], "wide") + chart.svg(NARROW[0], "narrow"))

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str | float]]) -> None:
        """A table whose first column names the row; numbers are aligned to the right."""
        numeric = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(headers))]
        steps = [_finest([row[i] for row in rows]) if numeric[i] else None for i in range(len(headers))]
        css = [' class="n"' if is_number else "" for is_number in numeric]
        head = "".join(f'<th scope="col"{css[i]}>{escape(text)}</th>' for i, text in enumerate(headers))
        body = "".join(
            f'<tr><th scope="row"{css[0]}>{_text(row[0], steps[0])}</th>'
            + "".join(f"<td{css[i]}>{_text(cell, steps[i])}</td>" for i, cell in enumerate(row) if i)
            + "</tr>"
            for row in rows
        )
        self._body.append(
            f'<div class="card scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def html(self) -> str:
        """The whole page."""
        contents = f"<nav>{''.join(self._sections)}</nav>" if len(self._sections) > 2 else ""
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self._title)}</title><style>{STYLE}</style></head><body><main>"
            f'<h1>{escape(self._title)}</h1><p class="subtitle">{escape(self._subtitle)}</p>'
            f"{contents}{''.join(self._body)}</main></body></html>"
        )

    def write(self, path: str | Path) -> None:
        """Write the page to a file."""
        Path(path).write_text(self.html(), encoding="utf-8")

    def _figure(self, title: str, note: str, drawing: str) -> None:
        about = f"<p>{escape(note)}</p>" if note else ""
        self._body.append(
            f'<figure class="card"><figcaption><h3>{escape(title)}</h3>{about}</figcaption>{drawing}</figure>'
        )


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part.strip())}</p>" for part in text.split("\n\n") if part.strip())


def _text(value: str | float, decimals: int | None = None) -> str:
    if isinstance(value, str):
        return escape(value)
    exact = decimals is not None and math.isfinite(value)
    return _minus(f"{value:,.{decimals}f}") if exact else format_value(value)


def _finest(column: Sequence[str | float]) -> int:
    """The decimals, at most four, that a column of numbers needs."""
    fractions = (f"{float(value):.4f}".partition(".")[2].rstrip("0") for value in column)
    return max(map(len, fractions), default=0)
