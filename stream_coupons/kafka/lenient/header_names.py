r"""Names of headers that are no UTF-8. Kafka asks for it, no broker looks, and neither client gets past such a record.

Strict decoding comes first, and costs what it did. What it refuses is decoded again, with a backslash for what is no
text: ours have none, so nobody's name becomes one of ours.
"""

from typing import Any

from kafka.record.default_records import DefaultRecordBatch

from stream_coupons.kafka.lenient.unpacking import Bytes, readable


class LenientBytes(bytearray):
    r"""Bytes whose parts become text whatever they are.

    >>> LenientBytes(b"tr\xffce")[0:3].decode("utf-8")
    'tr\\xff'
    """

    def __getitem__(self, place: Any) -> Any:
        """One byte as a number, or a part that is as lenient."""
        found = super().__getitem__(place)
        return LenientBytes(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:  # noqa: ARG002
        """As text, however strict the caller is."""
        return super().decode(encoding, "backslashreplace")


class LenientBatch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch of kafka-python's: from the first name on that is no text, its bytes are lenient.

    If it does not unpack, it is the one that stands for it.
    """

    _buffer: bytearray

    def __init__(self, buffer: Bytes) -> None:
        super().__init__(readable(buffer))

    def _read_msg(self, *options: Any) -> Any:
        try:
            return super()._read_msg(*options)
        except UnicodeDecodeError:
            self._buffer = LenientBytes(self._buffer)
            return super()._read_msg(*options)
