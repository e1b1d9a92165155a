"""Single decisions in words."""

import msgspec
import pytest

from stream_coupons.core.messages.decisions import LoggedDecision
from stream_coupons.testing import browse, cart, coupon, item
from stream_coupons_lab.demo.ticker import Ticker

AT = 1000.0
COFFEE = coupon("c1", title="10% off coffee")
ANN = "shopper-00017"
BROWSE = browse(ANN, item(category="coffee"), at=AT)
GIVEN = LoggedDecision(
    decision_id="d",
    user_id=ANN,
    domain="shop",
    at=AT,
    trigger_id=BROWSE.event_id,
    result="given",
    model_version=1,
    coupon_id="c1",
    arms=["c0", "c1"],
    values_minor=[3.0, 31.4],
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "10% off coffee, worth +0.31 EUR"),
        ({"drawn": 1}, "10% off coffee, tried out, to learn"),
        ({"result": "not_worth_it", "coupon_id": "none"}, "nothing: no coupon is worth what it costs"),
        ({"result": "holdout", "coupon_id": "none"}, "nothing: is in the control group, which never gets a coupon"),
    ],
)
def test_a_decision_is_told_once_with_what_led_to_it(change: dict[str, object], said: str) -> None:
    ticker = Ticker([COFFEE])
    decision = msgspec.structs.replace(GIVEN, **change)
    ticker.tell([BROWSE], [decision, decision])
    assert list(ticker.lines) == [f"u17 looked at coffee: {said}"]


def test_decisions_are_told_in_order_of_time() -> None:
    ticker = Ticker([COFFEE])
    put = cart("shopper-00000", item(), at=AT + 1)
    later = msgspec.structs.replace(GIVEN, user_id="shopper-00000", at=AT + 1, trigger_id=put.event_id)
    ticker.tell([BROWSE, put], [later, GIVEN])
    assert [line.split(":")[0] for line in ticker.lines] == [
        "u17 looked at coffee",
        "u0 put something into the cart",
    ]
