"""I3 from the topics: what the workers have committed is applied to its key's state, or in dead-letters.

A state's cell says up to which offset each topic was applied to its key. So a record that was skipped shows until a
later one of the same key and topic is applied. A lease is applied to a purse of its partition, which has its version.
"""

from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from stream_coupons.agents.users import Users
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.messages.leases import Lease
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.dead_letters import DIGEST_HEADER, digest
from stream_coupons.kafka.records import ORIGIN_HEADER, Record
from stream_coupons.ops.audit.findings import Check, Findings, place_of
from stream_coupons.ops.audit.offsets import AuditedOffsets, Retained
from stream_coupons.runtime.cells import CellCodec, StateCodec
from stream_coupons.runtime.steps import SHARED_PREFIX

USERS = topics.changelog("users").name
TABLES = {
    USERS: topics.INPUTS,
    topics.changelog("accounts").name: (topics.LEASE_REPORTS,),
}
"""Changelog to the topics whose records are applied to the state of their own key."""
COLUMNS = {topic.name: (table, column) for table, applied in TABLES.items() for column, topic in enumerate(applied)}
NOT_FOLLOWED = tuple(
    topic.name for topic in topics.READ_BY_AGENTS if topic.name not in COLUMNS and topic is not topics.LEASES
)
SOURCE_HEADERS = ("topic", "partition", "offset")
NOTHING_APPLIED = {Rejection.STEP_FAILED.encode(), Rejection.TOO_LARGE.encode()}
"""Reasons for which a readable record had no effect."""
LATE = Rejection.LATE.encode()
NOTHING: tuple[int, ...] = ()
UNKNOWN_OFFSET = -1
"""In the dead letter of feedback that waited for its issue: it is no copy of one record."""

ERASURES_COLUMN = COLUMNS[topics.ERASURES.name][1]

_codec = CellCodec(Raw)
_shared: StateCodec[Any] = StateCodec(Users.shared_type)
_feedback = Decoder(topics.FEEDBACK)


class PlacedPurse(NamedTuple):
    """A purse and the record of the changelog that has it, as topic:partition:offset."""

    purse: Purse
    place: str


class ErasedCell(NamedTuple):
    """The state record of a shopper who asked to be erased.

    Attributes
    ----------
    state : bytes
        The shopper's state, packed.
    applied : int
        Offset of the last request of erasure that was applied.
    record : Record
        The record.
    """

    state: Raw
    applied: int
    record: Record


def fingerprint(record: Record) -> int:
    """Return a number that two records share if their key, value and origin are the same bytes."""
    hashed = blake2b(digest_size=8)
    origins = [value for name, value in record.headers if name == ORIGIN_HEADER]
    for part in (record.key, record.value, *origins):
        hashed.update(b"-" if part is None else b"%d:" % len(part) + part)
    return int.from_bytes(hashed.digest(), "big")


def _content(letter: Record) -> int:
    """Return a number that stands for the key and value of a dead letter's record."""
    said = dict(letter.headers).get(DIGEST_HEADER)
    return fingerprint(letter._replace(headers=())) if said is None else _cut(said)


def _cut(said: bytes) -> int:
    """Return the number of a record too long for its dead letter, from its digest."""
    return int.from_bytes(blake2b(said, digest_size=8).digest(), "big")


class CoverageCheck:
    """Checks that nothing is skipped; read dead letters and changelogs first, then what the agents read."""

    def __init__(self, marks: AuditedOffsets, retained: Retained, findings: Findings) -> None:
        self._marks = marks
        self._retained = retained
        self._findings = findings
        self._letters: dict[tuple[str, int, int], int] = {}
        self._failed: set[tuple[str, int, int]] = set()
        self._refused_feedback: set[int] = set()
        self.purses: dict[tuple[str, int], PlacedPurse] = {}
        """By account and partition."""
        self.erased: dict[bytes, ErasedCell | None] = {}
        """By key of a shopper who asked to be erased, the latest state record; set the keys before cells are read."""
        self.not_booked: dict[tuple[str, str], FeedbackEvent] = {}
        """By issue and order, purchases that were refused since they came late."""
        self._applied: dict[str, dict[bytes, tuple[int, ...]]] = {table: {} for table in TABLES}

    def take_letter(self, letter: Record) -> None:
        """Check that a dead letter names a record that existed, and that none with other bytes names it."""
        place = place_of(letter)
        source = _source_of(letter)
        if dict(letter.headers).get("reason") == LATE and source is not None and source[0] == topics.FEEDBACK.name:
            self._note_late(letter)
        if source is None:
            detail = "headers name no record, expected topic, partition and offset of one that an agent read"
            self._findings.violate(Check.LETTERS, place, detail)
            return
        if source[2] == UNKNOWN_OFFSET:
            self._findings.skip(Check.LETTERS)
            self._note_refused(letter)
            return
        name = ":".join(map(str, source))
        end = self._marks.ends.get(source[:2], 0)
        content = _content(letter)
        if dict(letter.headers).get("reason") in NOTHING_APPLIED:
            self._failed.add(source)
        if not 0 <= source[2] < end:
            detail = f"it names {name} as its record, expected an offset below {end}"
            self._findings.violate(Check.LETTERS, place, detail)
        elif self._letters.setdefault(source, content) != content:
            detail = f"{name} has another dead letter with other bytes, expected the same"
            self._findings.violate(Check.LETTERS, place, detail)
        else:
            self._findings.passed(Check.LETTERS)

    def _note_refused(self, letter: Record) -> None:
        try:
            event: FeedbackEvent = _feedback(letter.value)
        except BadMessage:
            return
        self._refused_feedback.add(hash((event.user_id, event.event_id)))

    def _note_late(self, letter: Record) -> None:
        try:
            event: FeedbackEvent = _feedback(letter.value)
        except BadMessage:
            return
        if event.kind == "purchase":
            self.not_booked[event.issue_id, event.order_id or ""] = event

    def take_cell(self, record: Record) -> None:
        """Take in a state record of a changelog, or a purse of its partition: the latest of a key counts.

        Holdings of accounts are left out: reports and leases say what they do.
        """
        cells = self._applied[record.topic]
        key = record.key or b""
        if key.startswith(SHARED_PREFIX.encode()):
            if record.topic == USERS:
                self._take_purse(record, key.removeprefix(SHARED_PREFIX.encode()).decode(errors="replace"))
            return
        if record.value is None:
            cells.pop(key, None)
            if key in self.erased and record.topic == USERS:
                self.erased[key] = None
            return
        try:
            cell = _codec.decode(record.value)
        except msgspec.DecodeError as error:
            self._findings.violate(Check.RECORDS, place_of(record), f"is no cell of a table: {error}")
            return
        cells[key] = tuple(cell.applied.get(topic.name, -1) for topic in TABLES[record.topic])
        if key in self.erased and record.topic == USERS:
            self.erased[key] = ErasedCell(cell.state, cells[key][ERASURES_COLUMN], record)

    def _take_purse(self, record: Record, account_id: str) -> None:
        if record.value is None:
            self.purses.pop((account_id, record.partition), None)
            return
        try:
            purse = _shared.decode(record.value)
        except msgspec.DecodeError as error:
            self._findings.violate(Check.RECORDS, place_of(record), f"is no purse of a partition: {error}")
            return
        if isinstance(purse, Purse):
            self.purses[account_id, record.partition] = PlacedPurse(purse, place_of(record))

    def is_foreign(self, record: Record) -> bool:
        """Return whether an agent refused a record for its content: then no agent of ours wrote it."""
        place = (record.topic, record.partition, record.offset)
        return place in self._letters and place not in self._failed

    def is_refused(self, record: Record) -> bool:
        """Return whether a record has a dead letter: then nothing of it was applied."""
        return (record.topic, record.partition, record.offset) in self._letters

    def may_be_refused(self, event: FeedbackEvent) -> bool:
        """Return whether feedback of this id was refused after it had waited: it is unknown which of its copies."""
        return hash((event.user_id, event.event_id)) in self._refused_feedback

    def check(self, record: Record, lease: Lease | None = None) -> None:
        """Check a record that an agent reads; `lease` is its message if it is a lease."""
        letter = self._letters.get((record.topic, record.partition, record.offset))
        if letter is not None:
            self._findings.passed(Check.RECORDS)
            whole = fingerprint(record._replace(headers=()))
            if letter != whole and letter != _cut(digest(record.topic, record.key, record.value)):
                detail = "its dead letter has other bytes, expected the same"
                self._findings.violate(Check.LETTERS, place_of(record), detail)
            return
        if record.topic in COLUMNS:
            table, column = COLUMNS[record.topic]
            applied = self._applied[table].get(record.key or b"", NOTHING)
            number, upto = record.offset, applied[column] if applied else -1
            state, unit = f"{record.key!r}", "offset"
        else:
            placed = self.purses.get(("" if lease is None else lease.account_id, record.partition))
            number, upto = 1 if lease is None else lease.version, -1 if placed is None else placed.purse.version
            state, unit = "a purse" if lease is None else f"the purse of {lease.account_id}", "version"
        if number <= upto:
            self._findings.passed(Check.RECORDS)
        elif not self._marks.is_committed(record.topic, record.partition, record.offset):
            self._findings.leave_open(Check.RECORDS)
        elif self._retained.may_have_lost(topics.DEAD_LETTERS.name, record.partition, record.timestamp_ms):
            self._findings.skip(Check.RECORDS)
        else:
            known = "none of it" if upto < 0 else f"{unit} {upto}"
            detail = f"committed, but neither a dead letter nor applied to {state}, which has {known}"
            self._findings.violate(Check.RECORDS, place_of(record), f"{detail}; expected one of them")


def _source_of(letter: Record) -> tuple[str, int, int] | None:
    """Return the (topic, partition, offset) that a dead letter names; None if no agent reads such a record."""
    headers = dict(letter.headers)
    try:
        topic, partition, offset = ((headers[name] or b"").decode() for name in SOURCE_HEADERS)
        source = topic, int(partition), int(offset)
    except (KeyError, ValueError):
        return None
    return source if topics.BY_NAME.get(topic) in topics.READ_BY_AGENTS else None
