"""Follow every decision through its topics: proposal, reservation, settlement, issue (I1, I4, I6 and amounts)."""

from collections.abc import Hashable
from typing import NamedTuple

from stream_coupons import topics
from stream_coupons.core.events import CouponIssue, Proposal, Reservation, Settlement
from stream_coupons.core.pipeline import KINDS, issue_id
from stream_coupons.evaluation.accounts import fingerprint
from stream_coupons.evaluation.findings import Check, Findings, place_of
from stream_coupons.evaluation.limits import Grant, Limits
from stream_coupons.evaluation.marks import Marks, Retained
from stream_coupons.runtime.records import Record, origin_of

PROPOSALS, RESERVATIONS = topics.PROPOSALS.name, topics.RESERVATIONS.name
SETTLEMENTS, ISSUES = topics.SETTLEMENTS.name, topics.ISSUES.name

OUTCOMES = ("confirmed", "released", "redeemed", "expired")
ALLOWED = (["confirmed"], ["released"], ["confirmed", "redeemed"], ["confirmed", "expired"])


class Asked(NamedTuple):
    """A proposal without an answer, as it was last handed on."""

    rank: int
    place: str
    is_committed: bool
    has_failed: bool
    user_id: str
    at_ms: int


class Decisions:
    """Takes the four topics one after the other, each from its beginning; `end` comes after each of them.

    What the workers have not committed may lack what follows from it: that is open. What they have must not.
    """

    def __init__(self, marks: Marks, retained: Retained, limits: Limits, findings: Findings) -> None:
        self._marks = marks
        self._retained = retained
        self._limits = limits
        self._findings = findings
        self._contents: dict[Hashable, int] = {}
        self._unanswered: dict[str, Asked] = {}
        self._grants: dict[str, Grant] = {}
        self._issues_of: dict[int, tuple[str, ...]] = {}
        self._partitions = marks.partitions(PROPOSALS) or 1

    # ------------------------------------------------------------ one record

    def propose(self, record: Record, proposal: Proposal, *, has_failed: bool = False) -> None:
        """A proposal asks for a coupon, or is handed on to its next alternative."""
        identity = proposal.proposal_id
        if self._is_copy(record, (identity, proposal.rank), f"proposal {identity} of rank {proposal.rank}"):
            return
        before = self._unanswered.get(identity)
        if before is None or before.rank < proposal.rank:
            is_committed = self._marks.is_committed(record.topic, record.partition, record.offset)
            self._unanswered[identity] = Asked(
                proposal.rank, place_of(record), is_committed, has_failed, proposal.user_id, record.timestamp_ms
            )

    def answer(self, record: Record, reservation: Reservation, *, has_failed: bool = False) -> None:
        """A reservation answers a proposal."""
        identity = reservation.proposal_id
        if self._is_copy(record, identity, f"the answer to proposal {identity}"):
            return
        if self._unanswered.pop(identity, None) is not None:
            self._findings.passed(Check.ANSWERS)
        elif self._retained.has_lost_cause(record):
            self._findings.skip(Check.ANSWERS)
        else:
            detail = f"it answers proposal {identity}, which was never made: expected one in {PROPOSALS}"
            self._findings.violate(Check.ANSWERS, place_of(record), detail)
        if reservation.granted:
            self._grants[identity] = grant = self._grant(record, reservation, has_failed)
            self._limits.grant(grant)

    def _grant(self, record: Record, reservation: Reservation, has_failed: bool) -> Grant:
        source = origin_of(record)
        order = 0 if source is None else source[1][0]
        home = topics.partition_for(reservation.coupon_id.encode(), self._partitions)
        return Grant(
            proposal_id=reservation.proposal_id,
            coupon_id=reservation.coupon_id,
            amount_minor=reservation.amount_minor,
            order=order,
            is_past=self._marks.is_committed(PROPOSALS, home, order),
            has_failed=has_failed,
            partition=record.partition,
            offset=record.offset,
            at_ms=record.timestamp_ms,
        )

    def settle(self, record: Record, settlement: Settlement) -> None:
        """A reservation is confirmed or released, an issue is redeemed or expired."""
        identity, outcome = settlement.proposal_id, settlement.outcome
        if self._is_copy(record, (identity, outcome), f"settlement {outcome} of {identity}"):
            return
        grant = self._grants.get(identity)
        if grant is None:
            self._settle_unknown(record, settlement)
            return
        setattr(grant, outcome, True)
        faults = []
        if settlement.coupon_id != grant.coupon_id or settlement.held_minor != grant.amount_minor:
            held = f"{settlement.held_minor} of coupon {settlement.coupon_id}"
            faults.append(f"books {held}, expected {grant.amount_minor} of coupon {grant.coupon_id}")
        if settlement.spent_minor > settlement.held_minor:
            faults.append(f"spends {settlement.spent_minor}, expected at most {settlement.held_minor}")
        if faults:
            self._findings.violate(Check.AMOUNTS, place_of(record), f"{outcome} {identity} {'; '.join(faults)}")
        else:
            self._findings.passed(Check.AMOUNTS)
        self._limits.settle(grant, settlement)

    def _settle_unknown(self, record: Record, settlement: Settlement) -> None:
        answers = settlement.outcome in ("confirmed", "released")
        is_lost = self._retained.has_lost_cause(record) if answers else self._has_shortened_reservations()
        if is_lost:
            self._findings.skip(Check.SETTLEMENTS)
            return
        identity, outcome = settlement.proposal_id, settlement.outcome
        detail = f"{identity} is {outcome}, but was never reserved: expected it granted in {RESERVATIONS}"
        self._findings.violate(Check.SETTLEMENTS, place_of(record), detail)

    def _has_shortened_reservations(self) -> bool:
        """Whether a reservation may have been dropped; whose a redemption is, its record does not say."""
        return any(self._retained.begin(RESERVATIONS, partition) > 0 for partition in range(self._partitions))

    def issue(self, record: Record, issue: CouponIssue) -> None:
        """A coupon is issued."""
        identity = issue.issue_id
        trigger = hash((issue.user_id, issue.trigger_id))
        before = self._issues_of.get(trigger, ())
        if self._is_copy(record, identity, f"issue {identity}"):
            if identity not in before:
                about = f"trigger {issue.trigger_id} of {issue.user_id}"
                detail = f"issue {identity} is for {about} now, expected the one trigger that it was for before"
                self._findings.violate(Check.TRIGGERS, place_of(record), detail)
            return
        self._issues_of[trigger] = (*before, identity)
        if not before or _are_of_several_kinds(issue, before):
            self._findings.passed(Check.TRIGGERS)
        else:
            about = f"trigger {issue.trigger_id} of {issue.user_id}"
            detail = f"{about} has issue {identity} besides {before[0]}, expected one issue"
            self._findings.violate(Check.TRIGGERS, place_of(record), detail)
        self._limits.issue(record, issue)
        self._join(record, issue)

    def _join(self, record: Record, issue: CouponIssue) -> None:
        grant = self._grants.get(issue.issue_id)
        if grant is None:
            if self._retained.has_lost_cause(record):
                self._findings.skip(Check.ISSUES)
                return
            detail = f"{issue.issue_id} is issued, but was never reserved: expected it granted in {RESERVATIONS}"
            self._findings.violate(Check.ISSUES, place_of(record), detail)
            return
        grant.issued = True
        if issue.coupon_id != grant.coupon_id or issue.max_discount_minor > grant.amount_minor:
            promised = f"{issue.max_discount_minor} of coupon {issue.coupon_id}"
            expected = f"expected at most {grant.amount_minor} of coupon {grant.coupon_id}"
            detail = f"issue {issue.issue_id} promises {promised}, {expected}"
            self._findings.violate(Check.AMOUNTS, place_of(record), detail)
        else:
            self._findings.passed(Check.AMOUNTS)

    def _is_copy(self, record: Record, identity: Hashable, name: str) -> bool:
        """Whether this was said before; if so, it must have been said in the same bytes."""
        content = fingerprint(record)
        known = self._contents.get(identity)
        if known is None:
            self._contents[identity] = content
            return False
        if known == content:
            self._findings.passed(Check.COPIES)
        else:
            detail = f"{name} differs from its first copy, expected the same key, value and origin"
            self._findings.violate(Check.COPIES, place_of(record), detail)
        return True

    # ------------------------------------------------------------ the end of a topic

    def end(self, topic: str) -> None:
        """All of a topic was read."""
        self._contents.clear()
        if topic == RESERVATIONS:
            self._end_reservations()
            self._limits.begin_settlements()
        elif topic == SETTLEMENTS:
            self._limits.end_settlements()
        elif topic == ISSUES:
            for grant in self._grants.values():
                self._end_settlement(grant)
                self._end_issue(grant)

    def _end_reservations(self) -> None:
        for identity, asked in self._unanswered.items():
            home = topics.partition_for(asked.user_id.encode(), self._partitions)
            if not asked.is_committed:
                self._findings.leave_open(Check.ANSWERS)
            elif asked.has_failed or self._retained.may_have_lost(RESERVATIONS, home, asked.at_ms):
                self._findings.skip(Check.ANSWERS)
            else:
                detail = f"proposal {identity} is committed, but has no answer: expected one in {RESERVATIONS}"
                self._findings.violate(Check.ANSWERS, asked.place, detail)
        self._unanswered.clear()

    def _end_settlement(self, grant: Grant) -> None:
        """A grant is answered by one of confirmed and released; one that is confirmed ends in one way at most."""
        identity = grant.proposal_id
        outcomes = [name for name in OUTCOMES if getattr(grant, name)]
        if outcomes in ALLOWED:
            self._findings.passed(Check.SETTLEMENTS)
        elif "confirmed" in outcomes or "released" in outcomes:
            detail = f"reservation {identity} is {' and '.join(outcomes)}, expected confirmed or released, and one end"
            self._findings.violate(Check.SETTLEMENTS, grant.place, detail)
        else:
            detail = f"reservation {identity} is committed, but neither confirmed nor released"
            home = topics.partition_for(grant.coupon_id.encode(), self._partitions)
            self._miss(Check.SETTLEMENTS, grant, (SETTLEMENTS, home), f"{detail}: expected it in {SETTLEMENTS}")

    def _end_issue(self, grant: Grant) -> None:
        """What is confirmed is issued, what is released is not."""
        identity = grant.proposal_id
        if grant.issued and grant.released:
            detail = f"{identity} is issued and its reservation released, expected one of them"
            self._findings.violate(Check.ISSUES, grant.place, detail)
        elif grant.confirmed and not grant.issued:
            detail = f"{identity} is confirmed and committed, but not issued: expected it in {ISSUES}"
            self._miss(Check.ISSUES, grant, (ISSUES, grant.partition), detail)
        elif grant.issued:
            self._findings.passed(Check.ISSUES)

    def _miss(self, check: Check, grant: Grant, where: tuple[str, int], detail: str) -> None:
        """Something that a committed reservation leads to is not there."""
        if not self._marks.is_committed(RESERVATIONS, grant.partition, grant.offset):
            self._findings.leave_open(check)
        elif grant.has_failed or self._retained.may_have_lost(*where, grant.at_ms):
            self._findings.skip(check)
        else:
            self._findings.violate(check, grant.place, detail)


def _are_of_several_kinds(issue: CouponIssue, before: tuple[str, ...]) -> bool:
    """Whether events of different kinds, which may share an id, triggered these: their own ids tell which kind."""
    return {issue.issue_id, *before} <= {issue_id(issue.user_id, kind, issue.trigger_id) for kind in KINDS.values()}
