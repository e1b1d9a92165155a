"""Audit a running, idle or stopped system by its topics: each is read once, causes before what they lead to."""

from collections.abc import Callable, Iterable

from stream_coupons import topics
from stream_coupons.codec import Decoder
from stream_coupons.core.errors import BadMessage
from stream_coupons.evaluation.accounts import COLUMNS, TABLES, Accounts
from stream_coupons.evaluation.decisions import Decisions
from stream_coupons.evaluation.findings import Check, Findings, place_of
from stream_coupons.evaluation.limits import Limits
from stream_coupons.evaluation.marks import Marks, Retained
from stream_coupons.runtime.records import Record

KNOWN_FIRST = (topics.DEAD_LETTERS.name, topics.CATALOG.name, *TABLES)
CHAIN = (topics.PROPOSALS, topics.RESERVATIONS, topics.SETTLEMENTS, topics.ISSUES)
INPUTS = tuple(topic.name for topic in topics.INPUTS)
READ = (*KNOWN_FIRST, *(topic.name for topic in CHAIN), *INPUTS)
"""The topics that an audit reads."""

Read = Callable[[tuple[str, ...]], Iterable[Record]]
"""Names of topics to their records, from the beginning to the end or beyond, in order within each partition."""


def audit(read: Read, marks: Marks) -> Findings:
    """Check I1 to I4 and I6 as far as the topics prove them.

    Memory: some 500 bytes for a decision and for a shopper, whatever their number of events.

    Parameters
    ----------
    read : callable
        Called once for every topic of `READ`, for some of them together.
    marks : Marks
        Taken before anything is read, in the order that `audit_topics.take_marks` explains.
    """
    return _Audit(marks).run(read)


class _Audit:
    """What has been read until now, and what it says."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._retained = Retained(marks)
        self._findings = Findings()
        self._accounts = Accounts(marks, self._retained, self._findings)
        self._limits = Limits(marks, self._findings)
        self._decisions = Decisions(marks, self._retained, self._limits, self._findings)

    def run(self, read: Read) -> Findings:
        """Read everything."""
        for record in self._upto_end(read(KNOWN_FIRST)):
            if record.topic == topics.DEAD_LETTERS.name:
                self._accounts.take_letter(record)
            elif record.topic == topics.CATALOG.name:
                self._limits.take_coupon(record)
            else:
                self._accounts.take_cell(record)
        for topic in CHAIN:
            decode = Decoder(topic)
            for record in self._upto_end(read((topic.name,))):
                if topic.name in COLUMNS:
                    self._accounts.check(record)
                self._take(record, decode)
            self._decisions.end(topic.name)
        for record in self._upto_end(read(INPUTS)):
            self._accounts.check(record)
        self._findings.shortened = self._retained.shortened(READ)
        return self._findings

    def _upto_end(self, records: Iterable[Record]) -> Iterable[Record]:
        for record in records:
            if record.offset < self._marks.ends.get((record.topic, record.partition), 0):
                self._retained.note(record)
                yield record

    def _take(self, record: Record, decode: Decoder) -> None:
        """A record of the chain of decisions."""
        if self._accounts.is_foreign(record):
            return
        has_failed = self._accounts.has_failed(record)
        try:
            message = decode(record.value)
        except BadMessage as bad:
            if record.topic == topics.ISSUES.name:
                self._findings.violate(Check.ISSUES, place_of(record), f"is no issue: {bad.detail}")
            return
        if record.topic == topics.PROPOSALS.name:
            self._decisions.propose(record, message, has_failed=has_failed)
        elif record.topic == topics.RESERVATIONS.name:
            self._decisions.answer(record, message, has_failed=has_failed)
        elif record.topic == topics.SETTLEMENTS.name:
            self._decisions.settle(record, message)
        else:
            self._decisions.issue(record, message)
