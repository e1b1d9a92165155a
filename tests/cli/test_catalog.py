"""The catalogue: every bad coupon is named, nothing goes out unless all are good."""

import json
from pathlib import Path
from typing import Any

import pytest

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.connection import Connection
from stream_coupons.ops.catalogue_files import COUPONS, ParsedFile, read_entries, unissuable

from .conftest import Run, records, write_lines

NOW = 1_767_348_000.0


def coupon(coupon_id: str = "tea", **fields: Any) -> dict[str, Any]:
    return {"coupon_id": coupon_id, "discount_percent": 10.0, "max_discount_minor": 500, "stock": 5, **fields}


def read(*coupons: dict[str, Any]) -> ParsedFile[Coupon]:
    return read_entries(COUPONS, json.dumps(coupons).encode(), "catalog.json", NOW)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_discount_minor": 0}, ["$.max_discount_minor", ">= 1"]),
        ({"max_discount_minor": "5"}, ["$.max_discount_minor", "`int`"]),
        ({"discount_percent": 120.0}, ["$.discount_percent", "<= 100"]),
        ({"coupon_id": ""}, ["$.coupon_id", "length >= 1"]),
        ({"budget_curve": "steps"}, ["$.budget_curve", "steps"]),
        ({"budget_hold": "all"}, ["$.budget_hold", "all"]),
        ({"discount_percent": None}, ["discount_percent, discount_minor", "no discount", "above 0"]),
        ({"discount_percent": None, "discount_minor": 0}, ["no discount"]),
        ({"valid_from": 20.0, "valid_until": 10.0}, ["valid_until: 10.0", "later than valid_from (20.0)"]),
        ({"valid_from": 20.0, "valid_until": 20.0}, ["valid_until"]),
        ({"pacing": "even"}, ["pacing: no such field"]),
        ({"bugdet_minor": 5}, ["bugdet_minor: no such field, expected budget_minor?"]),
    ],
)
def test_a_bad_coupon_is_refused_with_field_and_expectation(fields: dict[str, Any], expected: list[str]) -> None:
    reading = read(coupon("good"), coupon(**fields))
    (refusal,) = reading.refusals.first
    assert refusal.line == 2
    assert [text for text in expected if text not in refusal.detail] == []
    assert [good.coupon_id for good in reading.entries] == ["good"]


@pytest.mark.parametrize("curve", ["even", "front_loaded", "by_traffic"])
def test_a_budget_may_be_spread_over_a_time_with_an_end(curve: str) -> None:
    reading = read(coupon(budget_curve=curve, valid_until=NOW + 86400.0, budget_minor=5000))
    assert (reading.refusals.count, len(reading.entries), reading.warnings) == (0, 1, [])


def test_the_second_coupon_of_an_id_is_refused() -> None:
    reading = read(coupon("a"), coupon("b"), coupon("a", stock=7))
    assert [(r.line, r.detail) for r in reading.refusals.first] == [
        (3, "coupon 'a': coupon_id: 'a' is that of coupon 1, expected another one")
    ]


def test_every_bad_coupon_is_reported() -> None:
    reading = read(*(coupon(f"c{i}", stock=-1) for i in range(50)))
    assert len(reading.refusals.first) == 50


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"stock": None}, "nothing limits what it costs"),
        ({"stock": 0}, "stock is 0"),
        ({"budget_minor": 499}, "less than max_discount_minor"),
        ({"max_per_user": 0}, "max_per_user is 0"),
        ({"valid_until": NOW}, "it is over"),
        ({"discount_minor": 100}, "both discount_minor and discount_percent"),
        ({"discount_percent": None, "discount_minor": 501}, "which caps it"),
        ({"redeem_within_s": 120.0}, "it may be over then"),
        ({"budget_minor": 5000}, "without valid_until: its spending is not steered"),
        ({"budget_minor": 5000, "budget_curve": "by_traffic"}, "without valid_until: its spending is not steered"),
        ({"budget_curve": "none"}, "budget_curve without budget_minor: no effect"),
        ({"budget_curve": "none", "budget_hold": "maximum"}, "budget_curve and budget_hold without budget_minor"),
    ],
)
def test_doubts_are_warnings(fields: dict[str, Any], expected: str) -> None:
    reading = read(coupon(**fields))
    assert reading.refusals.count == 0
    assert expected in "; ".join(reading.warnings)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"budget_minor": 5000, "budget_curve": "none"},
        {"stock": None, "campaign_id": "spring"},
        {"budget_minor": 5000, "campaign_id": "spring"},
    ],
)
def test_a_sound_coupon_raises_no_doubts(fields: dict[str, Any]) -> None:
    assert read(coupon(**fields)).warnings == []


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
    [one] = read(coupon(**{"campaign_id": "spring", **fields})).entries
    warnings = unissuable([one], known)
    assert len(warnings) == len(expected)
    assert [text for text, warning in zip(expected, warnings, strict=True) if text not in warning] == []


def test_attributes_that_are_not_looked_at_are_named(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    many = {f"aa{number:02d}": 1.0 for number in range(12)}
    path.write_text(json.dumps([coupon("a", attributes={"season": "s"}), coupon("b", attributes=many, domain="other")]))
    assert json.loads(run("catalog", "push", path, "--dry-run", "--json").stdout)["warnings"] == []
    path.write_text(json.dumps([coupon("a", attributes={"season": "s", "tone": "t"}), coupon("b", attributes=many)]))
    result = run("catalog", "push", path, "--dry-run", "--json")
    [warning] = json.loads(result.stdout)["warnings"]
    assert warning.startswith("domain 'ecommerce': 14 attributes, the first 12 by name")
    assert warning.endswith("not 'season', 'tone'")
    assert "'season', 'tone'" in result.stderr.replace("\n", " ")


@pytest.mark.kafka
def test_attributes_of_the_catalogue_that_a_push_hides_are_named(
    run: Run, bootstrap: str, unique: str, tmp_path: Path
) -> None:
    first = coupon(f"{unique}-a", domain=unique, attributes={"season": "s"})
    said = run("catalog", "push", write_lines(tmp_path / "a.jsonl", first), "-b", bootstrap)
    assert (said.exit_code, "attributes" in said.stderr) == (0, False), said.stderr
    many = coupon(f"{unique}-b", domain=unique, attributes={f"aa{number:02d}": 1.0 for number in range(12)})
    result = run("catalog", "push", write_lines(tmp_path / "b.jsonl", many), "-b", bootstrap, "--json")
    [warning] = json.loads(result.stdout)["warnings"]
    assert warning.endswith("not 'season'")
    first["attributes"] = {}
    again = run("catalog", "push", write_lines(tmp_path / "a.jsonl", first), "-b", bootstrap, "--json")
    assert json.loads(again.stdout)["warnings"] == [], "what it replaces does not count"


def test_a_file_may_be_an_array_lines_or_one_coupon(tmp_path: Path) -> None:
    as_lines = write_lines(tmp_path / "c.jsonl", coupon("a"), b"", coupon("b"), {"coupon_id": "c"}).read_bytes()
    reading = read_entries(COUPONS, as_lines, "c.jsonl", NOW)
    assert [c.coupon_id for c in reading.entries] == ["a", "b"]
    assert (reading.place, reading.refusals.first[0].line) == ("line", 4)
    pretty = json.dumps(coupon("a"), indent=2).encode()
    assert [c.coupon_id for c in read_entries(COUPONS, pretty, "one.json", NOW).entries] == ["a"]


@pytest.mark.parametrize("data", [b"", b"  \n", b"[]", b"[{]", b'[{"coupon_id": "\xff"}]x'])
def test_a_file_that_is_no_catalogue_is_an_error(data: bytes) -> None:
    with pytest.raises(BadConfig, match=r"catalog\.json"):
        read_entries(COUPONS, data, "catalog.json", NOW)


def test_dry_run_checks_without_a_broker(run: Run, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps([coupon()]))
    bad.write_text(json.dumps([coupon("ok"), coupon(stock=-1)]))
    assert run("catalog", "push", good, "--dry-run").exit_code == 0
    result = run("catalog", "push", bad, "--dry-run", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["good"], report["published"], report["refused_count"]) == (1, 0, 1)
    assert report["refused"][0]["coupon"] == 2
    assert "coupon 2: invalid" in result.stderr


def test_the_catalogue_of_the_deployment_is_good(run: Run) -> None:
    path = Path(__file__).parents[2] / "deploy" / "catalog.json"
    assert run("catalog", "push", path, "--dry-run").exit_code == 0


@pytest.mark.kafka
def test_what_is_pushed_is_listed_and_can_be_pushed_again(
    run: Run, bootstrap: str, unique: str, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "c.jsonl", coupon(f"{unique}-a"), coupon(f"{unique}-b"))
    assert run("catalog", "push", path, "-b", bootstrap).exit_code == 0
    listed = run("catalog", "list", "--json", "-b", bootstrap).stdout
    mine = [c for c in json.loads(listed) if c["coupon_id"].startswith(unique)]
    assert mine == [coupon(f"{unique}-a"), coupon(f"{unique}-b")]
    assert run("catalog", "push", "-", "-b", bootstrap, stdin=listed.encode()).exit_code == 0
    assert f"{unique}-b" in run("catalog", "list", "-b", bootstrap).stdout


@pytest.mark.kafka
def test_nothing_is_pushed_unless_all_are_good(run: Run, bootstrap: str, unique: str, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "c.jsonl", coupon(f"{unique}-a"), coupon(f"{unique}-b", stock=-1))
    result = run("catalog", "push", path, "-b", bootstrap)
    assert result.exit_code == 1
    assert "line 2: invalid" in result.stderr
    assert records(bootstrap, topics.CATALOG.name, unique) == []
    assert run("catalog", "push", path, "-b", bootstrap, "--skip-invalid").exit_code == 1
    assert [r.key for r in records(bootstrap, topics.CATALOG.name, unique)] == [f"{unique}-a".encode()]


@pytest.mark.kafka
def test_a_removed_coupon_is_a_tombstone(run: Run, bootstrap: str, unique: str, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "c.jsonl", coupon(f"{unique}-a"), coupon(f"{unique}-b"))
    run("catalog", "push", path, "-b", bootstrap)
    result = run("catalog", "remove", f"{unique}-a", f"{unique}-x", "-b", bootstrap)
    assert result.exit_code == 1
    assert f"{unique}-a: removed" in result.stdout
    assert f"{unique}-x: no such coupon in coupon-catalog" in result.stdout
    assert records(bootstrap, topics.CATALOG.name, unique)[-1].value is None
    listed = run("catalog", "list", "--json", "-b", bootstrap).stdout
    assert [c["coupon_id"] for c in json.loads(listed) if unique in c["coupon_id"]] == [f"{unique}-b"]
    assert run("catalog", "remove", f"{unique}-b", "-b", bootstrap).exit_code == 0


@pytest.mark.kafka
def test_what_is_no_coupon_is_named_and_can_be_removed(run: Run, bootstrap: str, unique: str) -> None:
    with Publisher(Connection(bootstrap), 4) as publisher:
        publisher.send_bytes(topics.CATALOG, unique.encode(), b"{}")
    result = run("catalog", "list", "--json", "-b", bootstrap)
    assert result.exit_code == 0
    assert f"key {unique} of coupon-catalog is no coupon" in result.stderr
    assert run("catalog", "remove", unique, "-b", bootstrap).exit_code == 0
    assert unique not in run("catalog", "list", "-b", bootstrap).stderr


@pytest.mark.kafka
def test_pausing_changes_one_flag_and_nothing_else_of_the_record(run: Run, bootstrap: str, unique: str) -> None:
    value = b'{"coupon_id":"%s","max_discount_minor":5,"of_a_later_version":1.50}' % unique.encode()
    with Publisher(Connection(bootstrap), 4) as publisher:
        publisher.send_bytes(topics.CATALOG, unique.encode(), value)
        publisher.send_bytes(topics.CATALOG, f"{unique}-bad".encode(), b"{}")
    paused = run("catalog", "pause", unique, f"{unique}-bad", "-b", bootstrap, "--json")
    assert paused.exit_code == 1
    assert json.loads(paused.stdout) == {"paused": [unique], "unknown": [f"{unique}-bad"]}
    assert records(bootstrap, topics.CATALOG.name, f'"{unique}"')[-1].value == value[:-1] + b',"paused":true}'
    row = next(line for line in run("catalog", "list", "-b", bootstrap).stdout.splitlines() if unique in line)
    assert "paused" in row
    assert run("catalog", "resume", unique, "-b", bootstrap).stdout == f"{unique}: resumed\n"
    assert records(bootstrap, topics.CATALOG.name, f'"{unique}"')[-1].value == value
    assert run("catalog", "remove", unique, f"{unique}-bad", "-b", bootstrap).exit_code == 0


@pytest.mark.kafka
def test_a_coupon_whose_campaign_is_not_known_is_named_when_it_is_pushed(
    run: Run, bootstrap: str, unique: str, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "c.jsonl", coupon(unique, campaign_id=f"{unique}-spring"))
    result = run("catalog", "push", path, "-b", bootstrap, "--json")
    assert result.exit_code == 0
    [warning] = json.loads(result.stdout)["warnings"]
    assert f"campaign '{unique}-spring' is not known" in warning
    assert run("catalog", "remove", unique, "-b", bootstrap).exit_code == 0
