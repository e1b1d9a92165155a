"""Single decisions in words."""

import pytest

from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.core.shopper.watched import OpenControl
from stream_coupons.testing import browse, cart, coupon, issue, item, order
from stream_coupons_lab.demo.ticker import Ticker

AT = 1000.0
COFFEE = coupon(title="10% off coffee")
RULES = PolicyRules()
ANN = "shopper-00017"
BROWSE = browse(ANN, item(category="coffee"), at=AT)


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
    for message in (order(ANN, at=AT - 2), order(ANN, at=AT - 1), BROWSE):
        ticker.hear(message)
    ticker.give(issue(ANN, COFFEE, at=AT, trigger_id=BROWSE.event_id, value_minor=31.4))
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
    assert ticker.refuse(ANN, state)
    assert list(ticker.lines) == [f"u17 looked at coffee, has not bought yet: nothing: {said}"]


def test_who_had_enough_coupons_is_told_and_who_was_only_just_considered_is_not() -> None:
    ticker = Ticker([COFFEE], RULES)
    ticker.hear(cart("u", item(), at=AT))
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
