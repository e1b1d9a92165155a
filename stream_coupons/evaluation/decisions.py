"""Follow every issue: its trigger, its copies, what its partition drew for it, and what became of its money.

A worker saves what it draws together with the shopper's state, before the issue is sent. So a purse has drawn at least
what is issued, and more only for triggers that are not committed. Money is spent by purchases in the topic of feedback,
and freed by them or by a tick after the coupon's time. Where the topics do not say whether a purchase was applied, or
a coupon has ended, both are taken into account: only what no course of events explains is a violation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stream_coupons import topics
from stream_coupons.core.attribution import CLOCKS_DIFFER_S
from stream_coupons.core.events import CouponIssue, FeedbackEvent, Tick
from stream_coupons.core.leases import Purse, money_of, units_of
from stream_coupons.core.pipeline import KINDS, issue_id
from stream_coupons.evaluation.accounts import PlacedPurse, fingerprint
from stream_coupons.evaluation.findings import Check, Findings, place_of
from stream_coupons.evaluation.limits import Limits
from stream_coupons.evaluation.marks import Marks, Retained
from stream_coupons.runtime.records import Record

ISSUES, FEEDBACK, TICKS, LETTERS = (
    topic.name for topic in (topics.ISSUES, topics.FEEDBACK, topics.TICKS, topics.DEAD_LETTERS)
)
TRIGGERS = (topics.BROWSE.name, topics.CART.name, topics.ORDER.name)


@dataclass(slots=True)
class Given:
    """An issue and what may have become of it.

    Attributes
    ----------
    least, most : int or None
        Of what purchases may have spent; None if there is no purchase.
    is_sure : bool
        Whether one of them was applied for certain.
    at_ms : int
        When the issue was appended.
    """

    content: int
    user: int
    coupon_id: str
    partition: int
    held_minor: int
    issued_at: float
    expires_at: float
    at_ms: int
    least: int | None = None
    most: int | None = None
    is_sure: bool = False


@dataclass(slots=True)
class Sums:
    """What all issues of a coupon in one partition come to; `max_freed` and the like are bounds."""

    place: str = ""
    count: int = 0
    held: int = 0
    min_spent: int = 0
    max_spent: int = 0
    max_freed: int = 0
    committed: int = 0

    def add(self, given: Given, *, is_over: bool, has_lost: bool) -> None:
        """One more; `is_over` if its time may be over, `has_lost` if a purchase may be there no more."""
        held = given.held_minor
        least, most = (held, 0) if given.least is None or given.most is None else (given.least, given.most)
        if has_lost:
            least, most = 0, held
        self.count += 1
        self.held += held
        self.min_spent += least if given.is_sure else 0
        self.max_spent += most
        self.max_freed += held if is_over and not given.is_sure else held - least
        self.committed += least if given.is_sure or not is_over else 0


class Decisions:
    """Checks triggers, copies and issues; read issues, then ticks and feedback."""

    def __init__(self, marks: Marks, retained: Retained, limits: Limits, findings: Findings) -> None:
        self._marks = marks
        self._retained = retained
        self._limits = limits
        self._findings = findings
        self._given: dict[str, Given] = {}
        self._issues_of: dict[int, tuple[str, ...]] = {}
        self._places: dict[tuple[str, int], str] = {}
        self._heard: set[int] = set()
        self._reached: dict[int, float] = {}
        self._partitions = marks.partitions(ISSUES) or 1

    # ------------------------------------------------------------ one record

    def issue(self, record: Record, issue: CouponIssue) -> None:
        """A coupon is issued."""
        identity = issue.issue_id
        trigger = hash((issue.user_id, issue.trigger_id))
        before = self._issues_of.get(trigger, ())
        about = f"trigger {issue.trigger_id} of {issue.user_id}"
        if self._is_copy(record, identity):
            if identity not in before:
                detail = f"issue {identity} is for {about} now, expected the one trigger that it was for before"
                self._findings.violate(Check.TRIGGERS, place_of(record), detail)
            return
        self._issues_of[trigger] = (*before, identity)
        if not before or _are_of_several_kinds(issue, before):
            self._findings.passed(Check.TRIGGERS)
        else:
            detail = f"{about} has issue {identity} besides {before[0]}, expected one issue"
            self._findings.violate(Check.TRIGGERS, place_of(record), detail)
        self._limits.issue(record, issue)
        self._keep(record, issue)

    def _keep(self, record: Record, issue: CouponIssue) -> None:
        home = topics.partition_for(issue.user_id.encode(), self._partitions)
        self._places[issue.coupon_id, home] = place_of(record)
        self._given[issue.issue_id] = Given(
            content=fingerprint(record),
            user=hash(issue.user_id),
            coupon_id=issue.coupon_id,
            partition=home,
            held_minor=issue.max_discount_minor,
            issued_at=issue.issued_at,
            expires_at=issue.expires_at,
            at_ms=record.timestamp_ms,
        )

    def _is_copy(self, record: Record, identity: str) -> bool:
        """Whether this was issued before; if so, it must have been in the same bytes."""
        known = self._given.get(identity)
        if known is None:
            return False
        if known.content == fingerprint(record):
            self._findings.passed(Check.COPIES)
        else:
            detail = f"issue {identity} differs from its first copy, expected the same key, value and origin"
            self._findings.violate(Check.COPIES, place_of(record), detail)
        return True

    def tick(self, record: Record, tick: Tick) -> None:
        """Time passes in a partition, but never beyond when the tick was appended."""
        appended_at = record.appended_at
        at = tick.at if appended_at is None else min(tick.at, appended_at)
        self._reached[record.partition] = max(at, self._reached.get(record.partition, at))

    def feedback(self, record: Record, event: FeedbackEvent, *, may_be_refused: bool) -> None:
        """Feedback that has no dead letter; `may_be_refused` if a copy of it has one."""
        given = self._given.get(event.issue_id)
        if given is None or given.user != hash(event.user_id):
            return
        event_id = hash((event.user_id, event.event_id))
        is_first = event_id not in self._heard
        self._heard.add(event_id)
        is_other = event.coupon_id is not None and event.coupon_id != given.coupon_id
        if event.kind != "purchase" or is_other or given.is_sure:
            return
        held = given.held_minor
        spent = held if event.discount_minor is None else min(event.discount_minor, held)
        given.is_sure = (
            is_first
            and not may_be_refused
            and event.occurred_at >= given.issued_at - CLOCKS_DIFFER_S
            and 0 <= record.timestamp_ms < given.expires_at * 1000
            and self._marks.is_committed(record.topic, record.partition, record.offset)
            and not self._retained.may_have_lost(LETTERS, record.partition, record.timestamp_ms)
        )
        given.least = spent if given.least is None else min(given.least, spent)
        given.most = spent if given.most is None else max(given.most, spent)

    # ------------------------------------------------------------ when all is read

    def end(self, purses: Mapping[tuple[str, int], PlacedPurse]) -> None:
        """Compare what was issued with what the purses say was drawn for it."""
        sums: dict[tuple[str, int], Sums] = {}
        for given in self._given.values():
            of_coupon = sums.setdefault((given.coupon_id, given.partition), Sums())
            of_coupon.add(given, is_over=self._may_be_over(given), has_lost=self._has_lost(given))
        committed: dict[str, int] = {}
        for key, each in sums.items():
            each.place = self._places[key]
            committed[key[0]] = committed.get(key[0], 0) + each.committed
        for coupon_id, minor in committed.items():
            place = next(each.place for key, each in sums.items() if key[0] == coupon_id)
            self._limits.commit(coupon_id, minor, place)
        drawn_on = ((account_id.partition(":")[2], home) for account_id, home in purses)
        for coupon_id, home in dict.fromkeys([*sums, *drawn_on]):
            units, money = (purses.get((account(coupon_id), home)) for account in (units_of, money_of))
            self._compare(coupon_id, home, sums.get((coupon_id, home), Sums()), units, money)

    def _may_be_over(self, given: Given) -> bool:
        """Whether time may have ended an issue in its partition, as far as ticks say."""
        reached = self._reached.get(given.partition)
        is_over = reached is not None and given.expires_at <= reached
        return is_over or self._retained.may_have_lost(TICKS, given.partition, given.expires_at * 1000)

    def _has_lost(self, given: Given) -> bool:
        """Whether retention may have dropped a purchase with an issue; some purchases are appended before it."""
        earliest_ms = given.at_ms - CLOCKS_DIFFER_S * 1000
        return self._retained.may_have_lost(FEEDBACK, given.partition, earliest_ms)

    def _lag(self, partition: int) -> int:
        """How many records that may lead to an issue are not committed."""
        marks = self._marks
        ends = ((marks.ends.get((name, partition), 0), marks.committed.get((name, partition), 0)) for name in TRIGGERS)
        return sum(max(end - committed, 0) for end, committed in ends)

    def _compare(
        self, coupon_id: str, home: int, sums: Sums, units: PlacedPurse | None, money: PlacedPurse | None
    ) -> None:
        purse, place = units or PlacedPurse(Purse(), sums.place)
        where = f"of coupon {coupon_id} in partition {home}"
        beyond = purse.drawn - sums.count
        is_whole = self._retained.begin(ISSUES, home) == 0
        self._findings.passed(Check.ISSUES, sums.count)
        if beyond < 0:
            detail = f"{sums.count} issues {where}, but {purse.drawn} units drawn: expected one for each"
            self._findings.violate(Check.ISSUES, sums.place, detail)
        elif beyond and not is_whole:
            self._findings.skip(Check.ISSUES)
        elif beyond > self._lag(home):
            detail = f"{purse.drawn} units {where} are drawn and committed, but {sums.count} issued: expected all"
            self._findings.violate(Check.ISSUES, place, detail)
        elif beyond:
            self._findings.leave_open(Check.ISSUES)
        if purse.freed or purse.spent:
            detail = f"{purse.freed} units {where} are freed and {purse.spent} spent, expected each to stay given"
            self._findings.violate(Check.ISSUES, place, detail)
        if beyond >= 0:
            self._compare_money(where, sums, money, is_whole=is_whole, is_open=beyond > 0)

    def _compare_money(
        self, where: str, sums: Sums, money: PlacedPurse | None, *, is_whole: bool, is_open: bool
    ) -> None:
        """Check a purse of money; `is_whole` if all issues are there, `is_open` if some are still on their way."""
        purse, place = money or PlacedPurse(Purse(), sums.place)
        for name, amount, least, most in (
            ("drawn", purse.drawn, sums.held, sums.held),
            ("spent", purse.spent, sums.min_spent, sums.max_spent),
            ("freed", purse.freed, 0, sums.max_freed),
        ):
            if amount < least:
                detail = f"{amount} {where} is {name}, expected at least {least} by its issues and purchases"
                self._findings.violate(Check.AMOUNTS, place, detail)
            elif amount <= most:
                self._findings.passed(Check.AMOUNTS)
            elif not is_whole:
                self._findings.skip(Check.AMOUNTS)
            elif is_open:
                self._findings.leave_open(Check.AMOUNTS)
            else:
                detail = f"{amount} {where} is {name}, expected at most {most} by its issues and purchases"
                self._findings.violate(Check.AMOUNTS, place, detail)
        if purse.freed + purse.spent > purse.drawn:
            detail = f"{purse.freed} {where} is freed and {purse.spent} spent, expected at most the {purse.drawn} drawn"
            self._findings.violate(Check.AMOUNTS, place, detail)


def _are_of_several_kinds(issue: CouponIssue, before: tuple[str, ...]) -> bool:
    """Whether events of different kinds, which may share an id, triggered these: their own ids tell which kind."""
    return {issue.issue_id, *before} <= {issue_id(issue.user_id, kind, issue.trigger_id) for kind in KINDS.values()}
