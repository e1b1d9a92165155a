"""Workers that break what was promised to shoppers and marketers: each is found, and the honest one is clean."""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, get_args

import pytest
from msgspec.structs import replace

from lab.builders import AT, AT_MS, COUPONS, ISSUES, LEASES, PROMISED, USERS, Handmade, Log, live_shop, log_of
from stream_coupons.core.caps import Cap
from stream_coupons.core.catalogue.campaign_states import ISSUING
from stream_coupons.core.decision import policy
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.messages.catalogue import CampaignState
from stream_coupons.core.messages.decisions import LoggedDecision
from stream_coupons.core.rules import ProfileRules, Rules
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.kafka.records import SIGNATURE_HEADER, Record
from stream_coupons.ops.audit.findings import Check, Findings
from stream_coupons.ops.audit.promised import PromisedRules
from stream_coupons.runtime.cells import Cell, CellCodec
from tests.agents.fakes import Shop
from tests.core.builders import erasure

DECISIONS = topics.DECISIONS.name
HOUR_MS = 3_600_000
DAY = PROMISED.policy
LOUD = replace(DAY, quiet_until_hour=2.5)


def sent_by(worker: Rules = PROMISED) -> Log:
    """The log of a few hours of workers that run with these rules; what a test changes, no other test sees."""
    log = log_of(honest_shop() if worker is PROMISED else live_shop(rules=worker))
    log.committed = log.ends
    return log


@lru_cache
def honest_shop() -> Shop:
    return live_shop(rules=PROMISED)


def audited(log: Log) -> Findings:
    """The findings of an audit that knows the rules; of a log made by hand, which nobody signed, not the secret."""
    return log.audit(promised=PromisedRules(PROMISED, key_since_ms=math.inf if isinstance(log, Handmade) else 0.0))


def with_policy(**changes: Any) -> Log:
    """The log of workers whose policy differs from the promised one."""
    return sent_by(replace(PROMISED, policy=replace(DAY, **changes)))


def edited(topic: str, change: Callable[[Any], Any], chosen: Callable[[Any], bool] = lambda _: True) -> Log:
    """The log of honest workers in which one message says something else."""
    log, decode = sent_by(), Decoder(topics.BY_NAME[topic])
    for records in (found for (name, _), found in sorted(log.records.items()) if name == topic):
        for index, one in enumerate(records):
            message = decode(one.value)
            if chosen(message):
                records[index] = one._replace(value=encode(change(message)))
                return log
    raise AssertionError(f"no record of {topic} is such")


def pushed(log: Log, at_ms: int = AT_MS + HOUR_MS, **changes: Any) -> Log:
    """A log in which the marketer pushed all coupons again, with other terms."""
    for each in COUPONS:
        log.append(topics.CATALOG, replace(each, **changes), at_ms=at_ms)
    return log


def withdrawn() -> Log:
    log = sent_by()
    for each in COUPONS:
        log.put(Record(topics.CATALOG.name, 0, 0, AT_MS + HOUR_MS, each.coupon_id.encode(), None))
    return log


def campaign_in(**state: Any) -> Log:
    """The log of workers that ignore a change of the campaign's state."""
    log = sent_by()
    [one] = log.read((topics.CAMPAIGNS.name,))
    campaign = Decoder(topics.CAMPAIGNS)(one.value)
    log.append(topics.CAMPAIGNS, replace(campaign, **state), at_ms=AT_MS + HOUR_MS)
    return log


# ---------------------------------------------------------------- shoppers who are erased


def erased(log: Handmade, state: Shopper, after_ms: int = 10) -> Handmade:
    """A log in which the shopper of the first issue asked to be erased; the worker took it in, and has this state."""
    record = log.append(topics.ERASURES, erasure("e", AT, log.users["1"]), at_ms=AT_MS + after_ms)
    log.save_cells()
    cell = Cell(None, state, {topics.BROWSE.name: 9, topics.ERASURES.name: record.offset})
    log.put(Record(USERS, 0, 0, AT_MS, record.key, CellCodec(Shopper).encode(cell)))
    return log


def issued_after_erasure(later_ms: int = 2 * HOUR_MS) -> Handmade:
    """An event of before an erasure that came after it has led to an issue."""
    log = Handmade().give("1")
    log.events["1"] = log.events["1"]._replace(timestamp_ms=AT_MS + later_ms)
    log.look("2", log.users["1"])
    log.draw("2")
    late = log.issue("2", at_ms=AT_MS + later_ms)
    log.change(ISSUES, 1, timestamp_ms=late.timestamp_ms)
    return erased(log, Shopper(erased_at=AT))


def keeping(**profile: Any) -> Log:
    state = Shopper(erased_at=AT)
    for name, value in profile.items():
        setattr(state.profile, name, value)
    return erased(Handmade().give("1"), state)


# ---------------------------------------------------------------- uses of a coupon


def used(*, second_order: bool = False, late: bool = False, booked: bool = False, waited_s: float = 1000.0) -> Handmade:
    """A coupon that was used once in time, and once more as they say; the worker has booked that, or not."""
    log = Handmade(budget_minor=1000).give("1")
    log.buy("1", 60)
    at_s = 300.0 if late else 10.0
    log.say(
        "1",
        event_id="more",
        order_id="order-2" if second_order else "order-1",
        occurred_at=AT + 10.0,
        at_ms=AT_MS + int(at_s * 1000),
        discount_minor=80,
    )
    if booked:
        log.book("1", 140 if second_order else 80, held=0)
    log.tick(AT + waited_s)
    log.save_cells()
    return log


def unsigned(topic: str) -> Log:
    log = sent_by()
    [first, *_] = log.read((topic,))
    log.change(topic, headers=tuple(header for header in first.headers if header[0] != SIGNATURE_HEADER))
    return log


def is_given(decision: LoggedDecision) -> bool:
    return decision.result == "given"


class Forgery(NamedTuple):
    """A log of workers that break a promise, the checks that must say so, and words of a finding."""

    make: Callable[[], Log]
    red: set[str]
    says: str


FORGERIES = {
    "the holdout is ignored": Forgery(
        lambda: with_policy(holdout_ratio=0.0), {"holdout"}, "the shopper is in the holdout, expected no coupon"
    ),
    "the holdout is another one": Forgery(
        lambda: with_policy(holdout_ratio=0.9), {"holdout"}, "is_holdout is True, expected False by the secret"
    ),
    "the holdout is drawn by another secret": Forgery(
        lambda: sent_by(replace(PROMISED, key=DrawKey(b"another"))),
        {"holdout", "propensities", "signatures"},
        "by the secret",
    ),
    "quiet hours are ignored": Forgery(
        lambda: with_policy(quiet_until_hour=2.5), {"quiet hours"}, "expected none between the hours 2.5 and 3 in UTC"
    ),
    "the cooldown is ignored": Forgery(
        lambda: with_policy(cooldown_s=0.0), {"cooldown"}, "expected 2000 s after 2001-09-09T"
    ),
    "the frequency cap is ignored": Forgery(
        lambda: with_policy(max_issues_per_window=50),
        {"frequency cap"},
        "the shopper had 2 coupons in 14400 s before it, expected no more",
    ),
    "a pause is ignored": Forgery(lambda: pushed(sent_by(), paused=True), {"states"}, "is paused, expected none"),
    **{
        f"a campaign is {state}, which is ignored": Forgery(
            partial(campaign_in, state=state), {"states"}, f"the coupon or its campaign is {state}, expected none"
        )
        for state in get_args(CampaignState)
        if state not in ISSUING
    },
    "a ramp is ignored": Forgery(
        partial(campaign_in, state="ramp", ramp_ratio=0.1),
        {"states"},
        "is ramped up to 10% without them, expected none",
    ),
    "the holdout of a campaign is ignored": Forgery(
        partial(campaign_in, holdout_ratio=0.9), {"holdout"}, "is in the holdout of campaign"
    ),
    "a withdrawal is ignored": Forgery(withdrawn, {"states"}, "is withdrawn"),
    "an end is ignored": Forgery(
        lambda: pushed(sent_by(), valid_until=AT + 3600.0),
        {"validity"},
        "<= time < 2001-09-09T02:46:40+00:00",
    ),
    "a start is ignored": Forgery(
        lambda: pushed(sent_by(), valid_from=AT + 1e6), {"validity"}, "expected 2001-09-20T15:33:20+00:00 <= time"
    ),
    "an event of before an erasure leads to an issue": Forgery(
        issued_after_erasure, {"erasures"}, "the shopper was erased up to 2001-09-09T01:46:40+00:00, expected none"
    ),
    "an erasure leaves no mark": Forgery(
        lambda: erased(Handmade().give("1"), Shopper()), {"erasures"}, "the state of u-1 does not say"
    ),
    "an erasure leaves the last event": Forgery(
        lambda: keeping(last_event_at=AT - 5.0), {"erasures"}, "has an event of 2001-09-09T01:46:35+00:00"
    ),
    "an erasure leaves an order": Forgery(
        lambda: keeping(last_event_at=AT + 5.0, ordered_at={"tea": AT - 9.0}), {"erasures"}, "has an event of"
    ),
    "exploration is ignored": Forgery(
        lambda: with_policy(exploration_ratio=0.0),
        {"propensities"},
        "exploration is 0.0 with 5 tried, expected 0.3 with 5",
    ),
    "controls are ignored": Forgery(
        lambda: with_policy(control_ratio=0.0), {"propensities"}, "control is 0.0, expected 0.0666667 to 0.2"
    ),
    "controls are ignored, and no decision is on record": Forgery(
        lambda: with_policy(control_ratio=0.0, decisions_logged_ratio=0.0),
        {"propensities"},
        "expected no coupon by the secret",
    ),
    "chance is ignored, and no decision is on record": Forgery(
        lambda: with_policy(exploration_ratio=0.0, decisions_logged_ratio=0.0),
        {"propensities"},
        "is_explored is False, expected True by the secret",
    ),
    "a propensity is wrong": Forgery(
        lambda: edited(DECISIONS, lambda one: replace(one, propensity=0.5), is_given),
        {"propensities"},
        "propensity is 0.5, expected",
    ),
    "a propensity is wrong in the issue": Forgery(
        lambda: edited(ISSUES, lambda one: replace(one, propensity=0.5)), {"propensities"}, "its issue has coupon"
    ),
    "an issue hides that chance drew it": Forgery(
        lambda: edited(ISSUES, lambda one: replace(one, is_explored=False), lambda one: one.is_explored),
        {"propensities"},
        "is_explored False, expected",
    ),
    "a result is kept quiet": Forgery(
        lambda: edited(
            DECISIONS,
            lambda one: replace(one, result="not_worth_it", coupon_id="none", drawn=None, propensity=one.control_ratio),
            lambda one: is_given(one) and one.drawn is None,
        ),
        {"propensities"},
        "not_worth_it none: drawn is None, expected given",
    ),
    "another arm was drawn": Forgery(
        lambda: edited(
            DECISIONS,
            lambda one: replace(one, drawn=(one.drawn + 1) % len(one.arms)),
            lambda one: one.result == "holdout" and one.drawn is not None and len(one.arms) > 1,
        ),
        {"propensities"},
        "by the secret",
    ),
    "a decision has the id of other luck": Forgery(
        lambda: edited(DECISIONS, lambda one: replace(one, decision_id="i1"), lambda one: one.result == "control"),
        {"propensities"},
        "of the trigger that its origin names",
    ),
    "the best arm is not the best": Forgery(
        lambda: edited(
            DECISIONS,
            lambda one: replace(
                one, values_minor=[value - 9.0 * (row == one.best) for row, value in enumerate(one.values_minor)]
            ),
            lambda one: one.best is not None and len(one.arms) > 1,
        ),
        {"propensities"},
        "with value less price",
    ),
    "nothing is best though it is worth it": Forgery(
        lambda: edited(DECISIONS, lambda one: replace(one, best=None), lambda one: one.result == "control"),
        {"propensities"},
        "expected one if above",
    ),
    "fewer arms are tried": Forgery(
        lambda: edited(DECISIONS, lambda one: replace(one, tried=[0]), lambda one: len(one.arms) > 1),
        {"propensities"},
        "with 1 tried, expected",
    ),
    "arms have no values": Forgery(
        lambda: edited(DECISIONS, lambda one: replace(one, values_minor=[])),
        {"propensities"},
        "expected as many values",
    ),
    "the holdout gets a coupon on record": Forgery(
        lambda: edited(DECISIONS, lambda one: replace(one, is_holdout=True), is_given),
        {"propensities", "holdout"},
        "is_holdout is True, expected",
    ),
    "a coupon of a lower priority is the best on record": Forgery(
        lambda: edited(
            DECISIONS,
            lambda one: replace(one, priorities=[int(row != one.best) for row in range(len(one.arms))]),
            lambda one: (
                one.best is not None and min(one.values_minor) > DAY.min_value_minor + 1.0 and len(one.arms) > 1
            ),
        ),
        {"propensities"},
        "of priority 0, expected one of priority 1",
    ),
    "a second use is not booked": Forgery(
        lambda: used(second_order=True), {"amounts"}, "of money:c in partition 0 is spent and not refunded"
    ),
    "a late purchase is not booked": Forgery(
        lambda: used(second_order=True, late=True), {"amounts"}, "expected at least 140 by its issues and feedback"
    ),
    "a late correction is not booked": Forgery(
        lambda: used(late=True), {"amounts"}, "expected at least 80 by its issues and feedback"
    ),
    "a lease without a signature is believed": Forgery(
        lambda: unsigned(LEASES), {"signatures"}, "its header signature is missing"
    ),
    "a report without a signature is believed": Forgery(
        lambda: unsigned(topics.LEASE_REPORTS.name), {"signatures"}, "and it was taken in: expected a dead letter"
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_broken_promise_is_found(name: str) -> None:
    forged = FORGERIES[name]
    found = audited(forged.make()).violations
    assert {one.check.title for one in found} == forged.red
    assert any(forged.says in one.detail for one in found), found


def test_what_honest_workers_send_is_clean_and_each_promise_is_looked_at() -> None:
    findings = audited(sent_by())
    assert findings.violations == []
    assert {check for check, tally in findings.tallies.items() if not tally.checked} == {Check.COPIES}


# ---------------------------------------------------------------- what cannot be judged, and what is no fault


def skipped(findings: Findings) -> set[Check]:
    assert findings.violations == []
    return {check for check, tally in findings.tallies.items() if tally.not_checked and check is not Check.LETTERS}


def test_without_the_secret_holdout_draws_and_signatures_are_not_checked() -> None:
    findings = sent_by(replace(PROMISED, key=DrawKey(b"another"))).audit(
        promised=PromisedRules(PROMISED, key_since_ms=math.inf)
    )
    assert skipped(findings) == {Check.HOLDOUT, Check.PROPENSITIES, Check.SIGNATURES}


def test_without_the_settings_what_they_rule_is_not_checked() -> None:
    log = with_policy(holdout_ratio=0.0, cooldown_s=0.0, max_issues_per_window=50, quiet_until_hour=2.5)
    rules = {Check.HOLDOUT, Check.PROPENSITIES, Check.QUIET_HOURS, Check.COOLDOWN, Check.FREQUENCY}
    assert skipped(log.audit(promised=PromisedRules(PROMISED, since_ms=math.inf))) == rules
    assert skipped(log.audit()) == rules | {Check.SIGNATURES}


def test_what_began_before_the_settings_is_not_judged_by_them() -> None:
    log = with_policy(holdout_ratio=0.0)
    known = [PromisedRules(PROMISED, since_ms=AT_MS + hours * HOUR_MS) for hours in (1, 9)]
    first, none = (log.audit(promised=each).tallies[Check.HOLDOUT] for each in known)
    assert 0 < first.violations < audited(log).tallies[Check.HOLDOUT].violations
    assert (none.violations, none.checked) == (0, 0)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("second_order", [False, True])
def test_what_is_booked_is_clean_and_counted(second_order: bool, late: bool) -> None:
    findings = audited(used(second_order=second_order, late=late, booked=True))
    assert findings.violations == []
    noted = findings.used_late, findings.used_again
    assert [one.minor for one in noted] == [80 * late, 80 * (second_order and not late)]


def test_a_late_report_may_wait_for_its_issue_until_a_tick_refuses_it() -> None:
    assert audited(used(late=True, waited_s=500.0)).violations == []


def test_a_late_purchase_that_was_refused_is_listed_with_its_sum() -> None:
    log = used()
    for _ in range(2):
        log.refuse(
            log.say("1", event_id="later", order_id="order-3", at_ms=AT_MS + HOUR_MS, discount_minor=None), "late"
        )
    log.refuse(log.say("1", "cancel", at_ms=AT_MS + HOUR_MS), "late")
    findings = audited(log)
    assert (findings.not_booked.reports, findings.not_booked.minor) == (1, 100)


def test_an_unsigned_lease_that_was_refused_is_no_fault() -> None:
    log = unsigned(LEASES)
    log.refuse(next(iter(log.read((LEASES,)))), "not_signed")
    assert "signatures" not in {one.check.title for one in audited(log).violations}


@pytest.mark.parametrize(("later_ms", "is_open"), [(-5, False), (60_000, True)])
def test_a_request_of_erasure_may_be_read_after_events_of_the_same_time(later_ms: int, is_open: bool) -> None:
    findings = audited(issued_after_erasure(later_ms))
    assert "erasures" not in {one.check.title for one in findings.violations}
    assert findings.tallies[Check.ERASURES].not_checked == is_open


def test_an_erased_shopper_is_not_held_to_the_cooldown_of_before() -> None:
    log = issued_after_erasure(-5)
    assert audited(log).tallies[Check.COOLDOWN].not_checked == 2


def test_a_state_that_has_ended_or_was_not_reached_is_not_judged() -> None:
    log = erased(Handmade().give("1"), Shopper())
    log.put(Record(USERS, 0, 0, AT_MS, b"u-1", None))
    assert audited(log).tallies[Check.ERASURES].not_checked == 1


@pytest.mark.parametrize("at_ms", [AT_MS + 10 * HOUR_MS, AT_MS])
def test_a_version_counts_from_its_time_on_and_is_followed_within_minutes(at_ms: int) -> None:
    log = Handmade().give("1")
    log.append(topics.CATALOG, replace(log.terms, paused=True, valid_until=1.0), at_ms=at_ms)
    log.save_cells()
    assert audited(log).violations == []


def test_terms_before_the_oldest_known_version_are_not_judged() -> None:
    log = Handmade(paused=True).give("1")
    log.append(topics.CATALOG, log.terms, at_ms=AT_MS)
    log.take_out(topics.CATALOG.name, 0)
    log.save_cells()
    assert skipped(audited(log)) >= {Check.STATES, Check.VALIDITY}


@pytest.mark.parametrize(("began_ms", "is_found"), [(AT_MS, False), (AT_MS + 2 * HOUR_MS, True)])
def test_a_trigger_of_before_quiet_hours_leads_to_no_issue_within_them(began_ms: int, is_found: bool) -> None:
    log = Handmade().give("1")
    log.change(ISSUES, timestamp_ms=AT_MS + 3 * HOUR_MS, headers=(("began-ms", b"%d" % began_ms),))
    rules = replace(PROMISED, policy=replace(DAY, quiet_from_hour=2.0, quiet_until_hour=8.0))
    assert log.audit(promised=PromisedRules(rules)).tallies[Check.QUIET_HOURS].violations == is_found


IN_INDIA = {"context": {"time_zone": "Asia/Kolkata"}}


def test_quiet_hours_are_judged_on_the_clock_of_each_shopper() -> None:
    honest, others = (log_of(live_shop(rules=each, **IN_INDIA)) for each in (PROMISED, replace(PROMISED, policy=LOUD)))
    times = [Decoder(topics.ISSUES)(one.value).issued_at for one in honest.read((ISSUES,))]
    assert any(policy.is_quiet(at, DAY, "UTC") for at in times)
    assert audited(honest).violations == []
    in_india = replace(PROMISED, policy=replace(DAY, quiet_from_hour=8.0, quiet_until_hour=8.5))
    [found] = {one.check for one in others.audit(promised=PromisedRules(in_india)).violations}
    assert found is Check.QUIET_HOURS


def test_a_shopper_whose_time_zone_is_not_on_record_is_not_judged() -> None:
    log = log_of(live_shop(rules=PROMISED))
    imputed = replace(PROMISED, profile=ProfileRules(missing_context=frozenset({"time_zone=last"})))
    assert skipped(log.audit(promised=PromisedRules(imputed))) == {Check.QUIET_HOURS}


def test_a_worker_that_ignores_the_caps_of_the_shop_is_found() -> None:
    capped = replace(PROMISED, policy=replace(DAY, caps=[Cap(per="day", n=1)]))
    assert log_of(live_shop(rules=capped)).audit(promised=PromisedRules(capped)).violations == []
    found = sent_by().audit(promised=PromisedRules(capped)).violations
    assert {one.check for one in found} == {Check.FREQUENCY}
    assert "coupons in 14400 s or 1 a day before it" in found[0].detail


def test_a_coupon_of_a_higher_priority_may_be_worth_less() -> None:
    first = [replace(one, priority=int(one.coupon_id == "both")) for one in COUPONS]
    log = log_of(live_shop(rules=PROMISED, coupons=first))
    decisions = [Decoder(topics.DECISIONS)(one.value) for one in log.read((DECISIONS,))]
    assert any(one.best is not None and one.values_minor[one.best] < max(one.values_minor) - 1.0 for one in decisions)
    assert audited(log).violations == []
