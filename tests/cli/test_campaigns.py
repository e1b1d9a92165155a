"""Campaigns: checked before they are published, and listed with what they have spent."""

import json
from pathlib import Path
from typing import Any

import pytest

from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.money.holds import Falling
from stream_coupons.core.money.leases import Account, Holding
from stream_coupons.core.money.price import Price
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.connection import Connection
from stream_coupons.ops.campaign_states import states_of
from stream_coupons.ops.catalogue_files import CAMPAIGNS, ParsedFile, read_entries
from stream_coupons.runtime.cells import Cell, CellCodec

from .conftest import Run, records, write_lines
from .test_catalog import coupon

NOW = 1_767_348_000.0
DAY_S = 86400.0


def campaign(campaign_id: str = "spring", **fields: Any) -> dict[str, Any]:
    return {"campaign_id": campaign_id, **fields}


def read(*campaigns: dict[str, Any]) -> ParsedFile[Campaign]:
    return read_entries(CAMPAIGNS, json.dumps(campaigns).encode(), "campaigns.json", NOW)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"budget_minor": -1}, ["$.budget_minor", ">= 0"]),
        ({"starts_at": 20.0, "ends_at": 10.0}, ["ends_at: 10.0", "later than starts_at (20.0)"]),
        ({"starts_at": 20.0, "ends_at": 20.0}, ["ends_at: 20.0"]),
        ({"budget_curve": "steps"}, ["$.budget_curve", "steps"]),
        ({"end_at": 20.0}, ["end_at: no such field, expected ends_at?"]),
    ],
)
def test_a_bad_campaign_is_refused_with_field_and_expectation(fields: dict[str, Any], expected: list[str]) -> None:
    reading = read(campaign("good"), campaign(**fields))
    (refusal,) = reading.refusals.first
    assert (reading.place, refusal.line) == ("campaign", 2)
    assert [text for text in expected if text not in refusal.detail] == []
    assert [good.campaign_id for good in reading.entries] == ["good"]


def test_the_second_campaign_of_an_id_is_refused() -> None:
    reading = read(campaign("a"), campaign("b"), campaign("a", budget_minor=7))
    assert [(r.line, r.detail) for r in reading.refusals.first] == [
        (3, "campaign 'a': campaign_id: 'a' is that of campaign 1, expected another one")
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"ends_at": NOW}, "ends_at is 2026-01-02 10:00:00Z: it is over"),
        ({"budget_minor": 0, "budget_curve": "none"}, "none of its coupons is issued"),
        ({"budget_minor": 5000}, "without ends_at: its spending is not steered"),
        ({"budget_hold": "maximum"}, "budget_hold without budget_minor: no effect"),
    ],
)
def test_doubts_are_warnings(fields: dict[str, Any], expected: str) -> None:
    [warning] = read(campaign(**fields)).warnings
    assert warning.startswith("campaign 'spring': ")
    assert expected in warning


@pytest.mark.parametrize("fields", [{}, {"budget_minor": 5000, "ends_at": NOW + DAY_S, "budget_curve": "front_loaded"}])
def test_a_sound_campaign_raises_no_doubts(fields: dict[str, Any]) -> None:
    assert read(campaign(**fields)).warnings == []


def terms(coupon_id: str, campaign_id: str | None) -> Coupon:
    return Coupon(coupon_id=coupon_id, max_discount_minor=100, discount_minor=100, campaign_id=campaign_id)


def test_a_campaign_is_listed_with_what_it_spent_against_its_curve() -> None:
    spring = Campaign(campaign_id="spring", starts_at=NOW, ends_at=NOW + 10 * DAY_S, budget_minor=1000)
    holdings = {
        0: Holding(drawn=500, freed=120, spent=240, refunded=20, expected=Falling(30.0, 0.0)),
        2: Holding(drawn=90, freed=10, spent=40, expected=Falling(12.5, 0.0)),
    }
    account = Account(holdings, opened_at=NOW - DAY_S, price=Price(value=0.75, at=NOW))
    coupons = [terms("a", "spring"), terms("b", None), terms("c", "spring"), terms("d", "autumn")]
    [one] = states_of([spring], coupons, {"campaign:spring": account, "money:a": Account()}, NOW + 4 * DAY_S)
    assert (one.campaign, one.coupons, one.state) == (spring, ["a", "c"], "running")
    assert (one.spent_minor, one.held_minor, one.expected_minor) == (260, 200, 42.5)
    assert (one.share_used, one.share_due, one.price) == (0.26, 0.4, 0.75)


def test_what_began_late_is_due_from_its_first_coupon() -> None:
    spring = Campaign(campaign_id="spring", starts_at=NOW, ends_at=NOW + 10 * DAY_S, budget_minor=1000)
    accounts = {"campaign:spring": Account(opened_at=NOW + 5 * DAY_S)}
    [late] = states_of([spring], [], accounts, NOW + 6 * DAY_S)
    [untouched] = states_of([spring], [], {}, NOW + 6 * DAY_S)
    assert (late.share_due, untouched.share_due) == (0.2, 0.0)


def test_a_campaign_without_budget_or_end_is_not_steered() -> None:
    free, endless = Campaign(campaign_id="free"), Campaign(campaign_id="endless", budget_minor=10)
    found = states_of([free, endless], [], {}, NOW)
    assert [(one.share_used, one.share_due) for one in found] == [(None, None), (0.0, None)]


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "running"),
        ({"starts_at": NOW + 1.0}, "not begun"),
        ({"paused": True}, "paused"),
        ({"ends_at": NOW, "paused": True}, "over"),
    ],
)
def test_a_campaign_says_whether_its_coupons_are_issued(fields: dict[str, Any], state: str) -> None:
    [one] = states_of([Campaign(campaign_id="spring", **fields)], [], {}, NOW)
    assert one.state == state


def test_dry_run_checks_without_a_broker(run: Run, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "c.jsonl", campaign("good"), campaign(budget_minor=-1))
    result = run("campaigns", "push", path, "--dry-run", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["good"], report["published"], report["refused_count"]) == (1, 0, 1)
    assert "line 2: invalid" in result.stderr


@pytest.mark.kafka
def test_a_campaign_from_push_to_removal(run: Run, bootstrap: str, unique: str, tmp_path: Path) -> None:
    spring = campaign(unique, title="Spring", starts_at=NOW, ends_at=4_070_908_800.0, budget_minor=499)
    path = write_lines(tmp_path / "campaigns.jsonl", spring)
    assert run("catalog", "push", write_lines(tmp_path / "c.jsonl", coupon(unique, campaign_id=unique)), "-b",
               bootstrap).exit_code == 0  # fmt: skip
    pushed = run("campaigns", "push", path, "-b", bootstrap, "--json")
    [warning] = json.loads(pushed.stdout)["warnings"]
    assert "below its max_discount_minor (500)" in warning
    account = Cell(None, Account({0: Holding(drawn=300, spent=100)}, opened_at=NOW))
    with Publisher(Connection(bootstrap), 4) as publisher:
        key = f"campaign:{unique}".encode()
        publisher.send_bytes(topics.changelog("accounts"), key, CellCodec(Account).encode(account))

    def listed() -> dict[str, Any]:
        found = json.loads(run("campaigns", "list", "-b", bootstrap, "--json").stdout)
        [mine] = [one for one in found if one["campaign"]["campaign_id"] == unique]
        return dict(mine)

    mine = listed()
    assert (mine["campaign"], mine["coupons"]) == (spring, [unique])
    assert (mine["spent_minor"], mine["held_minor"], mine["share_used"]) == (100, 200, round(100 / 499, 4))
    assert 0.0 < mine["share_due"] < 1.0
    again = write_lines(tmp_path / "again.jsonl", mine["campaign"])
    assert run("campaigns", "push", again, "-b", bootstrap).exit_code == 0, "what is listed can be pushed"

    assert run("campaigns", "pause", unique, "-b", bootstrap).stdout == f"{unique}: paused\n"
    assert (listed()["state"], listed()["campaign"]["paused"]) == ("paused", True)
    lines = run("campaigns", "list", "-b", bootstrap).stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if unique in line)
    row = " ".join(lines[first : first + 3])
    for cell in ("Spring", "from 2026-01-02", "until 2099-01-01", " 499 ", " 100 ", " 200 ", "1 coupon ", "paused"):
        assert cell in row
    assert run("campaigns", "resume", unique, f"{unique}-x", "-b", bootstrap).exit_code == 1
    assert (listed()["state"], listed()["campaign"]) == ("running", spring)

    result = run("campaigns", "remove", unique, f"{unique}-x", "-b", bootstrap)
    assert result.exit_code == 1
    assert f"{unique}-x: no such campaign in coupon-campaigns" in result.stdout
    assert records(bootstrap, topics.CAMPAIGNS.name, unique)[-1].value is None
    named = run("campaigns", "list", "-b", bootstrap)
    assert f"coupon '{unique}': campaign '{unique}' is not known" in named.stderr.replace("\n", " ")
    assert run("catalog", "remove", unique, "-b", bootstrap).exit_code == 0


@pytest.mark.kafka
def test_what_is_no_campaign_is_named_and_can_be_removed(run: Run, bootstrap: str, unique: str) -> None:
    with Publisher(Connection(bootstrap), 4) as publisher:
        publisher.send_bytes(topics.CAMPAIGNS, unique.encode(), b"{}")
    assert f"key {unique} of coupon-campaigns is no campaign" in run("campaigns", "list", "-b", bootstrap).stderr
    assert run("campaigns", "remove", unique, "-b", bootstrap).exit_code == 0
    assert unique not in run("campaigns", "list", "-b", bootstrap).stderr
