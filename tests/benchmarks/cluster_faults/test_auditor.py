"""The independent audit: a sound log passes, and each way to spoil it is found."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cluster_faults import auditor
from tests.benchmarks.cluster_faults.logs import (
    AT,
    DAY,
    Topics,
    answer,
    browse,
    campaign,
    coupon,
    event,
    issue,
    letter,
    sound,
)

Spoil = Callable[[Topics], Any]


def violations(topics: Topics, is_exactly_once: bool = True) -> list[str]:
    return auditor.audit(topics.log(), is_exactly_once).violations


def test_a_sound_log_violates_nothing() -> None:
    assert violations(sound()) == []


def test_the_audit_imports_nothing_of_the_engine() -> None:
    tree = ast.parse(Path(auditor.__file__).read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert names
    ours = ("stream_coupons", "loopback_kafka", "benchmarks", "tests")
    assert not [name for name in names if name.startswith(ours)]


@pytest.mark.parametrize("topic", ["coupon-issues", "decisions", "decision-answers"])
def test_a_copy_is_a_violation_only_under_exactly_once(topic: str) -> None:
    topics = sound()
    topics.again(topic)
    assert violations(topics) == ["1 records are copies, and exactly once has none"]
    assert auditor.audit(topics.log(), False) == auditor.Verdict([], 1)


@pytest.mark.parametrize("topic", ["coupon-issues", "decisions", "decision-answers"])
def test_a_copy_with_other_bytes_is_a_violation_under_both_guarantees(topic: str) -> None:
    topics = sound()
    topics.again(topic, trigger_id="e-ann", price=1)
    (found,) = violations(topics, is_exactly_once=False)
    assert found.startswith(f"{topic}: ")
    assert "is not what" in found


SPOILT: dict[str, tuple[Spoil, str]] = {
    "a second issue for a trigger": (
        lambda topics: topics.again("coupon-issues", issue_id="i-other"),
        "have 2 issues",
    ),
    "an issue without a trigger": (
        lambda topics: topics.change("coupon-issues", trigger_id="e-nobody"),
        "that nobody sent",
    ),
    "an issue of an unknown coupon": (
        lambda topics: topics.change("coupon-issues", coupon_id="c9"),
        "which is not in the catalogue",
    ),
    "more than the stock": (
        lambda topics: topics.append("coupon-catalog", "c1", coupon(stock=2)),
        "c1: issue 3 of 2 at coupon-issues:0:2",
    ),
    "more than a cap for life": (
        lambda topics: topics.append("coupon-catalog", "c1", coupon(caps=[{"per": "life", "n": 0}])),
        "more than 0 of c1 in life",
    ),
    "more than a campaign's cap by day": (
        lambda topics: topics.append("coupon-campaigns", "k1", campaign(caps=[{"per": "day", "n": 0}])),
        f"more than 0 of k1 in day {DAY}",
    ),
    "more than a coupon's budget": (
        lambda topics: topics.append("coupon-catalog", "c1", coupon(budget_minor=299)),
        "c1: 300 of a budget of 299 may be taken at coupon-issues:0:2",
    ),
    "more than a campaign's budget": (
        lambda topics: topics.append("coupon-campaigns", "k1", campaign(budget_minor=299)),
        "k1: 300 of a budget of 299 may be taken",
    ),
    "more than a budget held by quantile and its excess": (
        lambda topics: topics.append(
            "coupon-campaigns",
            "k1",
            campaign(budget_minor=280, budget_hold="quantile", max_overspend_ratio=0.05),
        ),
        "k1: 300 of a budget of 280",
    ),
    "an event without an answer": (
        lambda topics: topics.entries["decision-answers"].pop(),
        "asked for an answer, and has none",
    ),
    "an event that is a dead letter": (
        lambda topics: letter(topics, "coupon-feedback:0:0", b"{}"),
        "is an event, and a dead letter: ['bad_json']",
    ),
    "an event with an answer that is a dead letter": (
        lambda topics: letter(topics, "browse-events:0:0", b"{}"),
        "has an answer, and is a dead letter",
    ),
    "bytes that vanish": (
        lambda topics: topics.entries["dead-letters"].pop(),
        "cart-events:0:0 is no event, and no dead letter",
    ),
    "an answer to nothing": (
        lambda topics: topics.append("decision-answers", "x", answer("x", "no_trigger"), origin="browse-events:0:99:0"),
        "browse-events:0:99, which is no record",
    ),
    "a dead letter of nothing": (
        lambda topics: letter(topics, "cart-events:0:99", b"x"),
        "cart-events:0:99, which is no record",
    ),
    "a lost issue": (
        lambda topics: topics.entries["coupon-issues"].pop(),
        "decision i-eve gave a coupon that was not issued",
    ),
    "an answer whose issue is lost": (
        lambda topics: topics.entries["coupon-issues"].pop(),
        "answer i-eve gave a coupon that was not issued",
    ),
    "a lost decision": (lambda topics: topics.entries["decisions"].pop(), "issue i-eve has no decision"),
    "an issue that is not answered": (
        lambda topics: topics.change("decision-answers", result="sold_out"),
        "issue i-ann has no answer",
    ),
    "an event that is decided twice": (
        lambda topics: topics.change("decision-answers", -1, result="given"),
        "2 events have issue i-ann",
    ),
    "totals of too few issues": (
        lambda topics: topics.entries["result-totals"].pop(),
        f"result-totals c1|{DAY}|0: given is 2, the log has 3",
    ),
    "totals of other money": (
        lambda topics: topics.change("result-totals", -1, discount_minor=71),
        "discount_minor is 71, the log has 70",
    ),
    "totals of nothing": (
        lambda topics: topics.append("result-totals", f"c9|{DAY}|0", {"version": 1, "given": 1}),
        f"result-totals c9|{DAY}|0: given is 1, the log has 0",
    ),
    "an offset before the end": (
        lambda topics: topics.committed.update(workers=topics.log().ends | {("browse-events", 0): 3}),
        "workers committed 3 of browse-events:0, its end is 4",
    ),
    "an offset behind the end": (
        lambda topics: topics.committed.update(workers=topics.log().ends | {("browse-events", 0): 5}),
        "workers committed 5 of browse-events:0, its end is 4",
    ),
    "a partition that nobody reads": (
        lambda topics: topics.committed.update(workers={("browse-events", 0): 4}),
        "nothing is committed of cart-events:0",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_each_spoilt_log_is_found(name: str) -> None:
    spoil, expected = SPOILT[name]
    topics = sound()
    spoil(topics)
    found = violations(topics)
    assert any(expected in text for text in found), found


def test_budgets_count_what_was_taken_once_a_window_is_over() -> None:
    topics = sound()
    at = AT + 1000
    place = topics.append("browse-events", "joe", event("joe"), answer="1")
    topics.append("coupon-issues", "joe", issue("joe") | {"issued_at": at, "expires_at": at + 600}, origin=f"{place}:0")
    topics.append("coupon-catalog", "c1", coupon(stock=4, budget_minor=170))
    topics.append("coupon-campaigns", "k1", campaign(budget_minor=300))
    places = [text.rpartition(" ")[2] for text in violations(topics) if "may be taken" in text]
    assert places == ["coupon-issues:0:1", "coupon-issues:0:2"]


def test_a_cap_by_an_unknown_period_is_refused_and_not_passed_over() -> None:
    topics = sound()
    topics.append("coupon-catalog", "c1", coupon(caps=[{"per": "week", "n": 9}]))
    with pytest.raises(ValueError, match="knows life and day"):
        violations(topics)


def test_a_shopper_of_a_sound_log_gets_one_more_coupon_only_with_more_stock() -> None:
    topics = sound()
    browse(topics, "joe")
    assert any("c1: issue 4 of 3" in text for text in violations(topics))
