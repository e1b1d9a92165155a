"""The messages of every topic, as types.

Each is a `msgspec.Struct`: the JSON on the wire, the validation and the JSON Schema in `schemas/`
all come from it.
Evolution is additive: new fields get a default, unknown fields are ignored, `schema_version` stays.
Anything may be missing from an event but its ids and its time.

`__all__` lists the messages that other systems exchange with this one; the rest passes between its own agents.
"""

from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision, Reason
from stream_coupons.core.messages.inputs import (
    BrowseEvent,
    CartEvent,
    ErasureRequest,
    FeedbackEvent,
    Item,
    ObservedIssue,
    OrderEvent,
)
from stream_coupons.core.messages.learning import TrainingExample

__all__ = [
    "BrowseEvent",
    "Campaign",
    "CartEvent",
    "Coupon",
    "CouponIssue",
    "ErasureRequest",
    "FeedbackEvent",
    "Item",
    "LoggedDecision",
    "ObservedIssue",
    "OrderEvent",
    "Reason",
    "TrainingExample",
]
