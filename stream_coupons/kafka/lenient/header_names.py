r"""Names of headers that are no UTF-8. Kafka asks for it, no broker looks, and neither client gets past such a record.

Strict decoding comes first, and costs what it did. What it refuses is decoded again, with a backslash for what is no
text: ours have none, so nobody's name becomes one of ours.
"""

from typing import Any


class LenientBytes(bytearray):
    r"""Bytes whose parts become text whatever they are.

    Examples
    --------
    >>> LenientBytes(b"tr\xffce")[0:3].decode("utf-8")
    'tr\\xff'
    """

    def __getitem__(self, place: Any) -> Any:
        """Return one byte as a number, or a part that is as lenient."""
        found = super().__getitem__(place)
        return LenientBytes(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:  # noqa: ARG002
        """Return the bytes as text, with a backslash for what is none.

        Parameters
        ----------
        encoding : str
            Not used: header names are UTF-8.
        errors : str
            Not used, however strict the caller is.
        """
        return super().decode(encoding, "backslashreplace")
