"""Live display of the demonstration: metrics of the workers, sampled about once a second."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from stream_coupons_lab.demo.system import LocalSystem, Sample
from stream_coupons_lab.demo.waiting import LINE_EVERY_S

SAMPLE_EVERY_S = 1.0
REFRESH_EVERY_S = 0.25
PREFIX = "stream_coupons_"
SHOWN_OF_SHOPPERS = tuple(
    PREFIX + name
    for name in (
        "decisions_total",
        "training_examples_total",
        "model_roc_auc_ratio",
        "model_log_loss",
        "model_base_log_loss",
        "budget_remaining_minor",
    )
)
"""To read every metric of a worker takes a quarter of a second, most of it to parse their text."""
SHOWN_OF_JOURNEY = tuple(
    PREFIX + name
    for name in (
        "records_total",
        "decisions_total",
        "observed_issues_total",
        "training_examples_total",
        "model_roc_auc_ratio",
        "model_log_loss",
        "model_base_log_loss",
        "budget_remaining_minor",
        "lag_records",
        "dead_letters_total",
    )
)


def total(metrics: Mapping[Sample, float], name: str, **labels: str) -> float:
    """Sum of a metric over all of its series that have these labels."""
    wanted = set(labels.items())
    return sum(value for (sample, pairs), value in metrics.items() if sample == PREFIX + name and wanted <= set(pairs))


def by_label(metrics: Mapping[Sample, float], name: str, label: str) -> dict[str, float]:
    """A metric's values by one of its labels, largest first."""
    found: dict[str, float] = {}
    for (sample, pairs), value in metrics.items():
        if sample == PREFIX + name and label in dict(pairs):
            key = dict(pairs)[label]
            found[key] = found.get(key, 0.0) + value
    return dict(sorted(found.items(), key=lambda entry: -entry[1]))


@dataclass(slots=True)
class Counts:
    """Counts of the messages that the driver of the demonstration has sent and received."""

    published: int = 0
    issues: int = 0
    clicked: int = 0
    redeemed: int = 0
    observed: int = 0
    fed_back: int = 0


@dataclass(slots=True)
class Watch:
    """Samples of a running system: (event time, metrics), and the rows of the live display."""

    system: LocalSystem
    names: tuple[str, ...] = SHOWN_OF_JOURNEY
    """The metrics that are sampled."""
    counts: Counts = field(default_factory=Counts)
    latest: dict[Sample, float] = field(default_factory=dict)
    samples: list[tuple[float, dict[Sample, float]]] = field(default_factory=list)
    _sampled_at: float = 0.0

    def sample(self, event_time: float, *, now: bool = False) -> None:
        """Scrape the workers if the last time was a second ago."""
        if not now and time.monotonic() < self._sampled_at + SAMPLE_EVERY_S:
            return
        self.latest = self.system.totals(*self.names)
        self.samples.append((event_time, self.latest))
        self._sampled_at = time.monotonic()

    def series(self, name: str, **labels: str) -> list[tuple[float, float]]:
        """(event time, value) of a metric over the samples that have it."""
        return [
            (at, total(metrics, name, **labels))
            for at, metrics in self.samples
            if any(sample == PREFIX + name and set(labels.items()) <= set(pairs) for sample, pairs in metrics)
        ]

    def table(self) -> Table:
        """The present state as rows."""
        counts, metrics = self.counts, self.latest
        table = Table.grid(padding=(0, 3))
        table.add_column(style="dim")
        table.add_column(justify="right")
        table.add_column(style="dim")
        table.add_column(justify="right")
        decisions = by_label(metrics, "decisions_total", "outcome")
        issued = max(counts.issues, 1)
        examples = total(metrics, "training_examples_total")
        auc = total(metrics, "model_roc_auc_ratio", head="redeem")
        loss, base = (total(metrics, f"model_{name}", head="redeem") for name in ("log_loss", "base_log_loss"))
        cells = [
            ("events in", f"{counts.published:,}"),
            ("records applied", f"{total(metrics, 'records_total'):,.0f}"),
            ("decisions", f"{sum(decisions.values()):,.0f}"),
            ("coupons issued", f"{counts.issues:,}"),
            ("withheld by the holdout", f"{decisions.get('holdout', 0):,.0f}"),
            ("feedback", f"{counts.fed_back:,}"),
            ("observed issues", f"{total(metrics, 'observed_issues_total', outcome='scored'):,.0f}"),
            ("click rate", f"{counts.clicked / issued:.1%}"),
            ("redeem rate", f"{counts.redeemed / issued:.1%}"),
            ("examples learnt", f"{examples:,.0f}"),
            ("P(redeem) ROC AUC", f"{auc:.3f}" if auc else "–"),
            ("log loss / base rate's", f"{loss:.4f} / {base:.4f}" if base else "–"),
            ("budget left", f"{total(metrics, 'budget_remaining_minor') / 100:,.0f}"),
            ("lag", f"{total(metrics, 'lag_records'):,.0f}"),
            ("dead letters", f"{total(metrics, 'dead_letters_total'):,.0f}"),
        ]
        for left, right in zip(cells[::2], [*cells[1::2], ("", "")], strict=False):
            table.add_row(*left, *right)
        return table


class LiveDisplay:
    """A live picture on a terminal; elsewhere a line every few seconds. Use it as a context manager."""

    def __init__(self, console: Console, *, transient: bool = False) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=transient) if console.is_terminal else None
        self._shown_at = -math.inf

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._live is not None:
            self._live.update(self.render(), refresh=True)
            self._live.stop()

    def _refresh(self) -> None:
        """Show the state as it is now, if the last time was a moment ago."""
        now = time.monotonic()
        if now < self._shown_at + (LINE_EVERY_S if self._live is None else REFRESH_EVERY_S):
            return
        self._shown_at = now
        self._note(now)
        if self._live is not None:
            self._live.update(self.render(), refresh=True)
        else:
            self._console.print(self.line(), soft_wrap=True, highlight=False)

    def _note(self, now: float) -> None:
        """Take note of the state at a time in seconds, before it is shown."""

    def render(self) -> RenderableType:
        """Return the picture."""
        raise NotImplementedError

    def line(self) -> str:
        """Return the state in one line."""
        raise NotImplementedError


class Display(LiveDisplay):
    """Counters and a progress bar."""

    def __init__(self, console: Console, title: str, watch: Watch) -> None:
        super().__init__(console)
        self._title = title
        self._watch = watch
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=40), TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(), console=console,
        )  # fmt: skip
        self._task = self._progress.add_task("playing", total=1.0)

    def show(self, share: float, description: str) -> None:
        """Bring the display up to date; `share` of the whole is done."""
        self._progress.update(self._task, completed=share, description=description)
        self._refresh()

    def render(self) -> RenderableType:
        """Return the panel."""
        return Panel(Group(self._watch.table(), self._progress), title=self._title)

    def line(self) -> str:
        """Return the state in one line."""
        counts, task = self._watch.counts, self._progress.tasks[self._task]
        return (
            f"{task.description}: {task.completed:4.0%}  events {counts.published:,}  issues {counts.issues:,}  "
            f"redeemed {counts.redeemed:,}  observed {counts.observed:,}  "
            f"learnt {total(self._watch.latest, 'training_examples_total'):,.0f}  "
            f"lag {total(self._watch.latest, 'lag_records'):,.0f}"
        )
