"""One shopper's story is that of the coupon chosen by the rule, with the reasons that its issue carries."""

import msgspec

from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision, Reason
from stream_coupons.ops.explain.feature_text import tell
from stream_coupons.settings import Settings
from stream_coupons.testing import browse, cart, feedback, issue, item, order
from stream_coupons_lab.demo.outcomes import Outcomes
from stream_coupons_lab.demo.story import clicked_and_used, timeline

AT = 86400.0 + 36000.0
REASON = Reason("demand_share", 0.639, 0.3365)
ANN = msgspec.structs.replace(issue("ann", at=AT), title="10% off coffee", value_minor=31.4, reasons=[REASON])
DECISION = LoggedDecision(
    decision_id=ANN.issue_id,
    user_id="ann",
    domain=ANN.domain,
    at=AT,
    trigger_id=ANN.trigger_id,
    result="given",
    model_version=1,
    coupon_id=ANN.coupon_id,
    arms=[ANN.coupon_id, "dear", "dearer"],
    values_minor=[31.4, -3.0, -9.0],
)
COFFEE = item(category="coffee")
EVENTS = [
    browse("ann", COFFEE, at=AT - 7200.0),
    browse("ann", COFFEE, at=AT - 60.0),
    browse("bob", COFFEE, at=AT - 50.0),
    browse("ann", COFFEE, at=AT),
    feedback(ANN, "impression", at=AT + 60.0),
    feedback(ANN, "click", at=AT + 120.0),
    cart("ann", COFFEE, at=AT + 180.0),
    order("ann", COFFEE, at=AT + 240.0),
    feedback(ANN, "purchase", at=AT + 240.0, discount_minor=150, order_value_minor=1500),
    browse("ann", COFFEE, at=AT + 300.0),
]


def outcomes_of(*issues: CouponIssue, used: tuple[CouponIssue, ...] = ()) -> Outcomes:
    outcomes = Outcomes(0.0)
    for one in issues:
        outcomes.add_issue(one, 0.1, 68.0)
    outcomes.redeemed |= {one.issue_id for one in used}
    return outcomes


def test_the_story_is_of_the_first_coupon_of_the_second_half_given_on_merit_clicked_and_used() -> None:
    change = msgspec.structs.replace
    names = ("early", "early, too", "unused", "by chance")
    early, second, unused, by_chance = (change(ANN, issue_id=name, user_id=name) for name in names)
    by_chance = change(by_chance, is_explored=True)
    clicks = [feedback(one, "click", at=AT) for one in (early, unused, by_chance)]
    outcomes = outcomes_of(early, second, unused, by_chance, ANN, used=(early, by_chance, ANN))
    assert clicked_and_used(outcomes, [*clicks, *EVENTS]) is ANN
    assert clicked_and_used(outcomes, clicks) is None


def test_a_story_goes_from_the_visit_to_the_use_with_the_reasons_between() -> None:
    told = timeline(ANN, EVENTS, DECISION, Settings().policy, outcomes_of(ANN, used=(ANN,)))
    assert [when for when, _ in told] == [
        "day 2, 09:59",
        "day 2, 10:00",
        *[""] * 3,
        *[f"day 2, 10:0{minute}" for minute in range(1, 5)],
        "",
    ]
    texts = [text for _, text in told]
    assert texts[0] == "looked at coffee, 2 times"
    assert texts[1].startswith("got “10% off coffee”, expected to add +0.31 EUR")
    assert texts[2] == f"the coupon {tell(REASON).sentence}"
    assert texts[3] == "why not 2 others: it is expected to cost more than it brings"
    assert texts[4] == "by perfect knowledge, it was worth +0.68 EUR at that moment"
    assert texts[5:8] == ["saw the coupon", "clicked on the coupon", "put coffee into the cart"]
    assert texts[-1] == "used the coupon in an order of 15.00 EUR: 1.50 EUR off"
