"""Metrics of the results of batches."""

import time
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import get_args

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.messages.catalogue import BudgetHold
from stream_coupons.core.money import leases
from stream_coupons.core.money.accounts import Limit, campaign_of
from stream_coupons.core.money.holdings import Account
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import BEGAN_HEADER, Output, Record
from stream_coupons.observability.metrics import Metrics
from stream_coupons.runtime.steps import Result

UNTOUCHED = Account()
LATE_S = 60.0
"""Seconds within which a record is to be done: a service level objective (docs/runbooks/slo.md)."""
HOLDS: tuple[BudgetHold, ...] = get_args(BudgetHold)


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
            "rule_error": metrics.rule_errors,
            "interest": metrics.interests,
            "new_shopper": metrics.new_shoppers,
            "erasure": metrics.erasures,
            "staged": metrics.staged,
        }

    def __call__(
        self, agent: str, results: list[Result], seconds: float, records: Iterable[Sequence[Record]] = ()
    ) -> None:
        """Count batches of an agent, with their records by partition, that took `seconds` together."""
        self._metrics.batch_seconds.labels(agent).observe(seconds)
        late_ms = (time.time() - LATE_S) * 1000.0
        late = Counter(record.topic for part in records for record in part if 0 <= record.timestamp_ms < late_ms)
        for topic, count in late.items():
            self._metrics.late.labels(topic).inc(count)
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


class _Owned:
    """The accounts that this worker owns."""

    def __init__(self, accounts: Mapping[str, Account], partitions: Container[int], count: int) -> None:
        self.accounts = accounts
        self._partitions = partitions
        self._count = count
        self._left: dict[str, int | None] = {}

    def account(self, account_id: str) -> Account | None:
        """Return an account; None if another worker owns it."""
        is_owned = topics.partition_for(account_id.encode(), self._count) in self._partitions
        return self.accounts.get(account_id, UNTOUCHED) if is_owned else None

    def left(self, limit: Limit) -> int | None:
        """Return what is left, not below 0; None if there is no limit, or another worker owns the account."""
        if limit.most is None:
            return None
        if limit.account_id not in self._left:
            account = self.account(limit.account_id)
            self._left[limit.account_id] = None if account is None else max(limit.most - account.sums.drawn, 0)
        return self._left[limit.account_id]

    def is_gone(self, limit: Limit, most_minor: int) -> bool:
        """Return whether too little is left for one more coupon that can cost so much."""
        left = self.left(limit)
        holds_most = limit.hold == "maximum" and not limit.is_stock
        return left is not None and left < (most_minor if holds_most else 1)


class BudgetReporter:
    """Sets the gauges of stock and money, and ends those of a domain that has no coupon any more."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._domains: set[str] = set()
        self._campaigns: set[str] = set()
        self._catalogue: Catalogue | None = None
        self._domain_of: dict[str, str] = {}
        """By account of money, of this catalogue."""

    def __call__(
        self, catalogue: Catalogue, accounts: Mapping[str, Account], partitions: Container[int], count: int
    ) -> None:
        """Report the accounts that this worker owns.

        Parameters
        ----------
        catalogue : Catalogue
            Coupons and campaigns, whose accounts are reported.
        accounts : mapping of str to Account
            By id; one that was never drawn on is not there, and whole.
        partitions : container of int
            Partitions of accounts that are owned.
        count : int
            Number of all partitions.
        """
        metrics = self._metrics
        for domain in self._domains - catalogue.domains.keys():
            gauges = metrics.stock_exhausted, metrics.budget_left, metrics.budget_remaining, metrics.overspent_ratio
            for gauge in gauges:
                gauge.remove(domain)
            for hold in HOLDS:
                metrics.overspent.remove(domain, hold)
        self._domains = set(catalogue.domains)
        owned = _Owned(accounts, partitions, count)
        for domain, members in catalogue.domains.items():
            ratio, remaining, exhausted = 1.0, 0, 0
            for coupon, limits in zip(members.coupons, members.accounts, strict=True):
                exhausted += any(owned.is_gone(limit, coupon.max_discount_minor) for limit in limits)
                own = owned.left(limits[1])
                if own is not None:
                    remaining += own
                    ratio = min(ratio, own / max(coupon.budget_minor or 0, 1))
            metrics.stock_exhausted.labels(domain).set(exhausted)
            metrics.budget_left.labels(domain).set(ratio)
            metrics.budget_remaining.labels(domain).set(remaining)
        self._report_overspent(catalogue, owned)
        self._report_campaigns(catalogue, owned)

    def _report_overspent(self, catalogue: Catalogue, owned: _Owned) -> None:
        if catalogue is not self._catalogue:
            self._catalogue, self._domain_of = catalogue, dict(_domains_of_budgets(catalogue))
        beyond = {(domain, hold): 0 for domain in catalogue.domains for hold in HOLDS}
        ratios = dict.fromkeys(catalogue.domains, 0.0)
        for account_id, account in owned.accounts.items():
            limit, domain = catalogue.accounts.limits.get(account_id), self._domain_of.get(account_id)
            if limit is None or limit.most is None or domain is None:
                continue
            used = account.sums.drawn if limit.hold == "maximum" else account.sums.spent
            if used > limit.most and owned.account(account_id) is not None:
                beyond[domain, limit.hold] += used - limit.most
                ratios[domain] = max(ratios[domain], used / max(limit.most, 1) - 1.0)
        for labels, amount in beyond.items():
            self._metrics.overspent.labels(*labels).set(amount)
        for domain, ratio in ratios.items():
            self._metrics.overspent_ratio.labels(domain).set(ratio)

    def _report_campaigns(self, catalogue: Catalogue, owned: _Owned) -> None:
        metrics, values = self._metrics, {}
        for campaign_id in catalogue.campaigns:
            limit = catalogue.accounts.limit(campaign_of(campaign_id))
            if (account := owned.account(limit.account_id)) is not None:
                values[campaign_id] = _figures(limit, account)
        gauges = (
            metrics.campaign_budget,
            metrics.campaign_spent,
            metrics.campaign_held,
            metrics.campaign_is_spent,
            metrics.campaign_price,
            metrics.campaign_due,
        )
        for campaign_id in self._campaigns | values.keys():
            for gauge, value in zip(gauges, values.get(campaign_id, (None,) * len(gauges)), strict=True):
                if value is None:
                    gauge.remove(campaign_id)
                else:
                    gauge.labels(campaign_id).set(value)
        self._campaigns = set(values)


def _figures(limit: Limit, account: Account) -> tuple[float | None, ...]:
    """Return the figures of a campaign, in the order of gauges; the share due is of the last update of its price."""
    due, is_spent = leases.share_due(account, limit, account.price.at or 0.0), leases.is_spent(account, limit)
    return limit.most, account.sums.spent, account.sums.held, float(is_spent), account.price.value, due


def _domains_of_budgets(catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    """Yield each account of money that a coupon draws on, and its domain: of a shared one, that of some coupon."""
    for domain, members in catalogue.domains.items():
        for limits in members.accounts:
            for limit in limits:
                if not limit.is_stock:
                    yield limit.account_id, domain
