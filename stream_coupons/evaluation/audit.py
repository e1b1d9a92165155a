"""Check what a system sent against the invariants: pure functions over the records of its topics."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from stream_coupons import topics
from stream_coupons.codec import Decoder
from stream_coupons.core.events import Coupon, CouponIssue, Proposal, Reservation, Settlement
from stream_coupons.topics import Topic


class Violation(NamedTuple):
    """What does not hold, and where."""

    invariant: str
    detail: str


def audit(values: Mapping[str, Sequence[bytes]], coupons: Iterable[Coupon]) -> list[Violation]:
    """All violations in the logs of an idle system; copies of a record, which a crash may leave, are none.

    Parameters
    ----------
    values : mapping
        Topic name to the values of its records, in order within each partition, from the beginning of the topic:
        coupon-proposals, coupon-reservations, coupon-settlements and coupon-issues.
    coupons : iterable of Coupon
        The catalogue.
    """
    catalogue = list(coupons)
    issues, violations = distinct_issues(values.get(topics.ISSUES.name, ()))
    proposals: list[Proposal] = _decoded(topics.PROPOSALS, values)
    reservations: list[Reservation] = _decoded(topics.RESERVATIONS, values)
    settlements: list[Settlement] = _decoded(topics.SETTLEMENTS, values)
    violations += check_triggers(issues)
    violations += check_limits(issues, catalogue)
    violations += check_budgets(settlements, catalogue)
    violations += check_values(issues, settlements)
    violations += check_proposals(proposals, reservations)
    violations += check_answers(issues, reservations, settlements)
    return violations


def _decoded(topic: Topic, values: Mapping[str, Sequence[bytes]]) -> list[Any]:
    decode = Decoder(topic)
    return [decode(value) for value in values.get(topic.name, ())]


def distinct_issues(values: Iterable[bytes]) -> tuple[list[CouponIssue], list[Violation]]:
    """The issues, each once, and I6: every copy of an issue is the same bytes."""
    first: dict[str, bytes] = {}
    decode = Decoder(topics.ISSUES)
    issues: list[CouponIssue] = []
    violations = []
    for value in values:
        issue: CouponIssue = decode(value)
        known = first.setdefault(issue.issue_id, value)
        if known is value:
            issues.append(issue)
        elif known != value:
            violations.append(Violation("I6", f"copies of issue {issue.issue_id} differ"))
    return issues, violations


def check_triggers(issues: Iterable[CouponIssue]) -> list[Violation]:
    """I1: one issue per shopper and trigger."""
    counts = Counter((issue.user_id, issue.trigger_id) for issue in issues)
    return [
        Violation("I1", f"{count} issues to {user_id} for trigger {trigger_id}")
        for (user_id, trigger_id), count in counts.items()
        if count > 1
    ]


def check_limits(issues: Sequence[CouponIssue], coupons: Iterable[Coupon]) -> list[Violation]:
    """I2: stock, and caps per shopper."""
    by_coupon = Counter(issue.coupon_id for issue in issues)
    by_shopper = Counter((issue.coupon_id, issue.user_id) for issue in issues)
    limits = {coupon.coupon_id: coupon for coupon in coupons}
    violations = [
        Violation("I2", f"coupon {coupon_id} is not in the catalogue")
        for coupon_id in by_coupon
        if coupon_id not in limits
    ]
    for coupon_id, count in by_coupon.items():
        stock = limits[coupon_id].stock if coupon_id in limits else None
        if stock is not None and count > stock:
            violations.append(Violation("I2", f"{count} issues of coupon {coupon_id}, stock {stock}"))
    for (coupon_id, user_id), count in by_shopper.items():
        cap = limits[coupon_id].max_per_user if coupon_id in limits else None
        if cap is not None and count > cap:
            violations.append(Violation("I2", f"{count} issues of coupon {coupon_id} to {user_id}, cap {cap}"))
    return violations


def check_budgets(settlements: Iterable[Settlement], coupons: Iterable[Coupon]) -> list[Violation]:
    """I2: at every prefix of a coupon's settlements, what is held and what is spent are within its budget.

    All settlements of a coupon are in one partition, and its ledger booked them in this order, after it had reserved
    what they confirm: if the sum here is above the budget, the ledger's was too. Second copies are left out.
    """
    budgets = {coupon.coupon_id: coupon.budget_minor for coupon in coupons}
    promised: Counter[str] = Counter()
    booked: set[tuple[str, str]] = set()
    violations: dict[str, Violation] = {}
    for one in settlements:
        if one.outcome == "released" or (one.proposal_id, one.outcome) in booked:
            continue
        booked.add((one.proposal_id, one.outcome))
        promised[one.coupon_id] += one.held_minor if one.outcome == "confirmed" else one.spent_minor - one.held_minor
        budget = budgets.get(one.coupon_id)
        if budget is not None and promised[one.coupon_id] > budget:
            detail = f"coupon {one.coupon_id}: {promised[one.coupon_id]} held or spent, budget {budget}"
            violations.setdefault(one.coupon_id, Violation("I2", detail))
    return list(violations.values())


def check_values(issues: Iterable[CouponIssue], settlements: Iterable[Settlement]) -> list[Violation]:
    """I2: no issue promises, and no redemption costs, more than was held for it."""
    held = {one.proposal_id: one.held_minor for one in settlements if one.outcome == "confirmed"}
    violations = [
        Violation("I2", f"issue {issue.issue_id} promises {issue.max_discount_minor}, held {held[issue.issue_id]}")
        for issue in issues
        if issue.max_discount_minor > held.get(issue.issue_id, issue.max_discount_minor)
    ]
    violations += [
        Violation("I2", f"issue {one.proposal_id} cost {one.spent_minor}, held {one.held_minor}")
        for one in settlements
        if one.spent_minor > one.held_minor
    ]
    return violations


def check_proposals(proposals: Iterable[Proposal], reservations: Iterable[Reservation]) -> list[Violation]:
    """Every proposal is answered, always alike, and nothing is answered that was not asked."""
    answers: defaultdict[str, set[tuple[bool, str]]] = defaultdict(set)
    for answer in reservations:
        answers[answer.proposal_id].add((answer.granted, answer.coupon_id))
    proposed = {proposal.proposal_id for proposal in proposals}
    violations = [Violation("reservation", f"proposal {one} has no answer") for one in proposed - answers.keys()]
    violations += [Violation("reservation", f"{one} was never proposed") for one in answers.keys() - proposed]
    violations += [
        Violation("reservation", f"proposal {one} has {len(different)} different answers")
        for one, different in answers.items()
        if len(different) > 1
    ]
    return violations


def check_answers(
    issues: Iterable[CouponIssue], reservations: Iterable[Reservation], settlements: Iterable[Settlement]
) -> list[Violation]:
    """Every granted reservation is answered once, confirmed or released, and a confirmed one has its issue."""
    granted = {reservation.proposal_id for reservation in reservations if reservation.granted}
    answers: defaultdict[str, set[str]] = defaultdict(set)
    ended: defaultdict[str, set[str]] = defaultdict(set)
    for settlement in settlements:
        kind = answers if settlement.outcome in ("confirmed", "released") else ended
        kind[settlement.proposal_id].add(settlement.outcome)
    issued = {issue.issue_id for issue in issues}
    confirmed = {proposal_id for proposal_id, outcomes in answers.items() if "confirmed" in outcomes}
    violations = [Violation("settlement", f"reservation {one} has no answer") for one in granted - answers.keys()]
    violations += [Violation("settlement", f"reservation {one} was never granted") for one in answers.keys() - granted]
    violations += [
        Violation("settlement", f"reservation {one} was both confirmed and released")
        for one, outcomes in answers.items()
        if len(outcomes) > 1
    ]
    violations += [
        Violation("settlement", f"issue {one} both redeemed and expired")
        for one, outcomes in ended.items()
        if len(outcomes) > 1
    ]
    violations += [Violation("lost", f"{one} is confirmed but was not issued") for one in confirmed - issued]
    violations += [Violation("I1", f"{one} was issued but not confirmed") for one in issued - confirmed]
    return violations
