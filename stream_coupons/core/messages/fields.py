"""Types of fields that messages share, with their bounds."""

from typing import Annotated

from msgspec import Meta

SCHEMA_VERSION = 1

Id = Annotated[str, Meta(min_length=1, max_length=200)]

LongId = Annotated[str, Meta(min_length=1, max_length=256)]
"""An id composed of others: a trigger and the coupon that was not given for it, or an issue and a head. The longest has
33 + 1 + 200 + 6 characters."""

Label = Annotated[str, Meta(max_length=200)]

Rule = Annotated[str, Meta(max_length=1000)]
"""A rule in CEL; empty for none. It is evaluated in every decision, so its length has a bound."""

Code = Annotated[str, Meta(min_length=1, max_length=64)]
"""A coupon code, as a shopper shows it at a till."""

Domain = Annotated[str, Meta(min_length=1, max_length=64)]

END_OF_TIME = 4_102_444_800.0
"""The start of the year 2100, UTC epoch seconds: no time is later."""

EpochSeconds = Annotated[float, Meta(ge=0, le=int(END_OF_TIME), description="UTC epoch seconds")]

MONEY = "money in minor units (cents), written as a whole number: 899, not 899.0"

Amount = Annotated[int, Meta(ge=0, le=2**53, description=MONEY)]

Ratio = Annotated[float, Meta(ge=0, le=1)]

Count = Annotated[int, Meta(ge=0, le=2**53)]

Period = Annotated[int, Meta(ge=0, le=1000)]
"""A number of times that a domain was braked or released."""

Text = Annotated[str, Meta(max_length=500)]
"""A categorical value. The reasons of issues repeat it unchanged, so it is no place for free text."""

Context = dict[Annotated[str, Meta(min_length=1, max_length=64)], Text | float | bool | None]

MAX_ARMS = 100

MAX_SCOPE = 10_000
"""The most pairs of a category and a brand in one coupon. They are expanded, and a record of 46 kB could name nine
million."""

MAX_WEIGHT = 1e6
"""Bound of an entry of a sparse vector, and of a sum of such entries."""

MAX_WINDOW_S = 366 * 86400.0
"""Bound of the time from issue to expiry. An open issue is part of a shopper's state, written with every event."""

MAX_NUMBERS = 4096
"""The most numbers in a coupon's vector."""

NO_COUPON = "none"
"""The no-coupon arm: an issue or an example with this `coupon_id` gave no coupon."""


def _check_sparse(indices: list[int], weights: list[float]) -> None:
    if len(indices) != len(weights):
        raise ValueError(f"{len(indices)} indices but {len(weights)} weights")
    # Both are kept in 32 bits, in which a weight may be infinite; damped ones are far below.
    if indices and not 0 <= min(indices) <= max(indices) < 2**32:
        raise ValueError(f"indices are {min(indices)} to {max(indices)}, expected 32 bits without a sign")
    if weights and not -MAX_WEIGHT <= min(weights) <= max(weights) <= MAX_WEIGHT:
        raise ValueError(f"weights are {min(weights)} to {max(weights)}, expected -1e6 to 1e6")
