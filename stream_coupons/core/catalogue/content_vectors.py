"""Locality-sensitive codes of the content vectors of coupons, of any embedding model.

A vector becomes `CODES` codes of `BITS` bits each. A bit is the side of a random hyperplane that the vector lies on, so
two vectors at an angle t share a bit with probability 1 - t / pi and a code with (1 - t / pi)^BITS [1]_. Similar
contents have many codes in common, so a linear model with one weight per code learns a function that is smooth over the
content. The length of a vector does not count. Subtract the mean from vectors whose directions hardly differ, such as
vectors of large positive numbers.

References
----------
.. [1] Charikar, M. S. (2002). Similarity estimation techniques from rounding algorithms. STOC, section 3. We draw
       normals from a Gaussian, which knows no favoured direction also where a vector has few numbers.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.vectors.sparse import feature_index

CODES = 12
BITS = 4

_SCALE = 2.0**20
_NORMAL_SCALE = 2.0**10


def vector_codes(vector: Sequence[float]) -> tuple[int, ...]:
    """Return the hashes of a vector's codes, as many as `CODES`; the same on every machine, to the last bit.

    Parameters
    ----------
    vector : sequence of float, shape (n,)
        Content of a coupon, not all 0. Vectors of another length share no code: they come from another model.

    Examples
    --------
    >>> one, near, far = vector_codes([3.0, 1.0]), vector_codes([6.0, 2.1]), vector_codes([-3.0, -1.0])
    >>> sum(a == b for a, b in zip(one, near)) > 8, sum(a == b for a, b in zip(one, far))
    (True, 0)
    """
    numbers = np.array(vector, np.float64)
    # Whole numbers whose sums stay below 2^53: no sum depends on the order in which a machine adds.
    whole = np.rint(numbers / np.abs(numbers).max() * _SCALE)
    sides = (whole @ _normals(len(vector)) > 0.0).reshape(CODES, BITS)
    values = (sides @ (1 << np.arange(BITS))).tolist()
    return tuple(feature_index(f"vector of {len(vector)}, code {code}={value}") for code, value in enumerate(values))


@lru_cache(maxsize=8)
def _normals(size: int) -> NDArray[np.float64]:
    """Return the hyperplanes' normals, shape (size, CODES * BITS), whole numbers. A RandomState's stream is frozen."""
    drawn = np.random.RandomState(0).standard_normal((size, CODES * BITS))
    return np.rint(drawn * _NORMAL_SCALE)
