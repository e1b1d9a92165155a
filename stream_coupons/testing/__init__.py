"""Tests of what integrates with the system: the whole system in one process, a settable clock, builders of messages.

Parts of it are real: `LocalPipeline` runs a worker's agents without a broker. docs/how-to/test-your-integration.md
has examples.
"""

from stream_coupons.testing.builders import (
    browse,
    campaign,
    cart,
    coupon,
    erasure,
    feedback,
    issue,
    item,
    observed,
    order,
    plain_settings,
)
from stream_coupons.testing.clock import START, ManualClock
from stream_coupons.testing.local import LocalPipeline

__all__ = [
    "START",
    "LocalPipeline",
    "ManualClock",
    "browse",
    "campaign",
    "cart",
    "coupon",
    "erasure",
    "feedback",
    "issue",
    "item",
    "observed",
    "order",
    "plain_settings",
]
