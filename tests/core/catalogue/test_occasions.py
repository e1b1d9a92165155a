"""Weekdays, hours and channels: on the shopper's clock, of a coupon and its campaign, whatever the clock does."""

import datetime as dt
from importlib.resources import files
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_coupons.core.catalogue.catalogue import Catalogue, eligible, objection
from stream_coupons.core.decision.pipeline import pass_time
from stream_coupons.core.messages.catalogue import Weekday
from stream_coupons.core.reasons import Ineligible
from stream_coupons.core.rules import ProfileRules, ShopRules
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.testing import campaign, coupon
from tests.core.builders import DAY_S, browse, knowledge, rules, see, wallet

DAYS = get_args(Weekday)
ZONES = ["UTC", "Europe/Berlin", "Pacific/Kiritimati", "Etc/GMT+12", "Asia/Kathmandu", "Australia/Lord_Howe"]

ALWAYS: dict[str, Any] = {"weekdays": [], "from_hour": 0.0, "until_hour": 0.0}


def epoch(*of: int) -> float:
    return dt.datetime(*of, tzinfo=dt.UTC).timestamp()  # type: ignore[arg-type, misc]


def clock(at: float, zone: str) -> tuple[str, float]:
    with files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as file:
        there = dt.datetime.fromtimestamp(at, ZoneInfo.from_file(file))
    return DAYS[there.weekday()], there.hour + there.minute / 60 + there.second / 3600


def is_within(terms: dict[str, Any], day: str, hour: float) -> bool:
    start, end = terms["from_hour"], terms["until_hour"]
    inside = start <= hour < end if start < end else hour >= start or hour < end
    return inside and day in (terms["weekdays"] or DAYS)


TERMS = st.fixed_dictionaries(
    {
        "weekdays": st.lists(st.sampled_from(DAYS), max_size=3),
        "from_hour": st.sampled_from([0.0, 1.5, 2.0, 9.0, 22.0]),
        "until_hour": st.sampled_from([0.0, 2.0, 3.0, 9.0, 17.25, 24.0]),
    }
)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(
    st.integers(int(epoch(2026, 1, 1)) // 60, int(epoch(2032, 1, 1)) // 60).map(lambda minutes: minutes * 60.0),
    st.sampled_from(ZONES),
    st.booleans(),
    TERMS,
    TERMS,
)
@example(epoch(2026, 3, 29, 1), "Europe/Berlin", True, {"weekdays": [], "from_hour": 2.0, "until_hour": 3.0}, ALWAYS)
@example(
    epoch(2026, 10, 25, 1), "Europe/Berlin", True, {"weekdays": ["sun"], "from_hour": 2.0, "until_hour": 3.0}, ALWAYS
)
@example(
    epoch(2028, 2, 29, 10),
    "Pacific/Kiritimati",
    True,
    {"weekdays": ["wed"], "from_hour": 0.0, "until_hour": 2.0},
    ALWAYS,
)
def test_a_coupon_may_be_issued_within_its_hours_and_those_of_its_campaign(
    at: float, zone: str, is_shops: bool, own: dict[str, Any], shared: dict[str, Any]
) -> None:
    members = [coupon("alone", **own), coupon("member", campaign_id="k", **own)]
    coupons = Catalogue(members, campaigns=[campaign("k", **shared)]).domains["ecommerce"]
    here = rules(shop=ShopRules(time_zone=zone if is_shops else "UTC"))
    context = {} if is_shops else {"time_zone": zone}
    there = clock(at, zone)
    allowed = [is_within(own, *there), is_within(own, *there) and is_within(shared, *there)]
    assert eligible(Shopper(), coupons, at, here, context=context).tolist() == [n for n in (0, 1) if allowed[n]]
    for position in (0, 1):
        why = objection(Shopper(), coupons, position, at, here, context=context)
        assert why is (None if allowed[position] else Ineligible.NOT_AT_THIS_HOUR)


def test_a_gap_has_no_time_for_its_coupon_and_an_overlap_has_it_twice() -> None:
    coupons = Catalogue([coupon("a", from_hour=2.0, until_hour=3.0)]).domains["ecommerce"]
    here = rules(shop=ShopRules(time_zone="Europe/Berlin"))
    quarters = {day: [epoch(2026, *day) + n * 900.0 for n in range(-8, 96)] for day in ((3, 29), (10, 25), (7, 5))}
    issuable = {
        day: sum(len(eligible(Shopper(), coupons, at, here)) for at in times) for day, times in quarters.items()
    }
    assert issuable == {(3, 29): 0, (10, 25): 8, (7, 5): 4}


def test_an_hour_that_was_over_before_the_decision_is_over() -> None:
    coupons = Catalogue([coupon("a", from_hour=9.0, until_hour=10.0)]).domains["ecommerce"]
    at = epoch(2026, 3, 2, 9, 59)
    found = [eligible(Shopper(), coupons, at, rules(), at + late).tolist() for late in (59.0, 60.0)]
    assert found == [[0], []]


@pytest.mark.parametrize(
    ("context", "found"),
    [({}, ["any"]), ({"channel": "web"}, ["any", "web"]), ({"channel": "app"}, ["any", "both", "web"])],
)
def test_a_coupon_with_channels_needs_one_of_them_in_the_context(context: dict[str, Any], found: list[str]) -> None:
    members = [coupon("any"), coupon("both", channels=["app", "mail"]), coupon("web", channels=["web", "app"])]
    coupons = Catalogue(members).domains["ecommerce"]
    positions = eligible(Shopper(), coupons, 0.0, rules(), context=context).tolist()
    assert {coupons.coupons[position].coupon_id for position in positions} == set(found)


@pytest.mark.parametrize("channel", [None, 3.0, True, "till"])
def test_an_unknown_channel_has_only_coupons_for_any(channel: Any) -> None:
    coupons = Catalogue([coupon("any"), coupon("web", channels=["web"])]).domains["ecommerce"]
    assert eligible(Shopper(), coupons, 0.0, rules(), context={"channel": channel}).tolist() == [0]
    why = objection(Shopper(), coupons, 1, 0.0, rules(), context={"channel": channel})
    assert why is Ineligible.OTHER_CHANNEL


def test_a_trigger_is_decided_by_its_own_context_or_the_one_imputed() -> None:
    profile = ProfileRules(missing_context=frozenset({"channel=last"}))
    known = knowledge(coupon("c", channels=["app"], from_hour=9, until_hour=10), rules=rules(profile=profile))
    nine_in_tokyo = epoch(2026, 3, 2, 0, 30)
    there, shopper, purses = {"channel": "app", "time_zone": "Asia/Tokyo"}, Shopper(), wallet()
    contexts: list[dict[str, Any]] = [{"time_zone": "Asia/Tokyo"}, {"channel": "app"}, there]
    found = [
        see(shopper, browse(f"t{n}", nine_in_tokyo + n, context=one), known, purses) for n, one in enumerate(contexts)
    ]
    assert [("decision", "given") in one.facts for one in found] == [False, False, True]
    later = {"time_zone": "Asia/Tokyo"}
    pass_time("u", shopper, nine_in_tokyo + 30 * DAY_S, known)
    assert ("decision", "given") in see(
        shopper, browse("t9", nine_in_tokyo + 30 * DAY_S, context=later), known, purses
    ).facts


def test_a_set_without_such_terms_is_not_asked() -> None:
    assert Catalogue([coupon("a"), coupon("b")]).domains["ecommerce"].occasions is None
    assert Catalogue([coupon("a"), coupon("b", weekdays=["mon"])]).domains["ecommerce"].occasions is not None
