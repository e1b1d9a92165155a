"""Decisions made by hand, each with one thing wrong, one thing open or one thing that retention has dropped."""

from typing import Any

import pytest

from stream_coupons.core.pipeline import issue_id
from stream_coupons.evaluation.findings import Check, Tally

from .builders import AT_MS, ISSUES, PROPOSALS, RESERVATIONS, SETTLEMENTS, Handmade, Log, found

HOUR_MS = 3_600_000


def finished(log: Log) -> list[tuple[str, str, str]]:
    """The violations of a log to which nothing is added any more."""
    log.save_cells()
    return found(log)


def tally(log: Log, check: Check) -> Tally:
    """How a check went that found nothing."""
    findings = log.audit()
    assert findings.violations == []
    return findings.tallies[check]


def test_whole_decisions_are_clean() -> None:
    log = Handmade(stock=2, budget_minor=200, max_per_user=1).give("1", "2")
    assert finished(log) == []
    assert tally(log, Check.ISSUES) == Tally(checked=2)


def test_identical_copies_of_every_record_are_no_violation() -> None:
    log = Handmade(stock=2, budget_minor=200, max_per_user=1).give("1", "2")
    for topic in (PROPOSALS, RESERVATIONS, SETTLEMENTS, ISSUES):
        for record in list(log.read((topic,))):
            log.put(record)
    assert finished(log) == []
    assert tally(log, Check.COPIES) == Tally(checked=8)
    assert tally(log, Check.TRIGGERS) == Tally(checked=2)


# ---------------------------------------------------------------- triggers and copies


def test_two_issues_for_one_trigger_are_one_too_many() -> None:
    log = Handmade()
    for one in ("1", "2"):
        log.propose(one, "u")
        log.reserve(one)
        log.settle(one)
        log.issue(one, trigger_id="t")
    detail = "trigger t of u has issue 2 besides 1, expected one issue"
    assert finished(log) == [("triggers", "coupon-issues:0:1", detail)]


def test_the_same_trigger_id_of_two_shoppers_is_two_triggers() -> None:
    log = Handmade()
    for one in ("1", "2"):
        log.propose(one)
        log.reserve(one)
        log.settle(one)
        log.issue(one, trigger_id="t")
    assert finished(log) == []


def test_events_of_two_kinds_that_share_an_id_are_two_triggers() -> None:
    log = Handmade()
    for one in (issue_id("u", "browse", "t"), issue_id("u", "cart", "t")):
        log.propose(one, "u")
        log.reserve(one)
        log.settle(one)
        log.issue(one, trigger_id="t")
    assert finished(log) == []
    assert tally(log, Check.TRIGGERS) == Tally(checked=2)


def test_an_issue_for_another_trigger_is_not_the_same_issue() -> None:
    log = Handmade().give("1")
    log.issue("1", trigger_id="t")
    assert [title for title, _, _ in finished(log)] == ["copies", "triggers"]
    assert "is for trigger t of u-1 now" in found(log)[1][2]


@pytest.mark.parametrize("changed", [{"title": "another"}, {"expires_at": 2e9}, {"propensity": 0.5}])
def test_a_copy_of_an_issue_with_other_content_is_none(changed: dict[str, Any]) -> None:
    log = Handmade().give("1")
    log.issue("1", **changed)
    detail = "issue 1 differs from its first copy, expected the same key, value and origin"
    assert finished(log) == [("copies", "coupon-issues:0:1", detail)]


@pytest.mark.parametrize("topic", [PROPOSALS, RESERVATIONS, SETTLEMENTS, ISSUES])
def test_a_copy_in_other_bytes_is_none(topic: str) -> None:
    log = Handmade().give("1")
    [record] = log.read((topic,))
    log.put(record._replace(value=(record.value or b"").replace(b",", b", ")))
    [(title, place, _)] = finished(log)
    assert (title, place) == ("copies", f"{topic}:0:1")


def test_a_proposal_that_was_answered_twice_has_an_answer_of_another_origin() -> None:
    """What a trigger that comes again beyond the horizon of duplicates leads to: held, and never given back."""
    log = Handmade().give("1")
    log.propose("1")
    log.reserve("1")
    assert [(title, place) for title, place, _ in finished(log)] == [
        ("copies", "coupon-proposals:0:1"),
        ("copies", "coupon-reservations:0:1"),
    ]


# ---------------------------------------------------------------- answers


def test_a_proposal_must_be_answered() -> None:
    log = Handmade().give("1")
    log.propose("2")
    detail = "proposal 2 is committed, but has no answer: expected one in coupon-reservations"
    assert finished(log) == [("answers", "coupon-proposals:0:1", detail)]


def test_a_proposal_that_was_handed_on_is_answered_where_it_went() -> None:
    log = Handmade()
    first = log.propose("1")
    log.asked["1"] = log.put(first._replace(value=(first.value or b"").replace(b"}", b',"rank":1}')))
    assert finished(log)[0][1] == "coupon-proposals:0:1"
    log.reserve("1", coupon_id="d", granted=False, amount_minor=0)
    assert finished(log) == []


def test_an_answer_must_be_to_a_proposal() -> None:
    log = Handmade().give("1", "2")
    log.take_out(PROPOSALS, 1)
    detail = "it answers proposal 2, which was never made: expected one in coupon-proposals"
    assert finished(log) == [("answers", "coupon-reservations:0:1", detail)]


def test_a_refused_proposal_needs_no_settlement() -> None:
    log = Handmade()
    log.propose("1")
    log.reserve("1", granted=False, amount_minor=0)
    assert finished(log) == []
    assert tally(log, Check.SETTLEMENTS) == Tally()


# ---------------------------------------------------------------- settlements and issues


def test_a_granted_reservation_must_be_settled() -> None:
    log = Handmade().give("1")
    log.propose("2")
    log.reserve("2")
    detail = "reservation 2 is committed, but neither confirmed nor released: expected it in coupon-settlements"
    assert finished(log) == [("settlements", "coupon-reservations:0:1", detail)]


def test_a_released_reservation_needs_no_issue() -> None:
    log = Handmade()
    log.propose("1")
    log.reserve("1")
    log.settle("1", "released")
    assert finished(log) == []


@pytest.mark.parametrize("outcomes", [["confirmed"], ["released"], ["expired"], ["redeemed"]])
def test_only_what_was_reserved_is_settled(outcomes: list[str]) -> None:
    log = Handmade().give("1", "2")
    log.take_out(RESERVATIONS, 1)
    log.take_out(SETTLEMENTS, 1)
    log.take_out(ISSUES, 1)
    log.take_out(PROPOSALS, 1)
    for outcome in outcomes:
        log.settle("2", outcome)
    detail = f"2 is {outcomes[0]}, but was never reserved: expected it granted in coupon-reservations"
    assert finished(log) == [("settlements", "coupon-settlements:0:2", detail)]


@pytest.mark.parametrize("outcome", ["released", "expired", "redeemed"])
def test_a_confirmed_reservation_has_one_end(outcome: str) -> None:
    log = Handmade().give("1")
    assert log.settle("1", "expired")
    log.settle("1", outcome)
    both = {
        "released": ["reservation 1 is confirmed and released and expired, expected", "1 is issued and its"],
        "redeemed": ["reservation 1 is confirmed and redeemed and expired, expected"],
        "expired": [],
    }[outcome]
    violations = finished(log)
    assert len(violations) == len(both)
    assert all(detail.startswith(start) for (_, _, detail), start in zip(violations, both, strict=True))


def test_what_was_released_is_not_redeemed() -> None:
    log = Handmade()
    log.propose("1")
    log.reserve("1")
    log.settle("1", "released")
    log.settle("1", "redeemed")
    assert [title for title, _, _ in finished(log)] == ["settlements"]


def test_a_confirmed_reservation_without_its_issue_is_a_lost_coupon() -> None:
    log = Handmade().give("1", "2")
    log.take_out(ISSUES, 1)
    detail = "2 is confirmed and committed, but not issued: expected it in coupon-issues"
    assert finished(log) == [("issues", "coupon-reservations:0:1", detail)]


def test_what_was_released_is_not_issued() -> None:
    log = Handmade()
    log.propose("1")
    log.reserve("1")
    log.settle("1", "released")
    log.issue("1")
    detail = "1 is issued and its reservation released, expected one of them"
    assert finished(log) == [("issues", "coupon-reservations:0:0", detail)]


def test_only_what_was_reserved_is_issued() -> None:
    log = Handmade().give("1")
    log.users["2"] = "u-2"
    log.held["2"] = log.held["1"]
    log.issue("2")
    detail = "2 is issued, but was never reserved: expected it granted in coupon-reservations"
    assert finished(log) == [("issues", "coupon-issues:0:1", detail)]


def test_what_is_no_issue_is_not_sent_to_shoppers() -> None:
    log = Handmade().give("1")
    [record] = log.read((ISSUES,))
    log.put(record._replace(value=b"{}"))
    [(title, place, detail)] = finished(log)
    assert (title, place) == ("issues", "coupon-issues:0:1")
    assert detail.startswith("is no issue: coupon-issues: Object missing required field `issue_id`")


# ---------------------------------------------------------------- amounts


@pytest.mark.parametrize(
    ("promise", "detail"),
    [
        ({"max_discount_minor": 101}, "issue 1 promises 101 of coupon c, expected at most 100 of coupon c"),
        ({"coupon_id": "d"}, "issue 1 promises 100 of coupon d, expected at most 100 of coupon c"),
    ],
)
def test_an_issue_promises_what_was_reserved(promise: dict[str, Any], detail: str) -> None:
    log = Handmade()
    log.propose("1")
    log.reserve("1")
    log.settle("1")
    log.issue("1", **promise)
    assert ("amounts", "coupon-issues:0:0", detail) in finished(log)


@pytest.mark.parametrize(
    ("settled", "detail"),
    [
        ({"outcome": "redeemed", "spent": 101}, "redeemed 1 spends 101, expected at most 100"),
        ({"outcome": "expired", "held": 99}, "expired 1 books 99 of coupon c, expected 100 of coupon c"),
    ],
)
def test_a_settlement_books_what_was_reserved(settled: dict[str, Any], detail: str) -> None:
    log = Handmade().give("1")
    log.settle("1", **settled)
    assert finished(log) == [("amounts", "coupon-settlements:0:1", detail)]


# ---------------------------------------------------------------- what is open while it runs


def running(log: Log, topic: str, committed: int) -> Log:
    """The same log, of one topic of which only so much is committed."""
    log.save_cells()
    log.committed = dict(log.ends) | {(topic, 0): committed}
    return log


def test_a_proposal_that_is_not_committed_may_lack_its_answer() -> None:
    log = Handmade().give("1")
    log.propose("2")
    assert tally(running(log, PROPOSALS, 1), Check.ANSWERS) == Tally(checked=1, open=1)


def test_a_reservation_that_is_not_committed_may_lack_its_settlement_or_its_issue() -> None:
    log = Handmade().give("1")
    for one in ("2", "3"):
        log.propose(one)
        log.reserve(one)
    log.settle("3")
    running(log, RESERVATIONS, 1)
    assert tally(log, Check.SETTLEMENTS) == Tally(checked=2, open=1)
    assert tally(log, Check.ISSUES) == Tally(checked=1, open=1)


def test_an_issue_that_is_sent_before_its_settlement_is_open() -> None:
    log = Handmade()
    log.propose("1")
    log.reserve("1")
    log.issue("1")
    assert tally(running(log, RESERVATIONS, 0), Check.SETTLEMENTS) == Tally(open=1)


# ---------------------------------------------------------------- what retention has dropped


def old_and_new() -> Handmade:
    """An old decision and, an hour later, a new one."""
    log = Handmade().give("1", "2")
    for (topic, _), records in log.records.items():
        if topic in (PROPOSALS, RESERVATIONS, SETTLEMENTS, ISSUES):
            records[1] = records[1]._replace(timestamp_ms=AT_MS + HOUR_MS)
    log.save_cells()
    return log


@pytest.mark.parametrize(
    ("topics", "check"),
    [
        ([PROPOSALS], Check.ANSWERS),
        ([RESERVATIONS], Check.ANSWERS),
        ([RESERVATIONS], Check.SETTLEMENTS),
        ([PROPOSALS, RESERVATIONS], Check.ISSUES),
        ([SETTLEMENTS], Check.SETTLEMENTS),
        ([PROPOSALS, RESERVATIONS, SETTLEMENTS], Check.ISSUES),
    ],
)
def test_what_retention_has_dropped_is_not_missed(topics: list[str], check: Check) -> None:
    log = old_and_new()
    for topic in topics:
        log.drop_beginning(topic, 1)
    assert tally(log, check) == Tally(checked=1, not_checked=1)
    assert log.audit().shortened == sorted(topics)


def test_an_issue_that_retention_has_dropped_is_not_missed() -> None:
    log = old_and_new()
    log.drop_beginning(ISSUES, 1)
    assert tally(log, Check.ISSUES) == Tally(checked=1, not_checked=1)


def test_a_topic_that_retention_has_emptied_proves_nothing() -> None:
    log = old_and_new()
    log.drop_beginning(SETTLEMENTS, 2)
    assert tally(log, Check.SETTLEMENTS) == Tally(not_checked=2)
    assert log.audit().shortened == [SETTLEMENTS]


def test_redemptions_of_what_retention_has_dropped_are_not_missed() -> None:
    log = old_and_new()
    log.settle("1", "redeemed")
    for topic in (PROPOSALS, RESERVATIONS, SETTLEMENTS):
        log.drop_beginning(topic, 1)
    log.save_cells()
    assert tally(log, Check.SETTLEMENTS) == Tally(checked=1, not_checked=1)


@pytest.mark.parametrize("topic", [PROPOSALS, RESERVATIONS, SETTLEMENTS, ISSUES])
def test_what_is_newer_than_what_retention_has_dropped_is_missed(topic: str) -> None:
    log = old_and_new()
    for name in (PROPOSALS, RESERVATIONS, SETTLEMENTS, ISSUES):
        log.put(next(record for record in log.read((name,)) if record.offset == 1))
        log.drop_beginning(name, 1)
    third = Handmade.propose(log, "3")
    log.reserve("3")
    log.settle("3")
    log.issue("3")
    for records in log.records.values():
        records[:] = [
            record._replace(timestamp_ms=AT_MS + 2 * HOUR_MS)
            if record.offset >= third.offset and record.topic != "coupon-catalog"
            else record
            for record in records
        ]
    log.save_cells()
    assert found(log) == []
    log.take_out(topic, 2)
    assert found(log) != []


# ---------------------------------------------------------------- dead letters in the chain


def test_nothing_follows_from_a_record_whose_step_failed() -> None:
    log = Handmade()
    log.refuse(log.propose("1"), "step_failed")
    log.propose("2")
    log.refuse(log.reserve("2"), "step_failed")
    log.save_cells()
    assert tally(log, Check.ANSWERS) == Tally(checked=1, not_checked=1)
    assert tally(log, Check.SETTLEMENTS) == Tally(not_checked=1)


def test_what_strangers_put_into_a_topic_is_no_part_of_a_decision() -> None:
    log = Handmade().give("1")
    for topic, name in ((RESERVATIONS, "wrong_partition"), (SETTLEMENTS, "wrong_key"), (PROPOSALS, "wrong_key")):
        one = next(iter(log.read((topic,))))
        forged = (one.value or b"").replace(b'"proposal_id":"1"', b'"proposal_id":"9"')
        log.refuse(log.put(one._replace(value=forged)), name)
    assert finished(log) == []


def test_nonsense_in_a_topic_that_an_agent_reads_is_a_matter_of_its_dead_letter() -> None:
    log = Handmade().give("1")
    [record] = log.read((SETTLEMENTS,))
    log.refuse(log.put(record._replace(value=b"nonsense")), "not_json")
    assert finished(log) == []
