"""Whole logs: what the agents send is clean at every moment and after every crash; whatever is mutated turns it red."""

import random
from collections.abc import Callable

import pytest

from stream_coupons import topics
from stream_coupons.evaluation.accounts import NOT_FOLLOWED
from stream_coupons.evaluation.audit import READ
from stream_coupons.evaluation.findings import FIRST_KEPT, Check

from .builders import (
    BROWSE,
    HALF_HOUR_S,
    ISSUES,
    LETTERS,
    PROPOSALS,
    RESERVATIONS,
    SETTLEMENTS,
    USERS,
    Handmade,
    Log,
    live_log,
    log_of,
    new_shop,
    red,
    shoppers_act,
    strangers_act,
)

Change = Callable[[Log], object]


def test_what_the_agents_send_is_clean_and_everything_is_looked_at() -> None:
    findings = live_log().audit()
    assert findings.violations == []
    looked_at = {check for check, tally in findings.tallies.items() if tally.checked > 0}
    assert looked_at == set(Check) - {Check.COPIES}
    assert not any(tally.open for tally in findings.tallies.values())
    assert {check: tally.not_checked for check, tally in findings.tallies.items() if tally.not_checked} == {
        Check.LETTERS: 8  # feedback that waited in vain
    }


def test_an_empty_log_is_clean() -> None:
    findings = Log().audit()
    assert findings.violations == []
    assert all(tally.checked == 0 for tally in findings.tallies.values())


@pytest.mark.parametrize("seed", range(12))
def test_a_running_system_is_clean_at_every_moment_whatever_crashes(seed: int) -> None:
    chance = random.Random(seed)
    shop = new_shop()
    has_copies = False
    for visit in range(12):
        shoppers_act(shop, visit)
        strangers_act(shop, visit)
        for _ in range(chance.randrange(12)):
            crash = chance.choice([None, chance.uniform(0, 2), 2.0])
            agent, home = chance.choice(["users", "budgets", "neighbours"]), chance.randrange(shop.partitions)
            shop.process(agent, home, chance.choice([1, 3, 100]), crash)
            findings = log_of(shop).audit()
            assert findings.violations == []
            has_copies |= findings.tallies[Check.COPIES].checked > 0
        shop.tick(shop.now + chance.choice([60.0, HALF_HOUR_S]))
    assert has_copies
    shop.settle()
    assert red(log_of(shop)) == set()


def _again(log: Log, topic: str, old: bytes, new: bytes) -> None:
    """Append a copy of the first record that has some text, with another text in its place."""
    one = next(record for record in log.read((topic,)) if old in (record.value or b""))
    log.put(one._replace(value=(one.value or b"").replace(old, new)))


MUTATIONS: dict[str, tuple[Change, set[str]]] = {
    "an issue is lost": (lambda log: log.take_out(ISSUES, 2), {"issues"}),
    "an issue is copied with another title": (
        lambda log: _again(log, ISSUES, b'"trigger_id"', b'"title":"x","trigger_id"'),
        {"copies"},
    ),
    "an issue is copied for another trigger": (
        lambda log: _again(log, ISSUES, b'"trigger_id":"', b'"trigger_id":"other-'),
        {"copies", "triggers"},
    ),
    "a trigger has a second issue": (
        lambda log: _again(log, ISSUES, b'"issue_id":"i', b'"issue_id":"j'),
        {"triggers", "issues", "caps"},
    ),
    "a proposal is lost": (lambda log: log.take_out(PROPOSALS, 2), {"answers"}),
    "an answer is lost": (lambda log: log.take_out(RESERVATIONS, 2), {"answers", "settlements", "issues"}),
    "an answer is copied as another one": (
        lambda log: _again(log, RESERVATIONS, b'"amount_minor":', b'"amount_minor":1'),
        {"copies", "records"},
    ),
    "a settlement is lost": (lambda log: log.take_out(SETTLEMENTS, 2), {"settlements"}),
    "an input was skipped": (lambda log: log.put(next(iter(log.read((BROWSE,))))._replace(key=b"eva")), {"records"}),
    "a dead letter is lost": (lambda log: log.take_out(LETTERS, 3), {"records"}),
    "a dead letter has other bytes": (lambda log: log.change(LETTERS, value=b"changed"), {"dead letters"}),
    "a dead letter names no record": (lambda log: log.change(LETTERS, headers=()), {"dead letters", "records"}),
    "a shopper's cell is lost": (lambda log: log.take_out(USERS), {"records"}),
    "nonsense is issued": (
        lambda log: log.put(next(iter(log.read((ISSUES,))))._replace(value=b"nonsense")),
        {"issues"},
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutated_log_turns_red(name: str) -> None:
    mutate, expected = MUTATIONS[name]
    log = live_log()
    mutate(log)
    log.committed = log.ends
    assert red(log) == expected


def test_every_violation_is_counted_and_the_first_are_kept() -> None:
    log = Handmade()
    for number in range(FIRST_KEPT + 5):
        log.propose(f"p{number}")
    log.save_cells()
    findings = log.audit()
    assert findings.count == FIRST_KEPT + 5
    assert len(findings.violations) == FIRST_KEPT
    assert str(findings.violations[0]) == (
        "I4 answers: coupon-proposals:0:0: proposal p0 is committed, but has no answer: "
        "expected one in coupon-reservations"
    )


def test_what_came_after_the_audit_began_is_left_out() -> None:
    log = Handmade().give("1")
    log.save_cells()
    marks = log.marks()
    log.settle("1", "released")
    log.issue("1", title="another")
    assert red(log) == {"settlements", "issues", "copies", "records"}
    assert log.audit(marks).violations == []


def test_what_is_read_and_what_is_not_are_all_that_the_agents_read() -> None:
    assert {topic.name for topic in topics.READ_BY_AGENTS} <= set(READ) | set(NOT_FOLLOWED)
    assert not set(READ) & set(NOT_FOLLOWED)
