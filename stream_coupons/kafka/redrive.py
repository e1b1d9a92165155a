"""Send the records of dead letters again.

Sending twice changes nothing, because the topic redrives remembers what was sent: it holds a digest of topic, key and
bytes of every record that the broker has taken. A record whose digest is there is not sent a second time, and so
neither is a second copy of its letter, nor the letter that comes back when the record is refused again.

The digests are appended behind the records. A redrive that is killed between the two sends at most its last
`BATCH_LETTERS` records twice. This relies on what the system does with every second copy: events are known by their
event_id, training examples by their origin, which is therefore sent again with the record.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.dead_letters import CLOUDEVENTS_HEADERS, REDRIVEN_HEADER
from stream_coupons.kafka.letters import INPUT_NAMES, SENT_AGAIN, Letter
from stream_coupons.kafka.records import BEGAN_HEADER, ORIGIN_HEADER, SIGNATURE_HEADER

BATCH_LETTERS = 500


class Sending(NamedTuple):
    """A redrive of a record: its time in UTC epoch seconds and the name of the letter."""

    at: float
    letter: str


def sendings(connection: Connection) -> dict[bytes, Sending]:
    """Return the last time that each record was sent again, by its digest."""
    with Reader(connection, [topics.REDRIVES.name], from_beginning=True) as reader:
        return {
            record.key: Sending(record.timestamp / 1000.0, (record.value or b"").decode(errors="replace"))
            for record in reader.read_to_end()
        }


class RedriveOutcome(StrEnum):
    """Outcome of a letter's redrive."""

    SENT = "sent"
    BEFORE = "sent before"
    IMPOSSIBLE = "cannot be sent"
    HOPELESS = "would be refused again"


class Done(NamedTuple):
    """A letter, the outcome of its redrive, and a note."""

    letter: Letter
    outcome: RedriveOutcome
    note: str
    again_for: str = ""
    """The reason for which it would be refused again."""


@dataclass
class Redrive:
    """Sends the records of letters again, byte for byte, to the partition of their key.

    Delivery: what is returned as sent is appended; if the process is killed, at worst the last `BATCH_LETTERS` are
    appended once more by the next one.

    Parameters
    ----------
    publisher : Publisher, optional
        None to send nothing and say what would be done.
    before : dict of Sending
        What was sent before, by digest; none to send such records once more.
    partitions : int
        Of the topics where the settings decide.
    """

    publisher: Publisher | None
    before: dict[bytes, Sending]
    partitions: int
    force: bool = False
    """Send also what this release would refuse again, as for workers of another release."""
    _now: dict[bytes, str] = field(default_factory=dict)
    _unremembered: dict[bytes, str] = field(default_factory=dict)
    _batch: list[Done] = field(default_factory=list)

    def take(self, letter: Letter) -> list[Done]:
        """Send the record of a letter, if it is to be sent; return what has become certain by now.

        Raises
        ------
        NotAppended
        """
        self._batch.append(self._attempt(letter))
        return self.finish() if len(self._batch) >= BATCH_LETTERS else []

    def _attempt(self, letter: Letter) -> Done:
        obstacle = letter.obstacle()
        if obstacle is not None:
            return Done(letter, RedriveOutcome.IMPOSSIBLE, obstacle)
        refusal = None if self.force else letter.refusal()
        if refusal is not None:
            reason, detail = refusal
            return Done(letter, RedriveOutcome.HOPELESS, f"{reason}: {detail}", reason)
        digest = letter.digest()
        if digest in self._now:
            return Done(letter, RedriveOutcome.BEFORE, f"as {self._now[digest]}")
        if digest in self.before:
            return Done(letter, RedriveOutcome.BEFORE, f"as {self.before[digest].letter}")
        self._now[digest] = self._unremembered[digest] = letter.place
        topic = SENT_AGAIN[letter.topic]
        partition = topics.partition_for(letter.key or b"", topic.partitions or self.partitions)
        if self.publisher is not None:
            self.publisher.send_bytes(topic, letter.key, letter.value, partition, headers_again(letter))
        return Done(letter, RedriveOutcome.SENT, f"to {topic.name}:{partition}")

    def finish(self) -> list[Done]:
        """Wait until the broker has everything, remember it, and return what has become certain by now.

        Raises
        ------
        NotAppended
        """
        if self.publisher is not None:
            self.publisher.flush()
            for digest, place in self._unremembered.items():
                self.publisher.send_bytes(topics.REDRIVES, digest, place.encode())
            self.publisher.flush()
        self._unremembered.clear()
        done, self._batch = self._batch, []
        return done


def headers_again(letter: Letter) -> list[tuple[str, bytes]]:
    """Return the headers of a record that is sent again: its letter, and those that it is read with."""
    is_input = letter.topic in INPUT_NAMES
    names = CLOUDEVENTS_HEADERS if is_input else (ORIGIN_HEADER, BEGAN_HEADER, SIGNATURE_HEADER)
    own = [(name, letter.headers[name].encode()) for name in names if name in letter.headers]
    return [(REDRIVEN_HEADER, letter.place.encode()), *own]
