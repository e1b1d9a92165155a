"""Files of entries: every fault is named, and what is doubtful is a warning."""

import json
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
import yaml

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.ops.catalogue_files import (
    CAMPAIGNS,
    COUPONS,
    Kind,
    ParsedFile,
    changed_holdouts,
    late_limits,
    read_entries,
    unissuable,
)
from stream_coupons.testing import coupon

NOW = 1_767_348_000.0
DAY_S = 86400.0
GOOD: dict[str, dict[str, Any]] = {
    "coupon": {"coupon_id": "tea", "discount_percent": 10.0, "max_discount_minor": 500, "stock": 5},
    "campaign": {"campaign_id": "spring"},
}
IDS = {"coupon": "coupon_id", "campaign": "campaign_id"}


def entry(kind: Kind[Any], **fields: Any) -> dict[str, Any]:
    return GOOD[kind.noun] | fields


def read(kind: Kind[Any], *entries: dict[str, Any]) -> ParsedFile:
    return read_entries(kind, json.dumps(entries, indent=1).encode(), "file.json", NOW)


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (COUPONS, {"valid_from": NOW, "valid_until": NOW}, "valid_until: 2026-01-02T10:00:00Z, expected later than"),
        (CAMPAIGNS, {"starts_at": NOW, "ends_at": NOW}, "ends_at: 2026-01-02T10:00:00Z, expected later than"),
        (COUPONS, {"discount_percent": None, "discount_minor": 0}, "discount_percent: no discount"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(kind: Kind[Any], fields: dict[str, Any], expected: str) -> None:
    reading = read(kind, entry(kind, **{IDS[kind.noun]: "good"}), entry(kind, **fields))
    [fault] = reading.faults
    assert expected in str(fault)
    assert [kind.id_of(good) for _, good in reading.entries] == ["good"]


@pytest.mark.parametrize("kind", [COUPONS, CAMPAIGNS])
def test_the_second_entry_of_an_id_is_refused(kind: Kind[Any]) -> None:
    reading = read(kind, entry(kind), entry(kind, **{IDS[kind.noun]: "other"}), entry(kind))
    [fault] = reading.faults
    assert (fault.field, fault.line > 4) == (IDS[kind.noun], True)
    assert "is the id of line 2, too" in fault.detail
    assert [kind.id_of(good) for _, good in reading.entries] == [GOOD[kind.noun][IDS[kind.noun]], "other"]


def test_every_bad_entry_is_reported() -> None:
    reading = read(COUPONS, *(entry(COUPONS, coupon_id=f"c{i}", stock=-1) for i in range(50)))
    assert (len(reading.faults), reading.refused, reading.coupons) == (50, 50, {})


def test_all_faults_of_an_entry_are_reported_in_the_order_of_the_file() -> None:
    bad = {"coupon_id": "tea", "stock": -1, "valid_until": "soon", "titel": "x", "discount_percent": 10}
    reading = read(COUPONS, bad)
    assert [(one.line, one.field) for one in reading.faults] == [
        (2, "max_discount_minor"), (4, "stock"), (5, "valid_until"), (6, "titel"),
    ]  # fmt: skip
    assert reading.refused == 1


def test_fields_that_depend_on_each_other_are_compared_beside_other_faults() -> None:
    swapped = read(COUPONS, entry(COUPONS, stock=-1, valid_from="2026-02-02", valid_until="2026-02-01"))
    assert [one.field for one in swapped.faults] == ["stock", "valid_until"]
    unread = read(COUPONS, entry(COUPONS, valid_from="2100-02-01", valid_until="2026-02-01"))
    assert [one.field for one in unread.faults] == ["valid_from"], "a field that is not read is not compared"


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
        (CAMPAIGNS, {"ends_at": NOW}, "ends_at is 2026-01-02T10:00:00Z: it is over"),
        (CAMPAIGNS, {"budget_minor": 0, "budget_curve": "none"}, "none of its coupons is issued"),
        (CAMPAIGNS, {"budget_minor": 5000}, "without ends_at: its spending is not steered"),
        (CAMPAIGNS, {"budget_hold": "maximum"}, "budget_hold without budget_minor: no effect"),
        (CAMPAIGNS, {"max_overspend_ratio": 0.5}, "max_overspend_ratio without budget_minor: no effect"),
        (
            COUPONS,
            {"budget_minor": 5000, "max_overspend_ratio": 0.5, "budget_hold": "maximum"},
            "max_overspend_ratio with budget_hold 'maximum': no effect",
        ),
    ],
)
def test_doubts_are_warnings(kind: Kind[Any], fields: dict[str, Any], expected: str) -> None:
    reading = read(kind, entry(kind, **fields))
    assert (reading.faults, expected in "; ".join(reading.warnings)) == ([], True)


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
    warnings = unissuable(read(COUPONS, entry(COUPONS, **{"campaign_id": "spring", **fields})).coupons.values(), known)
    assert len(warnings) == len(expected)
    assert [text for text, warning in zip(expected, warnings, strict=True) if text not in warning] == []


def test_a_file_may_be_an_array_lines_or_one_entry() -> None:
    tea = entry(COUPONS)
    as_lines = b"\n".join(map(msgspec.json.encode, (tea, tea | {"coupon_id": "b"}, {"coupon_id": "c"})))
    reading = read_entries(COUPONS, as_lines.replace(b"\n", b"\n\n", 1) + b"\n{,}", "c.jsonl", NOW)
    assert [*reading.coupons] == ["tea", "b"]
    assert {one.line for one in reading.faults} == {4, 5}
    assert len(read_entries(COUPONS, json.dumps(tea, indent=2).encode(), "one.json", NOW).coupons) == 1


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *(("catalog.json", data) for data in (b"", b"  \n", b"[]", b"[{]", b'[{"coupon_id": "\xff"}]x')),
        ("catalog.json", b'{"coupons": [], "coupon": []}'),
        *(("catalog.yaml", data) for data in (b"", b"a: [", b"\xff", b"\t- a", b"coupons: []", b"*a", b"&a [*a]")),
    ],
)
def test_a_file_that_is_no_catalogue_is_an_error(name: str, data: bytes) -> None:
    with pytest.raises(BadConfig, match=name):
        read_entries(COUPONS, data, name, NOW)


@pytest.mark.parametrize("name", ["c.json", "c.jsonl", "c.yaml"])
def test_a_file_in_another_encoding_is_refused_with_the_line_of_its_first_byte(name: str) -> None:
    with pytest.raises(BadConfig, match=f"^{name} is not UTF-8: line 2 has the byte 0xe9; save it as UTF-8$"):
        read_entries(COUPONS, 'coupons:\n- title: "th\xe9"'.encode("latin-1"), name, NOW)


@pytest.mark.parametrize("name", ["c.json", "c.jsonl", "c.yaml"])
def test_an_empty_file_holds_no_coupon(name: str) -> None:
    with pytest.raises(BadConfig, match=f"^{name}: holds no coupon, expected a list of coupons or one coupon a line"):
        read_entries(COUPONS, b" \n", name, NOW)


YAML = b"""# of the shop
campaigns:
  - campaign_id: spring
    starts_at: 2026-03-29
    ends_at: 2026-03-29
coupons:
  - {coupon_id: "007", campaign_id: spring, kind: no, title: 08:00, discount_percent: 1e1, max_discount_minor: 0500}
  - coupon_id: on
    campaign_id: spring
    discount_minor: 500
    max_discount_minor: 500
    paused: True
    stock: ~
    attributes: {season: 2026-03-29, rank: -1.5, new: false}
"""


@pytest.mark.parametrize(("name", "kind"), [("c.yaml", COUPONS), ("c.YML", CAMPAIGNS), ("-", COUPONS)])
def test_yaml_is_read_by_its_core_schema(name: str, kind: Kind[Any]) -> None:
    reading = read_entries(kind, YAML, name, NOW, ZoneInfo("Europe/Berlin"))
    assert reading.faults == []
    [spring], (tea, other) = reading.campaigns.values(), reading.coupons.values()
    assert spring.ends_at - spring.starts_at == 23 * 3600.0, "a date alone includes its day, and clocks skip an hour"
    assert (tea.coupon_id, tea.kind, tea.title) == ("007", "no", "08:00")
    assert (tea.discount_percent, tea.max_discount_minor) == (10.0, 500)
    assert (other.coupon_id, other.paused, other.stock) == ("on", True, None)
    assert other.attributes == {"season": "2026-03-29", "rank": -1.5, "new": False}


def test_json_and_yaml_of_one_catalogue_are_the_same() -> None:
    data = {"$schema": "x", "campaigns": [GOOD["campaign"]], "coupons": [entry(COUPONS, title="\U0001f375\ttea")]}
    text = json.dumps(data, indent="\t").encode()
    as_yaml = yaml.safe_dump(data).encode()
    found = [read_entries(COUPONS, each, f"c.{form}", NOW) for each, form in ((text, "json"), (as_yaml, "yaml"))]
    assert [*found[0].entries] == [*found[1].entries]
    bad = read_entries(COUPONS, text.replace(b'"stock": 5', b'"stock": -5'), "c.json", NOW)
    assert [one.line for one in bad.faults] == [1 + text[: text.index(b'"stock"')].count(b"\n")]


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (
            COUPONS,
            {"eligible_if": "shopper.order > 2"},
            "character 1: no field 'shopper.order', expected shopper.orders?",
        ),
        (CAMPAIGNS, {"eligible_if": "coupon.kind > 2"}, "coupon.kind is of type string"),
    ],
)
def test_a_rule_that_is_wrong_is_refused(kind: Kind[Any], fields: dict[str, Any], expected: str) -> None:
    [fault] = read(kind, entry(kind, **fields)).faults
    assert (fault.field, expected in str(fault)) == ("eligible_if", True)


def test_a_rule_that_a_coupon_makes_false_is_doubtful() -> None:
    own = entry(COUPONS, eligible_if="coupon.kind == 'gift' && shopper.is_new")
    [warning] = read(COUPONS, own).warnings
    assert "eligible_if: a clause is not true by the coupon's own fields: it is never issued" in warning
    assert read(COUPONS, own | {"kind": "gift"}).warnings == []


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("coupon.kind == 'gift'", ["a clause is not true by the coupon's own fields"]),
        ("coupon.items.exists(one, one == trigger.item)", ["expected 5000 at most"]),
        ("coupon.kind == 'percent' && shopper.is_new", []),
    ],
)
def test_a_campaign_whose_rule_keeps_a_coupon_from_everybody_is_doubtful(rule: str, expected: list[str]) -> None:
    items = [f"{'x' * 90}{number}" for number in range(100)]
    named = read(COUPONS, entry(COUPONS, campaign_id="spring", items=items) | {"kind": "percent"}).coupons.values()
    found = unissuable(named, {"spring": Campaign(campaign_id="spring", budget_minor=10_000, eligible_if=rule)})
    assert len(found) == len(expected)
    assert all(text in found[0] for text in expected)


def test_a_holdout_that_changes_is_warned_of_and_a_new_one_is_not() -> None:
    known = {name: Campaign(campaign_id=name, holdout_ratio=0.1) for name in ("spring", "autumn")}
    wanted = {"spring": Campaign(campaign_id="spring", holdout_ratio=0.25), "autumn": known["autumn"]}
    [warning] = changed_holdouts(wanted | {"new": Campaign(campaign_id="new", holdout_ratio=0.5)}, known)
    assert warning.startswith("campaign 'spring': holdout_ratio was 0.1 and becomes 0.25: shoppers keep the arm")


def test_a_limit_that_is_set_late_is_warned_of_and_one_that_changes_is_not() -> None:
    known = {name: coupon(name, stock=stock) for name, stock in (("tea", None), ("beans", 10))}
    wanted = {name: coupon(name, stock=20, budget_minor=900) for name in ("tea", "beans", "new")}
    warnings = late_limits(wanted, known)
    assert [text.partition(":")[0] for text in warnings] == [
        "coupon 'tea' is published without stock",
        "coupon 'tea' is published without budget_minor",
        "coupon 'beans' is published without budget_minor",
    ]
    campaign = Campaign(campaign_id="spring")
    [warning] = late_limits({"spring": Campaign(campaign_id="spring", budget_minor=9)}, {"spring": campaign})
    assert warning.startswith("campaign 'spring' is published without budget_minor")
    assert late_limits({"spring": campaign}, {"spring": campaign}) == []
