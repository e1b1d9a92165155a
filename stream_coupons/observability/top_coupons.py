"""Results of coupons for metrics: of the last days, the coupons that are given most by name, all others together."""

from collections import defaultdict

from stream_coupons.core.measurement.added_results import numbers_of_report, sum_of
from stream_coupons.core.measurement.result_sums import Numbers
from stream_coupons.core.measurement.totals import LatestReports
from stream_coupons.core.messages.results import ResultTotals
from stream_coupons.observability.metrics import Metrics

DAYS = 7
"""Days of the shop that count, up to the latest one with a coupon."""
MAX_COUPONS = 50
"""Coupons that have labels of their own."""
OTHER = "other"
"""Label of all others."""


class TopCoupons:
    """Keeps the latest reports on the results of the last `DAYS`; give it records with `take`."""

    def __init__(self) -> None:
        self._latest: LatestReports[ResultTotals] = LatestReports()
        self._last = 0

    def take(self, report: ResultTotals) -> None:
        """Take in a report, unless its day is over."""
        if report.day <= self._last - DAYS:
            return
        if report.day > self._last:
            self._last = report.day
            for subject in [one for one in self._latest.of if one[1] <= self._last - DAYS]:
                del self._latest.of[subject]
        self._latest.take(report)

    def results(self) -> dict[str, Numbers]:
        """Return the results by label."""
        sums: defaultdict[str, Numbers] = defaultdict(Numbers)
        for coupon_id, day in [*self._latest.of]:
            for one in self._latest.parts((coupon_id, day)):
                sums[coupon_id] = sum_of((sums[coupon_id], numbers_of_report(one)))
        ranked = sorted(sums, key=lambda name: (-sums[name].given, name))
        found: defaultdict[str, Numbers] = defaultdict(Numbers)
        for place, name in enumerate(ranked):
            label = name if place < MAX_COUPONS else OTHER
            found[label] = sum_of((found[label], sums[name]))
        return dict(found)

    def report(self, metrics: Metrics) -> None:
        """Set the gauges of the results, and drop those of coupons that are not among the first any more."""
        metrics.coupon_results.clear()
        metrics.coupon_discount.clear()
        for label, numbers in self.results().items():
            for kind in ("given", "seen", "clicked", "used"):
                metrics.coupon_results.labels(label, kind).set(getattr(numbers, kind))
            metrics.coupon_discount.labels(label).set(numbers.discount_minor)
