"""What batches brought about, as metrics."""

import time
from collections.abc import Container, Mapping

from stream_coupons import topics
from stream_coupons.core.coupons import Catalogue
from stream_coupons.core.ledger import Ledger
from stream_coupons.metrics import Metrics
from stream_coupons.runtime.attempt import Result
from stream_coupons.runtime.records import BEGAN_HEADER, Output

UNTOUCHED = Ledger()


class BatchReporter:
    """Turns the results of batches into metrics, once a batch."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counters = {
            "decision": metrics.decisions,
            "reservation": metrics.reservations,
            "issue": metrics.issues,
            "feedback": metrics.feedback,
            "settlement": metrics.settlements,
            "observed": metrics.observed,
            "unseen": metrics.unseen,
            "overrun": metrics.overruns,
            "interest": metrics.interests,
            "erasure": metrics.erasures,
        }

    def __call__(self, agent: str, results: list[Result], seconds: float) -> None:
        """Count batches of an agent that took `seconds` together."""
        self._metrics.batch_seconds.labels(agent).observe(seconds)
        for result in results:
            self._count(result)

    def _count(self, result: Result) -> None:
        metrics = self._metrics
        for counter, counts in (
            (metrics.records, result.applied),
            (metrics.duplicates, result.duplicates),
            (metrics.replays, result.replays),
        ):
            for topic, count in counts.items():
                counter.labels(topic).inc(count)
        for (topic, reason), count in result.dead.items():
            metrics.dead_letters.labels(topic, reason).inc(count)
        for (noun, kind), count in result.facts.items():
            if noun in self._counters:
                self._counters[noun].labels(kind).inc(count)
        for output in result.outputs:
            if output.topic == topics.ISSUES.name:
                self._observe_latency(output)

    def _observe_latency(self, issue: Output) -> None:
        began_ms = next((value for name, value in issue.headers if name == BEGAN_HEADER), None)
        if began_ms is not None:
            self._metrics.decision_latency.observe(max(time.time() - int(began_ms) / 1000.0, 0.0))


class BudgetReporter:
    """Sets the gauges of stock and money, and ends those of a domain that has no coupon any more."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._domains: set[str] = set()

    def __call__(
        self, catalogue: Catalogue, ledgers: Mapping[str, Ledger], partitions: Container[int], count: int
    ) -> None:
        """Report the coupons that this worker owns.

        Parameters
        ----------
        ledgers
            By coupon; a coupon that was never asked for has none and is whole.
        partitions
            Those owned, of `count`.
        """
        metrics = self._metrics
        for domain in self._domains - catalogue.domains.keys():
            for gauge in (metrics.stock_exhausted, metrics.budget_left, metrics.budget_remaining):
                gauge.remove(domain)
        self._domains = set(catalogue.domains)
        for domain, members in catalogue.domains.items():
            ratio, remaining, exhausted = 1.0, 0, 0
            for coupon in members.coupons:
                is_limited = coupon.stock is not None or coupon.budget_minor is not None
                if not is_limited or topics.partition_for(coupon.coupon_id.encode(), count) not in partitions:
                    continue
                ledger = ledgers.get(coupon.coupon_id, UNTOUCHED)
                sold_out = coupon.stock is not None and ledger.reserved + ledger.issued >= coupon.stock
                if coupon.budget_minor is not None:
                    left = coupon.budget_minor - ledger.held_minor - ledger.spent_minor
                    remaining += left
                    ratio = min(ratio, left / max(coupon.budget_minor, 1))
                    sold_out = sold_out or left < coupon.max_discount_minor
                exhausted += sold_out
            metrics.stock_exhausted.labels(domain).set(exhausted)
            metrics.budget_left.labels(domain).set(ratio)
            metrics.budget_remaining.labels(domain).set(remaining)
