"""Audit a running, idle or stopped system by its topics: each is read once, in the order that the checks need."""

from collections.abc import Callable, Iterable
from itertools import chain

from msgspec import Struct

from stream_coupons.agents import internal
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.inputs import ErasureRequest, FeedbackEvent, Tick
from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.records import Record
from stream_coupons.kafka.topics import Topic
from stream_coupons.ops.audit.budget_check import BudgetCheck
from stream_coupons.ops.audit.coverage_check import TABLES, CoverageCheck
from stream_coupons.ops.audit.decision_check import DecisionCheck
from stream_coupons.ops.audit.findings import NOT_JUDGED, Check, Findings, place_of
from stream_coupons.ops.audit.issue_check import IssueCheck
from stream_coupons.ops.audit.offsets import AuditedOffsets, Retained
from stream_coupons.ops.audit.promise_check import PromiseCheck
from stream_coupons.ops.audit.promised import UNKNOWN_RULES, PromisedRules
from stream_coupons.ops.audit.propensity_check import PropensityCheck
from stream_coupons.ops.audit.quiet_hours_check import QuietHoursCheck
from stream_coupons.ops.audit.terms import KnownTerms

TERMS = (topics.CATALOG.name, topics.CAMPAIGNS.name)
KNOWN_FIRST = (topics.DEAD_LETTERS.name, *TERMS)
ERASURES = topics.ERASURES.name
BEFORE_INPUTS = (topics.ISSUES, topics.DECISIONS, topics.LEASES, topics.TICKS)
INPUTS = tuple(topic.name for topic in topics.INPUTS if topic is not topics.ERASURES)
READ = (
    *(*KNOWN_FIRST, ERASURES, *TABLES),
    *(*(topic.name for topic in BEFORE_INPUTS), *INPUTS, topics.LEASE_REPORTS.name),
)
"""The topics that an audit reads."""
FOLLOWED = (topics.LEASES.name, topics.LEASE_REPORTS.name)
"""Topics between the agents whose records are all accounted for."""

Read = Callable[[tuple[str, ...]], Iterable[Record]]
"""Names of topics to their records, from the beginning to the end or beyond, in order within each partition."""


def audit(read: Read, marks: AuditedOffsets, promised: PromisedRules = UNKNOWN_RULES) -> Findings:
    """Check I1 to I4, I6 and what was promised to shoppers and marketers, as far as the topics prove them.

    Memory: some 600 bytes for an issue and for a shopper, whatever their number of events, and requests of erasure.

    Parameters
    ----------
    read : callable
        Called once for every topic of `READ`, for some of them together.
    marks : Marks
        Taken before anything is read, in the order that `audit_topics.take_marks` explains.
    promised : PromisedRules, optional
        Rules and secret of the workers; without them, what depends on them is not checked.
    """
    return _Audit(marks, promised).run(read)


class _Audit:
    """An audit in progress: its marks, checks and findings."""

    def __init__(self, marks: AuditedOffsets, promised: PromisedRules) -> None:
        self._marks = marks
        self._promised = promised
        self._retained = Retained(marks)
        self._findings = Findings()
        self._accounts = CoverageCheck(marks, self._retained, self._findings)
        self._terms = KnownTerms(marks, self._accounts.purses)
        self._issues = IssueCheck(self._terms, self._findings, promised)
        self._budgets = BudgetCheck(marks, self._retained, self._accounts.purses, self._terms, self._findings)
        self._decisions = DecisionCheck(marks, self._retained, self._terms, self._issues, self._budgets, self._findings)
        self._decisions.early_feedback_s = promised.rules.attribution.early_feedback_s
        self._promises = PromiseCheck(promised, self._terms.history, self._findings)
        self._quiet = QuietHoursCheck(promised, self._retained, self._findings)
        self._propensities = PropensityCheck(promised, self._decisions.given, self._findings)

    def run(self, read: Read) -> Findings:
        """Read everything."""
        for record in self._upto_end(read(KNOWN_FIRST)):
            if record.topic == topics.DEAD_LETTERS.name:
                self._accounts.take_letter(record)
            else:
                self._terms.take(record)
        self._terms.end()
        erasures = list(self._upto_end(read((ERASURES,))))
        self._take_erasures(erasures)
        for record in self._upto_end(read(tuple(TABLES))):
            self._accounts.take_cell(record)
        for topic in BEFORE_INPUTS:
            self._follow(read, topic)
        self._budgets.end_leases()
        decode = Decoder(topics.FEEDBACK)
        for record in chain(erasures, self._upto_end(read(INPUTS))):
            self._accounts.check(record)
            if record.topic == topics.FEEDBACK.name:
                self._take_feedback(record, decode)
            elif not self._accounts.is_refused(record):
                self._quiet.trigger(record)
        self._quiet.end()
        self._follow(read, topics.LEASE_REPORTS)
        self._budgets.end_purses()
        self._issues.end(self._budgets.has_known_terms)
        self._budgets.end_accounts()
        self._decisions.end(self._accounts.purses, self._accounts.not_booked)
        self._promises.end(self._accounts.erased)
        # Of ticks, only the last ones count.
        self._findings.shortened = self._retained.shortened(name for name in READ if name != topics.TICKS.name)
        return self._findings

    def _take_erasures(self, records: Iterable[Record]) -> None:
        """Take in the requests of erasure that were not refused."""
        decode = Decoder(topics.ERASURES)
        for record in records:
            try:
                request: ErasureRequest = decode(record.value)
            except BadMessage:
                continue
            if record.key == request.user_id.encode() and not self._accounts.is_refused(record):
                self._accounts.erased[record.key] = None
                self._promises.erase(record, request)

    def _follow(self, read: Read, topic: Topic) -> None:
        decode = Decoder(topic)
        for record in self._upto_end(read((topic.name,))):
            self._take(record, decode)

    def _upto_end(self, records: Iterable[Record]) -> Iterable[Record]:
        for record in records:
            if record.offset < self._marks.ends.get((record.topic, record.partition), 0):
                self._retained.note(record)
                yield record

    def _take(self, record: Record, decode: Decoder) -> None:
        """Take in an issue, lease, lease report or tick."""
        try:
            message = decode(record.value)
        except BadMessage as bad:
            message = None
            if record.topic == topics.ISSUES.name:
                self._findings.violate(Check.ISSUES, place_of(record), f"is no issue: {bad.detail}")
        if record.topic in FOLLOWED:
            self._accounts.check(record, message if isinstance(message, Lease) else None)
            self._findings.judge(Check.SIGNATURES, record, self._signature_fault(record))
        if self._accounts.is_foreign(record) or not self._is_ours(record, message):
            return
        match message:
            case CouponIssue():
                if self._decisions.issue(record, message):
                    self._promises.issue(record, message)
                    self._quiet.issue(record, message)
            case LoggedDecision():
                self._propensities.decision(record, message)
            case Lease():
                self._budgets.lease(record, message)
            case LeaseReport():
                self._budgets.report(record, message)
            case Tick():
                self._decisions.tick(record, message)

    def _signature_fault(self, record: Record) -> str | None:
        """Return a fault if a lease or report without a signature was taken in."""
        if record.timestamp_ms < self._promised.key_since_ms:
            return NOT_JUDGED
        try:
            internal.require_signed(record, self._promised.rules.key)
        except BadMessage as bad:
            is_taken_in = self._marks.is_committed(record.topic, record.partition, record.offset)
            is_refused = self._accounts.is_refused(record) or not is_taken_in
            return None if is_refused else f"{bad.detail}, and it was taken in: expected a dead letter"
        return None

    def _is_ours(self, record: Record, message: Struct | None) -> bool:
        """Return whether a record between the agents has the key and partition they give it; others are refused."""
        match message:
            case Lease():
                return message.partition == record.partition
            case LeaseReport():
                key, partitions = message.account_id.encode(), self._marks.partitions(record.topic)
                home = topics.partition_for(key, partitions)
                return (record.key, record.partition) == (key, home) and message.partition < partitions
        return True

    def _take_feedback(self, record: Record, decode: Decoder) -> None:
        if self._accounts.is_refused(record):
            return
        try:
            event: FeedbackEvent = decode(record.value)
        except BadMessage:
            return
        if record.key == event.user_id.encode():
            self._decisions.feedback(record, event, may_be_refused=self._accounts.may_be_refused(event))
