"""The report of the learning process to the deciding one that started it: missing conditions, and metrics."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Self

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from stream_coupons.settings import Settings
from stream_coupons.worker.child import LEAVES_WITHIN_S, Child, Supervision
from stream_coupons.worker.watchdog import Watched

COMMAND = (sys.executable, "-m", "stream_coupons.worker.learner_process")
PUBLISH = b"publish"
"""Frame that asks the learner to publish at once what it has learnt."""
ADDED = frozenset({"counter", "histogram"})
"""Types of which the samples of both processes are added."""


class Family(Struct, array_like=True, frozen=True):
    """A metric with its samples (name, labels, value)."""

    name: str
    documentation: str
    type: str
    samples: list[tuple[str, dict[str, str], float]]


class LearnerStatus(Struct, array_like=True, frozen=True):
    """State of a learning process.

    Attributes
    ----------
    not_ready : list of str
        Reasons why it does not learn; empty if it learns, or stands by for one that does.
    """

    not_ready: list[str]
    families: list[Family]


class Greeting(Struct, frozen=True):
    """The first frame of a learning process: its settings."""

    settings: Settings
    log_level: str


_report = msgspec.msgpack.Decoder(LearnerStatus)


def families_of(registry: CollectorRegistry) -> list[Family]:
    """Return all metrics of a registry as data."""
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            [(sample.name, sample.labels, float(sample.value)) for sample in metric.samples],
        )
        for metric in registry.collect()
    ]


def merge(own: Iterable[Metric], others: Sequence[Family]) -> Iterator[Metric]:
    """Merge the metrics of two processes: add counters and histograms; of a gauge that both have, `own` counts.

    Parameters
    ----------
    own : iterable of Metric
        Metrics of this process.
    others : sequence of Family
        Those of the other process, as it reported them.
    """
    more = {family.name: family for family in others}
    for metric in own:
        family = more.pop(metric.name, None)
        yield metric if family is None else _merged(metric, family)
    for family in more.values():
        yield _merged(Metric(family.name, family.documentation, family.type), family)


def _merged(metric: Metric, family: Family) -> Metric:
    merged = Metric(metric.name, metric.documentation, metric.type)
    values = {(name, tuple(sorted(labels.items()))): value for name, labels, value in family.samples}
    for sample in metric.samples:
        other = values.pop((sample.name, tuple(sorted(sample.labels.items()))), 0.0)
        is_added = metric.type in ADDED and not sample.name.endswith("_created")
        merged.samples.append(sample._replace(value=sample.value + other) if is_added else sample)
    merged.samples += [Sample(name, dict(labels), value) for (name, labels), value in values.items()]
    return merged


class MergedRegistry(CollectorRegistry):
    """The metrics of this process and those of another one, as of its last report."""

    def __init__(self, own: CollectorRegistry, others: Callable[[], Sequence[Family]]) -> None:
        super().__init__()
        self._own = own
        self._others = others

    def collect(self) -> Iterable[Metric]:
        """Yield the merged metrics."""
        return merge(self._own.collect(), self._others())

    def restricted_registry(self, names: Iterable[str]) -> "MergedRegistry":  # type: ignore[override]
        """Return the same with the samples of these names only."""
        wanted = set(names)
        others = [
            Family(each.name, each.documentation, each.type, [one for one in each.samples if one[0] in wanted])
            for each in self._others()
        ]
        own: CollectorRegistry = self._own.restricted_registry(wanted)  # type: ignore[assignment]
        return MergedRegistry(own, lambda: [each for each in others if each.samples])


class LearnerProcess:
    """The learning process of a worker command, kept running while the `with` block lasts.

    Parameters
    ----------
    app : Watched
        The application of the worker: when it stops, the learning process leaves, too.
    on_restart : callable
        Called each time that the process is started again.
    """

    def __init__(self, settings: Settings, log_level: str, app: Watched, on_restart: Callable[[], None]) -> None:
        greeting = msgspec.json.encode(Greeting(settings, log_level))
        about = Supervision(
            is_leaving=lambda: app.should_stop,
            on_restart=on_restart,
            stalled_after_s=settings.worker.stalled_after_s,
            # The last line of a log states why the worker crashed: nothing is to be logged behind it.
            grace_s=lambda: 0.0 if app.crashed else LEAVES_WITHIN_S,
        )
        self._child = Child("learner", COMMAND, greeting, about)

    def __enter__(self) -> Self:
        self._child.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()

    def publish_soon(self) -> None:
        """Ask it to publish at once what it has learnt."""
        self._child.send(PUBLISH)

    def why_not_ready(self) -> list[str]:
        """Return why nothing is learnt here; nothing if it learns, or stands by for another worker's."""
        report = self._report()
        return [self._child.why_silent()] if report is None else report.not_ready

    def families(self) -> list[Family]:
        """Return its metrics; none while it does not report."""
        report = self._report()
        return [] if report is None else report.families

    def _report(self) -> LearnerStatus | None:
        latest = self._child.latest
        return None if latest is None else _report.decode(latest)
