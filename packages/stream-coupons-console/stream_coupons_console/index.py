"""Bounded index of a running system: what the pages and the API show, from the records of its topics."""

import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from stream_coupons.core.decision.brake import LiftReader
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.measurement.totals import LatestReports
from stream_coupons.core.messages.campaign_changes import CampaignChange
from stream_coupons.core.messages.decisions import CouponIssue, DecisionAnswer, DecisionResult, LoggedDecision
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.messages.inputs import ErasureRequest, FeedbackEvent
from stream_coupons.core.messages.learning import LiftBrake, ModelSnapshot
from stream_coupons.core.messages.lift import LiftTotals
from stream_coupons.core.messages.results import ResultTotals
from stream_coupons.core.money.holdings import Account
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.letters import Letter, letter_of
from stream_coupons.kafka.redrive import Sending
from stream_coupons.kafka.reports import ReportDecoder
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS
from stream_coupons.ops.published import Published
from stream_coupons.runtime.cells import CellCodec
from stream_coupons.runtime.steps import SHARED_PREFIX
from stream_coupons.settings import Settings

KEPT_DECISIONS = 20_000
"""Decisions with their issues that are kept by id; older ones are read from their topics."""
KEPT_LETTERS = 2_000
KEPT_OF_SHOPPER = 50
RATES_OVER_S = 3600.0
"""Results of decisions are counted over the last hour."""
ACCOUNTS = topics.changelog("accounts")
WHOLE = (
    topics.CATALOG,
    topics.CAMPAIGNS,
    topics.CAMPAIGN_CHANGES,
    topics.RESULT_TOTALS,
    topics.LIFT_TOTALS,
    topics.SNAPSHOTS,
    topics.REDRIVES,
    topics.ERASURES,
    ACCOUNTS,
)
"""Topics that are followed from their beginning."""
RECENT: Mapping[str, int] = {
    topics.DECISIONS.name: KEPT_DECISIONS,
    topics.ISSUES.name: KEPT_DECISIONS,
    topics.ANSWERS.name: KEPT_DECISIONS,
    topics.FEEDBACK.name: KEPT_DECISIONS,
    topics.DEAD_LETTERS.name: KEPT_LETTERS,
}
"""Topics of which the last records are followed, by name, and the number of these."""


class FollowedRecord(Protocol):
    """A record as either Kafka client reads it; times in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Any


@dataclass(slots=True)
class KnownDecision:
    """Messages of one decision, as they were sent.

    Attributes
    ----------
    at : float
        Time of the trigger, UTC epoch seconds.
    decision, issue : bytes or None
        A `LoggedDecision` and a `CouponIssue`.
    feedback : dict of str to float
        Time by kind of feedback.
    """

    user_id: str
    at: float
    decision: bytes | None = None
    issue: bytes | None = None
    feedback: dict[str, float] = field(default_factory=dict)


class ShownDecision(Struct, frozen=True, kw_only=True):
    """A decision on a page.

    Attributes
    ----------
    coupon_id : str
        The coupon given, or `none`.
    result : str
        `given`, or the reason why none was given.
    decision, issue : LoggedDecision, CouponIssue or None
        The messages, as far as they are known.
    feedback : dict of str to float
        Time by kind of feedback, UTC epoch seconds.
    """

    decision_id: str
    user_id: str
    domain: str
    at: float
    coupon_id: str
    result: DecisionResult
    decision: LoggedDecision | None
    issue: CouponIssue | None
    feedback: dict[str, float]


class KnownLetter(Struct, frozen=True):
    """A dead letter without the value of its record."""

    letter: Letter
    digest: bytes
    value_bytes: int


class SnapshotStamp(Struct):
    """Fields of a `ModelSnapshot` that are read without its arrays."""

    domain: str
    version: int
    at: float
    examples: int
    brake: LiftBrake = LiftBrake()


_stamp = msgspec.json.Decoder(SnapshotStamp).decode
_decision = msgspec.json.Decoder(LoggedDecision).decode
_issue = msgspec.json.Decoder(CouponIssue).decode
_answer = msgspec.json.Decoder(DecisionAnswer).decode


class Index:
    """Bounded state of a running system, derived from its records; one thread changes and reads it.

    Parameters
    ----------
    settings : Settings
        Of the workers.

    Attributes
    ----------
    revision : int
        Number of records taken in.
    campaigns, coupons : Published
        Entries as they are published.
    changes : list of CampaignChange
        In the order of their topic.
    results, lifts : LatestReports
        Reports of all partitions.
    accounts : dict of str to Account
        States of all limits of stock and money, as of their owner's last write.
    decisions : dict of str to KnownDecision
        The latest `KEPT_DECISIONS`, by id, in the order of their first message.
    answers : dict of str to DecisionAnswer
        The latest `KEPT_DECISIONS` results of events whose producer asked for them, by id of the decision.
    letters : dict of str to KnownLetter
        The latest `KEPT_LETTERS` dead letters, by place.
    sendings : dict of bytes to Sending
        Redrives by the digest of their record.
    unread : Counter of str
        Records that are no message of their topic, by topic.
    last_issue : dict of str to CouponIssue
        The latest issue of each coupon.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.revision = 0
        self.campaigns, self.coupons = Published[Any]({}, {}, {}), Published[Any]({}, {}, {})
        self.changes: list[CampaignChange] = []
        self.results: LatestReports[ResultTotals] = LatestReports()
        self.lifts: LatestReports[LiftTotals] = LatestReports()
        self.accounts: dict[str, Account] = {}
        self.decisions: OrderedDict[str, KnownDecision] = OrderedDict()
        self.answers: OrderedDict[str, DecisionAnswer] = OrderedDict()
        self.letters: OrderedDict[str, KnownLetter] = OrderedDict()
        self.sendings: dict[bytes, Sending] = {}
        self.unread: Counter[str] = Counter()
        self.last_issue: dict[str, CouponIssue] = {}
        self._snapshots: dict[str, tuple[SnapshotStamp, bytes]] = {}
        self._early: OrderedDict[str, KnownDecision] = OrderedDict()
        self._of_shopper: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=KEPT_OF_SHOPPER))
        self._erased: dict[str, float] = {}
        self._counts: OrderedDict[int, Counter[str]] = OrderedDict()
        partitions, self._account = settings.kafka.partitions, CellCodec(Account)
        self._entries = {kind.topic.name: Decoder(kind.topic) for kind in (CAMPAIGNS, COUPONS)}
        self._reports = {one.name: ReportDecoder(one, partitions) for one in (topics.RESULT_TOTALS, topics.LIFT_TOTALS)}
        self._messages = {one.name: Decoder(one) for one in (topics.CAMPAIGN_CHANGES, topics.FEEDBACK, topics.ERASURES)}

    def take(self, record: FollowedRecord) -> None:
        """Take in a record of a followed topic; one that is no message of it is counted."""
        self.revision += 1
        try:
            self._take(record)
        except (BadMessage, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.unread[record.topic] += 1

    def _take(self, record: FollowedRecord) -> None:
        key, value = record.key or b"", record.value
        match record.topic:
            case topics.CATALOG.name:
                self.coupons.take(key, value, self._entries[record.topic])
            case topics.CAMPAIGNS.name:
                self.campaigns.take(key, value, self._entries[record.topic])
            case topics.CAMPAIGN_CHANGES.name if value is not None:
                self.changes.append(self._messages[record.topic](value, topics.CAMPAIGN_CHANGES.max_message_bytes))
            case topics.RESULT_TOTALS.name | topics.LIFT_TOTALS.name:
                latest: LatestReports[Any] = self.results if record.topic == topics.RESULT_TOTALS.name else self.lifts
                if (report := self._reports[record.topic].read(key, value)) is not None:
                    latest.take(report)
            case topics.SNAPSHOTS.name:
                self._take_snapshot(value)
            case topics.REDRIVES.name:
                sent_as = (value or b"").decode(errors="replace")
                self.sendings[key] = Sending(record.timestamp / 1000.0, sent_as)
            case topics.ERASURES.name if value is not None:
                self._erase(self._messages[record.topic](value))
            case topics.DECISIONS.name if value is not None:
                self._take_decision(_decision(value), value)
            case topics.ISSUES.name if value is not None:
                self._take_issue(_issue(value), value)
            case topics.ANSWERS.name if value is not None:
                self._take_answer(_answer(value))
            case topics.FEEDBACK.name if value is not None:
                feedback: FeedbackEvent = self._messages[record.topic](value)
                self._take_feedback(feedback)
            case topics.DEAD_LETTERS.name:
                self._take_letter(letter_of(record, self.settings.kafka.formats))
            case ACCOUNTS.name if not key.startswith(SHARED_PREFIX.encode()):
                self._take_account(key.decode(errors="replace"), value)

    def _take_account(self, key: str, value: bytes | None) -> None:
        self.accounts.pop(key, None)
        if value is not None:
            self.accounts[key] = self._account.decode(value).state

    def _take_snapshot(self, value: bytes | None) -> None:
        """Keep the newest snapshot of a domain, whatever its feature space; an older release's stays below its own."""
        if value is None:
            return
        stamp = _stamp(value)
        known = self._snapshots.get(stamp.domain)
        if known is None or stamp.at >= known[0].at:
            self._snapshots[stamp.domain] = stamp, value

    # ------------------------------------------------------------ decisions

    def _known(self, decision_id: str, user_id: str, at: float) -> KnownDecision | None:
        """Return the record of a decision, new if it is not known; None if its shopper was erased since."""
        if at <= self.erased_at(user_id):
            return None
        known = self.decisions.get(decision_id)
        if known is None:
            known = self.decisions[decision_id] = KnownDecision(user_id, at)
            self._of_shopper[user_id].append(decision_id)
            early = self._early.pop(decision_id, known)
            known.feedback = early.feedback if early.user_id == user_id else known.feedback
            if len(self.decisions) > KEPT_DECISIONS:
                self._forget(*self.decisions.popitem(last=False))
        return known

    def _forget(self, decision_id: str, known: KnownDecision) -> None:
        of_shopper = self._of_shopper[known.user_id]
        if decision_id in of_shopper:
            of_shopper.remove(decision_id)
        if not of_shopper:
            del self._of_shopper[known.user_id]

    def _take_feedback(self, feedback: FeedbackEvent) -> None:
        """Note feedback; that on a decision whose record is read later waits for it."""
        known = self.decisions.get(feedback.issue_id)
        if known is None:
            waiting = self._early.setdefault(feedback.issue_id, KnownDecision(feedback.user_id, feedback.occurred_at))
            if len(self._early) > KEPT_DECISIONS:
                self._early.popitem(last=False)
            known = waiting
        if known.user_id == feedback.user_id:
            known.feedback.setdefault(feedback.kind, feedback.occurred_at)

    def _take_decision(self, decision: LoggedDecision, value: bytes) -> None:
        known = self._known(decision.decision_id, decision.user_id, decision.at)
        if known is None or known.decision is not None:
            return
        known.decision = value
        minute = int(decision.at // 60)
        counts = self._counts.setdefault(minute, Counter())
        counts[decision.result] += 1
        while len(self._counts) > 2 * RATES_OVER_S / 60:
            self._counts.popitem(last=False)

    def _take_issue(self, issue: CouponIssue, value: bytes) -> None:
        latest = self.last_issue.get(issue.coupon_id)
        known = self._known(issue.issue_id, issue.user_id, issue.issued_at)
        if known is None:
            return
        known.issue = value
        if latest is None or issue.issued_at >= latest.issued_at:
            self.last_issue[issue.coupon_id] = issue

    def _take_answer(self, answer: DecisionAnswer) -> None:
        """Keep an answer; that to a copy of the event says nothing new."""
        if answer.at > self.erased_at(answer.user_id):
            self.answers.setdefault(answer.decision_id, answer)
            if len(self.answers) > KEPT_DECISIONS:
                self.answers.popitem(last=False)

    def erased_at(self, user_id: str) -> float:
        """Return the time up to which a shopper is to be forgotten, UTC epoch seconds; -1 if there is none."""
        return self._erased.get(user_id, -1.0)

    def _erase(self, request: ErasureRequest) -> None:
        at = max(request.occurred_at, self.erased_at(request.user_id))
        self._erased[request.user_id] = at
        for decision_id in [*self._of_shopper.get(request.user_id, ())]:
            if self.decisions[decision_id].at <= at:
                self._forget(decision_id, self.decisions.pop(decision_id))
        for issue_id, early in [*self._early.items()]:
            if early.user_id == request.user_id and early.at <= at:
                del self._early[issue_id]
        for decision_id, answer in [*self.answers.items()]:
            if answer.user_id == request.user_id and answer.at <= at:
                del self.answers[decision_id]
        for coupon_id, issue in [*self.last_issue.items()]:
            if issue.user_id == request.user_id and issue.issued_at <= at:
                del self.last_issue[coupon_id]
        for place, known in [*self.letters.items()]:
            if known.letter.key == request.user_id.encode():
                del self.letters[place]

    def _take_letter(self, letter: Letter) -> None:
        if letter.at <= self.erased_at((letter.key or b"").decode(errors="replace")):
            return
        self.letters[letter.place] = KnownLetter(letter._replace(value=None), letter.digest(), letter.value_bytes or 0)
        if len(self.letters) > KEPT_LETTERS:
            self.letters.popitem(last=False)

    def shown(self, decision_id: str) -> ShownDecision | None:
        """Return a decision by its id, or None if it is not kept."""
        known = self.decisions.get(decision_id)
        if known is None:
            return None
        decision = None if known.decision is None else _decision(known.decision)
        issue = None if known.issue is None else _issue(known.issue)
        message = decision or issue
        return ShownDecision(
            decision_id=decision_id,
            user_id=known.user_id,
            domain="" if message is None else message.domain,
            at=known.at,
            coupon_id=issue.coupon_id if issue else decision.coupon_id if decision else NO_COUPON,
            result="given" if issue else decision.result if decision else "given",
            decision=decision,
            issue=issue,
            feedback=known.feedback,
        )

    def latest(self, count: int) -> Iterator[ShownDecision]:
        """Yield the latest decisions, the newest first."""
        for decision_id, _ in zip(reversed(self.decisions), range(count), strict=False):
            if (shown := self.shown(decision_id)) is not None:
                yield shown

    def latest_of(self, coupon_id: str, count: int) -> list[ShownDecision]:
        """Return the latest decisions that gave a coupon, the newest first."""
        text = msgspec.json.encode(coupon_id)
        some = (name for name, one in reversed(self.decisions.items()) if one.issue is not None and text in one.issue)
        found = (shown for name in some if (shown := self.shown(name)) is not None and shown.coupon_id == coupon_id)
        return [*islice(found, count)]

    def of_shopper(self, user_id: str) -> list[ShownDecision]:
        """Return the decisions kept of a shopper, the newest first."""
        found = [self.shown(one) for one in self._of_shopper.get(user_id, ())]
        return sorted((one for one in found if one is not None), key=lambda one: -one.at)

    def newest_at(self) -> float:
        """Return the time of the newest decision, which may be simulated; now if none is known."""
        return next(reversed(self.decisions.values())).at if self.decisions else time.time()

    def decision_counts(self, since: float) -> Counter[str]:
        """Return the number of decisions on record by result, from the minute of a time on, UTC epoch seconds."""
        counts: Counter[str] = Counter()
        for minute, some in self._counts.items():
            if minute >= int(since // 60):
                counts.update(some)
        return counts

    def result_reports(self) -> list[ResultTotals]:
        """Return the latest report of each coupon, day and partition."""
        return [one for subject in self.results.of for one in self.results.parts(subject)]

    def lift_reader(self) -> LiftReader:
        """Return the lift of each domain, with the brakes of the last snapshots."""
        reader = LiftReader(self.settings.policy)
        reader.brakes = {one.domain: one.brake for one in self.snapshot_stamps()}
        for subject in self.lifts.of:
            for one in self.lifts.parts(subject):
                reader.take(one)
        reader.update()
        return reader

    def snapshot_stamps(self) -> list[SnapshotStamp]:
        """Return what the latest snapshot of each domain says of itself, by domain."""
        return [newest for _, (newest, _) in sorted(self._snapshots.items())]

    def snapshot(self, domain: str) -> ModelSnapshot | None:
        """Return the latest snapshot of a domain."""
        if domain not in self._snapshots:
            return None
        _, value = self._snapshots[domain]
        return Decoder(topics.SNAPSHOTS)(value, topics.SNAPSHOTS.max_message_bytes)  # type: ignore[no-any-return]
