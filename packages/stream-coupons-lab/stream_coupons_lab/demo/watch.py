"""Metrics of the workers, sampled about once a second."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from stream_coupons_lab.demo.system import LocalSystem, Sample

SAMPLE_EVERY_S = 1.0
PREFIX = "stream_coupons_"
SHOWN = tuple(
    PREFIX + name
    for name in ("decisions_total", "training_examples_total", "model_roc_auc_ratio", "budget_remaining_minor")
)
"""To read every metric of a worker takes a quarter of a second, most of it to parse their text."""


def total(metrics: Mapping[Sample, float], name: str, **labels: str) -> float:
    """Return the sum of a metric over all of its series that have these labels."""
    wanted = set(labels.items())
    return sum(value for (sample, pairs), value in metrics.items() if sample == PREFIX + name and wanted <= set(pairs))


def by_label(metrics: Mapping[Sample, float], name: str, label: str) -> dict[str, float]:
    """Return a metric's values by one of its labels, largest first."""
    found: dict[str, float] = {}
    for (sample, pairs), value in metrics.items():
        if sample == PREFIX + name and label in dict(pairs):
            key = dict(pairs)[label]
            found[key] = found.get(key, 0.0) + value
    return dict(sorted(found.items(), key=lambda entry: -entry[1]))


@dataclass(slots=True)
class Watch:
    """Samples of a running system.

    Attributes
    ----------
    latest : dict
        Metrics when they were last sampled.
    samples : list
        (event time, metrics) of each time.
    """

    system: LocalSystem
    latest: dict[Sample, float] = field(default_factory=dict)
    samples: list[tuple[float, dict[Sample, float]]] = field(default_factory=list)
    _sampled_at: float = 0.0

    def sample(self, event_time: float, *, now: bool = False) -> None:
        """Scrape the workers if the last time was a second ago, or now."""
        if not now and time.monotonic() < self._sampled_at + SAMPLE_EVERY_S:
            return
        self.latest = self.system.totals(*SHOWN)
        self.samples.append((event_time, self.latest))
        self._sampled_at = time.monotonic()

    def quality(self, head: str) -> list[tuple[float, float]]:
        """Return (event time, ROC AUC of a head) of the samples since it is known."""
        found = [(at, total(metrics, "model_roc_auc_ratio", head=head)) for at, metrics in self.samples]
        return [(at, auc) for at, auc in found if auc]

    def decisions(self, until: float = math.inf) -> dict[str, float]:
        """Return how often each outcome of a decision was counted by the workers until an event time."""
        sampled = self.latest
        if until < math.inf:
            sampled = next((metrics for at, metrics in reversed(self.samples) if at <= until), {})
        return by_label(sampled, "decisions_total", "outcome")
