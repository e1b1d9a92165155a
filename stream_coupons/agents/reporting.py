"""What batches brought about, as metrics."""

import time
from collections.abc import Container, Mapping

from stream_coupons import topics
from stream_coupons.core.coupons import Catalogue
from stream_coupons.core.leases import Account, money_of, units_of
from stream_coupons.metrics import Metrics
from stream_coupons.runtime.attempt import Result
from stream_coupons.runtime.records import BEGAN_HEADER, Output

UNTOUCHED = Account()


class BatchReporter:
    """Turns the results of batches into metrics, once a batch."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counters = {
            "decision": metrics.decisions,
            "lease": metrics.leases,
            "issue": metrics.issues,
            "feedback": metrics.feedback,
            "end": metrics.ends,
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
        self, catalogue: Catalogue, accounts: Mapping[str, Account], partitions: Container[int], count: int
    ) -> None:
        """Report the accounts that this worker owns.

        Parameters
        ----------
        accounts
            By id; one that was never drawn on is not there, and whole.
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
                units, money = units_of(coupon.coupon_id), money_of(coupon.coupon_id)
                if coupon.stock is not None and topics.partition_for(units.encode(), count) in partitions:
                    exhausted += accounts.get(units, UNTOUCHED).drawn >= coupon.stock
                if coupon.budget_minor is not None and topics.partition_for(money.encode(), count) in partitions:
                    left = coupon.budget_minor - accounts.get(money, UNTOUCHED).drawn
                    remaining += left
                    ratio = min(ratio, left / max(coupon.budget_minor, 1))
                    exhausted += left < coupon.max_discount_minor
            metrics.stock_exhausted.labels(domain).set(exhausted)
            metrics.budget_left.labels(domain).set(ratio)
            metrics.budget_remaining.labels(domain).set(remaining)
