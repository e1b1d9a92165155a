"""Results of coupons by day, coupon or campaign, added up from what partitions report."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Literal

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.local_time import EPOCH, local_time
from stream_coupons.core.measurement.added_results import numbers_of_report, sum_of
from stream_coupons.core.measurement.result_sums import Numbers
from stream_coupons.core.messages.results import ResultTotals
from stream_coupons.core.rules import ShopRules
from stream_coupons.core.validation_hints import near
from stream_coupons.kafka import topics
from stream_coupons.kafka.reports import ReportDecoder, latest_of
from stream_coupons.ops.audit.audit_topics import read_records
from stream_coupons.settings import Settings

By = Literal["day", "coupon", "campaign"]


@dataclass(frozen=True, slots=True)
class ResultFilter:
    """Choice of results.

    Attributes
    ----------
    campaign, coupon : str
        Ids; empty for all.
    since, until : float
        Times; the days on which they are count, in the shop's zone. UTC epoch seconds.
    """

    campaign: str = ""
    coupon: str = ""
    since: float = -math.inf
    until: float = math.inf


@dataclass(frozen=True, slots=True)
class ResultRow:
    """Results of the coupons of one day, coupon or campaign in one domain.

    Attributes
    ----------
    day, coupon_id, campaign_id : str
        What the row is about; empty where it is about all of them.
    currency : str or None
        Currency of its money; None for minor units.
    given, seen, clicked, used, uses : int
        As in `ResultTotals`.
    discount_minor, revenue_minor : int
        Minor units.
    """

    day: str
    coupon_id: str
    campaign_id: str
    domain: str
    currency: str | None
    given: int
    seen: int
    clicked: int
    used: int
    uses: int
    discount_minor: int
    revenue_minor: int


def rows_of(
    reports: Iterable[ResultTotals], by: By, which: ResultFilter, shop: ShopRules, published: Collection[str] = ()
) -> list[ResultRow]:
    """Return the results of what is asked for: of days in ascending order, of others with the most given first.

    Parameters
    ----------
    reports : iterable of ResultTotals
        The latest report of each coupon, day and partition.
    published : collection of str
        Ids of campaigns and coupons that are there, with results or without.

    Raises
    ------
    BadConfig
        If a campaign or coupon that is asked for has no results, and is not there.
    """
    some = [*reports]
    for noun, wanted, known in (
        ("campaign", which.campaign, {one.campaign_id or "" for one in some}),
        ("coupon", which.coupon, {one.coupon_id for one in some}),
    ):
        if wanted and wanted not in known and wanted not in published:
            hint = near(wanted, known - {""}) or f": none was given, or `--{noun}` is misspelt"
            raise BadConfig(f"no results of {noun} {wanted!r}{hint}")
    days = _day(which.since, shop), _day(which.until, shop)
    sums: defaultdict[tuple[str, str, str, str], Numbers] = defaultdict(Numbers)
    for one in some:
        is_asked = which.campaign in ("", one.campaign_id) and which.coupon in ("", one.coupon_id)
        if is_asked and days[0] <= one.day <= days[1]:
            key = _key(one, by)
            sums[key] = sum_of((sums[key], numbers_of_report(one)))
    rows = [ResultRow(*key, shop.currency(key[-1]), **numbers._asdict()) for key, numbers in sums.items()]
    return sorted(rows, key=lambda row: (row.day, -row.given, row.coupon_id, row.campaign_id, row.domain))


def read_results(settings: Settings) -> list[ResultRow]:
    """Return the results of all coupons of a running system so far."""
    decoder = ReportDecoder(topics.RESULT_TOTALS, settings.kafka.partitions)
    [latest] = latest_of(read_records(settings.kafka, [topics.RESULT_TOTALS.name]), [decoder])
    reports = (one for subject in latest.of for one in latest.parts(subject))
    return rows_of(reports, "coupon", ResultFilter(), settings.shop)


def total_of(rows: Iterable[ResultRow], domain: str, currency: str | None) -> ResultRow:
    """Return the sum of the rows of a domain."""
    some = [row for row in rows if row.domain == domain]
    sums = {name: sum(getattr(row, name) for row in some) for name in Numbers._fields}
    return ResultRow("", "", "", domain, currency, **sums)


def _day(at: float, shop: ShopRules) -> float:
    return local_time(at, shop.time_zone).day if math.isfinite(at) else at


def _key(one: ResultTotals, by: By) -> tuple[str, str, str, str]:
    """Return day, coupon, campaign and domain of the row that a report is part of."""
    day = date.fromordinal(EPOCH + one.day).isoformat() if by == "day" else ""
    coupon_id = one.coupon_id if by == "coupon" else ""
    campaign_id = (one.campaign_id or "") if by != "day" else ""
    return day, coupon_id, campaign_id, one.domain
