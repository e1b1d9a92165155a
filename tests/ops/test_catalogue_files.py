"""Files of entries: every fault is named, and what is doubtful is a warning."""

import json
from typing import Any

import msgspec
import pytest

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS, Kind, ParsedFile, read_entries, unissuable

NOW = 1_767_348_000.0
DAY_S = 86400.0
GOOD: dict[str, dict[str, Any]] = {
    "coupon": {"coupon_id": "tea", "discount_percent": 10.0, "max_discount_minor": 500, "stock": 5},
    "campaign": {"campaign_id": "spring"},
}
IDS = {"coupon": "coupon_id", "campaign": "campaign_id"}


def entry(kind: Kind[Any], **fields: Any) -> dict[str, Any]:
    return GOOD[kind.noun] | fields


def read(kind: Kind[Any], *entries: dict[str, Any]) -> ParsedFile[Any]:
    return read_entries(kind, json.dumps(entries).encode(), "file.json", NOW)


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (COUPONS, {"max_discount_minor": 0}, ["$.max_discount_minor", ">= 1"]),
        (COUPONS, {"discount_percent": None}, ["discount_percent, discount_minor", "no discount", "above 0"]),
        (COUPONS, {"discount_percent": None, "discount_minor": 0}, ["no discount"]),
        (COUPONS, {"valid_from": 20.0, "valid_until": 20.0}, ["valid_until: 20.0", "later than valid_from (20.0)"]),
        (COUPONS, {"pacing": "even"}, ["pacing: no such field"]),
        (COUPONS, {"bugdet_minor": 5}, ["bugdet_minor: no such field, expected budget_minor?"]),
        (CAMPAIGNS, {"budget_minor": -1}, ["$.budget_minor", ">= 0"]),
        (CAMPAIGNS, {"starts_at": 20.0, "ends_at": 20.0}, ["ends_at: 20.0", "later than starts_at (20.0)"]),
        (CAMPAIGNS, {"end_at": 20.0}, ["end_at: no such field, expected ends_at?"]),
    ],
)
def test_a_bad_entry_is_refused_with_field_and_expectation(
    kind: Kind[Any], fields: dict[str, Any], expected: list[str]
) -> None:
    reading = read(kind, entry(kind, **{IDS[kind.noun]: "good"}), entry(kind, **fields))
    (refusal,) = reading.refusals.first
    assert (reading.place, refusal.line) == (kind.noun, 2)
    assert [text for text in expected if text not in refusal.detail] == []
    assert [getattr(good, IDS[kind.noun]) for good in reading.entries] == ["good"]


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        (COUPONS, "coupon 'tea': coupon_id: 'tea' is that of coupon 1, expected another one"),
        (CAMPAIGNS, "campaign 'spring': campaign_id: 'spring' is that of campaign 1, expected another one"),
    ],
)
def test_the_second_entry_of_an_id_is_refused(kind: Kind[Any], detail: str) -> None:
    reading = read(kind, entry(kind), entry(kind, **{IDS[kind.noun]: "other"}), entry(kind))
    assert [(one.line, one.detail) for one in reading.refusals.first] == [(3, detail)]


def test_every_bad_entry_is_reported() -> None:
    assert len(read(COUPONS, *(entry(COUPONS, coupon_id=f"c{i}", stock=-1) for i in range(50))).refusals.first) == 50


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (COUPONS, {"stock": None}, "nothing limits what it costs"),
        (COUPONS, {"stock": 0}, "stock is 0"),
        (COUPONS, {"budget_minor": 499}, "less than max_discount_minor"),
        (COUPONS, {"caps": [{"per": "day", "n": 0}]}, "caps has an n of 0"),
        (COUPONS, {"valid_until": NOW}, "it is over"),
        (COUPONS, {"discount_minor": 100}, "both discount_minor and discount_percent"),
        (COUPONS, {"discount_percent": None, "discount_minor": 501}, "which caps it"),
        (COUPONS, {"redeem_within_s": 120.0}, "it may be over then"),
        (COUPONS, {"budget_minor": 5000}, "without valid_until: its spending is not steered"),
        (COUPONS, {"budget_curve": "none", "budget_hold": "maximum"}, "budget_curve and budget_hold without budget"),
        (CAMPAIGNS, {"ends_at": NOW}, "ends_at is 2026-01-02 10:00:00Z: it is over"),
        (CAMPAIGNS, {"budget_minor": 0, "budget_curve": "none"}, "none of its coupons is issued"),
        (CAMPAIGNS, {"budget_minor": 5000}, "without ends_at: its spending is not steered"),
        (CAMPAIGNS, {"budget_hold": "maximum"}, "budget_hold without budget_minor: no effect"),
    ],
)
def test_doubts_are_warnings(kind: Kind[Any], fields: dict[str, Any], expected: str) -> None:
    reading = read(kind, entry(kind, **fields))
    assert (reading.refusals.count, expected in "; ".join(reading.warnings)) == (0, True)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (COUPONS, {}),
        (COUPONS, {"budget_minor": 5000, "budget_curve": "none"}),
        (COUPONS, {"budget_minor": 5000, "budget_curve": "even", "valid_until": NOW + DAY_S}),
        (COUPONS, {"stock": None, "campaign_id": "spring"}),
        (COUPONS, {"budget_minor": 5000, "campaign_id": "spring"}),
        (CAMPAIGNS, {}),
        (CAMPAIGNS, {"budget_minor": 5000, "ends_at": NOW + DAY_S, "budget_curve": "front_loaded"}),
    ],
)
def test_a_sound_entry_raises_no_doubts(kind: Kind[Any], fields: dict[str, Any]) -> None:
    assert read(kind, entry(kind, **fields)).warnings == []


@pytest.mark.parametrize(
    ("fields", "campaign", "expected"),
    [
        ({}, None, ["coupon 'tea': campaign 'spring' is not known"]),
        ({"valid_until": NOW}, {"starts_at": NOW}, ["has no time in common"]),
        ({"stock": None}, {}, ["nothing limits what it costs"]),
        ({}, {"budget_minor": 499}, ["a budget_minor (499) below its max_discount_minor (500)"]),
        ({}, {}, []),
        ({"stock": None, "budget_minor": 500}, {}, []),
        ({"stock": None}, {"budget_minor": 500}, []),
        ({"campaign_id": None}, {"budget_minor": 0}, []),
    ],
)
def test_a_campaign_that_keeps_a_coupon_from_being_issued_is_a_warning(
    fields: dict[str, Any], campaign: dict[str, Any] | None, expected: list[str]
) -> None:
    known = {} if campaign is None else {"spring": Campaign(campaign_id="spring", **campaign)}
    warnings = unissuable(read(COUPONS, entry(COUPONS, **{"campaign_id": "spring", **fields})).entries, known)
    assert len(warnings) == len(expected)
    assert [text for text, warning in zip(expected, warnings, strict=True) if text not in warning] == []


def test_a_file_may_be_an_array_lines_or_one_entry() -> None:
    tea = entry(COUPONS)
    as_lines = b"\n".join(map(msgspec.json.encode, (tea, tea | {"coupon_id": "b"}, {"coupon_id": "c"})))
    reading = read_entries(COUPONS, as_lines.replace(b"\n", b"\n\n", 1), "c.jsonl", NOW)
    assert [one.coupon_id for one in reading.entries] == ["tea", "b"]
    assert (reading.place, reading.refusals.first[0].line) == ("line", 4)
    assert len(read_entries(COUPONS, json.dumps(tea, indent=2).encode(), "one.json", NOW).entries) == 1


@pytest.mark.parametrize("data", [b"", b"  \n", b"[]", b"[{]", b'[{"coupon_id": "\xff"}]x'])
def test_a_file_that_is_no_catalogue_is_an_error(data: bytes) -> None:
    with pytest.raises(BadConfig, match=r"catalog\.json"):
        read_entries(COUPONS, data, "catalog.json", NOW)
