"""Single decisions in words."""

import pytest

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, Item, OrderEvent
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.state import OpenControl, Shopper
from stream_coupons.lab.demo.ticker import Ticker

AT = 1000.0
COFFEE = Coupon(coupon_id="c1", title="10% off coffee", max_discount_minor=100)
RULES = PolicyRules()
BROWSE = BrowseEvent(event_id="b", user_id="shopper-00017", occurred_at=AT, item=Item(item_id="i", category="coffee"))


def order(number: int) -> OrderEvent:
    return OrderEvent(event_id=f"o{number}", user_id="shopper-00017", occurred_at=AT, order_id=f"{number}", items=[])


def issue(trigger_id: str) -> CouponIssue:
    return CouponIssue(
        issue_id="i",
        user_id="shopper-00017",
        coupon_id="c1",
        domain="shop",
        issued_at=AT,
        expires_at=AT + 1,
        trigger_id=trigger_id,
        max_discount_minor=100,
        held_minor=100,
        p_click=0.1,
        p_redeem=0.1,
        p_order=0.1,
        value_minor=31.4,
        propensity=1.0,
        model_version=1,
    )


def control(redeem: float, order: float, *, withheld: bool = False) -> OpenControl:
    return OpenControl(
        issue_id="x",
        coupon_id="c1",
        domain="shop",
        at=AT,
        until=AT + 9,
        numeric=b"",
        hashed=b"",
        predicted=(0.1, redeem, order),
        model_version=1,
        withheld=withheld,
        feature_schema="",
        scope_mark=0,
    )


def test_a_coupon_is_told_with_what_led_to_it() -> None:
    ticker = Ticker([COFFEE], RULES)
    for message in (order(1), order(2), BROWSE):
        ticker.hear(message)
    ticker.give(issue("b"))
    assert list(ticker.lines) == ["u17 looked at coffee, has bought twice: 10% off coffee, worth +31 c"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (control(0.1, 0.2), "would buy anyway (20% without a coupon, 10% with)"),
        (control(0.2, 0.1), "no discount pays off (20% would use it)"),
        (control(0.2, 0.1, withheld=True), "is in the control group"),
    ],
)
def test_nothing_is_told_with_its_reason(given: OpenControl, said: str) -> None:
    ticker = Ticker([COFFEE], RULES)
    ticker.hear(BROWSE)
    state = Shopper(considered_at=AT, controls={"x": given})
    assert ticker.refuse("shopper-00017", state)
    assert list(ticker.lines) == [f"u17 looked at coffee, has not bought yet: nothing: {said}"]


def test_who_had_enough_coupons_is_told_and_who_was_only_just_considered_is_not() -> None:
    ticker = Ticker([COFFEE], RULES)
    ticker.hear(CartEvent(event_id="k", user_id="u", occurred_at=AT, item=Item(item_id="i"), action="add"))
    assert not ticker.refuse("u", Shopper(considered_at=AT))
    assert not ticker.refuse("nobody", Shopper())
    state = Shopper()
    state.history.recent_issues += [AT - 1, AT - 2, AT - 3]
    assert ticker.refuse("u", state)
    assert ticker.lines[-1].endswith(
        "put something into the cart, has not bought yet: nothing: had 3 coupons this week"
    )
    ticker.next_slice()
    assert ticker.active == []
