"""`catalog` and `campaigns`: nothing goes out unless all entries are good; listed, paused, taken out."""

import json
from pathlib import Path
from typing import Any

import pytest

from stream_coupons.core.money.holdings import Account, HoldingSums
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.connection import Connection
from stream_coupons.runtime.cells import Cell, CellCodec

from .conftest import Run, records, write_lines

NOW = 1_767_348_000.0


def coupon(coupon_id: str = "tea", **fields: Any) -> dict[str, Any]:
    return {"coupon_id": coupon_id, "discount_percent": 10.0, "max_discount_minor": 500, "stock": 5, **fields}


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


def test_a_push_states_the_worst_case_of_each_budget(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    budgets = {"a": {}, "b": {"max_overspend_ratio": 2.0}, "c": {"budget_hold": "maximum"}}
    path.write_text(json.dumps([coupon(one, budget_minor=9000, **about) for one, about in budgets.items()]))
    stated = run("catalog", "push", path, "--dry-run").stdout.splitlines()
    assert stated[:-1] == [
        "at most 9450 can be spent of money:a, 450 beyond its budget_minor",
        "at most 27000 can be spent of money:b, 18000 beyond its budget_minor",
    ]
    found = json.loads(run("catalog", "push", path, "--dry-run", "--json").stdout)["worst_cases"]
    assert found[0] == {"account_id": "money:a", "budget_minor": 9000, "worst_minor": 9450}
    path.write_text(json.dumps([coupon(f"c{number}", budget_minor=9000) for number in range(40)]))
    assert len(run("catalog", "push", path, "--dry-run").stdout.splitlines()) == 12


def test_dry_run_checks_without_a_broker(run: Run, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps([coupon()]))
    bad.write_text(json.dumps([coupon("ok"), coupon(stock=-1)]))
    assert run("catalog", "push", good, "--dry-run").exit_code == 0
    result = run("catalog", "push", bad, "--dry-run", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["good"], report["published"], report["refused"]) == (1, 0, 1)
    assert [(one["coupon"], one["field"]) for one in report["faults"]] == [("tea", "stock")]
    assert "bad.json, line 1: coupon 'tea': stock: -1" in result.stderr


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
    assert f"line 2: coupon '{unique}-b': stock: -1" in result.stderr
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
    assert f"{unique}-x: no such coupon in coupon-catalog" in result.stderr
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
def test_a_campaign_from_push_to_removal(run: Run, bootstrap: str, unique: str, tmp_path: Path) -> None:
    spring = {"campaign_id": unique, "title": "Spring", "starts_at": NOW, "ends_at": 4_070_908_800.0}
    spring["budget_minor"] = 499
    path = write_lines(tmp_path / "campaigns.jsonl", spring)
    assert run("catalog", "push", write_lines(tmp_path / "c.jsonl", coupon(unique, campaign_id=unique)), "-b",
               bootstrap).exit_code == 0  # fmt: skip
    pushed = run("campaigns", "push", path, "-b", bootstrap, "--json")
    [warning] = json.loads(pushed.stdout)["warnings"]
    assert "below its max_discount_minor (500)" in warning
    account = Cell(None, Account(sums=HoldingSums(drawn=300, spent=100), opened_at=NOW))
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
    assert (listed()["state"], listed()["campaign"]["state"]) == ("paused", "paused")
    lines = run("campaigns", "list", "-b", bootstrap).stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if unique in line)
    row = " ".join(lines[first : first + 3])
    for cell in ("Spring", "from 2026-01-02", "until 2099-01-01", " 499 ", " 100 ", " 200 ", "1 coupon ", "paused"):
        assert cell in row
    assert run("campaigns", "resume", unique, f"{unique}-x", "-b", bootstrap).exit_code == 1
    assert (listed()["state"], listed()["campaign"]) == ("spent", spring), "it pays for none of its coupons any more"

    result = run("campaigns", "remove", unique, f"{unique}-x", "-b", bootstrap)
    assert result.exit_code == 1
    assert f"{unique}-x: no such campaign in coupon-campaigns" in result.stderr
    assert records(bootstrap, topics.CAMPAIGNS.name, unique)[-1].value is None
    named = run("campaigns", "list", "-b", bootstrap)
    assert f"coupon '{unique}': campaign '{unique}' is not known" in named.stderr.replace("\n", " ")
    assert run("catalog", "remove", unique, "-b", bootstrap).exit_code == 0


def test_a_file_of_a_windows_editor_is_read(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    text = "coupons:\r\n  - coupon_id: tea\r\n    discount_percent: 20\r\n    max_discount_minor: 5\r\n    stock: 1\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert run("catalog", "push", path, "--dry-run").exit_code == 0


def test_lint_is_exit_code_1_for_errors_and_for_warnings(run: Run, tmp_path: Path) -> None:
    good = write_lines(tmp_path / "good.jsonl", coupon())
    assert run("catalog", "lint", good).stdout == f"{good}: 0 errors, 0 warnings\n"
    bad = write_lines(tmp_path / "bad.jsonl", coupon(), coupon("twin"), coupon("c", stock=-1))
    result = run("catalog", "lint", bad, "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, len(report["faults"]), len(report["warnings"])) == (1, 1, 1)
    events = write_lines(tmp_path / "events.jsonl", {"tick": NOW})
    assert run("catalog", "lint", good, "--events", events).exit_code == 0
    scoped = write_lines(tmp_path / "scoped.jsonl", coupon(categories=["tea"]))
    assert run("catalog", "lint", scoped, "--events", events).exit_code == 1


@pytest.mark.kafka
def test_a_file_is_compared_with_what_is_published(
    run: Run, bootstrap: str, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_COUPONS_SHOP__CURRENCIES", '{"ecommerce": "EUR"}')
    path = tmp_path / "catalog.yaml"
    text = f"""
campaigns:
  - {{campaign_id: {unique}, budget_minor: 200000, ends_at: 2098-11-30}}
coupons:
  - {{coupon_id: {unique}, campaign_id: {unique}, discount_percent: 20, max_discount_minor: 500}}
"""
    path.write_text(text)
    pushed = run("catalog", "push", path, "-b", bootstrap)
    assert pushed.exit_code == 0
    assert pushed.stdout.endswith("1 campaign and 1 coupon published; 0 refused\n")
    assert unique not in run("catalog", "diff", path, "-b", bootstrap).stdout, "published coupons of other tests remain"

    path.write_text(
        text.replace("200000", "250000").replace("2098-11-30", "2098-12-24").replace("500}", "500, stock: 9}")
    )
    result = run("catalog", "diff", path, "-b", bootstrap)
    assert result.exit_code == 1
    for line in (
        f"campaign {unique}: changed",
        "  ends_at: 2098-12-01T00:00:00Z -> 2098-12-25T00:00:00Z",
        "  budget_minor: 2,000.00 EUR -> 2,500.00 EUR",
        f"coupon {unique}: changed",
        "  stock: none -> 9",
    ):
        assert line in result.stdout.splitlines()
    path.write_text(text.replace(f"coupon_id: {unique}", f"coupon_id: {unique}-new"))
    found = json.loads(run("catalog", "diff", path, "-b", bootstrap, "--json").stdout)
    mine = [(one["id"], one["change"]) for one in found if unique in one["id"]]
    assert mine == [(unique, "removed"), (f"{unique}-new", "added")]
    assert "2,000.00 EUR" in run("campaigns", "list", "-b", bootstrap).stdout
    assert "5.00 EUR" in run("catalog", "list", "-b", bootstrap).stdout
    assert run("catalog", "remove", unique, "-b", bootstrap).exit_code == 0
    assert run("campaigns", "remove", unique, "-b", bootstrap).exit_code == 0
