"""Follow every issue: its trigger, its copies, what its partition drew for it, and what became of its money.

A worker saves what it draws together with the shopper's state, before the issue is sent. So a purse has drawn at least
what is issued, and more only for triggers that are not committed. Money is held by issues, spent and refunded by
feedback, and freed by feedback, by the time that passes, and by a tick after the coupon's end. An account of money has
the sum over all of its coupons:

    drawn = held by issues + spent + held again after a refund or a cancellation

Where the topics do not show whether feedback was applied, or a coupon has ended, all courses of events are considered:
only what none of them explains is a violation.
"""

import math
from collections import defaultdict
from collections.abc import Mapping

from stream_coupons.core.decision.attribution import CLOCKS_DIFFER_S
from stream_coupons.core.decision.pipeline import KINDS, issue_id
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import MONEY_KINDS, FeedbackEvent, Tick
from stream_coupons.core.money.accounts import budgets_of, codes_of, units_of
from stream_coupons.core.money.purses import Purse
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Record
from stream_coupons.ops.audit.budget_check import BudgetCheck
from stream_coupons.ops.audit.courses import Given, PartitionClock, Settlement, Sums, is_repeated, taken
from stream_coupons.ops.audit.coverage_check import PlacedPurse, fingerprint
from stream_coupons.ops.audit.findings import Check, Findings, place_of
from stream_coupons.ops.audit.issue_check import IssueCheck
from stream_coupons.ops.audit.offsets import AuditedOffsets, Retained
from stream_coupons.ops.audit.terms import KnownTerms

ISSUES, FEEDBACK, TICKS, LETTERS = (
    topic.name for topic in (topics.ISSUES, topics.FEEDBACK, topics.TICKS, topics.DEAD_LETTERS)
)
TRIGGERS = (topics.BROWSE.name, topics.CART.name, topics.ORDER.name)
ROUNDING = 1e-3
"""Allowed rounding error of sums of parts of holds, minor units."""


class DecisionCheck:
    """Checks triggers, copies, issues and amounts; read issues, then ticks and feedback."""

    def __init__(
        self,
        marks: AuditedOffsets,
        retained: Retained,
        known: KnownTerms,
        issues: IssueCheck,
        budgets: BudgetCheck,
        findings: Findings,
    ) -> None:
        self.early_feedback_s = CLOCKS_DIFFER_S
        """Time for which feedback waits for its issue, in seconds."""
        self._marks = marks
        self._retained = retained
        self._known = known
        self._issues = issues
        self._budgets = budgets
        self._findings = findings
        self.given: dict[str, Given] = {}
        """By id, all issues."""
        self._issues_of: dict[int, tuple[str, ...]] = {}
        self._places: dict[tuple[str, int], str] = {}
        self._heard: set[int] = set()
        self._clocks: defaultdict[int, PartitionClock] = defaultdict(PartitionClock)
        self._partitions = marks.partitions(ISSUES) or 1

    # ------------------------------------------------------------ one record

    def issue(self, record: Record, issue: CouponIssue) -> bool:
        """Take in an issue; return False if it is a copy."""
        identity = issue.issue_id
        trigger = hash((issue.user_id, issue.trigger_id))
        before = self._issues_of.get(trigger, ())
        about = f"trigger {issue.trigger_id} of {issue.user_id}"
        if self._is_copy(record, identity):
            if identity not in before:
                detail = f"issue {identity} is for {about} now, expected the one trigger that it was for before"
                self._findings.violate(Check.TRIGGERS, place_of(record), detail)
            return False
        self._issues_of[trigger] = (*before, identity)
        if not before or _are_of_several_kinds(issue, before):
            self._findings.passed(Check.TRIGGERS)
        else:
            detail = f"{about} has issue {identity} besides {before[0]}, expected one issue"
            self._findings.violate(Check.TRIGGERS, place_of(record), detail)
        home = topics.partition_for(issue.user_id.encode(), self._partitions)
        self._issues.issue(record, issue, home)
        self._keep(record, issue, home)
        return True

    def _keep(self, record: Record, issue: CouponIssue, home: int) -> None:
        for account_id in (units_of(issue.coupon_id), *budgets_of(issue.coupon_id, issue.campaign_id)):
            self._places[account_id, home] = place_of(record)
        self._pass(home, issue.issued_at)
        self.given[issue.issue_id] = Given(
            content=fingerprint(record),
            user=hash(issue.user_id),
            coupon_id=issue.coupon_id,
            campaign_id=issue.campaign_id,
            partition=home,
            held_minor=issue.held_minor,
            most_minor=issue.max_discount_minor,
            issued_at=issue.issued_at,
            expires_at=issue.expires_at,
            at_ms=record.timestamp_ms,
            propensity=issue.propensity,
            is_explored=issue.is_explored,
        )

    def _pass(self, partition: int, at: float) -> None:
        clock = self._clocks[partition]
        self._clocks[partition] = clock._replace(latest=max(at, clock.latest))

    def _is_copy(self, record: Record, identity: str) -> bool:
        """Return whether this was issued before; then check that the bytes are the same."""
        known = self.given.get(identity)
        if known is None:
            return False
        if known.content == fingerprint(record):
            self._findings.passed(Check.COPIES)
        else:
            detail = f"issue {identity} differs from its first copy, expected the same key, value and origin"
            self._findings.violate(Check.COPIES, place_of(record), detail)
        return True

    def tick(self, record: Record, tick: Tick) -> None:
        """Advance a partition's time to a tick, at most to when it was appended."""
        appended_at = record.appended_at
        at = tick.at if appended_at is None else min(tick.at, appended_at)
        clock = self._clocks[record.partition]
        gap_s = at - clock.reached if clock.reached > -math.inf else 0.0
        is_settled = self._marks.is_committed(record.topic, record.partition, record.offset)
        settled = max(at, clock.settled) if is_settled else clock.settled
        self._clocks[record.partition] = PartitionClock(
            max(at, clock.reached), max(at, clock.latest), max(gap_s, clock.gap_s), settled
        )

    def feedback(self, record: Record, event: FeedbackEvent, *, may_be_refused: bool) -> None:
        """Take in feedback that has no dead letter; `may_be_refused` if a copy of it has one."""
        given = self.given.get(event.issue_id)
        if given is None or given.user != hash(event.user_id):
            return
        event_id = hash((event.user_id, event.event_id))
        is_first = event_id not in self._heard
        self._heard.add(event_id)
        if event.kind not in MONEY_KINDS or event.coupon_id not in (None, given.coupon_id):
            return
        may_be_late = not 0 <= record.timestamp_ms < given.expires_at * 1000
        is_sure = (
            is_first
            and not may_be_refused
            and event.occurred_at >= given.issued_at - CLOCKS_DIFFER_S
            and (not may_be_late or self._has_waited(record, event))
            and self._marks.is_committed(record.topic, record.partition, record.offset)
            and not self._retained.may_have_lost(LETTERS, record.partition, record.timestamp_ms)
        )
        about = event_id, event.order_id or "", event.occurred_at, event.kind, taken(event, given)
        settlement = Settlement(*about, may_be_late, is_sure)
        if is_repeated(settlement, given.settlements):
            return
        is_again = any(one.order_id != event.order_id for one in given.settlements)
        if event.kind == "purchase" and may_be_late:
            self._findings.used_late.add(settlement.taken_minor)
        elif event.kind == "purchase" and given.settlements and event.order_id not in given.order_ids:
            self._findings.used_again.add(settlement.taken_minor)
        given.settlements += (settlement,)
        appended_at = record.appended_at
        self._pass(record.partition, event.occurred_at if appended_at is None else min(event.occurred_at, appended_at))
        if is_again or may_be_late:
            account_ids = budgets_of(given.coupon_id, given.campaign_id)
            self._budgets.take_unheld(account_ids, given.partition, settlement.taken_minor)

    def _has_waited(self, record: Record, event: FeedbackEvent) -> bool:
        """Return whether late feedback would have a dead letter by now, had it waited for an issue in vain."""
        waits_until = max(event.occurred_at + self.early_feedback_s, record.appended_at or math.inf)
        return self._clocks[record.partition].settled >= waits_until

    # ------------------------------------------------------------ when all is read

    def end(
        self, purses: Mapping[tuple[str, int], PlacedPurse], not_booked: Mapping[tuple[str, str], FeedbackEvent]
    ) -> None:
        """Compare the issues with the amounts that the purses drew for them, and count purchases `not_booked`."""
        for event in not_booked.values():
            about = self.given.get(event.issue_id)
            self._findings.not_booked.add((event.discount_minor or 0) if about is None else taken(event, about))
        counts: dict[tuple[str, int], int] = {}
        sums: dict[tuple[str, int], Sums] = {}
        for given in self.given.values():
            home, is_over = given.partition, self._may_be_over(given)
            counts[given.coupon_id, home] = counts.get((given.coupon_id, home), 0) + 1
            courses = list(given.courses(has_lost=self._has_lost(given)))
            for account_id in budgets_of(given.coupon_id, given.campaign_id):
                each = sums.setdefault((account_id, home), Sums(self._places[account_id, home]))
                each.add(given, courses, self._clocks[home], is_over=is_over)
        self._commit(sums)
        purses = {key: placed for key, placed in purses.items() if not key[0].startswith(codes_of(""))}
        is_stock = {key: key[0] == units_of(key[0].partition(":")[2]) for key in purses}
        drawn_on = [(account_id.partition(":")[2], home) for account_id, home in purses if is_stock[account_id, home]]
        beyond = {key: self._compare(*key, counts.get(key, 0), purses) for key in dict.fromkeys([*counts, *drawn_on])}
        for account_id, home in dict.fromkeys([*sums, *(key for key in purses if not is_stock[key])]):
            each = sums.get((account_id, home), Sums(""))
            units = [beyond.get((one, home), 0) for one in self._known.drawn_on_by(account_id)]
            if min(units, default=0) >= 0:
                purse, place = purses.get((account_id, home)) or PlacedPurse(Purse(), each.place)
                self._compare_money(
                    f"of {account_id} in partition {home}",
                    each,
                    purse,
                    place,
                    is_whole=self._retained.begin(ISSUES, home) == 0,
                    is_open=max(units, default=0) > 0,
                )

    def _commit(self, sums: Mapping[tuple[str, int], Sums]) -> None:
        of_account: dict[str, list[Sums]] = {}
        for (account_id, _), each in sums.items():
            of_account.setdefault(account_id, []).append(each)
        for account_id, parts in of_account.items():
            held, worst = (
                sum(math.floor(part) for part in each)
                for each in ([part.open.least for part in parts], [part.worst.least for part in parts])
            )
            self._budgets.commit(account_id, held, worst, parts[0].place)

    def _may_be_over(self, given: Given) -> bool:
        """Return whether an issue may have ended in its partition, by ticks read or lost."""
        is_over = given.expires_at <= self._clocks[given.partition].reached
        return is_over or self._retained.may_have_lost(TICKS, given.partition, given.expires_at * 1000)

    def _has_lost(self, given: Given) -> bool:
        """Return whether retention may have dropped feedback on an issue; some is appended before it."""
        earliest_ms = given.at_ms - CLOCKS_DIFFER_S * 1000
        return self._retained.may_have_lost(FEEDBACK, given.partition, earliest_ms)

    def _lag(self, partition: int) -> int:
        """Return the number of uncommitted records that may trigger an issue."""
        marks = self._marks
        ends = ((marks.ends.get((name, partition), 0), marks.committed.get((name, partition), 0)) for name in TRIGGERS)
        return sum(max(end - committed, 0) for end, committed in ends)

    def _compare(self, coupon_id: str, home: int, count: int, purses: Mapping[tuple[str, int], PlacedPurse]) -> int:
        """Check a purse of stock; return the units drawn beyond the issues."""
        account_id = units_of(coupon_id)
        issued_at = self._places.get((account_id, home), "")
        purse, place = purses.get((account_id, home)) or PlacedPurse(Purse(), issued_at)
        where = f"of coupon {coupon_id} in partition {home}"
        beyond = purse.drawn - count
        self._findings.passed(Check.ISSUES, count)
        if beyond < 0:
            detail = f"{count} issues {where}, but {purse.drawn} units drawn: expected one for each"
            self._findings.violate(Check.ISSUES, issued_at, detail)
        elif beyond and self._retained.begin(ISSUES, home) > 0:
            self._findings.skip(Check.ISSUES)
        elif beyond > self._lag(home):
            detail = f"{purse.drawn} units {where} are drawn and committed, but {count} issued: expected all"
            self._findings.violate(Check.ISSUES, place, detail)
        elif beyond:
            self._findings.leave_open(Check.ISSUES)
        if purse.freed or purse.spent:
            detail = f"{purse.freed} units {where} are freed and {purse.spent} spent, expected each to stay given"
            self._findings.violate(Check.ISSUES, place, detail)
        return beyond

    def _compare_money(
        self, where: str, sums: Sums, purse: Purse, place: str, *, is_whole: bool, is_open: bool
    ) -> None:
        """Check a purse of money; `is_whole` if all issues are there, `is_open` if some are still on their way."""
        net, held = purse.spent - purse.refunded, sums.held + purse.spent
        for name, amount, least, most in (
            ("drawn", purse.drawn, held + sums.again.least, held + sums.again.most),
            ("spent and not refunded", net, sums.spent.least, sums.spent.most),
            ("refunded", purse.refunded, sums.refunded.least, sums.refunded.most),
            ("freed", purse.freed, 0, sums.freed.most),
        ):
            if amount < least:
                detail = f"{amount} {where} is {name}, expected at least {least} by its issues and feedback"
                self._findings.violate(Check.AMOUNTS, place, detail)
            elif amount <= most + ROUNDING:
                self._findings.passed(Check.AMOUNTS)
            elif not is_whole:
                self._findings.skip(Check.AMOUNTS)
            elif is_open:
                self._findings.leave_open(Check.AMOUNTS)
            else:
                detail = f"{amount} {where} is {name}, expected at most {math.floor(most)} by its issues and feedback"
                self._findings.violate(Check.AMOUNTS, place, detail)
        if purse.freed + net > purse.drawn:
            detail = f"{purse.freed} {where} is freed and {net} spent, expected at most the {purse.drawn} drawn"
            self._findings.violate(Check.AMOUNTS, place, detail)


def _are_of_several_kinds(issue: CouponIssue, before: tuple[str, ...]) -> bool:
    """Return whether events of different kinds, which may share an id, triggered these issues, by the issue ids."""
    return {issue.issue_id, *before} <= {issue_id(issue.user_id, kind, issue.trigger_id) for kind in KINDS.values()}
