"""Verbs of a campaign's life on a broker: states, approvals, and a history that survives a kill."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import NotAppended, Publisher

from .conftest import Run, records, write_lines

COUPON: dict[str, Any] = {"discount_percent": 10.0, "max_discount_minor": 500, "stock": 5}


class Shop:
    """One campaign, named after the test, with a coupon."""

    def __init__(self, run: Run, bootstrap: str, name: str, path: Path) -> None:
        self.run, self.bootstrap, self.name, self.path = run, bootstrap, name, path

    def __call__(self, verb: str, *options: object, code: int = 0) -> str:
        result = self.run("campaigns", verb, self.name, *options, "-b", self.bootstrap)
        assert result.exit_code == code, result.stdout + result.stderr
        return (result.stdout + result.stderr).replace("\n", " ").strip()

    def push(self, *, code: int = 0, coupon: dict[str, Any] | None = None, **fields: Any) -> str:
        path = self.path / "c.json"
        own = {"coupon_id": self.name, "campaign_id": self.name} | COUPON | (coupon or {})
        path.write_text(json.dumps({"campaigns": [{"campaign_id": self.name} | fields], "coupons": [own]}))
        result = self.run("catalog", "push", path, "-b", self.bootstrap, "--reason", "plan")
        assert result.exit_code == code, result.stdout + result.stderr
        return result.stdout + result.stderr

    @property
    def record(self) -> dict[str, Any]:
        value = records(self.bootstrap, topics.CAMPAIGNS.name, self.name)[-1].value
        return dict(json.loads(value))

    @property
    def history(self) -> list[dict[str, Any]]:
        return list(json.loads(self("history", "--json")))


@pytest.fixture
def shop(run: Run, bootstrap: str, unique: str, tmp_path: Path) -> Shop:
    return Shop(run, bootstrap, unique, tmp_path)


@pytest.mark.kafka
def test_a_life_from_draft_to_archive_is_in_the_history(shop: Shop) -> None:
    shop.push(state="draft", budget_minor=9000)
    assert "is draft, to launch it expected approved, ramp or running; run `stream-coupons campaigns approve" in shop(
        "launch", code=1
    )
    said = [
        shop(*verb.split())
        for verb in (
            "stage", "approve", "launch --ratio 5%", "launch --ratio 0.25", "pause --reason picture", "resume",
            "hold", "resume", "launch", "end", "archive",
        )
    ]  # fmt: skip
    states = [one.removeprefix(f"{shop.name}: ") for one in said]
    assert states == [
        "staged", "approved", "ramp 0.05", "ramp 0.25", "paused", "ramp 0.25", "held", "ramp 0.25", "running", "ended",
        "archived",
    ]  # fmt: skip
    found = shop.history
    assert [one["change"]["verb"] for one in found] == [
        "push", "stage", "approve", "launch", "launch", "pause", "resume", "hold", "resume", "launch", "end", "archive",
    ]  # fmt: skip
    assert all(one["in_effect"] for one in found)
    assert [one["change"].get("reason", "") for one in found][:6] == ["plan", "", "", "", "", "picture"]
    assert found[4]["fields"] == ["ramp_ratio"]
    shown = shop("history")
    assert "draft -> staged" in shown
    assert shop.record == {"campaign_id": shop.name, "budget_minor": 9000, "state": "archived", "ramp_ratio": 1.0}


@pytest.mark.kafka
def test_a_verb_that_changes_nothing_leaves_no_change(shop: Shop) -> None:
    shop.push()
    assert shop("pause") == shop("pause") == f"{shop.name}: paused"
    assert [one["change"]["verb"] for one in shop.history] == ["push", "pause"]
    shop.push(budget_minor=70_000)
    assert shop.record == {"campaign_id": shop.name, "budget_minor": 70_000, "state": "paused"}, "push keeps the state"
    assert "state: is paused, for the state draft of the file expected draft" in shop.push(state="draft", code=1)
    assert shop.record["state"] == "paused"
    shop("remove", "--reason", "over")
    last = shop.history[-1]
    assert (last["change"]["verb"], last["change"]["reason"], last["in_effect"]) == ("remove", "over", True)
    assert shop("remove", "--json", code=1)


@pytest.mark.kafka
def test_a_change_that_was_cut_short_is_marked_and_completed_by_its_verb(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.push()
    send = Publisher.send_bytes

    def dies(self: Publisher, topic: topics.Topic, *record: Any, **options: Any) -> None:
        if topic is topics.CAMPAIGNS:
            raise NotAppended("killed between the two records")
        send(self, topic, *record, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "send_bytes", dies)
        shop("pause", code=2)
    assert "state" not in shop.record, "nothing is in effect"
    assert [one["in_effect"] for one in shop.history] == [True, False]
    assert "pause (not in effect)" in shop("history")
    assert shop("pause") == f"{shop.name}: paused"
    assert [one["in_effect"] for one in shop.history] == [True, False, True]


@pytest.mark.kafka
def test_two_people_approve(shop: Shop, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    keys = {}
    for name in ("ann", "ben", "eve"):
        keys[name] = tmp_path / f"{name}.key"
        public = run("campaigns", "keygen", keys[name]).stdout.strip()
        assert stat.S_IMODE(os.stat(keys[name]).st_mode) == 0o600
        if name != "eve":
            monkeypatch.setenv(f"PUBLIC_{name}", public)
    trusted = {name: os.environ[f"PUBLIC_{name}"] for name in ("ann", "ben")}
    monkeypatch.setenv("STREAM_COUPONS_APPROVAL__KEYS", json.dumps(trusted))
    monkeypatch.setenv("STREAM_COUPONS_APPROVAL__REQUIRED", "2")
    monkeypatch.setenv("STREAM_COUPONS_APPROVAL__OPERATOR", "Ann A.")

    shop.push(budget_minor=9000)
    assert shop.record["state"] == "draft", "a new campaign waits"
    assert "approval.required is 2: sign with --key" in shop("approve", code=2)
    assert "expected one of approval.keys" in shop("approve", "--key", keys["eve"], code=2)
    assert shop("approve", "--key", keys["ann"]) == f"{shop.name}: draft, 1 of 2 approvals"
    assert shop("approve", "--key", keys["ann"]) == f"{shop.name}: draft, 1 of 2 approvals", "nobody approves twice"
    assert "is draft" in shop("launch", code=1)
    assert shop("approve", "--key", keys["ben"]) == f"{shop.name}: approved, 2 of 2 approvals"
    assert shop("launch", "--ratio", "5%") == f"{shop.name}: ramp 0.05, 2 of 2 approvals", "a launch voids none"
    assert [(one["change"]["by"], one["change"].get("key_name")) for one in shop.history] == [
        ("Ann A.", None), ("Ann A.", "ann"), ("Ann A.", "ben"), ("Ann A.", None),
    ]  # fmt: skip

    shop.push(budget_minor=9000, coupon={"max_discount_minor": 900})
    assert "is signed as it is by nobody, to launch it expected 2 signatures" in shop("launch", code=1)
    assert shop("approve", "--key", keys["ben"]) == f"{shop.name}: ramp 0.05, 1 of 2 approvals", "its state stays"
    assert "signed as it is by ben" in shop("launch", code=1)
    assert shop("approve", "--key", keys["ann"]) == f"{shop.name}: ramp 0.05, 2 of 2 approvals"
    assert len(shop.record["signatures"]) == 2, "those that are void are dropped"


def test_bad_options_are_named(run: Run, tmp_path: Path) -> None:
    for text in ("150%", "-1%", "half", "5%x", "nan"):
        result = run("campaigns", "launch", "spring", "--ratio", text)
        assert (result.exit_code, "expected a share of the shoppers" in result.stderr) == (2, True), text
    file = write_lines(tmp_path / "c.json", {"campaign_id": "spring", "state": "runs"})
    result = run("campaigns", "push", file, "--dry-run")
    assert result.exit_code == 1
    assert "running" in result.stderr
