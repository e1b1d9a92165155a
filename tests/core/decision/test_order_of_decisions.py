"""Decisions draw on a shared budget in the order of their triggers, whatever is decided together."""

from typing import Any

import pytest

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision.pipeline import take_in
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.decision.table import Trigger
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.testing import coupon
from tests.core.builders import AT, FixedScorer, browse, decided, purses, rules

DOMAINS = ("ecommerce", "travel", "ecommerce", "travel")


def given(cuts: list[int], budget_minor: int = 200) -> list[list[str]]:
    """The domains whose coupons were given, by trigger, when triggers are decided in batches of these sizes."""
    shared: dict[str, Any] = {"campaign_id": "spring"}
    coupons = [coupon("tea", domain="ecommerce", **shared), coupon("trip", domain="travel", **shared)]
    campaign = Campaign(campaign_id="spring", budget_minor=budget_minor, budget_hold="maximum")
    known = Knowledge(rules(), Catalogue(coupons, campaigns=[campaign]), {}, FixedScorer())
    wallet, found, first = Wallet(purses(), 0, 1), list[list[str]](), 0
    for size in cuts:
        together = []
        for number in range(first, first + size):
            event = browse(f"e{number}", AT + number, user=f"u{number}", domain=DOMAINS[number])
            taken = take_in(event.user_id, Shopper(), event, known)
            assert isinstance(taken, Trigger)
            together.append(taken)
        first += size
        for effects in decided(together, known, wallet):
            found.append([message.domain for message in effects.messages if isinstance(message, CouponIssue)])
    return found


@pytest.mark.parametrize("cuts", [[1, 1, 1, 1], [4], [2, 2], [3, 1], [1, 3]])
def test_domains_that_share_a_budget_draw_on_it_in_order(cuts: list[int]) -> None:
    assert given(cuts) == [["ecommerce"], ["travel"], [], []]
