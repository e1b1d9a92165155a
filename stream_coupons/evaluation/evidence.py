"""What the topics still hold of a decision: states, catalogue and models as they are, and the records that led to it.

Every record of ours names the record that it came of, so an issue leads back to the event that triggered it. Changelogs
are compacted by and by: until then the state that a decision left behind can still be read.
"""

from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry

from stream_coupons import topics
from stream_coupons.codec import Decoder
from stream_coupons.core.coupons import Catalogue
from stream_coupons.core.errors import BadMessage, SnapshotMismatch
from stream_coupons.core.events import Coupon, CouponIssue, Proposal
from stream_coupons.core.ledger import Ledger
from stream_coupons.core.pipeline import ShopEvent
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import Rules
from stream_coupons.core.scoring import Knowledge, Scorer
from stream_coupons.core.shopper import Shopper
from stream_coupons.evaluation.explanation import Kept
from stream_coupons.evaluation.findings import place_of
from stream_coupons.known import CurrentKnowledge
from stream_coupons.metrics import Metrics
from stream_coupons.models.linear import prior
from stream_coupons.models.snapshots import compile_snapshot, is_of_this_version
from stream_coupons.runtime.cells import CellCodec
from stream_coupons.runtime.records import Record, origin_of

USERS, COUPONS = topics.changelog("users").name, topics.changelog("coupons").name
TRIGGERS = {topic.name: Decoder(topic) for topic in (topics.BROWSE, topics.CART, topics.ORDER)}
LED_TO = {topics.RESERVATIONS.name, topics.PROPOSALS.name, *TRIGGERS}
MAX_STEPS_BACK = 200
"""An issue comes of a reservation, that of up to a hundred proposals, the first of them of an event."""

Fetch = Callable[[str, int, int], Record | None]
"""The record at (topic, partition, offset); None when it is gone."""

_decode_issue = Decoder(topics.ISSUES)
_decode_proposal = Decoder(topics.PROPOSALS)
_decode_snapshot = Decoder(topics.SNAPSHOTS)


def find_issue(records: Iterable[Record], issue_id: str) -> tuple[CouponIssue, Record] | None:
    """The first copy of an issue among records of coupon-issues; all copies are the same."""
    sought = issue_id.encode()
    for record in records:
        if sought not in (record.value or b""):
            continue
        try:
            issue: CouponIssue = _decode_issue(record.value)
        except BadMessage:
            continue
        if issue.issue_id == issue_id:
            return issue, record
    return None


def trace(issue: CouponIssue, record: Record, fetch: Fetch) -> tuple[Proposal | None, ShopEvent | None]:
    """The proposal that was granted and the event that triggered it, as far as they are kept."""
    proposal: Proposal | None = None
    for _ in range(MAX_STEPS_BACK):
        source = _source_of(record)
        found = fetch(*source) if source is not None else None
        if found is None:
            break
        record = found
        try:
            if record.topic == topics.PROPOSALS.name and proposal is None:
                proposal = _decode_proposal(record.value)
                if proposal.proposal_id != issue.issue_id:
                    return None, None
            elif record.topic in TRIGGERS:
                event: ShopEvent = TRIGGERS[record.topic](record.value)
                is_it = (event.event_id, event.user_id) == (issue.trigger_id, issue.user_id)
                return proposal, event if is_it else None
        except BadMessage:
            break
    return proposal, None


def _source_of(record: Record) -> tuple[str, int, int] | None:
    found = origin_of(record)
    if found is None:
        return None
    source, (offset, _) = found
    topic, _, partition = source.rpartition(":")
    return (topic, int(partition), offset) if topic in LED_TO and partition.isdecimal() else None


class _Version(Struct):
    domain: str
    version: int
    format_version: int = 0
    feature_schema: str = ""


_version_of = msgspec.json.Decoder(_Version).decode


class Evidence:
    """Takes records of `READ`, in order within each partition; says what is known at their end.

    Parameters
    ----------
    rules : Rules
        Of the workers.
    user_id : str
        Whose states are kept.
    issue : CouponIssue or None
        Whose decision is looked for: the state that it left behind, and the model that it was made with.
    """

    READ = (topics.CATALOG.name, topics.SNAPSHOTS.name, COUPONS)
    READ_OF_SHOPPER = (USERS,)

    def __init__(self, rules: Rules, user_id: str, issue: CouponIssue | None = None) -> None:
        self.now: Shopper | None = None
        self.decided: Shopper | None = None
        self.ledgers: dict[str, Ledger] = {}
        self._rules = rules
        self._key = user_id.encode()
        self._issue = issue
        self._known = CurrentKnowledge(rules, Metrics(CollectorRegistry()))
        self._snapshots: dict[str, bytes] = {}
        self._unfit: dict[str, bytes] = {}
        self._decided_by: bytes | None = None
        self._shoppers = CellCodec(Shopper)
        self._ledgers = CellCodec(Ledger)

    def take(self, record: Record) -> None:
        """A record.

        Raises
        ------
        BadMessage
            If it holds no state or no snapshot.
        """
        try:
            if record.topic == topics.CATALOG.name:
                read = self._known.read_coupon(record.key, record.value)
                if read is not None:
                    self._known.take_coupon(read)
            elif record.topic == topics.SNAPSHOTS.name and record.value is not None:
                self._take_snapshot(record.value)
            elif record.topic == COUPONS:
                self._take_ledger((record.key or b"").decode(errors="replace"), record.value)
            elif record.topic == USERS and record.key == self._key:
                self._take_shopper(record.value)
        except msgspec.DecodeError as error:
            raise BadMessage(Rejection.INVALID, f"{place_of(record)} cannot be read: {error}") from None

    def _take_snapshot(self, value: bytes) -> None:
        said = _version_of(value)
        if not is_of_this_version(said.format_version, said.feature_schema):
            # Another version of the program keeps it beside ours, whose numbers it may have, too.
            self._unfit[said.domain] = value
            return
        self._snapshots[said.domain] = value
        issue = self._issue
        if issue is not None and (said.domain, said.version) == (issue.domain, issue.model_version):
            self._decided_by = value

    def _take_ledger(self, coupon_id: str, value: bytes | None) -> None:
        if value is None:
            self.ledgers.pop(coupon_id, None)
        else:
            self.ledgers[coupon_id] = self._ledgers.decode(value).state

    def _take_shopper(self, value: bytes | None) -> None:
        self.now = self._shoppers.decode(value).state if value is not None else None
        issue = self._issue
        if issue is not None and self.now is not None and issue.issue_id in self.now.proposals:
            # The first is the decision's own; later ones have seen more of the shopper.
            self.decided = self.decided or self.now

    def kept(self, proposal: Proposal | None, trigger: ShopEvent | None) -> Kept:
        """What is known of the decision."""
        return Kept(proposal, trigger, self.decided, self.now)

    def knowledge(self, coupons: Iterable[Coupon] | None = None, *, with_models: bool = True) -> Knowledge:
        """What the workers know; with another catalogue if one is given, and the model that decided if it is kept.

        Without models it is what is known before anything is learnt.

        Raises
        ------
        SnapshotMismatch
            If a snapshot does not fit this program, and none of its domain does.
        """
        issue = self._issue
        typical = self._rules.policy.typical_price_minor
        catalogue = self._known.now().catalogue if coupons is None else Catalogue(coupons, typical)
        wanted = self._unfit | self._snapshots if with_models else {}
        if issue is not None and with_models:
            if issue.model_version == 0:
                wanted.pop(issue.domain, None)
            elif self._decided_by is not None:
                wanted[issue.domain] = self._decided_by
        return Knowledge(self._rules, catalogue, {domain: _compile(raw) for domain, raw in wanted.items()}, prior())


def _compile(value: bytes) -> Scorer:
    try:
        return compile_snapshot(_decode_snapshot(value, limit=topics.SNAPSHOTS.max_message_bytes))
    except BadMessage as bad:
        raise SnapshotMismatch(bad.detail) from None
