"""Evidence of a decision that the topics still hold: its trigger and its record, states, catalogue and models.

The issue's record names the event that triggered it. Until the changelog is compacted, the shopper's state before the
decision can be read.
"""

from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry

from stream_coupons.agents.users import Users
from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision.scoring import Knowledge, Scorer
from stream_coupons.core.errors import BadMessage, SnapshotMismatch
from stream_coupons.core.measurement.lift_sums import LiftSums
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.inputs import ShopEvent
from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.core.money.leases import Account
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import Rules
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.records import Record, origin_of
from stream_coupons.models.linear import prior
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.serving import DEFAULT_RULES, compile_snapshot
from stream_coupons.models.snapshots import is_of_this_version
from stream_coupons.observability.metrics import Metrics
from stream_coupons.ops.audit.findings import place_of
from stream_coupons.ops.explain.explanation import KeptDecision, event_digests
from stream_coupons.ops.explain.funds import Funds
from stream_coupons.runtime.cells import CellCodec, StateCodec
from stream_coupons.runtime.steps import SHARED_PREFIX
from stream_coupons.worker.knowledge import CurrentKnowledge

USERS, ACCOUNTS = topics.changelog("users").name, topics.changelog("accounts").name
TRIGGERS = {topic.name: Decoder(topic) for topic in (topics.BROWSE, topics.CART, topics.ORDER)}

Fetch = Callable[[str, int, int], Record | None]
"""The record at (topic, partition, offset); None when it is gone."""

_decode_issue = Decoder(topics.ISSUES)
_decode_decision = Decoder(topics.DECISIONS)
_decode_snapshot = Decoder(topics.SNAPSHOTS)


def find_issue(records: Iterable[Record], issue_id: str) -> tuple[CouponIssue, Record] | None:
    """Return the first copy of an issue among records of coupon-issues; all copies are the same."""
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


def trace(issue: CouponIssue, record: Record, fetch: Fetch) -> ShopEvent | None:
    """Return the event that triggered the issue in this record; None if it is no longer kept."""
    source = _source_of(record)
    found = fetch(*source) if source is not None else None
    if found is None:
        return None
    try:
        event: ShopEvent = TRIGGERS[found.topic](found.value)
    except BadMessage:
        return None
    return event if (event.event_id, event.user_id) == (issue.trigger_id, issue.user_id) else None


def _source_of(record: Record) -> tuple[str, int, int] | None:
    found = origin_of(record)
    if found is None:
        return None
    source, (offset, _) = found
    topic, _, partition = source.rpartition(":")
    return (topic, int(partition), offset) if topic in TRIGGERS and partition.isdecimal() else None


class _StateVersion(Struct):
    domain: str
    version: int
    format_version: int = 0
    feature_schema: str = ""


_version_of = msgspec.json.Decoder(_StateVersion).decode


class DecisionTrace:
    """The evidence in records of `READ`, taken in order within each partition.

    Parameters
    ----------
    rules : Rules
        Rules of the workers.
    user_id : str
        The shopper whose states are kept, and those of their partition.
    partitions : int
        Number of partitions of the shoppers' topics.
    issue : CouponIssue or None
        The issue whose decision is sought: its record, the states before and after it, and the model that made it.
    learning : LearningRules
        Names the models from other packages that may serve.

    Attributes
    ----------
    now : Shopper or None
        The latest state.
    read_of_shopper : tuple of str
        Topics of which the shopper's partition is read.
    """

    READ = (topics.CATALOG.name, topics.CAMPAIGNS.name, topics.SNAPSHOTS.name, ACCOUNTS)

    def __init__(
        self,
        rules: Rules,
        user_id: str,
        partitions: int,
        issue: CouponIssue | None = None,
        learning: LearningRules = DEFAULT_RULES,
    ) -> None:
        self.now: Shopper | None = None
        self.read_of_shopper = (USERS,) if issue is None else (USERS, topics.DECISIONS.name)
        self._before: Shopper | None = None
        self._after: Shopper | None = None
        self._decision: LoggedDecision | None = None
        self._purses: dict[str, Purse] = {}
        self._accounts: dict[str, Account] = {}
        self._rules, self._learning = rules, learning
        self._key = user_id.encode()
        self._partitions = partitions
        self._home = topics.partition_for(self._key, partitions)
        self._issue = issue
        self._known = CurrentKnowledge(rules, Metrics(CollectorRegistry()))
        self._snapshots: dict[str, bytes] = {}
        self._unfit: dict[str, bytes] = {}
        self._decided_by: bytes | None = None
        self._shopper_codec = CellCodec(Shopper)
        self._account_codec = CellCodec(Account)
        self._shared_codec: StateCodec[Purse | LiftSums] = StateCodec(Users.shared_type)

    def take(self, record: Record) -> None:
        """Take in a record.

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
            elif record.topic == topics.CAMPAIGNS.name:
                campaign = self._known.read_campaign(record.key, record.value)
                if campaign is not None:
                    self._known.take_campaign(campaign)
            elif record.topic == topics.SNAPSHOTS.name and record.value is not None:
                self._take_snapshot(record.value)
            elif record.topic == ACCOUNTS:
                self._take_account((record.key or b"").decode(errors="replace"), record.value)
            elif record.topic == USERS and record.partition == self._home:
                self._take_state((record.key or b"").decode(errors="replace"), record)
            elif record.topic == topics.DECISIONS.name:
                self._take_decision(record)
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

    def _take_account(self, account_id: str, value: bytes | None) -> None:
        if value is None:
            self._accounts.pop(account_id, None)
        else:
            self._accounts[account_id] = self._account_codec.decode(value).state

    def _take_state(self, key: str, record: Record) -> None:
        """Take in a purse of the partition, or the shopper."""
        if record.key == self._key:
            self._take_shopper(record.value)
        elif key.startswith(SHARED_PREFIX) and record.value is not None:
            shared = self._shared_codec.decode(record.value)
            if isinstance(shared, Purse):
                self._purses[key.removeprefix(SHARED_PREFIX)] = shared

    def _take_shopper(self, value: bytes | None) -> None:
        before, self.now = self.now, self._shopper_codec.decode(value).state if value is not None else None
        issue = self._issue
        if issue is not None and self._after is None and self.now is not None and issue.issue_id in self.now.issues:
            is_first_event = before is None and len(event_digests(self.now)) == 1
            self._before, self._after = Shopper() if is_first_event else before, self.now

    def _take_decision(self, record: Record) -> None:
        if self._issue is None or self._issue.issue_id.encode() not in (record.value or b""):
            return
        try:
            decision: LoggedDecision = _decode_decision(record.value)
        except BadMessage:
            return
        if (decision.decision_id, decision.user_id) == (self._issue.issue_id, self._issue.user_id):
            self._decision = decision

    def kept(self, trigger: ShopEvent | None) -> KeptDecision:
        """Return what is known of the decision."""
        return KeptDecision(trigger, self._decision, self._before, self._after, self.now)

    def funds(self) -> Funds:
        """Return the stock and budgets that are left."""
        return Funds(self._purses, self._accounts, self._home, self._partitions)

    def knowledge(self, coupons: Iterable[Coupon] | None = None, *, with_models: bool = True) -> Knowledge:
        """Return the workers' context, with another catalogue if given, and the model that decided if it is kept.

        Without models it is the context before anything is learnt.

        Raises
        ------
        SnapshotMismatch
            If a snapshot does not fit this program, and none of its domain does.
        """
        issue = self._issue
        catalogue = self._known.now().catalogue
        if coupons is not None:
            typical = self._rules.policy.typical_price_minor
            catalogue = Catalogue(coupons, typical, campaigns=catalogue.campaigns.values())
        wanted = self._unfit | self._snapshots if with_models else {}
        if issue is not None and with_models:
            if issue.model_version == 0:
                wanted.pop(issue.domain, None)
            elif self._decided_by is not None:
                wanted[issue.domain] = self._decided_by
        snapshots = {domain: _snapshot_of(raw) for domain, raw in wanted.items()}
        scorers: dict[str, Scorer] = {
            domain: compile_snapshot(snapshot, self._learning, self._rules.key)
            for domain, snapshot in snapshots.items()
        }
        brakes = {domain: snapshot.brake for domain, snapshot in snapshots.items()}
        return Knowledge(self._rules, catalogue, scorers, prior(), brakes)


def _snapshot_of(value: bytes) -> ModelSnapshot:
    try:
        snapshot: ModelSnapshot = _decode_snapshot(value, limit=topics.SNAPSHOTS.max_message_bytes)
    except BadMessage as bad:
        raise SnapshotMismatch(bad.detail) from None
    return snapshot
