"""Caps by day, week, month and for life: of a coupon, a campaign and the shop, across domains and late events."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.caps import Cap, CapPeriod
from stream_coupons.core.catalogue.catalogue import objection
from stream_coupons.core.decision.observation import observe
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.local_time import local_time
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.reasons import Ineligible, NoCoupon
from stream_coupons.core.rules import ShopRules
from stream_coupons.core.shopper.issue_counts import IssueCounts
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.testing import campaign
from tests.core.builders import AT, DAY_S, HOUR_S, browse, counts_of, knowledge, observed, of_type, rules, see, wallet
from tests.core.builders import repeatable as coupon

ZONE = "Asia/Kolkata"
IN_INDIA = ShopRules(time_zone=ZONE)
SPRING = [Cap(per="day", n=2), Cap(per="month", n=5)]
SHOP = [Cap(per="day", n=3), Cap(per="week", n=6)]


def known_with(**policy: Any) -> Knowledge:
    """Six coupons of two domains, most of them capped, and two campaigns."""
    return knowledge(
        coupon("a", caps=[Cap(per="day", n=1), Cap(per="life", n=9)]),
        coupon("b", caps=[Cap(per="week", n=2)], campaign_id="spring"),
        coupon("c", campaign_id="spring"),
        coupon("d", domain="travel", campaign_id="spring", caps=[Cap(per="month", n=2)]),
        coupon("e", domain="travel", campaign_id="summer"),
        coupon("f", domain="travel"),
        rules=rules(
            exploration_ratio=1.0, max_issues_per_window=1000, caps=SHOP, shop=IN_INDIA, cooldown_s=0.0, **policy
        ),
        campaigns=[campaign("spring", caps=SPRING), campaign("summer", caps=[Cap(per="life", n=4)])],
    )


def play(known: Knowledge, events: Sequence[tuple[float, str]]) -> tuple[Shopper, list[Any]]:
    shopper, messages, purses = Shopper(), [], wallet()
    for number, (at, domain) in enumerate(events):
        shopper.considered_at = None  # late events are decided, too
        messages += see(shopper, browse(f"t{number}", at, domain=domain), known, purses).messages
    return shopper, messages


def period(per: CapPeriod, at: float) -> object:
    on = dt.datetime.fromtimestamp(at, ZoneInfo(ZONE)).date()
    return {"day": on, "week": on.isocalendar()[:2], "month": (on.year, on.month), "life": None}[per]


def beyond(caps: Sequence[Cap], times: Sequence[float]) -> list[Cap]:
    """The caps that do not hold for these times."""
    return [cap for cap in caps if any(n > cap.n for n in Counter(period(cap.per, at) for at in times).values())]


EVENTS = st.lists(
    st.tuples(st.floats(AT, AT + 70 * DAY_S), st.sampled_from(["ecommerce", "travel"])), min_size=1, max_size=80
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(EVENTS, st.booleans())
def test_caps_hold_at_every_prefix_whatever_comes_late(events: list[tuple[float, str]], is_sorted: bool) -> None:
    known = known_with()
    _, messages = play(known, sorted(events) if is_sorted else events)
    issues = of_type(messages, CouponIssue)
    assert issues
    for terms in known.catalogue.by_id.values():
        assert not beyond(terms.caps, [one.issued_at for one in issues if one.coupon_id == terms.coupon_id])
    for each in known.catalogue.campaigns.values():
        assert not beyond(each.caps, [one.issued_at for one in issues if one.campaign_id == each.campaign_id])
    assert not beyond(SHOP, [one.issued_at for one in issues])


@settings(max_examples=30, derandomize=True, deadline=None)
@given(EVENTS)
def test_the_holdout_is_withheld_what_others_are_given(events: list[tuple[float, str]]) -> None:
    (other, messages), (held, nothing) = (play(known_with(holdout_ratio=ratio), events) for ratio in (0.0, 1.0))
    assert of_type(messages, CouponIssue)
    assert of_type(nothing, CouponIssue) == []
    assert held.history.withheld == other.history.given
    assert held.history.given == other.history.withheld == IssueCounts()


@pytest.mark.parametrize(
    ("per", "last", "first"),
    [
        ("day", (2026, 3, 1, 18, 29), (2026, 3, 1, 18, 30)),  # midnight in India
        ("week", (2026, 3, 1, 18, 29), (2026, 3, 1, 18, 30)),  # from Sunday to Monday
        ("month", (2028, 2, 29, 18, 29), (2028, 2, 29, 18, 30)),
        ("month", (2026, 12, 31, 18, 29), (2026, 12, 31, 18, 30)),
    ],
)
def test_a_period_begins_at_midnight_in_the_zone_of_the_shop(
    per: CapPeriod, last: tuple[int, ...], first: tuple[int, ...]
) -> None:
    known = knowledge(coupon("a", caps=[Cap(per=per, n=1)]), rules=rules(shop=IN_INDIA))
    until, since = (dt.datetime(*of, tzinfo=dt.UTC).timestamp() for of in (last, first))  # type: ignore[arg-type, misc]
    _, messages = play(known, [(until - HOUR_S, "ecommerce"), (until, "ecommerce"), (since, "ecommerce")])
    assert [one.issued_at for one in of_type(messages, CouponIssue)] == [until - HOUR_S, since]


def test_what_another_system_gave_does_not_count() -> None:
    known, shopper = knowledge(coupon("a", caps=[Cap(per="life", n=1)])), Shopper()
    observe("u", shopper, observed("o1", "a", AT - 5), known)
    [issue] = of_type(see(shopper, browse("t1"), known, wallet()).messages, CouponIssue)
    assert issue.coupon_id == "a"


def test_the_caps_of_the_shop_are_named_as_the_frequency_cap() -> None:
    known, shopper, purses = knowledge(coupon("a"), rules=rules(caps=[Cap(per="day", n=1)])), Shopper(), wallet()
    found = [see(shopper, browse(f"t{n}", AT + n), known, purses).facts for n in range(2)]
    assert [("decision", "given") in facts for facts in found] == [True, False]
    assert ("decision", NoCoupon.FREQUENCY_CAP) in found[1]


def test_an_objection_tells_the_cap_of_the_coupon_from_that_of_its_campaign() -> None:
    known = known_with()
    coupons, shopper = known.catalogue.domains["ecommerce"], Shopper()
    shopper.history.given = counts_of({"a": 9}, {"spring": 9})
    assert objection(shopper, coupons, coupons.position["a"], AT, known.rules) is Ineligible.SHOPPER_CAP
    assert objection(shopper, coupons, coupons.position["c"], AT, known.rules) is None, "that one has no cap for life"
    for _ in range(2):
        shopper.history.given.note("c", "spring", local_time(AT, ZONE))
    assert objection(shopper, coupons, coupons.position["c"], AT, known.rules) is Ineligible.CAMPAIGN_CAP
    assert objection(shopper, coupons, coupons.position["c"], AT + DAY_S, known.rules) is None


def test_the_state_keeps_no_period_that_is_over() -> None:
    known = knowledge(*(coupon(f"c{n}", caps=[Cap(per="day", n=1)]) for n in range(3)), rules=rules(cooldown_s=0.0))
    sizes = []
    for days in (40, 400):
        shopper, _ = play(known, [(AT + n * DAY_S, "ecommerce") for n in range(days)])
        sizes.append(len(msgspec.msgpack.encode(shopper.history.given)))
        assert shopper.history.given.periods.keys() == {"day", "week", "month", "life"}
    assert sizes[1] - sizes[0] < 10
