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


def published(settings: Settings, kind: Kind[Entry]) -> Published[Entry]:
    """Read the topic of a kind to its end."""
    from stream_coupons.kafka.clients import Reader

    found: Published[Entry] = Published({}, {}, {})
    decode = Decoder(kind.topic)
    with Reader(settings.kafka, [kind.topic.name], from_beginning=True) as reader:
        for record in reader.read_to_end():
            key = (record.key or b"").decode(errors="replace")
            for by_key in (found.entries, found.unreadable, found.records):
                by_key.pop(key, None)
            if record.value is None:
                continue
            found.records[key] = record.value
            try:
                found.entries[key] = decode(record.value)
            except BadMessage as bad:
                found.unreadable[key] = bad.detail
    found.entries = dict(sorted(found.entries.items()))
    return found


def paused_values(found: Published[Coupon], *, paused: bool) -> dict[str, bytes]:
    """Return the records of all coupons, paused or not, by id; all their other fields stay byte for byte."""
    news = {"paused": Raw(b"true")} if paused else {}
    return {name: with_fields(found.records[name], news, ("paused",)) for name in found.entries}
