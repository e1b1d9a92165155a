"""Explanations of an issue and of a shopper, from the records of the topics."""

from collections.abc import Iterable
from typing import Protocol

from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.rules import Rules
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Record
from stream_coupons.ops.explain.evidence import USERS, ShopperEvidence, find_message
from stream_coupons.ops.explain.explanation import IssueExplanation, ShopperExplanation, explain_issue, explain_shopper
from stream_coupons.settings import Settings


class Unknown(StreamCouponsError):
    """No issue or no shopper of this id."""


class Read(Protocol):
    """Reads topics up to now."""

    def __call__(self, what: str, names: tuple[str, ...], key: bytes | None = None) -> Iterable[Record]:
        """Return their records; with a key, of its partitions only. `what` says what they are read for."""


def issue_explained(issue_id: str, settings: Settings, read: Read) -> IssueExplanation:
    """Return the explanation of an issue.

    Raises
    ------
    Unknown
    """
    records = read("looking for the issue", (topics.ISSUES.name,))
    issue = find_message(records, topics.ISSUES, "issue_id", issue_id)
    if issue is None:
        days = topics.ISSUES.retention_ms // topics.DAY_MS
        raise Unknown(
            f"issue {issue_id!r} is not in {topics.ISSUES.name}, which keeps {days} days; expected the issue_id of a "
            "coupon issued since, see `stream-coupons tail --from-beginning`"
        )
    records = read("looking for its decision", (topics.DECISIONS.name,), issue.user_id.encode())
    decision = find_message(records, topics.DECISIONS, "decision_id", issue_id)
    return explain_issue(issue, decision, settings.policy)


def shopper_explained(
    user_id: str, at: float, settings: Settings, rules: Rules, coupons: Iterable[Coupon] | None, read: Read
) -> ShopperExplanation:
    """Return the explanation of what a shopper would get at a time, by the workers' catalogue or other coupons.

    Raises
    ------
    Unknown
    """
    evidence = ShopperEvidence(rules, user_id, settings.kafka.partitions, settings.learning)
    for record in read("reading what is known", evidence.READ):
        evidence.take(record)
    for record in read("reading the shopper's state", (USERS,), user_id.encode()):
        evidence.take(record)
    if evidence.now is None:
        raise Unknown(
            f"shopper {user_id!r} is not known, expected the user_id of someone of whom the workers have read an event"
        )
    return explain_shopper(user_id, evidence.now, at, evidence.knowledge(coupons), evidence.funds())
