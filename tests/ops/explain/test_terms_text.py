"""Terms in sentences: everything that limits a coupon or a campaign is said."""

from stream_coupons.core.caps import Cap
from stream_coupons.core.messages.catalogue import Campaign, Coupon, Guardrail
from stream_coupons.ops.explain.terms_text import campaign_terms, coupon_terms

NEW_YEAR = 1_767_225_600.0


def test_a_coupon_says_discount_scope_time_and_limits() -> None:
    coupon = Coupon(
        coupon_id="tea", discount_percent=20, max_discount_minor=500, min_spend_minor=3000, categories=["tea", "cups"],
        brands=["acme"], valid_from=NEW_YEAR, weekdays=["mon"], from_hour=9, until_hour=17, stock=1,
        budget_minor=90000, budget_hold="maximum", caps=[Cap(per="week", n=1)], channels=["app"],
        eligible_if="shopper.orders > 2",
    )  # fmt: skip
    assert [*coupon_terms(coupon, "EUR")] == [
        "Shoppers get 20 %, at most 5.00 EUR, from 30.00 EUR on, on category tea or cups and brand acme.",
        "Each is good for 7 days after it is given.",
        "It is given from 2026-01-01T00:00:00Z, on mon, from 9 to 17 o'clock for the shopper.",
        "At most 1 coupon is given.",
        "Its budget is 900.00 EUR.",
        "A shopper gets at most 1 a week.",
        "It is for shoppers of whom this is true: shopper.orders > 2",
        "It is given in app only.",
    ]


def test_a_campaign_says_its_holdout_and_each_guardrail_in_its_unit() -> None:
    rails = [Guardrail(metric="spend_a_day", limit=5000, action="pause"), Guardrail(metric="roi", limit=0.5)]
    campaign = Campaign(campaign_id="spring", budget_minor=1000, holdout_ratio=0.1, guardrails=rails)
    assert [*campaign_terms(campaign, "EUR")] == [
        "Its coupons are given at any time.",
        "Its budget is 10.00 EUR, exceeded by at most 5 % of it.",
        "10 % of the shoppers get none of its coupons, to measure what it earns.",
        "It is paused once spend_a_day is above 50.00 EUR.",
        "It is held once roi is below 0.5.",
    ]
