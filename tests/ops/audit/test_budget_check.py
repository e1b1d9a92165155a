"""Stock, budgets, caps and leases: what the order of the topics proves, and what it does not."""

import datetime as dt
import math
from typing import Any

import pytest

from lab.builders import (
    AT_MS,
    FEEDBACK,
    HOLD,
    ISSUES,
    LEASES,
    MONEY,
    REPORTS,
    SPRING,
    UNITS,
    USERS,
    Handmade,
    found,
    red,
)
from stream_coupons.core.caps import Cap
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.money import purses
from stream_coupons.core.rules import ShopRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import BEGAN_HEADER, ORIGIN_HEADER
from stream_coupons.ops.audit.findings import Check, CheckCounts
from stream_coupons.ops.audit.promised import PromisedRules
from tests.core.builders import for_life, rules

HOUR_MS = 3_600_000


def finished(log: Handmade) -> list[tuple[str, str, str]]:
    """The violations of a log to which nothing is added any more."""
    log.save_cells()
    return found(log)


def details(log: Handmade, check: Check) -> list[str]:
    """What a log says of one check when nothing is added any more."""
    return [detail for title, _, detail in finished(log) if title == check.title]


# ---------------------------------------------------------------- what is issued


def test_more_issues_than_the_stock_are_too_many_and_said_once() -> None:
    log = Handmade(stock=2).give("1", "2")
    assert finished(log) == []
    log.give("3", "4")
    assert details(log, Check.STOCK) == ["coupon c: 3 issued with 3, expected at most 2"]


# ---------------------------------------------------------------- what is leased


def leased(partitions: int = 2, **limits: Any) -> Handmade:
    """A coupon of which both partitions have asked for more."""
    log = Handmade(partitions=partitions, **limits)
    for partition in range(partitions):
        log.lease(log.report(partition=partition, asks=True), 5, partition=partition)
    return log


def test_leases_within_the_stock_are_clean() -> None:
    log = leased(stock=10)
    assert finished(log) == []
    findings = log.audit()
    assert findings.tallies[Check.STOCK] == CheckCounts(checked=2)
    assert findings.tallies[Check.LEASES] == CheckCounts(checked=6)
    assert findings.tallies[Check.RECORDS] == CheckCounts(checked=4)


def test_more_leased_than_the_stock_is_too_much_and_said_once() -> None:
    log = leased(stock=9)
    log.lease(log.report(asks=True), 6)
    home = topics.partition_for(UNITS.encode(), 2)
    assert {place for place, _ in log.records if place == REPORTS} == {REPORTS}
    assert [record.partition for record in log.read((REPORTS,))] == [home] * 3
    assert finished(log) == [
        ("stock", "coupon-leases:1:0", "units:c: 10 leased with this to partition 1, expected at most 9")
    ]


def test_more_leased_than_the_budget_is_too_much() -> None:
    log = Handmade(partitions=2, budget_minor=900)
    for partition in (0, 1):
        log.lease(log.report(MONEY, partition, asks=True), 500, MONEY, partition)
    assert details(log, Check.BUDGET) == ["money:c: 1000 leased with this to partition 1, expected at most 900"]


def test_what_partitions_have_without_a_lease_counts() -> None:
    log = Handmade(partitions=2, stock=10)
    log.report()
    log.lease(log.report(partition=1, asks=True), 9, partition=1)
    assert log.purse(UNITS, 0).granted == 2
    assert details(log, Check.STOCK) == ["units:c: 11 leased with this to partition 1, expected at most 10"]


def test_leases_count_in_the_order_of_the_reports_that_they_follow_from() -> None:
    """What is returned later was not there to be leased before."""
    log = Handmade(partitions=2, stock=8)
    first, second = log.report(asks=True), log.report(partition=1, asks=True)
    log.lease(first, 6)
    log.lease(second, 6, partition=1)
    log.lease(log.report(), 6, keep=0)
    log.report()
    expected = ["units:c: 12 leased with this to partition 1, expected at most 8"]
    assert details(log, Check.STOCK) == expected
    log = Handmade(partitions=2, stock=8)
    log.lease(log.report(asks=True), 6)
    log.lease(log.report(), 6, keep=2)
    log.report()
    log.lease(log.report(partition=1, asks=True), 6, partition=1)
    assert finished(log) == []


def test_a_lease_that_calls_back_grants_the_first_lease_at_most() -> None:
    """The owner calls back from a partition that it never heard of; the limit may have been lowered since."""
    log = Handmade(partitions=2, stock=10)
    log.lease(log.report(asks=True), 9)
    log.lease(log.report(asks=True), 3, keep=0, partition=1)
    log.report(partition=1)
    assert finished(log) == []
    log.lease(log.report(partition=1), 4, keep=4, partition=1)
    assert details(log, Check.STOCK) == []  # it has returned all of the first lease
    log.lease(log.report(partition=1), 12, keep=12, partition=1)
    assert details(log, Check.STOCK) == ["units:c: 18 leased with this to partition 1, expected at most 10"]


def test_the_owner_keeps_the_first_lease_of_a_purse_that_is_opened_later_and_no_more() -> None:
    log = Handmade(partitions=2, budget_minor=1100)
    log.lease(log.report(MONEY, 1, asks=True), 900, MONEY, 1)
    log.lease(log.report(MONEY, 1), 275, MONEY, 0, keep=0)
    assert finished(log) == []
    log.lease(log.report(MONEY, 1), 276, MONEY, 0, keep=0)
    assert details(log, Check.BUDGET) == ["money:c: 1176 leased with this to partition 0, expected at most 1100"]


def test_a_lease_that_follows_from_a_report_behind_the_end_is_open() -> None:
    log = leased(stock=3)
    log.save_cells()
    marks = log.marks()
    home = topics.partition_for(UNITS.encode(), 2)
    marks.ends[REPORTS, home] = 1  # type: ignore[index]
    findings = log.audit(marks)
    assert findings.tallies[Check.STOCK].open == 1


def test_a_lease_follows_from_a_report() -> None:
    for headers in ((), ((ORIGIN_HEADER, b"lease-reports:1:0:0"),), ((ORIGIN_HEADER, b"browse-events:0:0:0"),)):
        log = Handmade(stock=5)
        log.lease(log.report(asks=True), 5)
        log.change(LEASES, headers=headers)
        log.committed = {}
        log.save_cells()
        assert log.audit().violations == []
        assert log.audit().tallies[Check.LEASES].open == 1
        log.committed = None
        detail = "it follows from no report on units:c, expected an origin in lease-reports:0"
        assert finished(log) == [("leases", "coupon-leases:0:0", detail)]


@pytest.mark.parametrize("about", [{"granted": 4}, {"version": 0}, {"version": 1, "keep": 3}])
def test_a_later_lease_says_no_less(about: dict[str, int]) -> None:
    log = Handmade(stock=5)
    log.lease(log.report(asks=True), 5)
    log.lease(log.report(), **({"granted": 5} | about))  # type: ignore[arg-type]
    [detail] = details(log, Check.LEASES)
    assert detail.startswith("units:c: version")
    assert detail.endswith("comes after version 1, granted 5, keep None, expected no less")


def test_a_copy_of_an_older_lease_is_no_violation() -> None:
    log = Handmade(stock=5)
    log.lease(log.report(asks=True), 4)
    log.lease(log.report(asks=True), 5)
    log.put(next(iter(log.read((LEASES,)))))
    assert finished(log) == []


@pytest.mark.parametrize("about", [{"granted": 6}, {"version": 9}])
def test_a_lease_that_follows_from_an_older_report_says_no_more(about: dict[str, int]) -> None:
    log = Handmade(stock=50)
    report = log.report(asks=True)
    log.lease(report, 4)
    log.lease(log.report(asks=True), 5)
    log.lease(report, **({"granted": 5, "version": 2} | about))  # type: ignore[arg-type]
    log.purse(UNITS).version = 9
    detail = "units:c: it says more than a lease that follows from a later report, expected no more"
    assert details(log, Check.LEASES)[0] == detail


# ---------------------------------------------------------------- what is drawn of it


def test_no_more_is_drawn_than_was_granted() -> None:
    log = Handmade(stock=2).give("1", "2")
    log.purse(UNITS).granted = 1
    log.report()
    fault = "units:c in partition 0 says 2 drawn, expected at most the 1 granted"
    log.purse(UNITS).granted = 2
    assert finished(log) == [("leases", "lease-reports:0:0", fault)]


def test_a_purse_draws_no_more_than_was_granted() -> None:
    log = Handmade(stock=2).give("1", "2")
    log.purse(UNITS).granted = 1
    fault = "units:c in partition 0 says 2 drawn, expected at most the 1 granted"
    assert finished(log) == [("leases", f"{USERS}:0:2", fault)]


def test_what_was_returned_is_not_drawn() -> None:
    log = Handmade(stock=3).give("1", "2")
    log.purse(UNITS).returned = 2
    assert details(log, Check.LEASES) == ["units:c in partition 0 says 2 drawn, expected at most the 1 granted"]


def test_without_a_limit_anything_is_drawn() -> None:
    assert finished(Handmade().give("1", "2", "3")) == []


def test_what_was_drawn_without_a_limit_stays_drawn_when_one_comes() -> None:
    log = Handmade().give("1", "2", "3")
    pushed(log, AT_MS + HOUR_MS, stock=1, budget_minor=100)
    log.report(at_ms=AT_MS + HOUR_MS)
    assert finished(log) == []
    log.take_out("coupon-catalog")
    assert red(log) == set()
    assert log.audit().tallies[Check.LEASES].not_checked == 3
    log.spoil(UNITS, drawn=1)
    assert "leases" in {title for title, _, _ in finished(log)}


def test_a_partition_has_what_its_leases_grant_or_its_first_lease() -> None:
    log = Handmade(partitions=2, stock=10)
    assert (log.purse(UNITS, 0).granted, log.purse(UNITS, 1).granted) == (2, 3)
    log.report()
    log.report(partition=1)
    assert finished(log) == []
    log.purse(UNITS).granted = 3
    log.report()
    fault = "units:c in partition 0 says granted 3, expected at most 2 by its leases"
    assert [detail for _, _, detail in finished(log)] == [fault, fault]
    log.lease(log.report(), 3)
    assert details(log, Check.LEASES) == []


def test_the_first_lease_of_money_does_not_depend_on_what_a_coupon_costs() -> None:
    log = Handmade(partitions=2, budget_minor=1000)
    assert (log.purse(MONEY, 0).granted, log.purse(MONEY, 1).granted) == (250, 250)
    log.report(MONEY)
    log.report(MONEY, 1)
    assert finished(log) == []
    log.purse(MONEY).granted = 251
    assert details(log, Check.LEASES) == ["money:c in partition 0 says granted 251, expected at most 250 by its leases"]


@pytest.mark.parametrize("total", purses.PurseTotals.__struct_fields__)
def test_totals_only_grow(total: str) -> None:
    log = Handmade()
    for said in (5, 4):
        log.report(UNITS, 0, AT_MS, **{total: said})
    log.purse(UNITS)
    log.spoil(UNITS, **{total: 3})
    assert details(log, Check.LEASES) == [
        f"units:c in partition 0 says {total} 4, expected at least 5",
        f"units:c in partition 0 says {total} 3, expected at least 5",
    ]


def test_what_was_reported_has_a_purse() -> None:
    log = Handmade(stock=5)
    log.report()
    log.purses.clear()
    fault = "units:c in partition 0 says granted 0, expected at least 5"
    assert finished(log) == [("leases", "lease-reports:0:0", fault)]


def test_a_copy_of_an_older_report_is_no_violation() -> None:
    log = Handmade(stock=5)
    first = log.report()
    log.give("1")
    log.report()
    log.put(first)
    assert finished(log) == []


def test_reports_of_several_sources_come_in_any_order() -> None:
    """A batch decides after it has taken in leases, but sends in the order of its inputs."""
    log = Handmade(stock=5).give("1")
    log.report()
    log.report(drawn=0)
    log.change(REPORTS, 1, headers=((ORIGIN_HEADER, b"coupon-leases:0:0:0"),))
    assert finished(log) == []


@pytest.mark.parametrize("headers", [(), ((ORIGIN_HEADER, b"ticks:1:0:0"),)])
def test_a_report_follows_from_a_record_of_its_partition(headers: Any) -> None:
    log = Handmade()
    log.report()
    log.change(REPORTS, headers=headers)
    detail = "it follows from no record of partition 0, expected an origin there"
    assert finished(log) == [("leases", "lease-reports:0:0", detail)]


def test_what_is_refused_for_its_place_says_nothing() -> None:
    log = Handmade(partitions=2, stock=10)
    log.committed = {}
    log.report(partition=1)
    report = log.report(returned=9)
    lease = log.lease(report, 50)
    for one in (report, lease):
        log.take_out(one.topic, -1)
        log.put(one._replace(partition=1 - one.partition))
    log.put(report._replace(key=b"another"))
    log.report(partition=1)
    log.save_cells()
    assert log.audit().violations == []


# ---------------------------------------------------------------- what retention has dropped


def test_what_was_returned_in_reports_that_are_dropped_may_have_been_leased_again() -> None:
    log = Handmade(partitions=2, stock=8)
    log.lease(log.report(asks=True), 6)
    log.lease(log.report(), 6, keep=0)
    log.report()
    log.lease(log.report(partition=1, asks=True), 6, partition=1)
    log.drop_beginning(REPORTS, 3)
    assert finished(log) == []
    assert log.audit().tallies[Check.STOCK] == CheckCounts(not_checked=2)
    log.report()
    log.lease(log.report(partition=1, asks=True), 9, partition=1)
    assert details(log, Check.STOCK) == ["units:c: 9 leased with this to partition 1, expected at most 8"]


def test_what_leases_that_are_dropped_granted_is_not_missed() -> None:
    log = Handmade(partitions=2, stock=10)
    log.lease(log.report(asks=True), 6)
    log.lease(log.report(), 6, keep=6)
    log.give("1")
    log.report()
    assert finished(log) == []
    log.drop_beginning(LEASES, 2)
    assert found(log) == []


# ---------------------------------------------------------------- caps


@pytest.mark.parametrize("cap", [0, 1, 2, None])
def test_a_shopper_has_a_coupon_at_most_as_often_as_its_cap_says(cap: int | None) -> None:
    log = Handmade(caps=for_life(cap)).give("1", "2", user_id="u")
    log.give("3", user_id="another") if cap != 0 else None
    detail = {
        0: "coupon c 1 times to u with 1, expected at most 0 for life",
        1: "coupon c 2 times to u with 2, expected at most 1 for life",
    }
    expected = [] if cap not in detail else [("caps", f"coupon-issues:0:{cap}", detail[cap])]
    assert finished(log) == expected


def shop_in(zone: str, since_ms: float = 0.0) -> PromisedRules:
    return PromisedRules(rules(shop=ShopRules(time_zone=zone)), since_ms, math.inf)


def test_the_caps_of_a_coupon_and_of_its_campaign_are_by_the_calendar_of_the_shop() -> None:
    monday = dt.datetime(2026, 3, 2, tzinfo=dt.UTC).timestamp()
    log = Handmade(caps=[Cap(per="day", n=1)], campaign={"caps": [Cap(per="week", n=1)]})
    for n, at in enumerate((monday - 1.0, monday, monday + 1.0)):
        log.look(str(n), "u")
        log.draw(str(n))
        log.issue(str(n), issued_at=at, campaign_id="spring", held_minor=HOLD)
    log.save_cells()
    for zone, later in (("UTC", 2), ("Asia/Tokyo", 1)):  # where it is Monday all the time
        found = [one.detail for one in log.audit(promised=shop_in(zone)).violations if one.check is Check.CAPS]
        assert found == [
            f"coupon c 2 times to u with {later}, expected at most 1 a day",
            f"coupons of campaign spring 2 times to u with {later}, expected at most 1 a week",
        ]
    unknown = log.audit(promised=shop_in("UTC", math.inf))
    assert unknown.tallies[Check.CAPS] == CheckCounts(not_checked=3), "the zone of the shop is not known"


# ---------------------------------------------------------------- a catalogue that changes


def pushed(log: Handmade, at_ms: int, **limits: Any) -> None:
    log.append(topics.CATALOG, Coupon(coupon_id="c", max_discount_minor=100, **limits), at_ms=at_ms)


NARROW: dict[str, Any] = {"stock": 1, "budget_minor": 100, "caps": for_life(1)}


def test_the_widest_of_all_known_terms_is_what_counts() -> None:
    log = Handmade(**NARROW).give("1", "2", user_id="u")
    assert {title for title, _, _ in finished(log)} == {"stock", "budget", "caps", "leases"}
    log.spoil(UNITS, granted=1)
    log.spoil(MONEY, granted=100)
    pushed(log, AT_MS, stock=2, budget_minor=200, caps=for_life(2))
    pushed(log, AT_MS, **NARROW)
    assert finished(log) == []


def test_what_was_given_before_the_oldest_known_terms_cannot_be_judged() -> None:
    log = Handmade(at_ms=AT_MS + HOUR_MS, **NARROW).give("1", "2", user_id="u")
    assert finished(log) == []
    findings = log.audit()
    not_checked = [
        findings.tallies[check].not_checked for check in (Check.STOCK, Check.BUDGET, Check.CAPS, Check.LEASES)
    ]
    assert not_checked == [2, 3, 2, 2]


def narrowed(log: Handmade, at_ms: int = AT_MS + HOUR_MS, **limits: Any) -> None:
    """Other limits, and compaction has dropped those of before."""
    pushed(log, at_ms, **limits)
    log.take_out("coupon-catalog")


def test_what_was_leased_before_the_oldest_known_terms_cannot_be_judged() -> None:
    log = Handmade(partitions=2, stock=100)
    log.lease(log.report(asks=True), 60)
    narrowed(log, stock=10)
    assert finished(log) == []
    assert log.audit().tallies[Check.STOCK] == CheckCounts(not_checked=1)
    log.lease(log.report(asks=True, at_ms=AT_MS + 2 * HOUR_MS), 61, at_ms=AT_MS + 2 * HOUR_MS)
    assert details(log, Check.STOCK) == ["units:c: 61 leased with this to partition 0, expected at most 10"]


def test_a_purse_that_was_opened_before_the_oldest_known_terms_cannot_be_judged() -> None:
    log = Handmade(partitions=2, stock=100)
    log.give("1")
    assert log.purse(UNITS, log.home("1")).granted == 25
    narrowed(log, stock=10)
    log.report(partition=log.home("1"), at_ms=AT_MS + 2 * HOUR_MS)
    assert finished(log) == []


def test_what_was_drawn_before_the_oldest_known_terms_is_no_measure_of_what_is_drawn_since() -> None:
    log = Handmade().give("1", "2")
    log.report()
    log.give("3")
    narrowed(log, stock=1)
    assert finished(log) == []


def test_what_was_leased_before_a_stock_was_lowered_may_be_given_until_it_is_called_back() -> None:
    log = Handmade(stock=5)
    log.lease(log.report(asks=True), 6, version=1)
    log.purse(UNITS).granted = 5
    narrowed(log, stock=1)
    for one in ("1", "2"):
        log.look(one)
        log.draw(one)
        log.issue(one, AT_MS + 2 * HOUR_MS)
    assert finished(log) == []
    assert log.audit().tallies[Check.STOCK].not_checked == 2
    log.take_out(LEASES)
    assert red(log) == {"stock"}


def test_what_was_sent_again_after_a_crash_is_judged_by_when_it_began() -> None:
    log = Handmade(caps=for_life(2)).give("1", "2", user_id="u")
    narrowed(log, caps=for_life(1))
    for index in (0, 1):
        log.change(ISSUES, index, timestamp_ms=AT_MS + 2 * HOUR_MS)
    assert [title for title, _, _ in finished(log)] == ["caps"]
    for index in (0, 1):
        log.change(ISSUES, index, headers=((BEGAN_HEADER, b"%d" % AT_MS),))
    assert found(log) == []


def test_a_coupon_that_was_never_in_the_catalogue_is_a_violation() -> None:
    log = Handmade().give("1")
    log.change("coupon-catalog", key=b"another", value=b'{"coupon_id":"another","max_discount_minor":1}')
    detail = "coupon c of issue 1 was never in the catalogue"
    assert finished(log) == [("stock", "coupon-issues:0:0", detail)]


def test_a_coupon_that_compaction_may_have_removed_is_none() -> None:
    log = Handmade().give("1")
    pushed(log, AT_MS)
    log.take_out("coupon-catalog", 1)
    log.change("coupon-catalog", value=None)
    assert finished(log) == []
    assert log.audit().tallies[Check.CAPS] == CheckCounts(not_checked=1)


@pytest.mark.parametrize("value", [b"nonsense", b'{"coupon_id":"c"}', b'{"coupon_id":"d","max_discount_minor":1}'])
def test_what_workers_ignore_in_the_catalogue_limits_nothing(value: bytes) -> None:
    log = Handmade().give("1", "2")
    pushed(log, AT_MS, stock=1)
    log.change("coupon-catalog", 1, value=value)
    assert finished(log) == []


# ---------------------------------------------------------------- quantile holds, campaigns, and what is overspent

QUANTILE: dict[str, Any] = {"budget_minor": 200, "budget_hold": "quantile", "max_overspend_ratio": 1.5}


def test_a_redemption_may_take_more_than_was_held_where_holds_are_quantiles() -> None:
    log = Handmade(**QUANTILE).give("1", "2", "3", "4", held=50)
    log.report(MONEY)
    log.buy("1", 60)
    log.report(MONEY)
    assert log.purse(MONEY).available == -10
    assert finished(log) == []
    assert log.audit().overspent == []
    log = Handmade(budget_minor=200).give("1", "2")
    log.spoil(MONEY, drawn=10, spent=10)
    log.say("1", discount_minor=10)
    assert "money:c in partition 0 says 210 drawn, expected at most the 200 granted" in details(log, Check.LEASES)


def test_no_more_is_drawn_than_was_granted_but_by_redemptions() -> None:
    log = Handmade(**QUANTILE).give("1", "2", "3", "4", held=50)
    log.buy("1", 60)
    log.report(MONEY)
    log.report(MONEY, drawn=271)
    fault = "money:c in partition 0 says 221 drawn, expected at most the 200 granted"
    assert details(log, Check.LEASES)[0] == f"{fault} and what redemptions took since the last report"


def test_what_a_coupon_takes_in_another_order_may_be_more_than_is_available() -> None:
    log = Handmade(budget_minor=200).give("1", "2")
    log.buy("1")
    log.buy("2")
    log.say("1", event_id="e2", order_id="o2", discount_minor=100)
    log.book("1", 200)
    log.report(MONEY)
    assert log.purse(MONEY).available == -100
    assert details(log, Check.LEASES) == []
    assert "money:c: 300 spent, expected at most 200" in details(log, Check.BUDGET)
    log.spoil(MONEY, drawn=1)
    assert len(details(log, Check.LEASES)) == 1


def test_a_hold_beyond_the_leases_is_found_though_feedback_was_dropped() -> None:
    log = Handmade(**QUANTILE).give("1", "2", "3", "4", held=50)
    log.say("1", "click")
    log.say("2", "click")
    log.report(MONEY, drawn=210)
    log.purse(MONEY).drawn = 210
    log.drop_beginning(FEEDBACK, 1)
    assert len(details(log, Check.LEASES)) == 1


@pytest.mark.parametrize(("spent", "is_over"), [(200, False), (310, False), (311, True)])
def test_a_budget_is_overspent_up_to_its_bound(spent: int, is_over: bool) -> None:
    log = Handmade(**QUANTILE | {"max_overspend_ratio": 0.55})
    parts = [100, 100, 100, spent - 300][: 2 + 2 * (spent > 200)]
    log.give(*map(str, range(len(parts))), held=50)
    for one, part in enumerate(parts):
        log.buy(str(one), part)
    beyond = spent - 200
    expected = [f"money:c by {beyond} of 200 ({beyond / 200:.1%})"] if beyond else []
    found_ = details(log, Check.BUDGET)
    assert [str(one) for one in log.audit().overspent] == expected
    assert (f"money:c: {spent} spent, expected at most 310" in found_) == is_over


def test_more_coupons_are_open_than_the_worst_case_of_a_budget_allows() -> None:
    log = Handmade(**QUANTILE).give("1", "2", "3", "4", "5", held=40)
    assert finished(log) == []
    log.give("6", held=0)
    detail = "money:c: 600 spent or still to be taken by open coupons, expected at most 500"
    assert details(log, Check.BUDGET) == [detail]


def test_a_budget_of_the_most_is_never_overspent() -> None:
    log = Handmade(budget_minor=100).give("1", "2")
    log.buy("1", 60)
    log.buy("2", 41)
    assert "money:c: 101 spent, expected at most 100" in details(log, Check.BUDGET)


def test_the_coupons_of_a_campaign_have_its_budget_together() -> None:
    log = Handmade(campaign={"budget_minor": 300, "budget_hold": "maximum"}).give("1", "2", "3")
    assert finished(log) == []
    log.purse(SPRING).granted = 400
    log.give("4")
    assert set(details(log, Check.BUDGET)) == {"campaign:spring: 400 held or spent, expected at most 300"}
    assert details(log, Check.LEASES) == [
        "campaign:spring in partition 0 says granted 400, expected at most 300 by its leases"
    ]


def test_more_leased_than_the_budget_of_a_campaign_is_too_much() -> None:
    log = Handmade(partitions=2, campaign={"budget_minor": 900})
    for partition in (0, 1):
        log.lease(log.report(SPRING, partition, asks=True), 500, SPRING, partition)
    assert details(log, Check.BUDGET) == ["campaign:spring: 1000 leased with this to partition 1, expected at most 900"]


def test_the_first_lease_of_a_campaign_does_not_depend_on_what_its_coupons_cost() -> None:
    log = Handmade(partitions=2, campaign={"budget_minor": 1000})
    assert (log.purse(SPRING, 0).granted, log.purse(SPRING, 1).granted) == (250, 250)
    for partition in (0, 1):
        log.report(SPRING, partition)
    assert finished(log) == []
    log.purse(SPRING, 1).granted = 251
    fault = "campaign:spring in partition 1 says granted 251, expected at most 250 by its leases"
    assert details(log, Check.LEASES) == [fault]


def test_a_campaign_that_was_never_there_pays_for_nothing() -> None:
    log = Handmade(campaign={"budget_minor": 1000}).give("1")
    log.change("coupon-campaigns", value=b"nonsense")
    detail = "campaign spring of issue 1 was never in coupon-campaigns"
    assert finished(log) == [("budget", "coupon-issues:0:0", detail)]
    log.change("coupon-campaigns", offset=1)
    log.ends["coupon-campaigns", 0] = 2
    assert found(log) == []


def test_what_was_given_before_the_oldest_known_terms_of_a_campaign_cannot_be_judged() -> None:
    log = Handmade(campaign={"budget_minor": 200, "budget_hold": "maximum"}).give("1", "2", held=40)
    log.change("coupon-campaigns", timestamp_ms=AT_MS + HOUR_MS)
    assert finished(log) == []
    log.change("coupon-campaigns", timestamp_ms=AT_MS)
    about = "of coupon c holds 40, expected the 100 that it can cost: campaign:spring holds the maximum"
    assert details(log, Check.BUDGET) == [f"issue {one} {about}" for one in ("1", "2")]


def test_a_lease_may_carry_another_price_and_grant_nothing() -> None:
    log = Handmade(partitions=2, campaign={"budget_minor": 1000})
    log.lease(log.report(SPRING, asks=True), 600, SPRING)
    for price in (0.5, 0.7):
        for partition in (0, 1):
            log.lease(
                log.report(SPRING), log.purse(SPRING, partition).granted, SPRING, partition, price=price, risk=0.1
            )
    assert finished(log) == []


@pytest.mark.parametrize("about", [{"price": 0.7}, {"risk": 0.2}])
def test_a_price_and_a_risk_belong_to_their_version(about: dict[str, float]) -> None:
    log = Handmade(campaign={"budget_minor": 1000})
    said: dict[str, Any] = {"granted": 1000, "account_id": SPRING, "price": 0.5, "risk": 0.1}
    log.lease(log.report(SPRING), **said)
    log.lease(log.report(SPRING), **(said | {"version": 1} | about))
    [detail] = details(log, Check.LEASES)
    assert detail.startswith("campaign:spring: version 1, granted 1000, keep None, price 0.")
    assert detail.endswith("comes after version 1, granted 1000, keep None, price 0.5, risk 0.1, expected no less")
