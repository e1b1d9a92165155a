"""Who qualifies for a coupon: the last state of each shopper, the coupon's terms, and the clauses of its rules."""

import pytest

from stream_coupons.core.caps import Cap
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.core.shopper.state import History, Shopper
from stream_coupons.ops.audience import AudienceCount
from stream_coupons.runtime.cells import CellCodec
from stream_coupons.runtime.steps import SHARED_PREFIX
from stream_coupons.testing import coupon
from tests.core.builders import AT, DAY_S, counts_of, rules

CODEC = CellCodec(Shopper)
TEA = coupon(
    "tea",
    caps=[Cap(per="life", n=3)],
    campaign_id="spring",
    eligible_if="shopper.coupons_received < 5 && trigger.hour < 25",
)
SPRING = Campaign(campaign_id="spring", eligible_if="shopper.days_since_order >= 30 && 'vip' in shopper.segments")


def cell(days: float | None, received: int = 0, given: int = 0) -> bytes:
    """State of a shopper who ordered so many days ago."""
    fresh = CODEC.new()
    fresh.state.profile.last_order_at = None if days is None else AT - days * DAY_S
    fresh.state.history = History(issued=received, given=counts_of({"tea": given}))
    return CODEC.encode(fresh)


def count() -> AudienceCount:
    return AudienceCount("tea", [TEA, coupon("ham")], [SPRING], AT, rules())


def test_each_shopper_counts_once_by_the_first_reason_against_them() -> None:
    counting = count()
    states = {
        b"new": cell(None),
        b"old": cell(31),
        b"recent": cell(29),
        b"often": cell(31, received=5),
        b"capped": cell(31, given=3),
        b"gone": cell(31),
        f"{SHARED_PREFIX}purse".encode(): b"not a shopper",
    }
    for key, state in states.items():
        counting.take(key, state)
    counting.take(b"gone", None)
    counting.take(b"old", cell(1))
    counting.take(b"old", cell(30))
    found = counting.result()
    assert (found.coupon_id, found.at, found.shoppers, found.qualify) == ("tea", AT, 5, 2)
    assert found.against == {
        "shopper.days_since_order >= 30": 1,
        "shopper.coupons_received < 5": 1,
        "shopper_cap": 1,
    }
    assert found.not_counted == ["'vip' in shopper.segments"]


@pytest.mark.parametrize("rule", ["shopper.ordes > 1", "shopper.coupons_received / 0 > 1"])
def test_a_rule_that_cannot_be_evaluated_qualifies_nobody(rule: str) -> None:
    counting = AudienceCount("tea", [coupon("tea", eligible_if=rule)], [], AT, rules())
    counting.take(b"ann", cell(3))
    found = counting.result()
    assert (found.shoppers, found.qualify) == (1, 0)
    [why] = found.against
    assert rule in why or "no field 'shopper.ordes'" in why
