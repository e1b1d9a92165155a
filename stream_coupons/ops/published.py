"""Coupons and campaigns as they are published, and new values of their records."""

from typing import Generic

from msgspec import Raw, Struct

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.kafka.codec import Decoder, with_fields
from stream_coupons.ops.catalogue_files import Entry, Kind
from stream_coupons.settings import Settings


class Published(Struct, Generic[Entry]):
    """The records of a topic as they are now.

    Attributes
    ----------
    entries : dict
        By id, in its order.
    unreadable : dict
        By key, what is wrong with a record that workers ignore.
    records : dict
        Values of all of them, by key.
    """

    entries: dict[str, Entry]
    unreadable: dict[str, str]
    records: dict[str, bytes]

    def take(self, raw_key: bytes | None, value: bytes | None, decode: Decoder) -> None:
        """Take in a record of the topic, in its order."""
        key = (raw_key or b"").decode(errors="replace")
        for by_key in (self.entries, self.unreadable, self.records):
            by_key.pop(key, None)
        if value is None:
            return
        self.records[key] = value
        try:
            self.entries[key] = decode(value)
        except BadMessage as bad:
            self.unreadable[key] = bad.detail


def published(settings: Settings, kind: Kind[Entry]) -> Published[Entry]:
    """Read the topic of a kind to its end."""
    from stream_coupons.kafka.clients import Reader

    found: Published[Entry] = Published({}, {}, {})
    decode = Decoder(kind.topic)
    with Reader(settings.kafka, [kind.topic.name], from_beginning=True) as reader:
        for record in reader.read_to_end():
            found.take(record.key, record.value, decode)
    found.entries = dict(sorted(found.entries.items()))
    return found


def paused_values(found: Published[Coupon], *, paused: bool) -> dict[str, bytes]:
    """Return the records of all coupons, paused or not, by id; all their other fields stay byte for byte."""
    news = {"paused": Raw(b"true")} if paused else {}
    return {name: with_fields(found.records[name], news, ("paused",)) for name in found.entries}
