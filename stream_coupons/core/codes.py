"""Codes of generated coupons: a till verifies one with the coupon's key, without a connection.

A code has 20 digits of Crockford's base 32 [1]_ and a check character, as the till reads them from left to right:

    4 digits   expiry in steps of 10 minutes since 2025, rounded up
    8 digits   40 bits of HMAC-SHA256(key, issue_id), which tell issues of the same expiry apart
    8 digits   40 bits of HMAC-SHA256(key, the 12 digits before)
    1          check character: the number of the 20 digits modulo 37

Each coupon has a key of its own, derived from the workers' secret, from which neither the secret nor another coupon's
key can be computed.

References
----------
.. [1] Crockford, D. (2019). Base 32. https://www.crockford.com/base32.html
"""

import hmac
import math
from functools import lru_cache

from stream_coupons.core.draws import DrawKey

DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CHECKS = DIGITS + "*~$=U"
LABEL = b"stream_coupons: codes"
EPOCH = 1_735_689_600
"""Start of the year 2025, UTC epoch seconds."""
STEP_S = 600
MAX_STEP = 32**4 - 1
"""Steps that four digits hold, up to December 2044; a later expiry counts as this one."""
BODY, LENGTH, GROUP = 12, 21, 7
_CANONICAL = str.maketrans("ILO", "110", " -")


def codes_key(secret: DrawKey) -> bytes:
    """Return the key that the keys of all coupons are derived from, 32 bytes; no draw can be computed from it."""
    return hmac.digest(secret.secret, LABEL, "sha256")


@lru_cache(maxsize=4096)
def coupon_key(key: bytes, coupon_id: str) -> bytes:
    """Return the key of one coupon's codes, 32 bytes, which is what a till needs.

    Parameters
    ----------
    key : bytes
        Result of `codes_key`.
    coupon_id : str
        The coupon.
    """
    return hmac.digest(key, coupon_id.encode(), "sha256")


def canonical(code: str) -> str:
    """Return a code without spaces and hyphens, in capitals, with I and L read as 1 and O as 0.

    Examples
    --------
    >>> canonical("tea-0o1l")
    'TEA0011'
    """
    return code.upper().translate(_CANONICAL)


def generate(key: bytes, issue_id: str, expires_at: float, prefix: str = "") -> str:
    """Return the code of an issue.

    Parameters
    ----------
    key : bytes
        Key of the coupon.
    issue_id : str
        The issue.
    expires_at : float
        Time until which it can be used, UTC epoch seconds.
    prefix : str
        Name of the coupon for people; it is no part of what is verified.

    Examples
    --------
    >>> generate(b"key", "i1", 1767225600.0, "TEA")
    'TEA-1KAGDSF-EDT9H4F-2H6A4VC'
    """
    step = min(max(math.ceil((expires_at - EPOCH) / STEP_S), 0), MAX_STEP)
    body = _digits(step, 4) + _mark(key, f"issue:{issue_id}")
    digits = body + _mark(key, body)
    code = digits + CHECKS[_number(digits) % 37]
    groups = [code[start : start + GROUP] for start in range(0, LENGTH, GROUP)]
    return "-".join([prefix, *groups] if prefix else groups)


def expiry(key: bytes, code: str) -> float | None:
    """Return the time until which a code can be used, UTC epoch seconds; None if it is no code of the coupon.

    Parameters
    ----------
    key : bytes
        Key of the coupon.
    code : str
        The code as it was typed.

    Raises
    ------
    ValueError
        If it was mistyped: its length, or its check character, is wrong.
    """
    digits, check = canonical(code)[-LENGTH:-1], canonical(code)[-1:]
    if len(digits) != LENGTH - 1 or not set(digits) <= set(DIGITS):
        raise ValueError(f"expected {LENGTH} digits and letters, without U")
    if check != CHECKS[_number(digits) % 37]:
        raise ValueError(
            f"its check character is {check!r}, expected {CHECKS[_number(digits) % 37]!r}: it was mistyped"
        )
    if not hmac.compare_digest(_mark(key, digits[:BODY]), digits[BODY:]):
        return None
    return float(EPOCH + STEP_S * _number(digits[:4]))


def _mark(key: bytes, text: str) -> str:
    """Return the first 40 bits of the HMAC of a text, as 8 digits."""
    return _digits(int.from_bytes(hmac.digest(key, text.encode(), "sha256")[:5], "big"), 8)


def _digits(number: int, count: int) -> str:
    return "".join(DIGITS[number >> shift & 31] for shift in range(5 * count - 5, -1, -5))


def _number(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * 32 + DIGITS.index(digit)
    return number
