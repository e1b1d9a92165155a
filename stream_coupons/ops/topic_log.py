"""The messages of some topics, read from their records in any order."""

from collections.abc import Sequence
from typing import Any

from stream_coupons.core.errors import BadMessage
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.topics import Topic


class TopicLog:
    """Takes the messages of some topics; feed it records with `take`.

    Parameters
    ----------
    read : sequence of Topic
        Topics whose records are read; those of others are ignored.

    Attributes
    ----------
    unreadable : int
        Records that are no valid message of their topic.
    """

    def __init__(self, read: Sequence[Topic]) -> None:
        self.unreadable = 0
        self._decoders = {topic.name: Decoder(topic) for topic in read}

    def take(self, topic: str, value: bytes | None) -> None:
        """Take one record; those of other topics, and deletions, are ignored."""
        decode = self._decoders.get(topic)
        if decode is None or value is None:
            return
        try:
            message = decode(value)
        except BadMessage:
            self.unreadable += 1
            return
        self.note(message)

    def note(self, message: Any) -> None:
        """Take one message."""
        raise NotImplementedError
