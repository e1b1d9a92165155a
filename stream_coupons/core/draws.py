"""Hashes of strings, and draws keyed by a secret: a client that chooses its ids cannot choose its luck."""

from dataclasses import dataclass, field
from hashlib import blake2b

DIGEST_BYTES = 8
FINGERPRINT_BYTES = 8
SIGNATURE_BYTES = 32


def stable_digest(*parts: str) -> bytes:
    """Return a digest of `parts` with `DIGEST_BYTES` bytes, the same on every machine and run.

    Each part is led by its length, so that no two lists of parts give the same bytes.
    """
    joined = "".join([f"{len(part)}:{part}" for part in parts])
    return blake2b(joined.encode(), digest_size=DIGEST_BYTES).digest()


def stable_hash(*parts: str) -> int:
    """Return the unsigned 64-bit hash of some strings: their digest as a number.

    Examples
    --------
    >>> stable_hash("a", "bc") == stable_hash("ab", "c")
    False
    """
    joined = "".join([f"{len(part)}:{part}" for part in parts])
    return int.from_bytes(blake2b(joined.encode(), digest_size=DIGEST_BYTES).digest(), "big")


@dataclass(frozen=True, slots=True)
class DrawKey:
    """The secret that fixes every random choice: holdout, exploration, controls.

    A draw is keyed BLAKE2b [1]_ of its parts. Without the key nobody can compute one, or learn the key from many.

    Parameters
    ----------
    secret : bytes
        From 1 to 64 bytes. It is not part of the `repr`.

    Notes
    -----
    .. [1] Saarinen and Aumasson 2015, RFC 7693, section 2.9: The BLAKE2 cryptographic hash and message
       authentication code.

    Examples
    --------
    >>> one, other = DrawKey(b"one"), DrawKey(b"other")
    >>> one.uniform("explore", "t1") == one.uniform("explore", "t1") != other.uniform("explore", "t1")
    True
    >>> one
    DrawKey(fingerprint='74fe9259af13ca3d')
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.secret) <= blake2b.MAX_KEY_SIZE:
            raise ValueError(f"secret has {len(self.secret)} bytes, expected 1 to {blake2b.MAX_KEY_SIZE}")

    def uniform(self, *parts: str) -> float:
        """Return the uniform draw in [0, 1) that belongs to `parts`; the same for the same key and parts.

        Examples
        --------
        >>> 0.0 <= PUBLIC_KEY.uniform("explore", "t1") < 1.0
        True
        """
        joined = "".join([f"{len(part)}:{part}" for part in parts])
        digest = blake2b(joined.encode(), digest_size=8, key=self.secret, person=b"draw").digest()
        return (int.from_bytes(digest, "big") >> 11) / 2**53

    def signature(self, data: bytes) -> bytes:
        """Return the 32 bytes by which holders of the key recognise each other's data."""
        return blake2b(data, digest_size=SIGNATURE_BYTES, key=self.secret, person=b"signature").digest()

    @property
    def fingerprint(self) -> str:
        """Return a name of the key in 16 hexadecimal digits, safe to publish: no draw can be computed from it."""
        return blake2b(digest_size=FINGERPRINT_BYTES, key=self.secret, person=b"fingerprint").hexdigest()

    def __repr__(self) -> str:
        return f"DrawKey(fingerprint={self.fingerprint!r})"


PUBLIC_KEY = DrawKey(b"stream-coupons: public, for demos and tests")
"""A key that everybody knows: for simulations, replays and tests. A worker of a shop refuses it."""
