"""Mistakes that marketers make: each error names line, campaign, coupon and field, and states a remedy."""

import json
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.ops.catalogue_files import COUPONS, EntryFault, ParsedFile, read_entries

NOW = 1_793_000_000.0
HEAD = """\
campaigns:
  - campaign_id: winter
    starts_at: 2026-11-27
    ends_at: 2026-12-24
    budget_minor: 500000
"""
COUPON = (
    HEAD
    + """\
coupons:
  - coupon_id: tea
    campaign_id: winter
"""
)
PERCENT = "    discount_percent: 20\n    max_discount_minor: 500\n"
ISO = "use 2026-01-02T18:00 or epoch seconds"
CENTS = "write money in minor units as a whole number: 500 for 5.00"


class Mistake(NamedTuple):
    """Lines added to a good entry, the field of the error, and what its text must say."""

    text: str
    field: str
    why: str
    remedy: str


OF_COUPONS = [
    # times
    Mistake("valid_until: 27.11.2026", "valid_until", "'27.11.2026' is not a time", ISO),
    Mistake("valid_until: 11/27/2026", "valid_until", "'11/27/2026' is not a time", ISO),
    Mistake("valid_until: 27 November 2026", "valid_until", "is not a time", ISO),
    Mistake("valid_until: 2026-11-31", "valid_until", "day is out of range for month", ISO),
    Mistake("valid_until: 2027-02-29", "valid_until", "day is out of range for month", ISO),
    Mistake("valid_until: 2026-13-01", "valid_until", "month must be in 1..12", ISO),
    Mistake("valid_until: 2026-12-01T24:30", "valid_until", "hour must be in 0..23", ISO),
    Mistake("valid_until: 2026-12-01T8:00", "valid_until", "is not a time", ISO),
    Mistake("valid_until: 2026-12-01T08:00 CET", "valid_until", "is not a time", ISO),
    Mistake("valid_until: 2026-12-01T08:00 Europe/Berlin", "valid_until", "is not a time", ISO),
    Mistake("valid_until: tomorrow", "valid_until", "'tomorrow' is not a time", ISO),
    Mistake("valid_until: 08:00", "valid_until", "'08:00' is not a time", ISO),
    Mistake("valid_until: 20261201", "valid_until", "is 1970-08-23T12:06:41Z as epoch seconds", ISO),
    Mistake("valid_until: 2026", "valid_until", "as epoch seconds", ISO),
    Mistake("valid_until: 1796083200000", "valid_until", "(2026-12-01T00:00:00Z if it is in milliseconds)", ISO),
    Mistake("valid_until: 2126-12-01", "valid_until", "is not from 1970 to 2099", ISO),
    Mistake("valid_until: 9999-12-31", "valid_until", "is not from 1970 to 2099", "remove it for no end"),
    Mistake(
        "valid_until: 2027-03-28T02:30", "valid_until", "skipped or comes twice in Europe/Berlin", "write the offset"
    ),
    Mistake(
        "valid_until: 2026-10-25T02:30", "valid_until", "skipped or comes twice in Europe/Berlin", "write the offset"
    ),
    Mistake("valid_until:", "valid_until", "null", "write a value, or remove the field"),
    Mistake("valid_until: no", "valid_until", "'no' is not a time", ISO),
    Mistake(
        "valid_from: 2026-12-10\n    valid_until: 2026-12-01",
        "valid_until",
        "expected later than valid_from (2026-12-09T23:00:00Z)",
        "swap them",
    ),
    Mistake("valid_from: 2026-12-01\n    valid_from: 2026-12-02", "valid_from", "twice", "remove one of the two"),
    # money and numbers
    Mistake("budget_minor: 2000.00", "budget_minor", "got `float`", CENTS),
    Mistake("budget_minor: 2.000,00", "budget_minor", "got `str`", CENTS),
    Mistake("budget_minor: 2000 EUR", "budget_minor", "got `str`", CENTS),
    Mistake("budget_minor: €2000", "budget_minor", "got `str`", CENTS),
    Mistake("budget_minor: -2000", "budget_minor", "expected `int` >= 0", CENTS),
    Mistake("budget_minor: -1", "budget_minor", "expected `int` >= 0", "remove the field for no limit"),
    Mistake("budget_minor: unlimited", "budget_minor", "got `str`", CENTS),
    Mistake("typical_price_minor: 12.99", "typical_price_minor", "got `float`", CENTS),
    Mistake("margin_ratio: 30", "margin_ratio", "<= 1", "write a share: 0.3 for 30 %"),
    Mistake("margin_ratio: 30%", "margin_ratio", "got `str`", "write a share: 0.3 for 30 %"),
    Mistake("redeem_within_s: 7d", "redeem_within_s", "got `str`", "604800 for 7 days"),
    Mistake("redeem_within_s: 604800000", "redeem_within_s", "<= 31622400", "604800 for 7 days"),
    Mistake("stock: -1", "stock", "expected `int` >= 0", "remove the field for no limit"),
    Mistake("stock: 1,000", "stock", "got `str`", "write a whole number without quotes"),
    Mistake('stock: "1000"', "stock", "got `str`", "write a whole number without quotes"),
    Mistake("caps: once a week", "caps", "got `str`", "write a list"),
    # texts, lists and flags
    Mistake("categories: tea", "categories", "got `str`", "write a list: [tea]"),
    Mistake("categories: [2026]", "categories[0]", "got `int`", 'write it in quotes: "2026"'),
    Mistake("brands: {name: acme}", "brands", "got `object`", "write a list"),
    Mistake("items: [tea, ~, mint]", "items[1]", "got `null`", "write a value, or remove the field"),
    Mistake("title: 2026", "title", "got `int`", 'write it in quotes: "2026"'),
    Mistake(f"title: {'long ' * 50}", "title", "length <= 200", "shorten it"),
    Mistake("paused: no", "paused", "got `str`", "write true or false"),
    Mistake("paused: 0", "paused", "got `int`", "write true or false"),
    Mistake("attributes: [winter]", "attributes", "got `array`", "write names and values: {season: winter}"),
    Mistake("attributes: {tags: [a, b]}", "attributes.tags", "got `array`", "write"),
    Mistake("not_while_held: overlaping", "not_while_held", "invalid enum value", "expected overlapping?"),
    Mistake("budget_curve: linear", "budget_curve", "expected one of none, even", "write one of these"),
    # names
    Mistake("bugdet_minor: 5000", "bugdet_minor", "no such field", "expected budget_minor?"),
    Mistake("endDate: 2026-12-01", "endDate", "no such field", "expected valid_until?"),
    Mistake("usage_limit_per_customer: 1", "usage_limit_per_customer", "no such field", "expected caps?"),
    Mistake("products: [tea-1]", "products", "no such field", "expected items?"),
    Mistake("colour: green", "colour", "no such field", "remove it"),
]
OF_DISCOUNTS = [
    Mistake("discount_percent: 20", "max_discount_minor", "is missing", "add it: what one redemption can cost at most"),
    Mistake("max_discount_minor: 500", "discount_percent", "no discount", "write discount_percent (20 for 20 %)"),
    Mistake("discount_percent: 0.2\n    max_discount_minor: 500", "discount_percent", "0.2 is 0.2 %", "write 20"),
    Mistake("discount_percent: 20%\n    max_discount_minor: 500", "discount_percent", "'20%'", "20 for 20 %"),
    Mistake("discount_percent: 120\n    max_discount_minor: 500", "discount_percent", "<= 100", "20 for 20 %"),
    Mistake("discount_percent: -20\n    max_discount_minor: 500", "discount_percent", "> 0", "20 for 20 %"),
    Mistake("discount_percent: 20\n    max_discount_minor: 5.00", "max_discount_minor", "got `float`", CENTS),
    Mistake("discount_percent: 20\n    max_discount_minor: 0", "max_discount_minor", ">= 1", CENTS),
]
OF_CAMPAIGNS = [
    Mistake("budget_curve: even\n    campaign_id: b", "budget_curve", "'even' needs an end", "write ends_at"),
    Mistake("campaign_id: b\n    valid_until: 2026-12-24", "valid_until", "no such field", "expected ends_at?"),
    Mistake("campaign_id: b\n    starts_at: 2026-12-24\n    ends_at: 2026-12-01", "ends_at", "later than", "swap them"),
    Mistake("campaign_id: b\n    budget_minor: 5,000", "budget_minor", "'5,000'", CENTS),
    Mistake("campaign_id: b\n    timezone: CET", "timezone", "no such field", "remove it"),
    Mistake(
        "campaign_id: b\n    guardrails: [{metric: lift}]",
        "guardrails[0].metric",
        "'lift' needs a holdout",
        "write holdout_ratio",
    ),
    Mistake(
        "campaign_id: b\n    guardrails: [{metric: spend_a_day, limit: 9}, {metric: redemption_ratio, limit: 20}]",
        "guardrails[1].limit",
        "20, expected between 0 and 1",
        "write a share",
    ),
    Mistake(
        "campaign_id: b\n    guardrails: [{metric: spend_a_day}]",
        "guardrails[0].limit",
        "0, expected above 0",
        "write money in minor units",
    ),
    Mistake(
        "campaign_id: b\n    guardrails: [{metric: margin, limit: 1}]",
        "guardrails[0].metric",
        "'margin'",
        "lift",
    ),
    Mistake("campaign_id: winter", "campaign_id", "is the id of line 2, too", "write another one"),
]


def read(text: str) -> ParsedFile:
    return read_entries(COUPONS, text.encode(), "catalog.yaml", NOW, ZoneInfo("Europe/Berlin"))


def line_of(text: str, part: str) -> int:
    return 1 + text[: text.rindex(part)].count("\n")


def require_names(fault: EntryFault, mistake: Mistake) -> None:
    assert fault.field == mistake.field
    assert mistake.why in fault.detail
    assert mistake.remedy in fault.detail


def test_the_catalogue_without_mistakes_is_good() -> None:
    assert read(COUPON + PERCENT).faults == []


def test_there_are_sixty() -> None:
    assert len(OF_COUPONS) + len(OF_DISCOUNTS) + len(OF_CAMPAIGNS) >= 60


@pytest.mark.parametrize(
    ("head", "mistake"),
    [(COUPON + PERCENT, each) for each in OF_COUPONS] + [(COUPON, each) for each in OF_DISCOUNTS],
    ids=lambda each: each.text[:40] if isinstance(each, Mistake) else "",
)
def test_a_mistake_in_a_coupon_is_named(head: str, mistake: Mistake) -> None:
    text = f"{head}    {mistake.text}\n"
    [fault] = read(text).faults
    assert (fault.campaign, fault.coupon) == ("winter", "tea")
    require_names(fault, mistake)
    name = mistake.field.partition("[")[0].partition(".")[0]
    is_written = f"{name}:" in text[len(COUPON) :]
    assert fault.line == line_of(text, f"{name}:" if is_written else "coupon_id:")


@pytest.mark.parametrize("mistake", OF_CAMPAIGNS, ids=lambda each: each.text[:40])
def test_a_mistake_in_a_campaign_is_named(mistake: Mistake) -> None:
    text = f"{HEAD}  - {mistake.text}\n"
    [fault] = read(text).faults
    assert fault.campaign in ("b", "winter")
    require_names(fault, mistake)
    assert fault.line == line_of(text, f"{mistake.field.partition('[')[0]}:")


@pytest.mark.parametrize(
    ("old", "new", "field", "expected"),
    [
        ("campaign_id: winter\n    disc", "campaign_id: wintre\n    disc", "campaign_id", "expected winter?"),
        ("campaign_id: winter\n    disc", "campaign_id: easter\n    disc", "campaign_id", "expected one of winter; or"),
        ("coupon_id: tea", "coupon_id:", "coupon_id", "write a value"),
        ("coupon_id: tea", "coupon_id: 7", "coupon_id", 'write it in quotes: "7"'),
        ("coupon_id: tea", "code: TEA", "code", "expected coupon_id?"),
        ("coupon_id: tea", "coupon_id: none", "coupon_id", "stands for giving no coupon, expected another one"),
    ],
)
def test_a_mistake_in_an_id_is_named(old: str, new: str, field: str, expected: str) -> None:
    text = (COUPON + PERCENT).replace(old, new)
    faults = {fault.field: fault for fault in read(text).faults}
    assert expected in faults[field].detail
    assert faults[field].line == line_of(text, f"{field}:")
    assert faults[field].campaign


def test_all_mistakes_of_a_coupon_are_reported_at_once() -> None:
    sound = [each for each in OF_COUPONS if each.text.count(":") == 1 and "\n" not in each.text]
    by_field = {each.field.partition("[")[0]: each for each in sound}
    text = COUPON + PERCENT + "".join(f"    {each.text}\n" for each in by_field.values())
    assert len(by_field) > 15
    assert {fault.field for fault in read(text).faults} == {each.field for each in by_field.values()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (COUPON.replace("  - coupon_id: tea", "  - coupon_id tea"), "line 8: is no YAML"),
        (COUPON.replace("    campaign_id: winter\n", "\tcampaign_id: winter\n"), "indent by spaces"),
        (COUPON.replace("coupons:", "coupon:"), "coupon: no such section, expected campaigns and coupons"),
    ],
)
def test_a_mistake_in_the_form_is_an_error_with_its_place(text: str, expected: str) -> None:
    with pytest.raises(BadConfig, match=expected) as error:
        read(text)
    assert str(error.value).startswith("catalog.yaml")


FIELDS = ["coupon_id", "campaign_id", "categories", "discount_percent", "max_discount_minor", "valid_until", "stock"]
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


ENTRY = st.dictionaries(st.sampled_from([*FIELDS, "attributes", "x"]), ANY)


@pytest.mark.parametrize("name", ["catalog.json", "catalog.yaml"])
@given(entries=st.lists(ENTRY | ANY, min_size=1, max_size=3))
def test_any_data_is_good_or_has_faults_in_words(name: str, entries: Any) -> None:
    reading = read_entries(COUPONS, json.dumps(entries).encode(), name, NOW)
    assert len(reading.coupons) + reading.refused == len(entries)
    assert len(reading.faults) >= reading.refused
    assert all(fault.detail for fault in reading.faults)
    for topic, entry in reading.entries:
        assert Decoder(topic)(encode(entry)) == entry
