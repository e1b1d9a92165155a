"""Whole logs: what the agents send is clean at every moment and after every crash; whatever is mutated turns it red."""

import random
from collections.abc import Callable

import msgspec
import pytest
from msgspec.structs import replace

from lab.builders import (
    BROWSE,
    FEEDBACK,
    HALF_HOUR_S,
    ISSUES,
    LEASES,
    LETTERS,
    PROMISED,
    REPORTS,
    RULES,
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
from stream_coupons.core.money.purses import Purse
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.kafka.records import ORIGIN_HEADER
from stream_coupons.ops.audit.audit import READ
from stream_coupons.ops.audit.coverage_check import NOT_FOLLOWED
from stream_coupons.ops.audit.findings import FIRST_KEPT, Check
from stream_coupons.ops.audit.promised import PromisedRules
from stream_coupons.runtime.cells import StateCodec
from stream_coupons.runtime.steps import SHARED_PREFIX

Change = Callable[[Log], object]
PURSES = StateCodec(Purse)


def test_what_the_agents_send_is_clean_and_everything_is_looked_at() -> None:
    findings = live_log().audit()
    assert findings.violations == []
    looked_at = {check for check, tally in findings.tallies.items() if tally.checked > 0}
    by_rules = {Check.HOLDOUT, Check.QUIET_HOURS, Check.COOLDOWN, Check.FREQUENCY, Check.SIGNATURES}
    assert looked_at == set(Check) - {Check.COPIES} - by_rules
    assert not any(tally.open for tally in findings.tallies.values())
    skipped = {check: tally.not_checked for check, tally in findings.tallies.items() if tally.not_checked}
    assert skipped.keys() == by_rules | {Check.PROPENSITIES, Check.LETTERS}
    assert skipped[Check.LETTERS] == 8  # feedback that waited in vain


def test_an_empty_log_is_clean() -> None:
    findings = Log().audit()
    assert findings.violations == []
    assert all(tally.checked == 0 for tally in findings.tallies.values())


@pytest.mark.parametrize("seed", range(12))
def test_a_running_system_is_clean_at_every_moment_whatever_crashes(seed: int) -> None:
    chance = random.Random(seed)
    by = PROMISED if seed % 2 else RULES
    shop = new_shop(rules=by)
    has_copies = False
    for visit in range(12):
        shoppers_act(shop, visit)
        strangers_act(shop, visit)
        for _ in range(chance.randrange(12)):
            crash = chance.choice([None, chance.uniform(0, 2), 2.0])
            agent, home = chance.choice(["users", "budgets", "neighbours"]), chance.randrange(shop.partitions)
            shop.process(agent, home, chance.choice([1, 3, 100]), crash)
            findings = log_of(shop).audit(promised=PromisedRules(by))
            assert findings.violations == []
            has_copies |= findings.tallies[Check.COPIES].checked > 0
        shop.tick(shop.now + chance.choice([60.0, HALF_HOUR_S]))
    assert has_copies
    shop.settle()
    assert red(log_of(shop)) == set()


def _again(log: Log, topic: str, old: bytes, new: bytes, of: bytes = b"") -> None:
    """Append a copy of the first record that has some text, with another text in its place."""
    one = next(record for record in log.read((topic,)) if old in (record.value or b"") and of in (record.value or b""))
    log.put(one._replace(value=(one.value or b"").replace(old, new)))


def _instead(log: Log, topic: str, old: bytes, new: bytes, of: bytes = b"") -> None:
    """Put another text into the first record that has some text."""
    for records in (found for (name, _), found in sorted(log.records.items()) if name == topic):
        for index, one in enumerate(records):
            if old in (one.value or b"") and of in (one.value or b""):
                records[index] = one._replace(value=(one.value or b"").replace(old, new))
                return
    raise AssertionError(f"no record of {topic} has {old!r}")


def _with_other_hold(log: Log, by: int) -> None:
    """Change what the first issue of the campaign says that it holds."""
    for records in (found for (name, _), found in sorted(log.records.items()) if name == ISSUES):
        for index, one in enumerate(records):
            issue = msgspec.json.decode(one.value or b"")
            if issue.get("campaign_id") == "spring" and 1 < issue["held_minor"] < 100:
                records[index] = one._replace(
                    value=msgspec.json.encode(issue | {"held_minor": issue["held_minor"] + by})
                )
                return
    raise AssertionError("no issue of the campaign holds less than the most")


def _without(log: Log, topic: str, text: bytes) -> None:
    """Remove all records that have some text."""
    for (name, _), records in log.records.items():
        if name == topic:
            records[:] = [one for one in records if text not in (one.value or b"")]


def _without_key(log: Log, key: bytes) -> None:
    """Remove the cells of a key."""
    for (name, _), records in log.records.items():
        if name == USERS:
            records[:] = [one for one in records if one.key != key]


def _spoil(log: Log, account_id: str, **totals: int) -> None:
    """Save the first purse of an account once more, with more or less in its totals."""
    key = (SHARED_PREFIX + account_id).encode()
    one = next(one for one in log.read((USERS,)) if one.key == key)
    purse = PURSES.decode(one.value or b"")
    changed = replace(purse, **{name: getattr(purse, name) + more for name, more in totals.items()})
    log.put(one._replace(value=PURSES.encode(changed)))


def _forge(
    log: Log, topic: str, origin: bytes | None = None, account_id: str = "units:few", **fields: float | None
) -> None:
    """Append another message like the last one of an account, with other fields and another origin."""
    last = [one for one in log.read((topic,)) if f'"{account_id}"'.encode() in (one.value or b"")][-1]
    message = Decoder(topics.BY_NAME[topic])(last.value)
    headers = last.headers if origin is None else ((ORIGIN_HEADER, origin),)
    log.put(last._replace(value=encode(replace(message, **fields)), headers=headers))


def _with_the_code_of_another(log: Log) -> None:
    """Give the second issue with a code that of the first one."""
    found = [one for one in log.read((ISSUES,)) if b'"code"' in (one.value or b"")]
    first, second = (msgspec.json.decode(one.value or b"")["code"] for one in found[:2])
    _instead(log, ISSUES, second.encode(), first.encode())


MUTATIONS: dict[str, tuple[Change, set[str]]] = {
    "an issue has the code of another one": (_with_the_code_of_another, {"codes"}),
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
        lambda log: _again(log, ISSUES, b'"issue_id":"i', b'"issue_id":"j', of=b'"coupon_id":"once"'),
        {"triggers", "issues", "caps", "codes"},
    ),
    "an issue holds more": (
        lambda log: _with_other_hold(log, 1),
        {"amounts"},
    ),
    "an issue holds less": (
        lambda log: _with_other_hold(log, -1),
        {"amounts"},
    ),
    "an issue holds less than the maximum": (
        lambda log: _instead(log, ISSUES, b'"held_minor":100', b'"held_minor":99', of=b'"coupon_id":"poor"'),
        {"amounts", "budget"},
    ),
    "an issue holds more than it can cost": (
        lambda log: _instead(log, ISSUES, b'"held_minor":100', b'"held_minor":101', of=b'"coupon_id":"poor"'),
        {"amounts", "budget"},
    ),
    "an issue names a campaign that is none": (
        lambda log: _instead(log, ISSUES, b'"campaign_id":"spring"', b'"campaign_id":"winter"'),
        {"amounts", "budget"},
    ),
    "an issue draws on no campaign": (
        lambda log: _instead(log, ISSUES, b'"campaign_id":"spring",', b""),
        {"amounts"},
    ),
    "a unit is drawn twice": (lambda log: _spoil(log, "units:once", drawn=1), {"issues"}),
    "a hold is freed too soon": (lambda log: _spoil(log, "money:once", freed=60), {"amounts"}),
    "a hold of a campaign is freed too soon": (lambda log: _spoil(log, "campaign:spring", freed=300), {"amounts"}),
    "a redemption is booked twice": (lambda log: _spoil(log, "money:once", spent=60), {"amounts"}),
    "a redemption of a campaign is booked alone": (
        lambda log: _spoil(log, "campaign:spring", drawn=60, spent=60),
        {"amounts"},
    ),
    "a refund is forged": (lambda log: _spoil(log, "money:once", refunded=40, freed=40), {"amounts"}),
    "a refund of a campaign is forged": (
        lambda log: _spoil(log, "campaign:spring", refunded=40, freed=40),
        {"amounts"},
    ),
    "a refund is not booked": (lambda log: _without(log, FEEDBACK, b'"kind":"refund"'), {"amounts"}),
    "a cancellation is not booked": (lambda log: _without(log, FEEDBACK, b'"kind":"cancel"'), {"amounts"}),
    "a purse has forgotten what was reported": (
        lambda log: _spoil(log, "money:once", drawn=-60),
        {"amounts", "leases"},
    ),
    "a purse draws beyond its leases": (lambda log: _spoil(log, "money:poor", drawn=1000), {"amounts", "leases"}),
    "purchases are lost": (lambda log: _without(log, FEEDBACK, b'"kind":"purchase"'), {"amounts"}),
    "a lease grants beyond the stock": (
        lambda log: _forge(log, LEASES, b"lease-reports:1:47:0", granted=100, version=100),
        {"stock", "records"},
    ),
    "a lease grants beyond the budget of a campaign": (
        lambda log: _forge(log, LEASES, b"lease-reports:1:64:0", "campaign:spring", granted=3000, version=100),
        {"budget", "records"},
    ),
    "a lease says another price of the same version": (
        lambda log: _forge(log, LEASES, b"lease-reports:1:64:0", "campaign:spring", price=0.5),
        {"leases"},
    ),
    "a report of a campaign draws beyond its leases": (
        lambda log: _forge(log, REPORTS, None, "campaign:spring", drawn=9000),
        {"leases", "records"},
    ),
    "a lease is sent by nobody": (lambda log: log.change(LEASES, headers=()), {"leases"}),
    "a report draws beyond its leases": (
        lambda log: _forge(log, REPORTS, b"cart-events:1:4:0", drawn=100),
        {"leases", "records"},
    ),
    "a lease is not taken in": (
        lambda log: _forge(log, LEASES, b"lease-reports:1:47:0", version=100),
        {"records"},
    ),
    "a lease says more under an old origin": (
        lambda log: _forge(log, LEASES, version=100),
        {"leases", "records"},
    ),
    "an input was skipped": (lambda log: log.put(next(iter(log.read((BROWSE,))))._replace(key=b"eva")), {"records"}),
    "a dead letter is lost": (lambda log: log.take_out(LETTERS, 3), {"records"}),
    "a dead letter has other bytes": (lambda log: log.change(LETTERS, value=b"changed"), {"dead letters"}),
    "a dead letter names no record": (lambda log: log.change(LETTERS, headers=()), {"dead letters", "records"}),
    "a shopper's cell is lost": (lambda log: _without_key(log, b"ann"), {"records"}),
    "a purse of stock is lost": (lambda log: _without_key(log, b"\0units:few"), {"issues", "records", "leases"}),
    "a purse of money is lost": (lambda log: _without_key(log, b"\0money:once"), {"amounts", "leases"}),
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
        log.look(f"p{number}")
    findings = log.audit()
    assert findings.count == FIRST_KEPT + 5
    assert len(findings.violations) == FIRST_KEPT
    assert str(findings.violations[0]) == (
        "I3 records: browse-events:0:0: committed, but neither a dead letter nor applied to b'u-p0', "
        "which has none of it; expected one of them"
    )


def test_what_came_after_the_audit_began_is_left_out() -> None:
    log = Handmade().give("1")
    log.save_cells()
    marks = log.marks()
    log.draw("1")
    log.issue("1", title="another")
    log.say("1")
    log.save_cells()
    log.report(drawn=0)
    assert red(log) == {"issues", "copies", "records", "amounts"}
    assert log.audit(marks).violations == []


def test_what_is_read_and_what_is_not_are_all_that_the_agents_read() -> None:
    assert {topic.name for topic in topics.READ_BY_AGENTS} <= set(READ) | set(NOT_FOLLOWED)
    assert set(READ) & set(NOT_FOLLOWED) == {topics.TICKS.name}
