r"""Names of headers that are no UTF-8. Kafka asks for it, no broker looks, and neither client gets past such a record.

Strict decoding comes first, and costs what it did. What it refuses is decoded again, with a backslash for what is no
text: ours have none, so nobody's name becomes one of ours.
"""

from typing import Any


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
