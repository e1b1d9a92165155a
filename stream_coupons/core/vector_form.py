"""What a coupon's vector must be; apart from `vectors`, so that whoever reads messages need not import NumPy."""

import math
from collections.abc import Sequence

MAX_NUMBERS = 4096


def check_vector(vector: Sequence[float]) -> None:
    """Refuse what has no direction.

    Raises
    ------
    ValueError
        If it is empty, longer than `MAX_NUMBERS`, all zeros, or holds what is not a finite number.
    """
    if not 1 <= len(vector) <= MAX_NUMBERS:
        raise ValueError(f"vector has {len(vector)} numbers, expected 1 to {MAX_NUMBERS}")
    for place, number in enumerate(vector):
        if not math.isfinite(number):
            raise ValueError(f"vector[{place}] is {number}, expected a finite number")
    if not any(vector):
        raise ValueError("vector is all zeros, expected one number at least that is not")
